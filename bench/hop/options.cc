#include "bench/hop/options.h"

#include <CLI/CLI.hpp>
#include <charconv>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string_view>

namespace pollux::hop {
namespace {

constexpr const char* kFooter =
    R"(Every setting of a link is for both directions, or for one as --ab-NAME and --ba-NAME.

A rule is one word list, `#` starts a comment in a script:
  DIRECTION ACTION MATCH [nth N|N..M|all]
  DIRECTION  a>b, b>a, both
  ACTION     drop, delay TIME, duplicate, strip sack-permitted|timestamps
  MATCH      packet N[..M]  N-th packet of data of a flow, by first transmissions
             seq A..B       a packet with data in [A, B), octets from the start of the stream
             ack N[..M]     N-th packet without data, SYN or FIN
             syn, fin       a packet with that flag
  nth        which transmission of it; the first when not said

  pollux_hop --a hopa@left --b hopb@right --delay 10ms --ab-rate 200M --ab-queue 512K \
             --ab-loss 1 --rule 'a>b drop packet 20 nth 1..2'

It prints `ready` when it forwards, its counters as one line of JSON on SIGUSR1, and the same at
its end on SIGINT or SIGTERM.)";

[[noreturn]] void fail(const std::string& why) { throw std::invalid_argument(why); }

double parse_real(const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) {
    fail("not a number: '" + text + "'");
  }
  return value;
}

double parse_percent(const std::string& text) {
  const double percent = parse_real(text);
  if (percent > 100) fail("more than 100 percent: '" + text + "'");
  return percent / 100;
}

/// "200M", "512K", "1G" or a plain number; `kilo` is 1000 for rates and 1024 for octets.
std::uint64_t parse_scaled(std::string text, double kilo) {
  double scale = 1;
  constexpr std::string_view kUnits = "KMG";
  const std::size_t unit = text.empty() ? kUnits.npos : kUnits.find(text.back());
  if (unit != kUnits.npos) {
    for (std::size_t i = 0; i <= unit; ++i) scale *= kilo;
    text.pop_back();
  }
  const double value = parse_real(text) * scale;
  if (value > 1e15) fail("too large: '" + text + "'");
  return static_cast<std::uint64_t>(value);
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == ',') {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

BurstLoss parse_burst(const std::string& text) {
  const auto parts = split(text);
  if (parts.size() < 2 || parts.size() > 4) fail("wants TO_BAD,TO_GOOD[,LOSS_BAD[,LOSS_GOOD]]");
  BurstLoss burst;
  burst.to_bad = parse_percent(parts[0]);
  burst.to_good = parse_percent(parts[1]);
  if (parts.size() > 2) burst.loss_bad = parse_percent(parts[2]);
  if (parts.size() > 3) burst.loss_good = parse_percent(parts[3]);
  return burst;
}

void parse_reorder(const std::string& text, LinkOptions& link) {
  const auto parts = split(text);
  if (parts.size() != 2) fail("wants PERCENT,TIME");
  link.reorder = parse_percent(parts[0]);
  link.reorder_delay = parse_duration(parts[1]);
}

/// "512K" octets or "100p" packets.
void parse_queue(const std::string& text, LinkOptions& link) {
  link.queue_octets = link.queue_packets = 0;
  if (!text.empty() && text.back() == 'p') {
    link.queue_packets = parse_scaled(text.substr(0, text.size() - 1), 1000);
  } else {
    link.queue_octets = parse_scaled(text, 1024);
  }
}

struct Setting {
  const char* name;
  const char* type;
  const char* help;
  void (*apply)(const std::string&, LinkOptions&);
};

constexpr Setting kSettings[] = {
    {"delay", "TIME", "One-way delay, e.g. 10ms",
     [](const std::string& t, LinkOptions& l) { l.delay = parse_duration(t); }},
    {"jitter", "TIME", "Up to this much delay on top, evenly; never reorders",
     [](const std::string& t, LinkOptions& l) { l.jitter = parse_duration(t); }},
    {"rate", "BIT/S", "Rate of the bottleneck in bit/s of IP packets, e.g. 200M",
     [](const std::string& t, LinkOptions& l) { l.rate = parse_scaled(t, 1000); }},
    {"queue", "OCTETS|Np", "Limit of the queue before it, e.g. 512K or 100p", parse_queue},
    {"loss", "PERCENT", "Independent loss, e.g. 0.1",
     [](const std::string& t, LinkOptions& l) { l.loss = parse_percent(t); }},
    {"burst", "P,P[,P[,P]]",
     "Gilbert-Elliott: percent to go bad, to get well, lost in bad (100), lost in good (0)",
     [](const std::string& t, LinkOptions& l) { l.burst = parse_burst(t); }},
    {"reorder", "PERCENT,TIME", "Hold back so many packets by so much", parse_reorder},
    {"duplicate", "PERCENT", "Send so many packets twice",
     [](const std::string& t, LinkOptions& l) { l.duplicate = parse_percent(t); }},
};

/// Both directions, or only one.
void add_setting(CLI::App& app, const Setting& setting, const std::string& prefix, Options& o,
                 std::vector<std::size_t> directions) {
  auto apply = [&o, &setting, directions](const std::string& text) {
    try {
      for (const std::size_t d : directions) setting.apply(text, o.links[d]);
    } catch (const std::invalid_argument& error) {
      throw CLI::ValidationError(std::string("--") + setting.name, error.what());
    }
  };
  auto* option =
      app.add_option_function<std::string>("--" + prefix + setting.name, apply, setting.help);
  option->type_name(setting.type);
  if (!prefix.empty()) option->group("");  // the footer tells of them
}

void add_rules(const std::vector<Rule>& rules, Options& o) {
  for (const Rule& rule : rules) {
    if (rule.a_to_b) o.rules[0].push_back(rule);
    if (rule.b_to_a) o.rules[1].push_back(rule);
  }
}

std::string read_file(const std::string& path) {
  std::ifstream file(path);
  if (!file) fail("cannot read " + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

void load_rules(const std::string& script, const std::vector<std::string>& lines, Options& o) {
  try {
    if (!script.empty()) add_rules(parse_script(read_file(script)), o);
  } catch (const std::invalid_argument& error) {
    throw CLI::ValidationError("--script", error.what());
  }
  try {
    for (const std::string& line : lines) add_rules({parse_rule(line)}, o);
  } catch (const std::invalid_argument& error) {
    throw CLI::ValidationError("--rule", error.what());
  }
}

DeviceName parse_device(const std::string& text) {
  const std::size_t at = text.find('@');
  DeviceName device{text.substr(0, at), {}};
  if (at != std::string::npos) device.netns = text.substr(at + 1);
  constexpr std::size_t kNameMax = 15;  // IFNAMSIZ - 1
  if (device.name.empty() || device.name.size() > kNameMax) {
    throw CLI::ValidationError("--a, --b", "a name has 1 to 15 characters: '" + text + "'");
  }
  if (at != std::string::npos && device.netns.empty()) {
    throw CLI::ValidationError("--a, --b", "no namespace behind the @: '" + text + "'");
  }
  return device;
}

}  // namespace

int parse_command_line(int argc, char** argv, Options& o) {
  CLI::App app("Forwards packets between two TUN devices and impairs them on the way.");
  app.footer(kFooter);
  std::string a, b, script;
  std::vector<std::string> rules;
  bool spare = false;
  app.add_option("--a", a, "The one device, made if it is not there")
      ->required()
      ->type_name("NAME[@NETNS]");
  app.add_option("--b", b, "The other one")->required()->type_name("NAME[@NETNS]");
  app.add_option("--mtu", o.mtu, "MTU of both")->check(CLI::Range(576, 65'535));
  app.add_option("--txqueuelen", o.txqueuelen, "Packets that wait for the hop in each device")
      ->check(CLI::Range(1, 1'000'000));
  app.add_option("--seed", o.seed, "Of all that is random");
  app.add_option("--hold", o.hold, "Packets under way at most")->check(CLI::Range(1, 10'000'000));
  app.add_option("--script", script, "File of rules, one a line")->type_name("FILE");
  app.add_option("--rule", rules, "One rule; may be repeated")
      ->type_name("TEXT")
      ->expected(1)
      ->take_all();
  app.add_flag("--spare-handshake", spare, "Random loss leaves packets with SYN alone");
  app.add_flag("--realtime", o.realtime, "Run before all ordinary programs (SCHED_RR)");
  for (const Setting& s : kSettings) add_setting(app, s, "", o, {0, 1});
  for (const Setting& s : kSettings) add_setting(app, s, "ab-", o, {0});
  for (const Setting& s : kSettings) add_setting(app, s, "ba-", o, {1});
  try {
    app.parse(argc, argv);
    o.devices = {parse_device(a), parse_device(b)};
    load_rules(script, rules, o);
  } catch (const CLI::ParseError& error) {
    const int status = app.exit(error);
    return status == 0 ? 0 : 2;
  }
  for (LinkOptions& link : o.links) link.spare_handshake = spare;
  return -1;
}

}  // namespace pollux::hop
