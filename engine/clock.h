// The only place where the engine asks for the time, and for ticks where only ratios count.
#pragma once

#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "proto/base/time.h"

namespace pollux {

inline Instant monotonic_now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return Instant(std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec));
}

/// Microseconds since 1970, for what peers compare with their own clock.
inline std::int64_t wall_clock_us() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::microseconds>(now).count();
}

/// The CPU's time stamp counter where there is one: cheaper than the clock, in no fixed unit.
inline std::uint64_t cpu_ticks() noexcept {
#if defined(__x86_64__)
  return __builtin_ia32_rdtsc();
#else
  return static_cast<std::uint64_t>(monotonic_now().time_since_epoch().count());
#endif
}

/// Ticks that pass between two readings with nothing between them.
inline std::uint64_t cpu_ticks_cost() {
  std::uint64_t least = UINT64_MAX;
  for (int i = 0; i < 1000; ++i) {
    const std::uint64_t before = cpu_ticks();
    least = std::min(least, cpu_ticks() - before);
  }
  return least;
}

}  // namespace pollux
