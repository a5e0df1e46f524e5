// Time as an argument: proto and workers never ask for the clock, they are told `now`.
#pragma once

#include <chrono>
#include <cstdint>

namespace pollux {

/// The engine's monotonic clock. It has no now(): only engine/ and the simulator make Instants.
struct EngineClock {
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<EngineClock>;
  static constexpr bool is_steady = true;
};

using Duration = std::chrono::nanoseconds;
using Instant = EngineClock::time_point;

/// "No deadline": later than every real instant.
inline constexpr Instant kNever = Instant::max();

using namespace std::chrono_literals;

constexpr std::int64_t to_us(Duration d) {
  return std::chrono::duration_cast<std::chrono::microseconds>(d).count();
}
constexpr std::int64_t to_ms(Duration d) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(d).count();
}

}  // namespace pollux
