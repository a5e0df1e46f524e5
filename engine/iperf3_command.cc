#include "engine/iperf3_command.h"

#include <CLI/CLI.hpp>
#include <array>
#include <chrono>
#include <cmath>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>
#include <stdexcept>
#include <utility>

#include "engine/control_client.h"
#include "engine/interruption.h"
#include "engine/iperf3/protocol.h"
#include "engine/iperf3/report.h"
#include "engine/iperf3_values.h"
#include "proto/base/addr.h"
#include "proto/tcp/congestion.h"

namespace pollux::engine {
namespace {

using Json = nlohmann::ordered_json;

CLI::Validator number_of(double base) {
  return CLI::Validator(
      [base](std::string& text) {
        return scaled(text, base) ? std::string() : "expected a number such as 10M, got " + text;
      },
      "N[KMGT]");
}

/// A check that wants `parse` to find something.
template <class Parse>
CLI::Validator that(Parse parse, std::string wanted) {
  return CLI::Validator(
      [parse, wanted](std::string& text) {
        return parse(text) ? std::string() : "expected " + wanted + ", got " + text;
      },
      "");
}

Json parameters_of(const Iperf3Command& c) {
  Json p{{c.udp ? "udp" : "tcp", true}, {"omit", c.omit_s}, {"parallel", c.parallel}};
  p["num"] = c.bytes.empty() ? 0 : scaled(c.bytes, 1024).value();
  p["blockcount"] = c.blocks.empty() ? 0 : scaled(c.blocks, 1024).value();
  const bool timed = p["num"] == 0 && p["blockcount"] == 0;
  p["time"] = timed ? static_cast<std::uint64_t>(std::ceil(c.time_s)) : 0;
  if (!c.block.empty()) p["len"] = scaled(c.block, 1024).value();
  if (!c.rate.empty()) {
    const Rate rate = rate_of(c.rate).value();
    p["bandwidth"] = rate.bits;
    if (rate.burst) p["burst"] = *rate.burst;
  } else if (c.udp) {
    p["bandwidth"] = iperf3::kDefaultUdpRate;
  }
  if (!c.fq_rate.empty()) p["fqrate"] = scaled(c.fq_rate, 1000).value();
  if (!c.tos.empty()) p["TOS"] = tos_of(c.tos).value();
  if (!c.dscp.empty()) p["TOS"] = dscp_of(c.dscp).value() << 2;
  if (c.mss != 0) p["MSS"] = c.mss;
  if (!c.window.empty()) p["window"] = scaled(c.window, 1024).value();
  p["reverse"] = c.reverse;
  p["bidirectional"] = c.bidirectional;
  p["nodelay"] = c.nodelay;
  p["get_server_output"] = c.get_server_output ? 1 : 0;
  p["udp_counters_64bit"] = c.wide_counters ? 1 : 0;
  if (!c.congestion.empty()) p["congestion"] = c.congestion;
  if (!c.title.empty()) p["title"] = c.title;
  if (!c.extra_data.empty()) p["extra_data"] = c.extra_data;
  return p;
}

std::string address_mistake(const std::string& text) {
  return IpAddr::parse(text) ? "" : "expected an address, got " + text;
}

/// The daemon's report, with what only the command knows.
Json completed(const Json& report, const Iperf3Command& c) {
  Json out;
  out["start"] = report.value("start", Json{{"connected", Json::array()}});
  out["intervals"] = report.value("intervals", Json::array());
  out["end"] = report.value("end", Json::object());
  if (!c.title.empty()) out["title"] = c.title;
  if (!c.extra_data.empty()) out["extra_data"] = c.extra_data;
  out.update(report);
  return out;
}

/// What a user gives need not be UTF-8; JSON must be.
std::string dump(const Json& j, int indent) {
  return j.dump(indent, ' ', false, Json::error_handler_t::replace);
}

/// What goes in front of each line, as iperf3 has it.
std::string front_of_lines(const Iperf3Command& c) {
  std::string front;
  if (c.timestamps) {
    const std::time_t now = std::time(nullptr);
    struct tm tm = {};
    ::localtime_r(&now, &tm);
    std::array<char, 256> text{};
    const std::string form = c.timestamps->empty() ? "%c " : *c.timestamps;
    front.assign(text.data(), std::strftime(text.data(), text.size(), form.c_str(), &tm));
  }
  if (!c.title.empty()) front += c.title + ":  ";
  return front;
}

/// `text`, whole lines, with `front` in front of each.
std::string with_front(const std::string& text, const std::string& front) {
  if (front.empty()) return text;
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size() - 1) + 1;
    out += front + text.substr(at, end - at);
    at = end;
  }
  return out;
}

/// One run of the command.
class Run {
 public:
  Run(const Iperf3Command& command, std::ostream& out, std::ostream& err)
      : command_(command), out_(out), err_(err) {}

  /// To the end of the test. Throws std::runtime_error with why there is no more.
  void follow(ControlCall& call) {
    bool done = false;
    while (const auto line = next(call)) done = print(*line);
    if (!done) throw std::runtime_error("the daemon ended");
  }
  /// `report`: what there is of it.
  void end_with(const std::string& why, const Json& report = {}) {
    const std::string words = (interrupted_ ? "interrupt - " : "error - ") + why;
    exit_code_ = interrupted_ ? 0 : 1;
    if (command_.json) {
      Json j = report;
      j["error"] = words;
      out_ << dump(completed(j, command_), 2) << std::endl;
    } else {
      err_ << "iperf3: " << words << std::endl;
    }
  }
  int exit_code() const { return exit_code_; }

 private:
  std::optional<Json> next(ControlCall& call) {
    while (!interruption_.wait_for_line(call)) {
      const auto now = std::chrono::steady_clock::now();
      if (!std::exchange(interrupted_, true)) {
        interrupted_at_ = now;
        call.stop();
      } else if (now - interrupted_at_ > kOneInterruption) {
        throw std::runtime_error("interrupted twice");
      }
    }
    return call.next();
  }

  /// True: it was the last one.
  bool print(const Json& line) {
    if (line.contains("json")) {
      const Json& report = line["json"];
      if (report.contains("error")) {
        end_with(report["error"].get<std::string>(), report);
      } else {
        out_ << dump(completed(report, command_), 2) << std::endl;
      }
      return true;
    }
    const std::string text = line.value("text", "");
    out_ << with_front(text, front_of_lines(command_)) << std::flush;
    return text.ends_with("iperf Done.\n");
  }

  const Iperf3Command& command_;
  std::ostream& out_;
  std::ostream& err_;
  /// timeout(1) and terminals signal a process and its group: that is one interruption.
  static constexpr std::chrono::milliseconds kOneInterruption{200};
  const Interruption interruption_;
  bool interrupted_ = false;
  std::chrono::steady_clock::time_point interrupted_at_{};
  int exit_code_ = 0;
};

}  // namespace

void declare_iperf3(CLI::App& app, Iperf3Command& c) {
  app.add_option("-c,--client", c.server, "Address of the iperf3 server")
      ->type_name("ADDR")
      ->required()
      ->check(address_mistake);
  app.add_option("-p,--port", c.port, "Its port")->capture_default_str();
  app.add_flag("-u,--udp", c.udp, "UDP instead of TCP");
  auto* time = app.add_option("-t,--time", c.time_s, "Seconds to send for")
                   ->check(CLI::Range(1.0, 86400.0))
                   ->capture_default_str();
  auto* bytes = app.add_option("-n,--bytes", c.bytes, "Octets to send, instead of -t")
                    ->check(number_of(1024))
                    ->excludes(time);
  app.add_option("-k,--blockcount", c.blocks, "Blocks to send, instead of -t or -n")
      ->check(number_of(1024))
      ->excludes(time)
      ->excludes(bytes);
  app.add_option("-l,--length", c.block, "Octets of a write, or of a datagram")
      ->check(number_of(1024));
  app.add_option("-b,--bitrate", c.rate,
                 "Bits per second of each stream; 0 is any (the default of TCP; 1M of UDP); "
                 "and blocks that are sent together")
      ->type_name("N[KMGT][/N]")
      ->check(that(rate_of, "a rate such as 10M, perhaps with /N of 1..1000 blocks"));
  app.add_option("--fq-rate", c.fq_rate, "Another limit; the lower one holds")
      ->check(number_of(1000));
  app.add_option("-P,--parallel", c.parallel, "Streams")->check(CLI::Range(1U, 128U));
  app.add_option("-O,--omit", c.omit_s, "Seconds at the start that do not count")
      ->check(CLI::Range(0U, 600U));
  app.add_option("-i,--interval", c.interval_s, "Seconds between reports; 0: only at the end")
      ->check(CLI::Range(0.0, 60.0))
      ->capture_default_str();
  auto* reverse = app.add_flag("-R,--reverse", c.reverse, "The server sends");
  app.add_flag("--bidir", c.bidirectional, "Both send")->excludes(reverse);
  app.add_flag("-N,--no-delay", c.nodelay, "No Nagle algorithm");
  app.add_option("-C,--congestion", c.congestion, "Congestion control, of both ends")
      ->check([](const std::string& name) {
        return tcp::parse_cc(name) ? std::string() : "there is no congestion control " + name;
      });
  auto* tos = app.add_option("-S,--tos", c.tos, "Type of service, as 0x20 or 32")
                  ->check(that(tos_of, "0..255"));
  app.add_option("--dscp", c.dscp, "The same as DSCP: 0..63, or a name such as ef or af21")
      ->check(that(dscp_of, "0..63 or a name such as ef"))
      ->excludes(tos);
  app.add_option("-M,--set-mss", c.mss, "Octets of a segment, at most, both ways")
      ->check(CLI::Range(88U, 9216U));
  auto* v4 = app.add_flag("-4,--version4", c.only_v4, "Only an IPv4 address will do");
  app.add_flag("-6,--version6", c.only_v6, "Only an IPv6 address will do")->excludes(v4);
  app.add_option("-w,--window", c.window, "Octets of the two buffers of a stream, of both ends")
      ->check(number_of(1024));
  app.add_option("-B,--bind", c.bind, "Address of the engine to connect from")
      ->type_name("ADDR")
      ->check(address_mistake);
  app.add_option("--cport", c.cport, "Port of the first stream, further ones follow it")
      ->check(CLI::Range(1U, 65535U));
  app.add_option("--connect-timeout", c.connect_timeout_ms,
                 "Milliseconds for the control connection's handshake (default 30000)")
      ->check(CLI::Range(1U, 600'000U));
  app.add_option("-f,--format", c.format, "Unit of rates: k, m, g, t (bits), K, M, G, T (octets)")
      ->check(that([](const std::string& t) { return t.size() == 1 && iperf3::is_rate_unit(t[0]); },
                   "one of kmgtKMGT"));
  app.add_flag("-V,--verbose", c.verbose, "More lines: host, test, CPU time, congestion controls");
  app.add_option("--timestamps", c.timestamps, "Time in front of each line, in strftime's form")
      ->type_name("[FORM]")
      ->expected(0, 1);
  app.add_flag("-Z,--zerocopy", c.zerocopy, "Data goes out without a copy; so it does without");
  app.add_option("--logfile", c.logfile, "Where the output goes, at its end");
  app.add_flag("--forceflush", c.forceflush,
               "Output goes out at every interval; so it does without");
  app.add_flag("-J,--json", c.json, "One JSON document at the end");
  app.add_flag("--get-server-output", c.get_server_output, "Print the server's report too");
  app.add_flag("--udp-counters-64bit", c.wide_counters, "64-bit numbers in datagrams");
  app.add_option("-T,--title", c.title, "Prefix for every line");
  app.add_option("--extra-data", c.extra_data, "Goes into the JSON");
  app.callback([&c] {
    const unsigned streams = c.bidirectional ? 2 * c.parallel : c.parallel;
    if (c.cport + streams > 65536)
      throw CLI::ValidationError("--cport", "streams beyond port 65535");
  });
}

int run_iperf3(const Iperf3Command& c, std::ostream& out, std::ostream& err) {
  Json request{{"server", c.server},       {"port", c.port},       {"parameters", parameters_of(c)},
               {"interval", c.interval_s}, {"verbose", c.verbose}, {"json", c.json}};
  if (!c.bind.empty()) request["bind"] = c.bind;
  if (c.cport != 0) request["cport"] = c.cport;
  if (!c.format.empty()) request["format"] = c.format;
  if (c.connect_timeout_ms != 0) request["connect_time"] = c.connect_timeout_ms / 1000.0;
  std::ofstream log;
  if (!c.logfile.empty()) {
    log.open(c.logfile, std::ios::app);
    if (!log) throw std::runtime_error("cannot write to " + c.logfile);
  }
  const bool v4 = IpAddr::parse(c.server)->is_v4();
  Run run(c, log.is_open() ? log : out, log.is_open() ? log : err);
  if ((c.only_v4 && !v4) || (c.only_v6 && v4)) {
    run.end_with("unable to connect to server: " + c.server + " is not of that family");
    return run.exit_code();
  }
  ControlCall call(c.control, "iperf3 " + dump(request, -1));
  try {
    run.follow(call);
  } catch (const std::runtime_error& e) {
    run.end_with(e.what());
  }
  return run.exit_code();
}

}  // namespace pollux::engine
