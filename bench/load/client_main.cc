// The client of the end-to-end benchmarks: kernel sockets, one mode a run, one line of JSON.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <map>
#include <nlohmann/json.hpp>

#include "bench/load/client.h"

namespace pollux::load {
namespace {

struct Mode {
  nlohmann::json (*run)(const Options&);
  std::uint16_t port;
};

const std::map<std::string, Mode> kModes{
    {"bulk-in", {bulk_in, 9}},  {"bulk-out", {bulk_out, 19}}, {"rr", {round_trips, 7}},
    {"crr", {connect_rate, 7}}, {"idle", {idle, 9}},
};

constexpr const char* kFooter =
    R"(bulk-in   sends to a discard service (port 9)
bulk-out  receives from a chargen service (port 19)
rr        requests and their echoes, one under way on each connection (port 7)
crr       connect, one octet there and back, close; --connections at a time (port 7)
idle      opens connections and holds them until standard input ends (port 9)

Every socket has TCP_CONGESTION=cubic. Figures are of the time after the warm-up.)";

int parse(int argc, char** argv, std::string& mode, Options& o) {
  CLI::App app("Puts load on a TCP server and prints what it saw as one line of JSON.");
  app.footer(kFooter);
  double warm_up = o.warm_up.count(), seconds = o.seconds.count();
  app.add_option("mode", mode)->required()->check(CLI::IsMember(kModes));
  app.add_option("--address", o.address)->check(CLI::ValidIPV4)->capture_default_str();
  app.add_option("--addresses", o.addresses, "So many in turn, from --address on")
      ->check(CLI::Range(1, 1 << 16));
  app.add_option("--port", o.port)->check(CLI::Range(1, 65'535));
  app.add_option("--connections,--flows", o.connections)->check(CLI::Range(1, 1 << 20));
  app.add_option("--threads", o.threads, "Of bulk")->check(CLI::Range(1, 64));
  app.add_option("--size", o.size, "Octets of a request")->check(CLI::Range(1, 1 << 16));
  app.add_flag("--iperf3", o.iperf3,
               "Of bulk: against an iperf3 server (port 5201), in one thread");
  app.add_flag("--http", o.http, "Of idle: after a request and its answer (port 80)");
  app.add_flag("--spin", o.spin, "Poll the socket, never sleep");
  app.add_option("--cpu", o.cpu, "The CPU to run on")->check(CLI::NonNegativeNumber);
  app.add_option("--warm-up", warm_up, "Seconds before the measurement")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--seconds", seconds, "Seconds of the measurement")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int status = app.exit(error);
    return status == 0 ? 0 : 2;
  }
  o.warm_up = std::chrono::duration<double>(warm_up);
  o.seconds = std::chrono::duration<double>(seconds);
  return -1;
}

}  // namespace
}  // namespace pollux::load

int main(int argc, char** argv) {
  using namespace pollux::load;
  std::string name;
  Options options;
  const int status = parse(argc, argv, name, options);
  if (status >= 0) return status;
  const Mode& mode = kModes.at(name);
  constexpr std::uint16_t kIperf3Port = 5201, kHttpPort = 80;
  if (options.port == 0) {
    options.port = options.iperf3 ? kIperf3Port : options.http ? kHttpPort : mode.port;
  }
  try {
    if (options.cpu >= 0 && !run_on_cpu(options.cpu)) fail("cannot run on that CPU");
    const nlohmann::json figures = mode.run(options);
    if (mode.run != idle) std::puts(figures.dump().c_str());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "pollux_client: %s\n", error.what());
    return 1;
  }
  return 0;
}
