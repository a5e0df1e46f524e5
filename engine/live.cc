#include "engine/live.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace pollux {
namespace {

constexpr std::size_t kMaxSlots = 4096;   ///< of the table, looked at for one sample
constexpr std::size_t kMaxSampled = 256;  ///< connections

std::uint64_t drops_of(const LiveStats::Source& s) {
  std::uint64_t n = 0;
  for (const Counter& c : s.counters->drops) n += c.get();
  return s.stage == nullptr ? n : n + s.stage->ring_full.get() + s.stage->no_buffer.get();
}

}  // namespace

RttSample sample_rtt(const Shard& shard, std::size_t& at) {
  std::vector<Duration> times;
  at = shard.for_some(at, kMaxSlots, [&](const ConnEntry& e) {
    const Duration rtt = e.tcp.info().srtt;
    if (rtt > Duration::zero()) times.push_back(rtt);
    return times.size() < kMaxSampled;
  });
  if (times.empty()) return {};
  const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
  std::nth_element(times.begin(), middle, times.end());
  return {times.size(), *middle, *std::max_element(middle, times.end())};
}

LiveStats::LiveStats(const std::vector<Source>& sources) : lanes_(sources.size()) {
  for (std::size_t i = 0; i < sources.size(); ++i) lanes_[i].source = sources[i];
}

std::string LiveStats::json(Instant now) const {
  std::string out;
  const auto to = std::back_inserter(out);
  fmt::format_to(to, R"({{"t_ms":{},"workers":[)", to_ms(now.time_since_epoch()));
  for (const Lane& lane : lanes_) {
    const WorkerCounters& c = *lane.source.counters;
    fmt::format_to(
        to,
        R"({}{{"rx_bytes":{},"tx_bytes":{},"rx_packets":{},"tx_packets":{},"connections_open":{},)"
        R"("connections_opened":{},"busy_ns":{},"idle_ns":{},"drops":{},"retransmits":{},)"
        R"("rtt_us":{},"rtt_max_us":{},"rtt_connections":{}}})",
        &lane == lanes_.data() ? "" : ",", c.rx_bytes.get(), c.tx_bytes.get(), c.rx_packets.get(),
        c.tx_packets.get(), c.connections_open.get(), c.connections_opened.get(), c.busy_ns.get(),
        c.idle_ns.get(), drops_of(lane.source), c.retransmitted_segments.get(),
        lane.rtt_median_us.get(), lane.rtt_max_us.get(), lane.rtt_connections.get());
  }
  return out + "]}";
}

void LiveStats::refresh(Crew& crew, Instant now) {
  Duration::rep due = due_.load(std::memory_order_relaxed);
  const Duration::rep t = now.time_since_epoch().count();
  if (t < due || !due_.compare_exchange_strong(due, t + Duration(kInterval).count())) return;
  for (std::size_t i = 0; i < lanes_.size(); ++i) {
    crew.post(i, [self = shared_from_this(), i](Shard& shard) { self->sample(i, shard); });
  }
}

void LiveStats::sample(std::size_t i, const Shard& shard) {
  Lane& lane = lanes_[i];
  const RttSample s = sample_rtt(shard, lane.at);
  lane.rtt_median_us.set(static_cast<std::uint64_t>(to_us(s.median)));
  lane.rtt_max_us.set(static_cast<std::uint64_t>(to_us(s.max)));
  lane.rtt_connections.set(s.connections);
}

}  // namespace pollux
