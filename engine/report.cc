#include "engine/report.h"

#include <algorithm>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>

#include "engine/clock.h"
#include "engine/live.h"

namespace pollux {

using nlohmann::json;

namespace {

json counters_json(const WorkerCounters& c) {
  json j = {{"rx_packets", c.rx_packets.get()},
            {"rx_bytes", c.rx_bytes.get()},
            {"tx_packets", c.tx_packets.get()},
            {"tx_bytes", c.tx_bytes.get()},
            {"tx_drops", c.tx_drops.get()},
            {"connections_open", c.connections_open.get()},
            {"connections_opened", c.connections_opened.get()},
            {"connections_closed", c.connections_closed.get()},
            {"retransmitted_segments", c.retransmitted_segments.get()},
            {"out_of_order_segments", c.out_of_order_segments.get()},
            {"checksum_errors", c.checksum_errors.get()},
            {"resets_sent", c.resets_sent.get()},
            {"resets_received", c.resets_received.get()},
            {"syn_cookies_sent", c.syn_cookies_sent.get()},
            {"syn_cookies_validated", c.syn_cookies_validated.get()},
            {"memory_bytes", c.memory_bytes.get()},
            {"datagrams_received", c.datagrams_received.get()},
            {"datagrams_sent", c.datagrams_sent.get()},
            {"packets_reassembled", c.packets_reassembled.get()},
            {"packets_fragmented", c.packets_fragmented.get()}};
  json drops = json::object();
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < kDropReasons; ++i) {
    const std::uint64_t n = c.drops[i].get();
    drops[std::string(to_string(static_cast<DropReason>(i)))] = n;
    if (static_cast<DropReason>(i) != DropReason::tx_error) total += n;
  }
  j["rx_drops"] = total;
  j["drops"] = drops;
  return j;
}

void add_load(json& loop, const LoadWindow& w) {
  loop["busy_ratio"] = w.busy_ratio();
  loop["window_s"] = w.seconds();
  loop["sampled_turns"] = w.sampled_turns();
  loop["stages"] = w.stages();
}

/// Losses of a stage are those of the worker that runs it, or of worker 0 for the RX thread.
void add_stage(json& worker, const RxStageCounters& c) {
  worker["drops"]["ring_full"] = c.ring_full.get();
  worker["drops"]["no_buffer"] = c.no_buffer.get();
  worker["ring_full_drops"] = c.ring_full.get();
  worker["rx_drops"] =
      worker["rx_drops"].get<std::uint64_t>() + c.ring_full.get() + c.no_buffer.get();
}

void add_up(json& totals, const json& worker) {
  for (const auto& [key, value] : worker.items()) {
    if (key == "drops") {
      for (const auto& [reason, n] : value.items()) {
        totals["drops"][reason] =
            totals["drops"].value(reason, std::uint64_t{0}) + n.get<std::uint64_t>();
      }
    } else if (value.is_number_unsigned()) {
      totals[key] = totals.value(key, std::uint64_t{0}) + value.get<std::uint64_t>();
    }
  }
}

json or_null(bool there, std::int64_t value) { return there ? json(value) : json(nullptr); }

std::string_view recovery_of(const tcp::Conn::Info& i) {
  return i.in_recovery ? "fast" : i.in_timeout ? "timeout" : "open";
}

/// What Linux's tcp_info tells beyond the fields that every client of the socket may rely on.
void add_tcp_info(json& c, const tcp::Conn::Info& i) {
  const bool sampled = i.srtt > Duration::zero();
  c.update({{"min_rtt_us", or_null(sampled, to_us(i.min_rtt))},
            {"recovery", recovery_of(i)},
            {"back_offs", i.back_offs},
            {"sack", i.sack},
            {"timestamps", i.timestamps},
            {"ecn", i.ecn},
            {"unsent_bytes", i.unsent},
            {"sacked_bytes", i.sacked},
            {"lost_bytes", i.lost},
            {"bytes_acked", i.bytes_acked},
            {"bytes_retransmitted", i.bytes_retransmitted},
            {"bytes_lost", i.bytes_lost},
            {"timeouts", i.timeouts},
            {"recoveries", i.recoveries},
            {"spurious_recoveries", i.spurious_recoveries},
            {"loss_probes", i.loss_probes},
            {"dsacks", i.dsacks},
            {"reordering_seen", i.reordering_seen},
            {"reordering_window_us", or_null(sampled, to_us(i.reordering_window))},
            {"delivery_rate", i.delivery_rate != 0 ? json(i.delivery_rate) : json(nullptr)},
            {"delivery_rate_app_limited", i.delivery_app_limited},
            {"pacing_rate", i.pacing_rate != tcp::kUnpaced ? json(i.pacing_rate) : json(nullptr)},
            {"busy_us", to_us(i.busy)},
            {"window_limited_us", to_us(i.window_limited)},
            {"buffer_limited_us", to_us(i.buffer_limited)}});
}

json connection_json(const ConnEntry& e, std::size_t worker, Instant now) {
  const tcp::Conn::Info i = e.tcp.info(now);
  const bool sampled = i.srtt > Duration::zero();
  json c = {{"local", e.key.local.to_string()},
            {"remote", e.key.remote.to_string()},
            {"state", tcp::to_string(e.tcp.state())},
            {"worker", worker},
            {"service", e.service->name()},
            {"congestion_control", tcp::to_string(e.tcp.congestion_control())},
            {"mss", i.mss},
            {"rto_ms", to_ms(i.rto)},
            {"srtt_us", or_null(sampled, to_us(i.srtt))},
            {"rttvar_us", or_null(sampled, to_us(i.rttvar))},
            {"cwnd_bytes", i.cwnd},
            {"ssthresh_bytes", or_null(i.ssthresh != UINT32_MAX, i.ssthresh)},
            {"send_window", i.send_window},
            {"receive_window", i.receive_window},
            {"bytes_in_flight", i.in_flight},
            {"bytes_sent", i.bytes_sent},
            {"bytes_received", i.bytes_received},
            {"retransmits", i.retransmits},
            {"out_of_order_bytes", i.out_of_order_bytes},
            {"send_queue_bytes", i.send_queue},
            {"receive_queue_bytes", i.receive_queue},
            {"age_s", std::chrono::duration<double>(now - e.opened_at).count()}};
  add_tcp_info(c, i);
  return c;
}

/// A half-open or TIME-WAIT record: what a connection has and a record has not is zero or null.
json record_json(const FlowKey& key, tcp::State state, const Service* service, std::size_t worker,
                 Duration age) {
  json j = {{"local", key.local.to_string()},
            {"remote", key.remote.to_string()},
            {"state", tcp::to_string(state)},
            {"worker", worker},
            {"service", service != nullptr ? json(service->name()) : json(nullptr)},
            {"age_s", std::chrono::duration<double>(age).count()}};
  for (const char* name : {"mss", "send_window", "receive_window", "cwnd_bytes", "bytes_in_flight",
                           "bytes_sent", "bytes_received", "retransmits", "out_of_order_bytes",
                           "send_queue_bytes", "receive_queue_bytes"}) {
    j[name] = 0;
  }
  for (const char* name :
       {"congestion_control", "rto_ms", "srtt_us", "rttvar_us", "min_rtt_us", "ssthresh_bytes"}) {
    j[name] = nullptr;
  }
  return j;
}

/// Of one worker: the answer is made on the worker's own time.
constexpr std::size_t kMostRecords = 10000;

void add_records(json& list, const Shard& shard, std::size_t worker, Instant now) {
  std::size_t left = kMostRecords;
  const auto add = [&](const FlowKey& key, tcp::State state, Instant since) {
    if (left == 0) return;
    --left;
    list.push_back(record_json(key, state, shard.service_at(key.local), worker, now - since));
  };
  shard.for_each_half_open(
      [&](const HalfOpen& r, Instant sent) { add(r.key, tcp::State::syn_received, sent); });
  shard.for_each_time_wait(
      [&](const TimeWait& r, Instant since) { add(r.key, tcp::State::time_wait, since); });
}

/// What of a worker's table `top` looks at: places, and connections found there.
constexpr std::size_t kTopPlaces = 16384;
constexpr std::size_t kTopConnections = 1000;

/// One connection as `top` wants it, taken on the worker's own time.
struct TopConnection {
  FlowKey key;
  tcp::State state;
  const Service* service;
  Duration srtt;
  std::uint64_t sent, received, retransmits;
};

std::vector<TopConnection> top_connections(const Shard& shard) {
  std::vector<TopConnection> list;
  shard.for_some(0, kTopPlaces, [&](const ConnEntry& e) {
    const tcp::Conn::Info i = e.tcp.info();
    list.push_back(
        {e.key, e.tcp.state(), e.service, i.srtt, i.bytes_sent, i.bytes_received, i.retransmits});
    return list.size() < kTopConnections;
  });
  return list;
}

json top_json(const TopConnection& c, std::size_t worker) {
  return {{"local", c.key.local.to_string()},
          {"remote", c.key.remote.to_string()},
          {"state", tcp::to_string(c.state)},
          {"service", c.service->name()},
          {"worker", worker},
          {"srtt_us", or_null(c.srtt > Duration::zero(), to_us(c.srtt))},
          {"bytes_sent", c.sent},
          {"bytes_received", c.received},
          {"retransmits", c.retransmits}};
}

/// The middle of the workers' medians, each as often as it has connections.
Duration middle_rtt(std::vector<RttSample> samples) {
  std::sort(samples.begin(), samples.end(),
            [](const RttSample& a, const RttSample& b) { return a.median < b.median; });
  std::size_t all = 0, seen = 0;
  for (const RttSample& s : samples) all += s.connections;
  for (const RttSample& s : samples) {
    seen += s.connections;
    if (seen > 0 && 2 * seen >= all) return s.median;
  }
  return {};
}

/// The kernel's own counter of the interface; null when it cannot be read.
json kernel_statistic(const std::string& interface, const char* name) {
  std::ifstream in("/sys/class/net/" + interface + "/statistics/" + name);
  std::uint64_t value = 0;
  return in >> value ? json(value) : json(nullptr);
}

}  // namespace

Reporter::Reporter(Runtime& runtime, Instant started)
    : runtime_(runtime), started_(started), loads_(runtime.workers()) {}

const LoadWindow& Reporter::load(std::size_t worker) {
  const WorkerCounters& c = runtime_.counters(worker);
  LoadSample now{.busy_ns = c.busy_ns.get(),
                 .idle_ns = c.idle_ns.get(),
                 .received = c.rx_packets.get(),
                 .sent = c.tx_packets.get()};
  now.add(runtime_.stage_clock(worker));
  loads_[worker].look(now);
  return loads_[worker];
}

json Reporter::stats() {
  json list = json::array();
  json totals = {{"drops", json::object()}};
  double busy = 0;
  for (std::size_t i = 0; i < runtime_.workers(); ++i) {
    json w = counters_json(runtime_.counters(i));
    w["ring_full_drops"] = std::uint64_t{0};
    if (i < runtime_.stages().size()) add_stage(w, runtime_.stages()[i]->counters());
    add_up(totals, w);
    w["worker"] = i;
    const double ratio = load(i).busy_ratio();
    w["busy_ratio"] = ratio;
    busy += ratio;
    list.push_back(std::move(w));
  }
  totals["busy_ratio"] = busy / static_cast<double>(runtime_.workers());
  return {{"version", POLLUX_VERSION},
          {"uptime_s", std::chrono::duration<double>(monotonic_now() - started_).count()},
          {"workers", list},
          {"totals", totals}};
}

json Reporter::connections() {
  json list = json::array();
  for (std::size_t i = 0; i < runtime_.workers(); ++i) {
    runtime_.ask(i, [&](Shard& shard) {
      const Instant now = monotonic_now();
      shard.for_each([&](const ConnEntry& e) { list.push_back(connection_json(e, i, now)); });
      add_records(list, shard, i, now);
    });
  }
  return list;
}

json Reporter::workers() {
  json list = json::array();
  for (std::size_t i = 0; i < runtime_.workers(); ++i) {
    const WorkerCounters& c = runtime_.counters(i);
    const LoadWindow& w = load(i);
    list.push_back({{"worker", i},
                    {"rx_mode", runtime_.options().plan.dedicated_rx ? "dedicated" : "inline"},
                    {"connections_open", c.connections_open.get()},
                    {"rx_packets", c.rx_packets.get()},
                    {"tx_packets", c.tx_packets.get()},
                    {"memory_bytes", c.memory_bytes.get()},
                    {"turns", c.turns.get()},
                    {"sleeps", c.sleeps.get()},
                    {"busy_ms", c.busy_ns.get() / 1'000'000},
                    {"idle_ms", c.idle_ns.get() / 1'000'000}});
    add_load(list.back(), w);
  }
  if (runtime_.options().plan.dedicated_rx) list.push_back(rx_thread());
  return list;
}

/// In the list of workers, as one without connections: what it takes is not theirs.
json Reporter::rx_thread() {
  const LoopCounters& c = runtime_.rx_loop();
  const RxStage& stage = *runtime_.stages()[0];
  LoadSample now{.busy_ns = c.busy_ns.get(),
                 .idle_ns = c.idle_ns.get(),
                 .received = stage.counters().packets.get()};
  now.add(runtime_.rx_stage_clock());
  rx_load_.look(now);
  json j = {{"worker", "rx"},
            {"rx_mode", "dedicated"},
            {"rx_packets", now.received},
            {"turns", c.turns.get()},
            {"sleeps", c.sleeps.get()},
            {"busy_ms", now.busy_ns / 1'000'000},
            {"idle_ms", now.idle_ns / 1'000'000}};
  add_load(j, rx_load_);
  return j;
}

json Reporter::top() {
  json answer = stats();
  json list = json::array();
  std::vector<RttSample> samples;
  for (std::size_t i = 0; i < runtime_.workers(); ++i) {
    // Shared with the worker, which may come to it after ask() gave up.
    const auto found = std::make_shared<std::pair<RttSample, std::vector<TopConnection>>>();
    const auto look = [found](Shard& shard) {
      std::size_t at = 0;
      *found = {sample_rtt(shard, at), top_connections(shard)};
    };
    if (!runtime_.ask(i, look)) continue;
    json& worker = answer["workers"][i];
    worker["rtt_us"] = to_us(found->first.median);
    worker["rtt_max_us"] = to_us(found->first.max);
    samples.push_back(found->first);
    for (const TopConnection& c : found->second) list.push_back(top_json(c, i));
  }
  answer["totals"]["rtt_us"] = to_us(middle_rtt(samples));
  answer["connections"] = std::move(list);
  return answer;
}

json Reporter::queues() {
  const std::string& name = runtime_.device().name();
  json stages = json::array();
  for (std::size_t s = 0; s < runtime_.stages().size(); ++s) {
    const RxStage& stage = *runtime_.stages()[s];
    const RxStageCounters& c = stage.counters();
    stages.push_back({{"stage", s},
                      {"queues", stage.queues().size()},
                      {"rx_packets", c.packets.get()},
                      {"rx_bytes", c.bytes.get()},
                      {"forwarded", c.forwarded.get()},
                      {"ring_full_drops", c.ring_full.get()},
                      {"no_buffer_drops", c.no_buffer.get()}});
  }
  return {{"interface", name},
          {"queues", runtime_.device().queues()},
          {"mtu", runtime_.device().caps().mtu},
          {"checksum_offload", runtime_.device().caps().checksum},
          {"segmentation_offload", runtime_.device().caps().segmentation},
          {"datagram_segmentation_offload", runtime_.device().caps().datagram_segmentation},
          {"datagram_fragmentation_offload", runtime_.device().caps().datagram_fragmentation},
          {"kernel_tx_dropped", kernel_statistic(name, "tx_dropped")},
          {"kernel_rx_dropped", kernel_statistic(name, "rx_dropped")},
          {"stages", stages}};
}

}  // namespace pollux
