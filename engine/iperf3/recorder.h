// What a test measured: a row for each interval, and the sums at its end.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/iperf3/cpu_usage.h"
#include "engine/iperf3/test.h"

namespace pollux::iperf3 {

/// One stream in one interval.
struct StreamRow {
  int id = 0;
  bool sender = false;
  Sample delta;  ///< of this interval
  Sample now;    ///< at its end
};

struct IntervalRow {
  double start_s = 0;
  double end_s = 0;
  bool omitted = false;
  std::vector<StreamRow> streams;
};

/// One stream over the whole test, as far as each end's count is known.
struct StreamSummary {
  int id = 0;
  bool sender = false;  ///< this end sends
  std::optional<StreamResult> sent;
  std::optional<StreamResult> received;
  std::uint64_t out_of_order = 0;
  std::uint64_t max_cwnd = 0, max_send_window = 0;
  std::uint64_t min_rtt_us = 0, max_rtt_us = 0, mean_rtt_us = 0;
};

struct Summary {
  double seconds = 0;
  std::vector<StreamSummary> streams;
  CpuUsage::Percent local_cpu, remote_cpu;
  std::string remote_congestion;  ///< "": not known
};

/// Collects intervals. Bounded: a test of more than kMaxIntervals keeps the latest ones.
class Recorder {
 public:
  static constexpr std::size_t kMaxRows = 16384;  ///< of streams, over all intervals
  explicit Recorder(Test& test) : test_(test) {}
  /// The time that was omitted is over: counting begins.
  void end_omission();
  /// An interval ended, `now_s` after the traffic began (or after the omitted time).
  const IntervalRow& interval(double now_s, bool omitted);
  /// What this end counted, omitted time excluded; to be called at the end.
  std::vector<StreamResult> results(double seconds) const;
  Summary summary(double seconds) const;
  const std::vector<IntervalRow>& intervals() const { return intervals_; }

 private:
  struct Extremes {
    std::uint64_t max_cwnd = 0, max_send_window = 0, min_rtt = 0, max_rtt = 0, sum_rtt = 0,
                  samples = 0;
  };
  Test& test_;
  double last_s_ = 0;
  std::size_t rows_ = 0;
  std::vector<IntervalRow> intervals_;
  std::vector<Extremes> extremes_;  ///< by slot
};

/// The sums of those rows that go in one direction, and how many there are.
Sample sum_of(const IntervalRow& row, bool sender, std::size_t& streams);
/// Adds up what one end counted of one direction; nullopt when it is not known of any stream.
std::optional<StreamResult> total(const Summary& summary, bool sender, bool sent);

/// Bits a second; 0 in no time.
inline double per_second(std::uint64_t octets, double seconds) {
  return seconds > 0 ? static_cast<double>(octets) * 8 / seconds : 0;
}

inline double percent(std::uint64_t part, std::uint64_t whole) {
  return whole != 0 ? 100.0 * static_cast<double>(part) / static_cast<double>(whole) : 0;
}

}  // namespace pollux::iperf3
