#include "engine/load_window.h"

#include <nlohmann/json.hpp>
#include <numeric>

namespace pollux {

using nlohmann::json;

namespace {

constexpr std::uint64_t kLeastNs = 100'000'000;

LoadSample difference(const LoadSample& now, const LoadSample& before) {
  LoadSample d = now;
  d.busy_ns -= before.busy_ns;
  d.idle_ns -= before.idle_ns;
  d.received -= before.received;
  d.sent -= before.sent;
  d.sampled_turns -= before.sampled_turns;
  for (std::size_t i = 0; i < kStages; ++i) d.ticks[i] -= before.ticks[i];
  return d;
}

json quotient(double a, double b) { return b > 0 ? json(a / b) : json(nullptr); }

}  // namespace

void LoadSample::add(const StageClock& clock) {
  sampled_turns = clock.samples().get();
  for (std::size_t i = 0; i < kStages; ++i) ticks[i] = clock.spent(static_cast<Stage>(i)).get();
}

void LoadWindow::look(const LoadSample& now) {
  const LoadSample span = difference(now, begin_);
  if (span.busy_ns + span.idle_ns < kLeastNs) return;
  span_ = span;
  begin_ = now;
}

double LoadWindow::busy_ratio() const {
  const auto all = static_cast<double>(span_.busy_ns + span_.idle_ns);
  return all > 0 ? static_cast<double>(span_.busy_ns) / all : 0.0;
}

json LoadWindow::stages() const {
  const auto busy = static_cast<double>(span_.busy_ns), idle = static_cast<double>(span_.idle_ns);
  const auto ticks = static_cast<double>(
      std::accumulate(span_.ticks.begin(), span_.ticks.end(), std::uint64_t{0}));
  json all = json::object();
  for (std::size_t i = 0; i < kStages; ++i) {
    const auto stage = static_cast<Stage>(i);
    const bool outward = stage == Stage::tcp_out || stage == Stage::write;
    const auto packets = static_cast<double>(outward ? span_.sent : span_.received);
    const double ns = ticks > 0 ? busy * static_cast<double>(span_.ticks[i]) / ticks : 0.0;
    const bool known = ticks > 0 || busy <= 0;
    all[std::string(to_string(stage))] = {{"share", quotient(ns, known ? busy + idle : 0)},
                                          {"ns_per_packet", quotient(ns, known ? packets : 0)}};
  }
  all["idle"] = {{"share", quotient(idle, busy + idle)}, {"ns_per_packet", nullptr}};
  return all;
}

}  // namespace pollux
