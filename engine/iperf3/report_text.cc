#include <fmt/format.h>
#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "engine/http_date.h"
#include "engine/iperf3/report.h"

namespace pollux::iperf3 {
namespace {

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
    const char* const gap = test.parameters.bidirectional ? "          " : "";
    line += sender ? fmt::format("{}{}  ", gap, delta.packets)
                   : loss(delta.jitter_ns, delta.lost, delta.packets);
  } else if (sender) {
    const std::string cwnd = now != nullptr ? "   " + format_octets(static_cast<double>(now->cwnd))
                                            : std::string(6, ' ');
    line += fmt::format("{:3}{}       ", delta.retransmits, cwnd);
  } else {
    line += std::string(16, ' ');
  }
  return line + (row.omitted ? "(omitted)\n" : "\n");
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

/// What a test is about to do.
std::string beginning(const Test& test) {
  if (!test.verbose) return {};
  const Parameters& p = test.parameters;
  std::string end = fmt::format("{} second test", p.time_s);
  if (p.bytes != 0) end = fmt::format("{} bytes to send", p.bytes);
  if (p.blocks != 0) end = fmt::format("{} blocks to send", p.blocks);
  return fmt::format(
      "Starting Test: protocol: {}, {} streams, {} byte blocks, omitting {} seconds, {}, tos {}\n",
      p.udp ? "UDP" : "TCP", p.parallel, p.block, p.omit_s, end, p.tos);
}

/// The CPU time of both ends, and what controlled their congestion.
std::string costs(const Test& test, const Summary& s) {
  if (!test.verbose) return {};
  const Parameters& p = test.parameters;
  const auto of = [](const CpuUsage::Percent& c) {
    return fmt::format("{:.1f}% ({:.1f}%u/{:.1f}%s)", c.total, c.user, c.system);
  };
  const auto line = [&](const char* local, const char* remote) {
    return fmt::format("CPU Utilization: local/{} {}, remote/{} {}\n", local, of(s.local_cpu),
                       remote, of(s.remote_cpu));
  };
  std::string out;
  if (!p.reverse) out += line("sender", "receiver");
  if (p.reverse || p.bidirectional) out += line("receiver", "sender");
  if (p.udp) return out;
  const std::string& own = test.circumstances.congestion;
  const auto congestion = [&out](const char* name, const std::string& kind) {
    if (!kind.empty()) out += fmt::format("{}_tcp_congestion {}\n", name, kind);
  };
  congestion("snd", p.reverse ? s.remote_congestion : own);
  congestion("rcv", p.reverse ? own : s.remote_congestion);
  return out;
}

}  // namespace

std::string system_name() {
  utsname name{};
  uname(&name);
  return fmt::format("{} {} {} {} {}", name.sysname, name.nodename, name.release, name.version,
                     name.machine);
}

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

namespace text {

std::string opening(const Test& test) {
  const Parameters& p = test.parameters;
  const Circumstances& c = test.circumstances;
  const std::string host = c.control_peer.addr.to_string();
  std::string out;
  if (test.verbose) {
    out = fmt::format("pollux " POLLUX_VERSION "\n{}\nControl connection MSS {}\n", system_name(),
                      c.control_mss);
    if (c.chose_block) out += fmt::format("Setting UDP block size to {}\n", p.block);
    out += fmt::format("Time: {}\n", http_date(c.began_at));
  }
  out += fmt::format("Connecting to host {}, port {}\n", host, c.control_peer.port);
  if (p.reverse) out += fmt::format("Reverse mode, remote host {} is sending\n", host);
  if (!test.verbose) return out;
  out += fmt::format("      Cookie: {}\n", test.cookie().text());
  if (!p.udp && p.mss != 0) out += fmt::format("      TCP MSS: {}\n", p.mss);
  if (!p.udp && p.mss == 0) out += fmt::format("      TCP MSS: {} (default)\n", c.control_mss);
  if (p.rate != 0) out += fmt::format("      Target Bitrate: {}\n", p.rate);
  return out;
}

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
  const char* more = any_sender ? "         Retr  Cwnd" : "";
  if (test.parameters.udp) {
    more = any_sender && !test.parameters.bidirectional ? "         Total Datagrams"
                                                        : "         Jitter    Lost/Total Datagrams";
  }
  return beginning(test) +
         fmt::format("[ ID]{} Interval           Transfer     Bitrate{}\n", role, more);
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
  if (test.verbose) out += "Test Complete. Summary Results:\n";
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
  return out + costs(test, summary);
}

}  // namespace text

}  // namespace pollux::iperf3
