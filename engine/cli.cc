#include "engine/cli.h"

#include <CLI/CLI.hpp>
#include <exception>
#include <nlohmann/json.hpp>
#include <ostream>
#include <string>
#include <vector>

#include "engine/connect_command.h"
#include "engine/control_client.h"
#include "engine/iperf3_command.h"
#include "engine/ping_command.h"
#include "engine/show.h"
#include "engine/target.h"
#include "engine/top.h"

namespace pollux::engine {
namespace {

constexpr int kOk = 0;
constexpr int kFailure = 1;
constexpr int kUsage = 2;

struct Options {
  std::string file;
  std::vector<std::string> overrides;
  bool check = false;
  std::string topic;
  bool json = false;
  double interval_s = 1;
  bool once = false;
  std::string control = ControlConfig{}.socket;
  std::string target;
  Iperf3Command iperf3;
  PingCommand ping;
  unsigned connect_timeout_s = 0;
};

struct Commands {
  CLI::App* run;
  CLI::App* show;
  CLI::App* top;
  CLI::App* connect;
  CLI::App* iperf3;
  CLI::App* ping;
  CLI::App* version;
  CLI::App* help;
};

void add_control(CLI::App& command, Options& o) {
  command.add_option("--control", o.control, "Control socket of the daemon")
      ->type_name("PATH")
      ->capture_default_str();
}

CLI::App* declare_run(CLI::App& app, Options& o) {
  CLI::App* run = app.add_subcommand("run", "Run the daemon in the foreground");
  run->add_option("-c,--config", o.file, "Configuration file (TOML)")
      ->type_name("FILE")
      ->required();
  run->add_option("--set", o.overrides,
                  "Override one key of the file; may be repeated, the last one of a key wins")
      ->type_name("section.key=VALUE")
      ->expected(1)
      ->take_all();
  run->add_flag("--check", o.check, "Validate the configuration and exit");
  run->footer(
      "SIGINT and SIGTERM drain: listeners close, connections get a FIN and engine.drain_s\n"
      "seconds. A second signal ends at once.\n\n"
      "  pollux run -c conf/pollux.toml --set engine.workers=2 --set log.level=debug");
  return run;
}

CLI::App* declare_show(CLI::App& app, Options& o) {
  CLI::App* show = app.add_subcommand("show", "Ask a running daemon");
  show->add_option("what", o.topic,
                   "stats: counters and drops by reason; connections: one line each, as ss does;\n"
                   "workers: how busy each is, and where its time goes: the share of each stage,\n"
                   "and ns per packet, since the last question (see workers/README.md);\n"
                   "queues: rings and device queues;\n"
                   "config: the effective configuration")
      ->type_name("stats|connections|workers|queues|config")
      ->required()
      ->check(CLI::IsMember({"stats", "connections", "workers", "queues", "config"}));
  show->add_flag("--json", o.json, "Print the JSON document instead of tables");
  add_control(*show, o);
  return show;
}

/// An address, not a name: the engine asks no resolver.
std::string endpoint_mistake(const std::string& text) {
  const auto target = parse_target(text);
  return target && target->address() ? "" : "expected ADDR:PORT or [ADDR]:PORT, got " + text;
}

CLI::App* declare_connect(CLI::App& app, Options& o) {
  CLI::App* connect = app.add_subcommand(
      "connect", "Open a TCP connection from the engine, joined to standard input and output");
  connect->add_option("target", o.target, "Where to; an IPv6 address in brackets")
      ->type_name("ADDR:PORT")
      ->required()
      ->check(endpoint_mistake);
  connect->add_option("-w,--timeout", o.connect_timeout_s, "How long opening may take")
      ->type_name("SECS")
      ->check(CLI::Range(1U, 3600U));
  add_control(*connect, o);
  connect->footer(
      "The end of standard input sends a FIN and reading goes on; the command ends when both\n"
      "directions have ended. Exit code 0 then; 1 with one line when the connection was refused,\n"
      "reset or timed out.\n\n"
      "  echo hello | pollux connect 198.18.0.1:7000\n"
      "  pollux connect -w 3 [2001:2::1]:7000 <request >answer");
  return connect;
}

CLI::App* declare_iperf3_client(CLI::App& app, Options& o) {
  CLI::App* iperf3 =
      app.add_subcommand("iperf3", "Measure from the engine to an iperf3 server, with its options");
  declare_iperf3(*iperf3, o.iperf3);
  add_control(*iperf3, o);
  iperf3->footer(
      "The streams are spread over the engine's workers. What is printed is what iperf3 prints.\n\n"
      "  pollux iperf3 -c 198.18.0.1 -t 5 -P 4\n"
      "  pollux iperf3 -c 198.18.0.1 -u -b 1G -R -J");
  return iperf3;
}

CLI::App* declare_top(CLI::App& app, Options& o) {
  CLI::App* top = app.add_subcommand("top", "Live view of a running daemon; q or Ctrl-C ends it");
  top->add_option("--interval", o.interval_s, "Time between two frames")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.1, 3600.0))
      ->capture_default_str();
  top->add_flag("--once", o.once, "Print one frame, of one interval, and exit");
  add_control(*top, o);
  top->footer(
      "Keys: q ends it; r, i, o, t, x sort the connections by rate, in, out, round trip or\n"
      "retransmissions. When standard output is no terminal it is as with --once.");
  return top;
}

std::string address_mistake(const std::string& text) {
  return IpAddr::parse(text) ? "" : "expected an IPv4 or IPv6 address, got " + text;
}

CLI::App* declare_ping(CLI::App& app, Options& o) {
  CLI::App* ping = app.add_subcommand("ping", "Send ICMP echo requests from the engine");
  ping->add_option("address", o.ping.address, "Whom to ping")
      ->type_name("ADDR")
      ->required()
      ->check(address_mistake);
  ping->add_option("-c,--count", o.ping.count, "Requests to send; without it, until Ctrl-C")
      ->type_name("N")
      ->check(CLI::Range(1U, 1'000'000'000U));
  ping->add_option("-i,--interval", o.ping.interval_s, "Seconds between them")
      ->type_name("S")
      ->check(CLI::Range(0.001, 3600.0))
      ->capture_default_str();
  ping->add_option("-s,--size", o.ping.size, "Octets of data in each; it must fit into one packet")
      ->type_name("SIZE")
      ->check(CLI::Range(0U, 65507U))
      ->capture_default_str();
  ping->add_option(
          "-W,--timeout", o.ping.wait_s,
          "Seconds to wait for the last answer; without it, twice the longest round trip,\n"
          "or 10 s where there was none")
      ->type_name("S")
      ->check(CLI::Range(0.001, 3600.0));
  ping->add_flag("--json", o.ping.json, "One JSON document at the end");
  add_control(*ping, o);
  ping->footer(
      "What is printed is what ping of iputils prints. Times are those of the worker's turns: "
      "from\n"
      "the one that sends to the one that has the answer. Exit code 0 when an answer came, 1 when\n"
      "none did, 2 for any error.\n\n"
      "  pollux ping -c 3 198.18.0.1\n"
      "  pollux ping -c 1000 -i 0.01 -s 1000 2001:2::1 --json");
  return ping;
}

Commands declare(CLI::App& app, Options& o) {
  app.require_subcommand(1);
  app.footer("Exit codes: 0 clean end; 1 failure at run time; 2 bad usage or bad configuration.");
  Commands c{};
  c.run = declare_run(app, o);
  c.show = declare_show(app, o);
  c.top = declare_top(app, o);
  c.connect = declare_connect(app, o);
  c.iperf3 = declare_iperf3_client(app, o);
  c.ping = declare_ping(app, o);
  c.version = app.add_subcommand("version", "Print the version");
  c.help = app.add_subcommand("help", "Print this help");
  return c;
}

int run(const Options& o, const std::function<int(const Config&)>& daemon, std::ostream& out,
        std::ostream& err) {
  const ConfigResult result = load_config(o.file, o.overrides);
  for (const std::string& mistake : result.mistakes) err << mistake << '\n';
  if (!result.ok()) return kUsage;
  if (o.check) {
    out << o.file << ": ok\n";
    return kOk;
  }
  return daemon(result.config);
}

int show(const Options& o, std::ostream& out) {
  const auto answer = control_request(o.control, "show " + o.topic);
  if (o.json) {
    out << answer.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
  } else {
    out << render(o.topic, answer);
  }
  return kOk;
}

int dispatch(const CLI::App& app, const Commands& c, const Options& o,
             const std::function<int(const Config&)>& daemon, std::ostream& out,
             std::ostream& err) {
  if (c.run->parsed()) return run(o, daemon, out, err);
  if (c.show->parsed()) return show(o, out);
  if (c.top->parsed()) return run_top({o.control, o.interval_s, o.once}, out);
  if (c.connect->parsed()) return run_connect({o.control, o.target, o.connect_timeout_s}, err);
  if (c.iperf3->parsed()) {
    Iperf3Command command = o.iperf3;
    command.control = o.control;
    return run_iperf3(command, out, err);
  }
  if (c.ping->parsed()) {
    PingCommand command = o.ping;
    command.control = o.control;
    return run_ping(command, out, err);
  }
  if (c.version->parsed()) {
    out << "pollux " << POLLUX_VERSION << '\n';
  } else {
    out << app.help();
  }
  return kOk;
}

}  // namespace

int run_cli(int argc, const char* const* argv, const std::function<int(const Config&)>& daemon,
            std::ostream& out, std::ostream& err) {
  CLI::App app{"pollux: poll-mode, multi-core user-space TCP/IP engine", "pollux"};
  Options options;
  const Commands commands = declare(app, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e, out, err) == 0 ? kOk : kUsage;
  }
  try {
    return dispatch(app, commands, options, daemon, out, err);
  } catch (const std::exception& e) {
    err << "pollux: " << e.what() << '\n';
    return kFailure;
  }
}

}  // namespace pollux::engine
