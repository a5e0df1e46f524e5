// What a test measured, and its report in the forms that iperf3 prints: text and JSON.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

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
  std::uint64_t max_cwnd = 0, min_rtt_us = 0, max_rtt_us = 0, mean_rtt_us = 0;
};

struct Summary {
  double seconds = 0;
  std::vector<StreamSummary> streams;
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
    std::uint64_t max_cwnd = 0, min_rtt = 0, max_rtt = 0, sum_rtt = 0, samples = 0;
  };
  Test& test_;
  double last_s_ = 0;
  std::size_t rows_ = 0;
  std::vector<IntervalRow> intervals_;
  std::vector<Extremes> extremes_;  ///< by slot
};

/// "1.31 GBytes", as iperf3 rounds it; octets count in 1024, bits in 1000.
std::string format_octets(double octets);
/// In `unit`: k, m, g or t bits, K, M, G or T octets, or 'a', whatever fits.
std::string format_rate(double bits_per_second, char unit = 'a');
bool is_rate_unit(char unit);

/// The lines of the text form, each with its end.
namespace text {
std::string connected(const Test& test);
std::string header(const Test& test);
std::string interval(const Test& test, const IntervalRow& row);
std::string summary(const Test& test, const Summary& summary);
}  // namespace text

/// Members of the JSON form.
nlohmann::ordered_json start_json(const Test& test);
nlohmann::ordered_json interval_json(const Test& test, const IntervalRow& row);
/// Leaves early `intervals` of a whole report out until it has at most so many octets as text;
/// `intervals_left_out` says how many.
void keep_latest_intervals(nlohmann::ordered_json& report, std::size_t octets);
nlohmann::ordered_json end_json(const Test& test, const Summary& summary);

}  // namespace pollux::iperf3
