// What a loop did between two questions: how busy it was, and the share of each stage.
#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>

#include "workers/stage_clock.h"

namespace pollux {

/// Counters of one loop at one moment; all of them only rise.
struct LoadSample {
  std::uint64_t busy_ns = 0;
  std::uint64_t idle_ns = 0;
  std::uint64_t received = 0;  ///< packets
  std::uint64_t sent = 0;      ///< packets
  std::uint64_t sampled_turns = 0;
  std::array<std::uint64_t, kStages> ticks{};

  /// Takes `sampled_turns` and `ticks` from a clock.
  void add(const StageClock& clock);
};

/// The time between two questions, at least 100 ms apart, or since the start. Busy and idle time
/// are the clock's and exact; ticks only say how the busy time divides among the stages.
class LoadWindow {
 public:
  void look(const LoadSample& now);

  double busy_ratio() const;
  double seconds() const { return static_cast<double>(span_.busy_ns + span_.idle_ns) / 1e9; }
  std::uint64_t sampled_turns() const { return span_.sampled_turns; }
  /// An object by stage, "idle" among them: `share` of the time, which add up to 1, and
  /// `ns_per_packet`: of those sent for tcp_out and write, of those received for the others. Null
  /// where nothing was sampled, or no packet counted.
  nlohmann::json stages() const;

 private:
  LoadSample begin_;
  LoadSample span_;  ///< what was added in the window
};

}  // namespace pollux
