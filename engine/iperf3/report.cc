#include "engine/iperf3/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

namespace pollux::iperf3 {
namespace {

using Json = nlohmann::ordered_json;

Sample operator-(const Sample& a, const Sample& b) {
  const auto less = [](std::uint64_t x, std::uint64_t y) { return x > y ? x - y : 0; };
  Sample d = a;
  d.bytes = less(a.bytes, b.bytes);
  d.packets = less(a.packets, b.packets);
  d.lost = less(a.lost, b.lost);
  d.out_of_order = less(a.out_of_order, b.out_of_order);
  d.retransmits = less(a.retransmits, b.retransmits);
  return d;
}

double per_second(std::uint64_t octets, double seconds) {
  return seconds > 0 ? static_cast<double>(octets) * 8 / seconds : 0;
}

double percent(std::uint64_t part, std::uint64_t whole) {
  return whole != 0 ? 100.0 * static_cast<double>(part) / static_cast<double>(whole) : 0;
}

using Units = std::array<const char*, 5>;

std::string three_digits(double value, const char* unit) {
  if (value < 9.995) return fmt::format("{:4.2f} {}", value, unit);
  if (value < 99.95) return fmt::format("{:4.1f} {}", value, unit);
  return fmt::format("{:4.0f} {}", value, unit);
}

/// `value` in the largest unit that leaves at least 1 of it, with three digits.
std::string scaled(double value, double base, const Units& units) {
  std::size_t unit = 0;
  while (value >= base && unit + 1 < units.size()) {
    value /= base;
    ++unit;
  }
  return three_digits(value, units[unit]);
}

constexpr std::string_view kBitUnits = "kmgt", kOctetUnits = "KMGT";

std::string name_of(const Test& test, int id, bool sender) {
  const std::string name = id < 0 ? "SUM" : fmt::format("{:3}", id);
  if (!test.parameters.bidirectional) return fmt::format("[{}]", name);
  return fmt::format("[{}][{}-{}]", name, sender ? "TX" : "RX", test.server() ? "S" : "C");
}

std::string front(const Test& test, int id, bool sender, double start, double end,
                  std::uint64_t octets) {
  return fmt::format("{} {:6.2f}-{:<6.2f} sec  {}  {}  ", name_of(test, id, sender), start, end,
                     format_octets(static_cast<double>(octets)),
                     format_rate(per_second(octets, end - start), test.rate_unit));
}

std::string loss(std::uint64_t jitter_ns, std::uint64_t lost, std::uint64_t packets) {
  return fmt::format("{:5.3f} ms  {}/{} ({:.2g}%)  ", static_cast<double>(jitter_ns) / 1e6, lost,
                     packets, percent(lost, packets));
}

std::string interval_line(const Test& test, const IntervalRow& row, int id, bool sender,
                          const Sample& delta, const Sample* now) {
  std::string line = front(test, id, sender, row.start_s, row.end_s, delta.bytes);
  if (test.parameters.udp) {
    line += sender ? fmt::format("{}  ", delta.packets)
                   : loss(delta.jitter_ns, delta.lost, delta.packets);
  } else if (sender) {
    line += fmt::format("{:3}   {:>13}  ", delta.retransmits,
                        now != nullptr ? format_octets(static_cast<double>(now->cwnd)) : "");
  }
  return line + (row.omitted ? "(omitted)\n" : "\n");
}

/// The sums of those rows that go in one direction.
Sample sum_of(const IntervalRow& row, bool sender, std::size_t& streams) {
  Sample sum;
  streams = 0;
  for (const StreamRow& s : row.streams) {
    if (s.sender != sender) continue;
    ++streams;
    sum.bytes += s.delta.bytes;
    sum.packets += s.delta.packets;
    sum.lost += s.delta.lost;
    sum.out_of_order += s.delta.out_of_order;
    sum.retransmits += s.delta.retransmits;
    sum.jitter_ns += s.delta.jitter_ns;
  }
  if (streams != 0) sum.jitter_ns /= streams;
  return sum;
}

/// One end's count of one stream, or of all.
std::string summary_line(const Test& test, int id, bool local_sender, const StreamResult& r,
                         bool sender_line) {
  std::string line = front(test, id, local_sender, 0, r.seconds, r.bytes);
  if (test.parameters.udp) {
    line += loss(static_cast<std::uint64_t>(r.jitter_s * 1e9), r.lost, r.packets);
  } else if (sender_line) {
    line +=
        r.retransmits >= 0 ? fmt::format("{:3}             ", r.retransmits) : std::string(16, ' ');
  } else {
    line += std::string(16, ' ');
  }
  return line + (sender_line ? "sender\n" : "receiver\n");
}

/// Adds one end's counts up; nullopt when it is not known of any.
std::optional<StreamResult> total(const Summary& summary, bool sender, bool sent) {
  std::optional<StreamResult> sum;
  std::size_t n = 0;
  for (const StreamSummary& s : summary.streams) {
    const auto& r = sent ? s.sent : s.received;
    if (s.sender != sender || !r) continue;
    if (!sum) sum = StreamResult{};
    ++n;
    sum->bytes += r->bytes;
    sum->retransmits = r->retransmits < 0     ? r->retransmits
                       : sum->retransmits < 0 ? r->retransmits
                                              : sum->retransmits + r->retransmits;
    sum->jitter_s += r->jitter_s;
    sum->lost += r->lost;
    sum->packets += r->packets;
    sum->seconds = std::max(sum->seconds, r->seconds);
  }
  if (sum) sum->jitter_s /= static_cast<double>(n);
  return sum;
}

Json span_json(double start, double end, std::uint64_t octets) {
  return {{"start", start},
          {"end", end},
          {"seconds", end - start},
          {"bytes", octets},
          {"bits_per_second", per_second(octets, end - start)}};
}

void add_loss(Json& j, double jitter_s, std::uint64_t lost, std::uint64_t packets) {
  j["jitter_ms"] = jitter_s * 1e3;
  j["lost_packets"] = lost;
  j["packets"] = packets;
  j["lost_percent"] = percent(lost, packets);
}

void add_delta(Json& j, const Test& test, const Sample& d, bool sender) {
  if (!test.parameters.udp) {
    if (sender) j["retransmits"] = d.retransmits;
  } else if (sender) {
    j["packets"] = d.packets;
  } else {
    add_loss(j, static_cast<double>(d.jitter_ns) / 1e9, d.lost, d.packets);
  }
}

Json result_json(const Test& test, const StreamResult& r, bool sender) {
  Json j = span_json(0, r.seconds, r.bytes);
  if (test.parameters.udp) {
    add_loss(j, r.jitter_s, r.lost, r.packets);
  } else if (sender && r.retransmits >= 0) {
    j["retransmits"] = r.retransmits;
  }
  j["sender"] = sender;
  return j;
}

/// What was sent, with the jitter and losses of who received it, as iperf3 has it.
StreamResult both_ends(const std::optional<StreamResult>& sent,
                       const std::optional<StreamResult>& received) {
  StreamResult r = sent ? *sent : received.value_or(StreamResult{});
  if (received) {
    r.jitter_s = received->jitter_s;
    r.lost = received->lost;
  }
  return r;
}

Json stream_end_json(const Test& test, const StreamSummary& s) {
  Json j;
  if (test.parameters.udp) {
    Json udp = result_json(test, both_ends(s.sent, s.received), s.sender);
    udp["socket"] = s.id;
    udp["out_of_order"] = s.out_of_order;
    j["udp"] = udp;
    return j;
  }
  if (s.sent) {
    j["sender"] = result_json(test, *s.sent, true);
    j["sender"]["socket"] = s.id;
    j["sender"]["sender"] = s.sender;
    if (s.sender) {
      j["sender"]["max_snd_cwnd"] = s.max_cwnd;
      j["sender"]["max_rtt"] = s.max_rtt_us;
      j["sender"]["min_rtt"] = s.min_rtt_us;
      j["sender"]["mean_rtt"] = s.mean_rtt_us;
    }
  }
  if (s.received) {
    j["receiver"] = result_json(test, *s.received, false);
    j["receiver"]["socket"] = s.id;
    j["receiver"]["sender"] = s.sender;
  }
  return j;
}

}  // namespace

std::string format_octets(double octets) {
  return scaled(octets, 1024, {"Bytes", "KBytes", "MBytes", "GBytes", "TBytes"});
}

std::string format_rate(double bits_per_second, char unit) {
  constexpr Units bits{"bits/sec", "Kbits/sec", "Mbits/sec", "Gbits/sec", "Tbits/sec"};
  constexpr Units octets{"Bytes/sec", "KBytes/sec", "MBytes/sec", "GBytes/sec", "TBytes/sec"};
  if (const auto power = kBitUnits.find(unit); power != kBitUnits.npos) {
    const std::size_t n = power + 1;
    return three_digits(bits_per_second / std::pow(1000, n), bits[n]);
  }
  if (const auto power = kOctetUnits.find(unit); power != kOctetUnits.npos) {
    const std::size_t n = power + 1;
    return three_digits(bits_per_second / 8 / std::pow(1024, n), octets[n]);
  }
  return scaled(bits_per_second, 1000, bits);
}

bool is_rate_unit(char unit) {
  return kBitUnits.find(unit) != kBitUnits.npos || kOctetUnits.find(unit) != kOctetUnits.npos;
}

// --- Recorder

void Recorder::end_omission() {
  for (const auto& slot : test_.slots) slot->omitted = slot->previous = Sample::of(slot->counters);
  last_s_ = 0;
}

const IntervalRow& Recorder::interval(double now_s, bool omitted) {
  IntervalRow row{.start_s = last_s_, .end_s = now_s, .omitted = omitted, .streams = {}};
  extremes_.resize(test_.slots.size());
  for (std::size_t i = 0; i < test_.slots.size(); ++i) {
    Slot& slot = *test_.slots[i];
    const Sample now = Sample::of(slot.counters);
    row.streams.push_back(
        {.id = slot.id, .sender = slot.sends, .delta = now - slot.previous, .now = now});
    slot.previous = now;
    Extremes& e = extremes_[i];
    e.max_cwnd = std::max(e.max_cwnd, now.cwnd);
    if (now.rtt_us == 0) continue;
    e.min_rtt = e.samples == 0 ? now.rtt_us : std::min(e.min_rtt, now.rtt_us);
    e.max_rtt = std::max(e.max_rtt, now.rtt_us);
    e.sum_rtt += now.rtt_us;
    ++e.samples;
  }
  last_s_ = now_s;
  rows_ += row.streams.size();
  while (rows_ > kMaxRows && !intervals_.empty()) {
    rows_ -= intervals_.front().streams.size();
    intervals_.erase(intervals_.begin());
  }
  intervals_.push_back(std::move(row));
  return intervals_.back();
}

std::vector<StreamResult> Recorder::results(double seconds) const {
  std::vector<StreamResult> all;
  for (const auto& slot : test_.slots) {
    const Sample end = Sample::of(slot->counters);
    const Sample counted = end - slot->omitted;
    StreamResult r;
    r.id = slot->id;
    r.bytes = counted.bytes;
    r.retransmits =
        slot->sends && !test_.parameters.udp ? static_cast<std::int64_t>(counted.retransmits) : -1;
    r.jitter_s = static_cast<double>(end.jitter_ns) / 1e9;
    r.lost = end.lost;
    r.packets = end.packets;
    r.omitted_lost = slot->omitted.lost;
    r.omitted_packets = slot->omitted.packets;
    r.seconds = seconds;
    all.push_back(r);
  }
  return all;
}

Summary Recorder::summary(double seconds) const {
  Summary summary{.seconds = seconds, .streams = {}};
  const std::vector<StreamResult> own = results(seconds);
  for (std::size_t i = 0; i < own.size(); ++i) {
    const Slot& slot = *test_.slots[i];
    StreamSummary s{.id = slot.id, .sender = slot.sends, .sent = {}, .received = {}};
    StreamResult r = own[i];
    r.lost -= std::min(r.lost, r.omitted_lost);
    r.packets -= std::min(r.packets, r.omitted_packets);
    (slot.sends ? s.sent : s.received) = r;
    s.out_of_order = slot.counters.out_of_order.get() - slot.omitted.out_of_order;
    if (i < extremes_.size()) {
      const Extremes& e = extremes_[i];
      s.max_cwnd = e.max_cwnd;
      s.min_rtt_us = e.min_rtt;
      s.max_rtt_us = e.max_rtt;
      s.mean_rtt_us = e.samples != 0 ? e.sum_rtt / e.samples : 0;
    }
    summary.streams.push_back(s);
  }
  return summary;
}

// --- text

namespace text {

std::string connected(const Test& test) {
  std::string out;
  for (const auto& slot : test.slots) {
    out += fmt::format("[{:3}] local {} port {} connected to {} port {}\n", slot->id,
                       slot->flow.local.addr.to_string(), slot->flow.local.port,
                       slot->flow.remote.addr.to_string(), slot->flow.remote.port);
  }
  return out;
}

std::string header(const Test& test) {
  const bool any_sender =
      std::any_of(test.slots.begin(), test.slots.end(), [](const auto& s) { return s->sends; });
  const char* const role = test.parameters.bidirectional ? "[Role]" : "";
  const char* const more = test.parameters.udp ? (any_sender && !test.parameters.bidirectional
                                                      ? "Total Datagrams"
                                                      : "Jitter    Lost/Total Datagrams")
                           : any_sender        ? "Retr  Cwnd"
                                               : "";
  return fmt::format("[ ID]{} Interval           Transfer     Bitrate         {}\n", role, more);
}

std::string interval(const Test& test, const IntervalRow& row) {
  std::string out;
  for (const StreamRow& s : row.streams) {
    out += interval_line(test, row, s.id, s.sender, s.delta, &s.now);
  }
  for (const bool sender : {true, false}) {
    std::size_t n = 0;
    const Sample sum = sum_of(row, sender, n);
    if (n > 1) out += interval_line(test, row, -1, sender, sum, nullptr);
  }
  if (row.streams.size() > 1) out += "- - - - - - - - - - - - - - - - - - - - - - - - -\n";
  return out;
}

std::string summary(const Test& test, const Summary& summary) {
  const char* const role = test.parameters.bidirectional ? "[Role]" : "";
  std::string out =
      test.slots.size() > 1 ? "" : "- - - - - - - - - - - - - - - - - - - - - - - - -\n";
  out += fmt::format("[ ID]{} Interval           Transfer     Bitrate         {}\n", role,
                     test.parameters.udp ? "Jitter    Lost/Total Datagrams" : "Retr");
  for (const StreamSummary& s : summary.streams) {
    if (s.sent) out += summary_line(test, s.id, s.sender, *s.sent, true);
    if (s.received) out += summary_line(test, s.id, s.sender, *s.received, false);
  }
  for (const bool sender : {true, false}) {
    const auto n = std::count_if(summary.streams.begin(), summary.streams.end(),
                                 [&](const StreamSummary& s) { return s.sender == sender; });
    if (n < 2) continue;
    if (const auto sum = total(summary, sender, true)) {
      out += summary_line(test, -1, sender, *sum, true);
    }
    if (const auto sum = total(summary, sender, false)) {
      out += summary_line(test, -1, sender, *sum, false);
    }
  }
  return out;
}

}  // namespace text

// --- JSON

Json start_json(const Test& test) {
  const Parameters& p = test.parameters;
  Json connected = Json::array();
  // Before, it is its streams' workers who write them.
  const bool settled = test.phase() != Phase::gathering;
  for (std::size_t i = 0; settled && i < test.slots.size(); ++i) {
    const auto& slot = test.slots[i];
    connected.push_back({{"socket", slot->id},
                         {"local_host", slot->flow.local.addr.to_string()},
                         {"local_port", slot->flow.local.port},
                         {"remote_host", slot->flow.remote.addr.to_string()},
                         {"remote_port", slot->flow.remote.port}});
  }
  Json start;
  start["connected"] = connected;
  start["version"] = "pollux " POLLUX_VERSION;
  start["cookie"] = test.cookie().text();
  start["test_start"] = {{"protocol", p.udp ? "UDP" : "TCP"},
                         {"num_streams", p.parallel},
                         {"blksize", p.block},
                         {"omit", p.omit_s},
                         {"duration", p.time_s},
                         {"bytes", p.bytes},
                         {"blocks", p.blocks},
                         {"reverse", p.reverse ? 1 : 0},
                         {"tos", p.tos},
                         {"target_bitrate", p.rate},
                         {"bidir", p.bidirectional ? 1 : 0}};
  return start;
}

Json interval_json(const Test& test, const IntervalRow& row) {
  Json streams = Json::array();
  for (const StreamRow& s : row.streams) {
    Json j{{"socket", s.id}};
    j.update(span_json(row.start_s, row.end_s, s.delta.bytes));
    add_delta(j, test, s.delta, s.sender);
    if (!test.parameters.udp && s.sender) {
      j["snd_cwnd"] = s.now.cwnd;
      j["rtt"] = s.now.rtt_us;
      j["rttvar"] = s.now.rttvar_us;
    }
    j["omitted"] = row.omitted;
    j["sender"] = s.sender;
    streams.push_back(j);
  }
  Json out{{"streams", streams}};
  const char* name = "sum";
  for (const bool sender : {!test.server(), test.server()}) {
    std::size_t n = 0;
    const Sample sum = sum_of(row, sender, n);
    if (n == 0) continue;
    Json j = span_json(row.start_s, row.end_s, sum.bytes);
    add_delta(j, test, sum, sender);
    j["omitted"] = row.omitted;
    j["sender"] = sender;
    out[name] = j;
    name = "sum_bidir_reverse";
  }
  return out;
}

Json end_json(const Test& test, const Summary& summary) {
  Json end{{"streams", Json::array()}};
  for (const StreamSummary& s : summary.streams) {
    end["streams"].push_back(stream_end_json(test, s));
  }
  std::string suffix;
  const bool udp = test.parameters.udp;
  for (const bool sender : {!test.server(), test.server()}) {
    const auto sent = total(summary, sender, true);
    const auto received = total(summary, sender, false);
    if (!sent && !received) continue;
    if (udp) end["sum" + suffix] = result_json(test, both_ends(sent, received), sender);
    if (sent) end["sum_sent" + suffix] = result_json(test, *sent, true);
    if (received) end["sum_received" + suffix] = result_json(test, *received, false);
    // Of TCP it is the direction, of UDP the end whose count it is.
    for (const char* name : {"sum_sent", "sum_received"}) {
      if (!udp && end.contains(name + suffix)) end[name + suffix]["sender"] = sender;
    }
    suffix = "_bidir_reverse";
  }
  return end;
}

void keep_latest_intervals(Json& report, std::size_t octets) {
  Json& intervals = report["intervals"];
  std::size_t left_out = 0;
  while (!intervals.empty() && report.dump().size() > octets) {
    const std::size_t n = (intervals.size() + 1) / 2;
    intervals.erase(intervals.begin(), intervals.begin() + static_cast<std::ptrdiff_t>(n));
    report["intervals_left_out"] = left_out += n;
  }
}

}  // namespace pollux::iperf3
