#include "bench/hop/script.h"

#include <algorithm>
#include <charconv>
#include <span>
#include <stdexcept>

#include "proto/wire/tcp.h"

namespace pollux::hop {
namespace {

using wire::tcp_flag::fin;
using wire::tcp_flag::syn;

constexpr std::uint64_t kAll = std::numeric_limits<std::uint64_t>::max();

[[noreturn]] void fail(std::string_view what, std::string_view word) {
  throw std::invalid_argument(std::string(what) + " '" + std::string(word) + "'");
}

/// The words of a line, and an error for the one that is missing.
class Words {
 public:
  explicit Words(std::string_view line) {
    constexpr std::string_view kSpace = " \t\r";
    for (std::size_t at = line.find_first_not_of(kSpace); at != std::string_view::npos;) {
      const std::size_t end = std::min(line.find_first_of(kSpace, at), line.size());
      words_.push_back(line.substr(at, end - at));
      at = line.find_first_not_of(kSpace, end);
    }
  }
  bool empty() const { return next_ == words_.size(); }
  std::string_view take(std::string_view what) {
    if (empty()) throw std::invalid_argument("a rule needs " + std::string(what));
    return words_[next_++];
  }

 private:
  std::vector<std::string_view> words_;
  std::size_t next_ = 0;
};

std::uint64_t parse_number(std::string_view text) {
  std::uint64_t n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc() || end != text.data() + text.size()) fail("not a number:", text);
  return n;
}

/// "N" or "N..M".
Numbers parse_numbers(std::string_view text) {
  const std::size_t dots = text.find("..");
  const std::uint64_t first = parse_number(text.substr(0, dots));
  if (dots == std::string_view::npos) return {first, first};
  const Numbers n{first, parse_number(text.substr(dots + 2))};
  if (n.last < n.first) fail("runs backwards:", text);
  return n;
}

Numbers parse_ordinals(std::string_view text) {
  if (text == "all") return {1, kAll};
  const Numbers n = parse_numbers(text);
  if (n.first == 0) fail("counts from 1:", text);
  return n;
}

void parse_direction(Rule& rule, std::string_view word) {
  rule.a_to_b = word == "a>b" || word == "both";
  rule.b_to_a = word == "b>a" || word == "both";
  if (!rule.a_to_b && !rule.b_to_a) fail("neither a>b, b>a nor both:", word);
}

std::uint8_t parse_option(std::string_view word) {
  if (word == "sack-permitted") return kOptionSackPermitted;
  if (word == "timestamps") return kOptionTimestamps;
  fail("neither sack-permitted nor timestamps:", word);
}

void parse_action(Rule& rule, Words& words) {
  const std::string_view word = words.take("an action");
  if (word == "drop") {
    rule.action = Rule::Action::drop;
  } else if (word == "delay") {
    rule.action = Rule::Action::delay;
    rule.delay = parse_duration(words.take("a time to delay"));
  } else if (word == "duplicate") {
    rule.action = Rule::Action::duplicate;
  } else if (word == "strip") {
    rule.action = Rule::Action::strip;
    rule.option = parse_option(words.take("an option to strip"));
    rule.match = Rule::Match::syn;
    rule.nth = {1, kAll};
  } else {
    fail("neither drop, delay, duplicate nor strip:", word);
  }
}

void parse_match(Rule& rule, Words& words) {
  const std::string_view word = words.take("something to match");
  if (word == "packet" || word == "ack") {
    rule.match = word == "ack" ? Rule::Match::ack : Rule::Match::packet;
    rule.which = parse_ordinals(words.take("a number of a packet"));
  } else if (word == "seq") {
    rule.match = Rule::Match::seq;
    const std::string_view range = words.take("a range A..B");
    const Numbers n = parse_numbers(range);
    if (n.last == n.first) fail("an empty range:", range);
    rule.range = {n.first, n.last};
  } else if (word == "syn" || word == "fin") {
    rule.match = word == "syn" ? Rule::Match::syn : Rule::Match::fin;
  } else {
    fail("neither packet, seq, ack, syn nor fin:", word);
  }
}

}  // namespace

Duration parse_duration(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  const double scale = unit == "us" ? 1e3 : unit == "ms" ? 1e6 : unit == "s" ? 1e9 : 0;
  if (error == std::errc() && value == 0 && unit.empty()) return Duration{0};
  if (error != std::errc() || scale == 0 || value < 0 || value * scale > 3600e9) {
    fail("not a time such as 250us, 20ms or 1.5s (an hour at most):", text);
  }
  return Duration{static_cast<std::int64_t>(value * scale)};
}

Rule parse_rule(std::string_view line) {
  Words words(line);
  Rule rule;
  parse_direction(rule, words.take("a direction"));
  parse_action(rule, words);
  if (rule.action != Rule::Action::strip) parse_match(rule, words);
  if (!words.empty()) {
    const std::string_view word = words.take("nth");
    if (word != "nth" || rule.action == Rule::Action::strip || rule.match == Rule::Match::ack) {
      fail("does not belong here:", word);
    }
    rule.nth = parse_ordinals(words.take("a number behind nth"));
  }
  if (!words.empty()) fail("does not belong here:", words.take("nothing"));
  return rule;
}

std::vector<Rule> parse_script(std::string_view text) {
  std::vector<Rule> rules;
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    line = line.substr(0, line.find('#'));
    if (Words(line).empty()) continue;
    try {
      rules.push_back(parse_rule(line));
    } catch (const std::invalid_argument& error) {
      throw std::invalid_argument("line " + std::to_string(number) + ": " + error.what());
    }
  }
  return rules;
}

FlowScript::FlowScript(const std::vector<Rule>& rules) : rules_(&rules), found_(rules.size()) {}

/// A `packet` rule names packets by number: from here on it is known which octets they carry.
void FlowScript::learn(const Transmission& sent) {
  if (sent.ordinal == 0) return;
  for (std::size_t i = 0; i < rules_->size(); ++i) {
    const Rule& rule = (*rules_)[i];
    if (rule.match != Rule::Match::packet || !rule.which.contains(sent.ordinal)) continue;
    if (!found_[i]) found_[i] = sent.range;
    found_[i]->end = sent.range.end;
  }
}

bool FlowScript::matches_range(const Rule& rule, Range wanted, const Transmission& sent,
                               const DataFlow& flow) {
  if (!sent.range.overlaps(wanted)) return false;
  return rule.nth.contains(flow.nth_of(std::max(sent.range.begin, wanted.begin)));
}

bool FlowScript::matches(std::size_t i, const TcpView& tcp, const std::optional<Transmission>& sent,
                         const DataFlow& flow) {
  const Rule& rule = (*rules_)[i];
  switch (rule.match) {
    case Rule::Match::packet:
      return sent && found_[i] && matches_range(rule, *found_[i], *sent, flow);
    case Rule::Match::seq:
      return sent && matches_range(rule, rule.range, *sent, flow);
    case Rule::Match::ack:
      return tcp.payload == 0 && !tcp.has(syn | fin) && rule.which.contains(acks_);
    case Rule::Match::syn:
      return tcp.has(syn) && rule.nth.contains(syns_);
    case Rule::Match::fin:
      return tcp.has(fin) && rule.nth.contains(fins_);
  }
  return false;
}

Verdict FlowScript::on_packet(const TcpView& tcp, const std::optional<Transmission>& sent,
                              const DataFlow& flow) {
  if (tcp.has(syn)) ++syns_;
  if (tcp.has(fin)) ++fins_;
  if (tcp.payload == 0 && !tcp.has(syn | fin)) ++acks_;
  if (sent) learn(*sent);
  Verdict verdict;
  for (std::size_t i = 0; i < rules_->size(); ++i) {
    const Rule& rule = (*rules_)[i];
    if (rule.action == Rule::Action::strip || !matches(i, tcp, sent, flow)) continue;
    if (rule.action == Rule::Action::drop) verdict.drop = true;
    if (rule.action == Rule::Action::duplicate) verdict.duplicate = true;
    verdict.delay += rule.delay;
  }
  return verdict;
}

bool strip_options(const std::vector<Rule>& rules, const TcpView& tcp, MutableBytes packet) {
  if (!tcp.has(syn)) return false;
  bool stripped = false;
  for (const Rule& rule : rules) {
    if (rule.action == Rule::Action::strip && strip_option(packet, tcp, rule.option)) {
      stripped = true;
    }
  }
  return stripped;
}

}  // namespace pollux::hop
