// The time-stamp counter as a clock for pieces of a few nanoseconds: reading it costs a third of
// what std::chrono's clock does. Elsewhere than on x86-64 it is that clock.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>
#include <vector>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace pollux::bench {

/// Ticks now; what is before it in the program has been executed.
inline std::int64_t ticks() {
#if defined(__x86_64__)
  _mm_lfence();
  const auto t = static_cast<std::int64_t>(__rdtsc());
  _mm_lfence();
  return t;
#else
  return std::chrono::steady_clock::now().time_since_epoch().count();
#endif
}

/// Measured once, over 20 ms.
inline double ns_per_tick() {
  static const double ratio = [] {
    using Clock = std::chrono::steady_clock;
    const auto begin = Clock::now();
    const std::int64_t first = ticks();
    while (Clock::now() - begin < std::chrono::milliseconds(20)) {
    }
    const std::int64_t last = ticks();
    const std::chrono::duration<double, std::nano> passed = Clock::now() - begin;
    return passed.count() / static_cast<double>(last - first);
  }();
  return ratio;
}

/// What two readings with nothing between them are apart, at least.
inline std::int64_t empty_ticks() {
  static const std::int64_t least = [] {
    std::int64_t found = std::numeric_limits<std::int64_t>::max();
    for (int i = 0; i < 1000; ++i) {
      const std::int64_t t = ticks();
      found = std::min(found, ticks() - t);
    }
    return found;
  }();
  return least;
}

/// The middle of some times in ticks, which is in nanoseconds; `times` is not empty.
inline double median_ns(std::vector<std::int64_t> times) {
  const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
  std::nth_element(times.begin(), middle, times.end());
  return static_cast<double>(*middle) * ns_per_tick();
}

}  // namespace pollux::bench
