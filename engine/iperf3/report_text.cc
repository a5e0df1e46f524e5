#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

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
    line += sender ? fmt::format("{}  ", delta.packets)
                   : loss(delta.jitter_ns, delta.lost, delta.packets);
  } else if (sender) {
    line += fmt::format("{:3}   {:>13}  ", delta.retransmits,
                        now != nullptr ? format_octets(static_cast<double>(now->cwnd)) : "");
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

}  // namespace pollux::iperf3
