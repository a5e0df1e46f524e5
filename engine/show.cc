#include "engine/show.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <vector>

#include "engine/control_client.h"
#include "proto/base/drop.h"
#include "workers/stage_clock.h"

namespace pollux::engine {
namespace {

using nlohmann::json;
using Row = std::vector<std::string>;

// ---- cells --------------------------------------------------------------------------------

const json& field(const json& object, std::string_view name) {
  static const json absent;
  if (!object.is_object()) return absent;
  const auto it = object.find(std::string(name));
  return it == object.end() ? absent : *it;
}

double number(const json& object, std::string_view name) {
  const json& v = field(object, name);
  return v.is_number() ? v.get<double>() : 0.0;
}

/// Control characters could steer the reader's terminal.
std::string printable(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < ' ' || c == 0x7f; }, '?');
  return text;
}

std::string cell(const json& v) {
  if (v.is_null()) return "-";
  if (v.is_string()) return printable(v.get<std::string>());
  if (v.is_number_float()) return fmt::format("{:.3f}", v.get<double>());
  return v.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string percent(const json& ratio) {
  return ratio.is_number() ? fmt::format("{:.1f}%", 100.0 * ratio.get<double>()) : "-";
}

/// 1234567 -> "1.23M"; `base` is 1000 or 1024.
std::string scaled(double v, double base = 1000.0) {
  constexpr std::array<const char*, 6> units{"", "k", "M", "G", "T", "P"};
  std::size_t unit = 0;
  while (v >= base && unit + 1 < units.size()) {
    v /= base;
    ++unit;
  }
  return unit == 0 ? fmt::format("{:.0f}", v) : fmt::format("{:.2f}{}", v, units[unit]);
}

std::string column_cell(const json& row, const std::string& name) {
  return name == "busy_ratio" ? percent(field(row, name)) : cell(field(row, name));
}

// ---- tables -------------------------------------------------------------------------------

/// Numbers to the right, words to the left; the first row is the heading.
std::string table(const std::vector<Row>& rows) {
  if (rows.empty()) return {};
  const std::size_t columns = rows.front().size();
  std::vector<std::size_t> width(columns, 0);
  std::vector<bool> right(columns, true);
  for (std::size_t r = 0; r < rows.size(); ++r) {
    for (std::size_t c = 0; c < columns; ++c) {
      const std::string& text = rows[r][c];
      width[c] = std::max(width[c], text.size());
      const bool numeric = !text.empty() && (text == "-" || (text[0] >= '0' && text[0] <= '9'));
      const bool endpoint = text.find(':') != std::string::npos;
      if (r != 0 && (!numeric || endpoint)) right[c] = false;
    }
  }
  std::string out;
  for (const Row& row : rows) {
    std::string line;
    for (std::size_t c = 0; c < columns; ++c) {
      if (c != 0) line += "  ";
      line += right[c] ? fmt::format("{:>{}}", row[c], width[c])
                       : fmt::format("{:<{}}", row[c], width[c]);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + '\n';
  }
  return out;
}

/// One line per object; columns in the order of `known`, then what else the objects hold.
std::string object_table(const json& list, std::vector<std::string> known) {
  std::erase_if(known, [&](const std::string& name) {
    return std::none_of(list.begin(), list.end(),
                        [&](const json& o) { return o.is_object() && o.contains(name); });
  });
  for (const json& object : list) {
    if (!object.is_object()) continue;
    for (const auto& [name, value] : object.items()) {
      if (value.is_structured()) continue;
      if (std::find(known.begin(), known.end(), name) == known.end()) known.push_back(name);
    }
  }
  std::vector<Row> rows{known};
  for (const json& object : list) {
    Row row;
    for (const std::string& name : known) row.push_back(column_cell(object, name));
    rows.push_back(std::move(row));
  }
  return table(rows);
}

// ---- stats --------------------------------------------------------------------------------

/// The order of interface page; what a daemon sends besides follows.
const std::vector<std::string>& counter_names() {
  static const std::vector<std::string> names{"rx_packets",
                                              "rx_bytes",
                                              "tx_packets",
                                              "tx_bytes",
                                              "rx_drops",
                                              "tx_drops",
                                              "ring_full_drops",
                                              "connections_open",
                                              "connections_opened",
                                              "connections_closed",
                                              "retransmitted_segments",
                                              "out_of_order_segments",
                                              "checksum_errors",
                                              "resets_sent",
                                              "resets_received",
                                              "syn_cookies_sent",
                                              "syn_cookies_validated",
                                              "memory_bytes",
                                              "datagrams_received",
                                              "datagrams_sent",
                                              "packets_reassembled",
                                              "packets_fragmented",
                                              "busy_ratio"};
  return names;
}

std::string render_totals(const json& totals) {
  std::vector<Row> rows{{"counter", "total"}};
  for (const std::string& name : counter_names()) rows.push_back({name, column_cell(totals, name)});
  return table(rows);
}

/// Workers without their own number get that of their place in the list.
json numbered(const json& workers) {
  json list = json::array();
  for (const json& w : workers) {
    json copy = w;
    if (copy.is_object() && !copy.contains("worker")) copy["worker"] = list.size();
    list.push_back(std::move(copy));
  }
  return list;
}

std::string render_worker_stats(const json& workers) {
  const std::vector<std::string> columns{
      "worker",          "rx_packets",       "tx_packets",
      "rx_bytes",        "tx_bytes",         "rx_drops",
      "ring_full_drops", "connections_open", "retransmitted_segments",
      "busy_ratio"};
  const json list = numbered(workers);
  std::vector<Row> rows{columns};
  for (const json& w : list) {
    Row row;
    for (const std::string& name : columns) row.push_back(column_cell(w, name));
    rows.push_back(std::move(row));
  }
  return table(rows);
}

std::string_view meaning_of(std::string_view reason) {
#define X(name, text) \
  if (reason == #name) return text;
  POLLUX_DROP_REASONS(X)
#undef X
  return "";
}

std::string render_drops(const json& drops) {
  std::vector<std::pair<std::uint64_t, std::string>> counted;
  if (drops.is_object()) {
    for (const auto& [reason, count] : drops.items()) {
      if (count.is_number() && count.get<double>() > 0) {
        counted.emplace_back(count.get<std::uint64_t>(), reason);
      }
    }
  }
  if (counted.empty()) return "no drops\n";
  std::stable_sort(counted.begin(), counted.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  std::vector<Row> rows{{"drops", "reason", "meaning"}};
  for (const auto& [count, reason] : counted) {
    rows.push_back({std::to_string(count), printable(reason), std::string(meaning_of(reason))});
  }
  return table(rows);
}

std::string render_stats(const json& stats) {
  const json& totals = field(stats, "totals");
  std::string out = fmt::format("pollux {}, up {} s\n\n", cell(field(stats, "version")),
                                scaled(number(stats, "uptime_s"), 1e18));
  out += render_totals(totals);
  out += '\n' + render_worker_stats(field(stats, "workers"));
  out += '\n' + render_drops(field(totals, "drops"));
  return out;
}

// ---- workers ------------------------------------------------------------------------------

/// One line per worker, one column per stage. `value`: what to say about a stage.
std::string stage_table(const json& workers, const std::string& heading,
                        std::string (*value)(const json& stage)) {
  std::vector<std::string> stages;
  for (std::size_t i = 0; i < kStages; ++i) {
    stages.emplace_back(to_string(static_cast<Stage>(i)));
  }
  stages.emplace_back("idle");
  std::vector<Row> rows{{heading}};
  rows[0].insert(rows[0].end(), stages.begin(), stages.end());
  for (const json& w : workers) {
    Row row{cell(field(w, "worker"))};
    for (const std::string& s : stages) row.push_back(value(field(field(w, "stages"), s)));
    rows.push_back(std::move(row));
  }
  return table(rows);
}

std::string stage_share(const json& stage) { return percent(field(stage, "share")); }
std::string stage_cost(const json& stage) {
  const json& ns = field(stage, "ns_per_packet");
  return ns.is_number() ? fmt::format("{:.0f}", ns.get<double>()) : "-";
}

std::string render_workers(const json& list) {
  return object_table(list,
                      {"worker", "rx_mode", "busy_ratio", "turns", "sleeps", "connections_open"}) +
         '\n' + stage_table(list, "share of time", &stage_share) + '\n' +
         stage_table(list, "ns per packet", &stage_cost);
}

// ---- connections --------------------------------------------------------------------------

std::string milliseconds(const json& us) {
  return us.is_number() ? fmt::format("{:.3f}", us.get<double>() / 1000.0) : "-";
}

/// The details of a connection in the words of `ss -ti`.
std::string details(const json& c) {
  return fmt::format(
      "  {} {} mss:{} rto:{} rtt:{}/{} cwnd:{} ssthresh:{} snd_wnd:{} rcv_wnd:{} in_flight:{} "
      "bytes_sent:{} bytes_received:{} retrans:{} ooo:{} age:{}s",
      cell(field(c, "service")), cell(field(c, "congestion_control")), cell(field(c, "mss")),
      cell(field(c, "rto_ms")), milliseconds(field(c, "srtt_us")),
      milliseconds(field(c, "rttvar_us")), cell(field(c, "cwnd_bytes")),
      cell(field(c, "ssthresh_bytes")), cell(field(c, "send_window")),
      cell(field(c, "receive_window")), cell(field(c, "bytes_in_flight")),
      cell(field(c, "bytes_sent")), cell(field(c, "bytes_received")), cell(field(c, "retransmits")),
      cell(field(c, "out_of_order_bytes")), cell(field(c, "age_s")));
}

/// The second line of details: what the path does, and what holds the sender.
std::string path_details(const json& c) {
  std::string out = fmt::format(
      "  {} minrtt:{} delivery:{}/s{} pacing:{}/s lost:{} sacked:{} unsent:{} bytes_retrans:{} "
      "timeouts:{} recoveries:{} spurious:{} probes:{} dsacks:{} reord:{}us busy:{}us "
      "rwnd_limited:{}us sndbuf_limited:{}us",
      cell(field(c, "recovery")), milliseconds(field(c, "min_rtt_us")),
      cell(field(c, "delivery_rate")),
      field(c, "delivery_rate_app_limited") == json(true) ? " app_limited" : "",
      cell(field(c, "pacing_rate")), cell(field(c, "lost_bytes")), cell(field(c, "sacked_bytes")),
      cell(field(c, "unsent_bytes")), cell(field(c, "bytes_retransmitted")),
      cell(field(c, "timeouts")), cell(field(c, "recoveries")),
      cell(field(c, "spurious_recoveries")), cell(field(c, "loss_probes")),
      cell(field(c, "dsacks")), cell(field(c, "reordering_window_us")), cell(field(c, "busy_us")),
      cell(field(c, "window_limited_us")), cell(field(c, "buffer_limited_us")));
  for (const char* option : {"sack", "timestamps", "ecn"}) {
    if (field(c, option) == json(true)) out += fmt::format(" {}", option);
  }
  return out;
}

std::string render_connections(const json& list) {
  std::vector<Row> rows{{"state", "recv-q", "send-q", "local", "remote", "worker"}};
  for (const json& c : list) {
    rows.push_back({cell(field(c, "state")), cell(field(c, "receive_queue_bytes")),
                    cell(field(c, "send_queue_bytes")), cell(field(c, "local")),
                    cell(field(c, "remote")), cell(field(c, "worker"))});
  }
  const std::string lines = table(rows);
  std::string out = lines.substr(0, lines.find('\n') + 1);
  std::size_t at = out.size();
  for (const json& c : list) {
    const std::size_t end = lines.find('\n', at);
    out += lines.substr(at, end - at) + '\n' + details(c) + '\n';
    if (c.contains("recovery")) out += path_details(c) + '\n';
    at = end + 1;
  }
  return out + fmt::format("{} connection{}\n", list.size(), list.size() == 1 ? "" : "s");
}

// ---- config -------------------------------------------------------------------------------

std::string render_config(const json& config) {
  std::vector<Row> rows{{"key", "value"}};
  for (const auto& [section, keys] : config.items()) {
    if (keys.is_object()) {
      for (const auto& [key, value] : keys.items()) {
        rows.push_back({section + '.' + key, value.is_string() ? value.dump() : cell(value)});
      }
    }
  }
  std::string out = table(rows);
  const json& services = field(config, "service");
  if (services.is_array() && !services.empty()) {
    out += '\n' + object_table(services, {"kind", "port", "address"});
  }
  return out;
}

// ---- queues -------------------------------------------------------------------------------

/// The device's own facts, then one table per list (RX stages, rings).
std::string render_queues(const json& answer) {
  if (answer.is_array()) return object_table(answer, {"queue", "worker"});
  std::vector<Row> rows{{"device", "value"}};
  std::string lists;
  for (const auto& [name, value] : answer.items()) {
    if (value.is_array()) {
      lists += '\n' + object_table(value, {"stage", "queue", "worker"});
    } else {
      rows.push_back({printable(name), cell(value)});
    }
  }
  return table(rows) + lists;
}

}  // namespace

std::string render(std::string_view topic, const json& answer) {
  if (topic == "stats") return render_stats(answer);
  if (topic == "connections") return render_connections(answer);
  if (topic == "config") return render_config(answer);
  if (topic == "workers") {
    return render_workers(numbered(answer));
  }
  return render_queues(answer);
}

}  // namespace pollux::engine
