#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/http_date.h"
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

/// `j` with the stream's number in front.
Json of_socket(int id, const Json& j) {
  Json out{{"socket", id}};
  out.update(j);
  return out;
}

/// What is not known of the other end is 0, as iperf3 has it.
Json stream_end_json(const Test& test, const StreamSummary& s, double seconds) {
  const StreamResult unknown{.seconds = seconds};
  if (test.parameters.udp) {
    Json udp = of_socket(s.id, result_json(test, both_ends(s.sent, s.received), s.sender));
    udp.erase("sender");
    udp["out_of_order"] = s.out_of_order;
    udp["sender"] = s.sender;
    return {{"udp", udp}};
  }
  Json sent = of_socket(s.id, result_json(test, s.sent.value_or(unknown), true));
  Json received = of_socket(s.id, result_json(test, s.received.value_or(unknown), false));
  if (sent.contains("retransmits")) {
    sent.erase("sender");
    sent["max_snd_cwnd"] = s.sender ? s.max_cwnd : 0;
    sent["max_snd_wnd"] = s.sender ? s.max_send_window : 0;
    sent["max_rtt"] = s.sender ? s.max_rtt_us : 0;
    sent["min_rtt"] = s.sender ? s.min_rtt_us : 0;
    sent["mean_rtt"] = s.sender ? s.mean_rtt_us : 0;
  }
  sent["sender"] = received["sender"] = s.sender;
  return {{"sender", sent}, {"receiver", received}};
}

Json cpu_json(const Summary& s) {
  return {{"host_total", s.local_cpu.total},   {"host_user", s.local_cpu.user},
          {"host_system", s.local_cpu.system}, {"remote_total", s.remote_cpu.total},
          {"remote_user", s.remote_cpu.user},  {"remote_system", s.remote_cpu.system}};
}

Json test_start_json(const Parameters& p) {
  return {{"protocol", p.udp ? "UDP" : "TCP"},
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
  const Circumstances& c = test.circumstances;
  Json start{{"connected", connected},
             {"version", "pollux " POLLUX_VERSION},
             {"system_info", system_name()}};
  if (c.began_at == 0) return start;  // there was no connection
  start["timestamp"] = {{"time", http_date(c.began_at)}, {"timesecs", c.began_at}};
  start[test.server() ? "accepted_connection" : "connecting_to"] = {
      {"host", c.control_peer.addr.to_string()}, {"port", c.control_peer.port}};
  start["cookie"] = test.cookie().text();
  if (!p.udp)
    start[p.mss != 0 ? "tcp_mss" : "tcp_mss_default"] = p.mss != 0 ? p.mss : c.control_mss;
  start["target_bitrate"] = p.rate;
  start["sock_bufsize"] = p.window;
  start["sndbuf_actual"] = c.send_buffer;
  start["rcvbuf_actual"] = c.receive_buffer;
  start["test_start"] = test_start_json(p);
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
      j["snd_wnd"] = s.now.send_window;
      j["rtt"] = s.now.rtt_us;
      j["rttvar"] = s.now.rttvar_us;
      j["pmtu"] = s.now.path_mtu;
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
    end["streams"].push_back(stream_end_json(test, s, summary.seconds));
  }
  const StreamResult unknown{.seconds = summary.seconds};
  std::string suffix;
  const bool udp = test.parameters.udp;
  for (const bool sender : {!test.server(), test.server()}) {
    const auto sent = total(summary, sender, true);
    const auto received = total(summary, sender, false);
    if (!sent && !received) continue;
    if (udp) end["sum" + suffix] = result_json(test, both_ends(sent, received), sender);
    Json a = result_json(test, sent.value_or(unknown), true);
    Json b = result_json(test, received.value_or(unknown), false);
    // Of TCP it is the direction, of UDP the end whose count it is.
    if (!udp) a["sender"] = b["sender"] = sender;
    end["sum_sent" + suffix] = std::move(a);
    end["sum_received" + suffix] = std::move(b);
    suffix = "_bidir_reverse";
  }
  end["cpu_utilization_percent"] = cpu_json(summary);
  if (udp) return end;
  const std::string& own = test.circumstances.congestion;
  const std::string& theirs = summary.remote_congestion;
  const bool sends = test.parameters.reverse == test.server() || test.parameters.bidirectional;
  const auto add = [&end](const char* name, const std::string& congestion) {
    if (!congestion.empty()) end[name] = congestion;
  };
  add("sender_tcp_congestion", sends ? own : theirs);
  add("receiver_tcp_congestion", sends ? theirs : own);
  return end;
}

void keep_latest_intervals(Json& report, std::size_t octets) {
  const auto size = [&report] {
    return report.dump(-1, ' ', false, Json::error_handler_t::replace).size();
  };
  std::size_t left_out = 0;
  while (!report["intervals"].empty() && size() > octets) {
    // Members move when another one is added.
    Json intervals = std::move(report["intervals"]);
    const std::size_t n = (intervals.size() + 1) / 2;
    intervals.erase(intervals.begin(), intervals.begin() + static_cast<std::ptrdiff_t>(n));
    report["intervals"] = std::move(intervals);
    report["intervals_left_out"] = left_out += n;
  }
}

}  // namespace pollux::iperf3
