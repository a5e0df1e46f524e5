#include "engine/top_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <utility>

namespace pollux::engine {
namespace {

using nlohmann::json;
using Row = std::vector<std::string>;

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

/// Control characters could steer the reader's terminal, others would shift its columns.
std::string text(const json& object, std::string_view name) {
  const json& v = field(object, name);
  if (v.is_number_integer()) return std::to_string(v.get<std::int64_t>());
  std::string s = v.is_string() ? v.get<std::string>() : "-";
  std::replace_if(
      s.begin(), s.end(), [](unsigned char c) { return c < ' ' || c >= 0x7f; }, '?');
  return s;
}

std::string scaled(double v) {
  constexpr std::array<const char*, 6> units{"", "k", "M", "G", "T", "P"};
  std::size_t unit = 0;
  for (; v >= 999.5 && unit + 1 < units.size(); ++unit) v /= 1000;
  const int digits = unit == 0 || v >= 99.95 ? 0 : v >= 9.995 ? 1 : 2;
  return fmt::format("{:.{}f}{}", v, digits, units[unit]);
}

std::string rate(std::optional<double> perSecond) { return perSecond ? scaled(*perSecond) : "-"; }

std::string time(double us) {
  if (us <= 0) return "-";
  return us < 1000  ? fmt::format("{:.0f}us", us)
         : us < 1e6 ? fmt::format("{:.1f}ms", us / 1e3)
                    : fmt::format("{:.1f}s", us / 1e6);
}

std::string clock(double s) {
  const auto t = static_cast<std::uint64_t>(s);
  return fmt::format("{}:{:02}:{:02}", t / 3600, t / 60 % 60, t % 60);
}

/// Columns that a UTF-8 text takes: all we print are of width one.
std::size_t columns(std::string_view s) {
  return static_cast<std::size_t>(
      std::count_if(s.begin(), s.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

std::string cut(const std::string& line, std::size_t width) {
  std::size_t at = 0;
  for (std::size_t n = 0; at < line.size(); ++at) {
    if ((line[at] & 0xc0) != 0x80 && n++ == width) break;
  }
  return line.substr(0, at);
}

/// `left` leading columns are words, the others numbers; the last is not padded.
std::string table(const std::vector<Row>& rows, std::size_t left) {
  std::vector<std::size_t> width(rows.front().size(), 0);
  for (const Row& row : rows) {
    for (std::size_t c = 0; c < row.size(); ++c) width[c] = std::max(width[c], columns(row[c]));
  }
  std::string out;
  for (const Row& row : rows) {
    std::string line;
    for (std::size_t c = 0; c < row.size(); ++c) {
      const std::string space(width[c] - columns(row[c]), ' ');
      const bool word = c < left || c + 1 == row.size();
      line += (c == 0 ? "" : "  ") + (word ? row[c] + space : space + row[c]);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + '\n';
  }
  return out;
}

/// Of two answers: what a counter rose by, in a second.
struct Rates {
  const json& before;
  const json& now;
  double seconds;

  std::optional<double> of(std::string_view name) const {
    if (seconds <= 0 || !before.is_object()) return std::nullopt;
    return std::max(0.0, number(now, name) - number(before, name)) / seconds;
  }
  std::optional<double> packets() const {
    const auto in = of("rx_packets"), out = of("tx_packets");
    return in && out ? std::optional(*in + *out) : std::nullopt;
  }
  std::optional<double> bits(std::string_view name) const {
    const auto v = of(name);
    return v ? std::optional(8 * *v) : std::nullopt;
  }
};

std::string percent(const json& ratio) {
  return ratio.is_number() ? fmt::format("{:.0f}%", 100 * ratio.get<double>()) : "-";
}

Row worker_row(const std::string& name, const Rates& r, std::string history) {
  return {name,
          percent(field(r.now, "busy_ratio")),
          rate(r.bits("rx_bytes")),
          rate(r.bits("tx_bytes")),
          rate(r.packets()),
          scaled(number(r.now, "connections_open")),
          time(number(r.now, "rtt_us")),
          rate(r.of("retransmitted_segments")),
          rate(r.of("rx_drops")),
          std::move(history)};
}

const json& element(const json& list, std::size_t i) {
  static const json absent;
  return list.is_array() && i < list.size() ? list[i] : absent;
}

std::deque<double> newest(std::deque<double> values, std::size_t n) {
  while (values.size() > n) values.pop_front();
  return values;
}

std::string_view name_of(TopSort sort) {
  constexpr std::array<std::string_view, 5> names{"rate", "in", "out", "rtt", "retransmits"};
  return names[static_cast<std::size_t>(sort)];
}

}  // namespace

/// One connection with its rates.
struct TopView::Connection {
  const json* now;
  std::optional<double> in, out;  ///< bit/s
  double rtt_us = 0;
  double retransmits = 0;  ///< since the last answer

  double key(TopSort sort) const {
    switch (sort) {
      case TopSort::in:
        return in.value_or(0);
      case TopSort::out:
        return out.value_or(0);
      case TopSort::rtt:
        return rtt_us;
      case TopSort::retransmits:
        return retransmits;
      default:
        return in.value_or(0) + out.value_or(0);
    }
  }
};

std::string sparkline(const std::deque<double>& values, bool utf8) {
  constexpr std::array<const char*, 8> blocks{"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  constexpr std::string_view ascii = "_.-:=+*#";
  const double most = values.empty() ? 0 : *std::max_element(values.begin(), values.end());
  std::string out;
  for (const double v : values) {
    const double share = most > 0 ? std::clamp(v / most, 0.0, 1.0) : 0.0;
    const auto level = static_cast<std::size_t>(share * 7 + 0.5);
    utf8 ? out += blocks[level] : out += ascii[level];
  }
  return out;
}

void TopView::add(json answer) {
  const bool anew = number(answer, "uptime_s") < number(now_, "uptime_s");
  before_ = anew ? json() : std::move(now_);
  now_ = std::move(answer);
  if (anew) history_.clear();
  const json& list = field(now_, "workers");
  const std::size_t n = list.is_array() ? list.size() : 0;
  history_.resize(n);
  for (std::size_t i = 0; i < n; ++i) {
    const Rates r{element(field(before_, "workers"), i), list[i], seconds()};
    const auto in = r.bits("rx_bytes"), out = r.bits("tx_bytes");
    if (!in || !out) continue;
    history_[i].push_back(*in + *out);
    if (history_[i].size() > kHistory) history_[i].pop_front();
  }
}

/// Between the two answers, by the daemon's clock.
double TopView::seconds() const {
  return before_.is_object() ? number(now_, "uptime_s") - number(before_, "uptime_s") : 0.0;
}

std::string TopView::render(const TopLayout& layout) const {
  std::string all = heading(layout) + '\n' + workers(layout);
  const auto used = static_cast<std::size_t>(std::count(all.begin(), all.end(), '\n'));
  const std::size_t foot = layout.keys ? 2 : 0;
  const std::size_t room = layout.height == 0 ? 1000 : layout.height;
  if (room > used + foot + 2) all += '\n' + list(layout, room - used - foot - 1);
  std::string out;
  std::size_t lines = 0;
  for (std::size_t at = 0; at < all.size() && lines + foot < room; ++lines) {
    const std::size_t end = all.find('\n', at);
    out += cut(all.substr(at, end - at), layout.width) + '\n';
    at = end + 1;
  }
  if (layout.keys) {
    out += '\n' + cut("q quit   sort by: r rate  i in  o out  t rtt  x retransmits", layout.width);
  }
  return out;
}

std::string TopView::heading(const TopLayout& layout) const {
  const json& totals = field(now_, "totals");
  const Rates r{field(before_, "totals"), totals, seconds()};
  double longest = 0;
  for (const json& w : field(now_, "workers")) longest = std::max(longest, number(w, "rtt_max_us"));
  return fmt::format(
      "pollux {}  up {}  sorted by {}\n"
      "in {}bit/s {}pkt/s   out {}bit/s {}pkt/s\n"
      "connections {} open, {} opened/s   rtt {} median, {} longest\n"
      "retransmitted {}/s   dropped {}/s   memory {}B\n",
      text(now_, "version"), clock(number(now_, "uptime_s")), name_of(layout.sort),
      rate(r.bits("rx_bytes")), rate(r.of("rx_packets")), rate(r.bits("tx_bytes")),
      rate(r.of("tx_packets")), scaled(number(totals, "connections_open")),
      rate(r.of("connections_opened")), time(number(totals, "rtt_us")), time(longest),
      rate(r.of("retransmitted_segments")), rate(r.of("rx_drops")),
      scaled(number(totals, "memory_bytes")));
}

std::string TopView::workers(const TopLayout& layout) const {
  std::vector<Row> rows{{"worker", "busy", "in bit/s", "out bit/s", "pkt/s", "conns", "rtt",
                         "retr/s", "drop/s", "history"}};
  constexpr std::size_t kOthers = 73;  // columns that the others take
  const std::size_t room = layout.width > kOthers ? layout.width - kOthers : 1;
  const json& list = field(now_, "workers");
  for (std::size_t i = 0; list.is_array() && i < list.size(); ++i) {
    rows.push_back(worker_row(std::to_string(i),
                              {element(field(before_, "workers"), i), list[i], seconds()},
                              sparkline(newest(history_[i], room), layout.utf8)));
  }
  return table(rows, 1);
}

std::vector<TopView::Connection> TopView::connections(TopSort sort) const {
  const auto key = [](const json& c) { return text(c, "local") + ' ' + text(c, "remote"); };
  std::map<std::string, const json*> old;
  for (const json& c : field(before_, "connections")) old[key(c)] = &c;
  std::vector<Connection> all;
  for (const json& c : field(now_, "connections")) {
    const auto it = old.find(key(c));
    static const json absent;
    const Rates r{it == old.end() ? absent : *it->second, c, seconds()};
    Connection line{.now = &c, .in = r.bits("bytes_received"), .out = r.bits("bytes_sent")};
    line.rtt_us = number(c, "srtt_us");
    line.retransmits = r.of("retransmits").value_or(0);
    all.push_back(line);
  }
  std::stable_sort(all.begin(), all.end(), [sort](const Connection& a, const Connection& b) {
    return a.key(sort) > b.key(sort);
  });
  return all;
}

std::string TopView::list(const TopLayout& layout, std::size_t lines) const {
  std::vector<Row> rows{
      {"remote", "local", "service", "worker", "in bit/s", "out bit/s", "rtt", "retr/s", "state"}};
  const auto all = connections(layout.sort);
  for (const Connection& c : all) {
    if (rows.size() >= lines) break;
    rows.push_back({text(*c.now, "remote"), text(*c.now, "local"), text(*c.now, "service"),
                    text(*c.now, "worker"), rate(c.in), rate(c.out), time(c.rtt_us),
                    scaled(c.retransmits), text(*c.now, "state")});
  }
  const double open = number(field(now_, "totals"), "connections_open");
  std::string out = table(rows, 3);
  if (static_cast<double>(all.size()) < open && rows.size() < lines) {
    out += fmt::format("{} of {:.0f} connections were looked at\n", all.size(), open);
  }
  return out;
}

}  // namespace pollux::engine
