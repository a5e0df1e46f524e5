#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/iperf3/report.h"

namespace pollux::iperf3 {
namespace {

using Json = nlohmann::ordered_json;

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
