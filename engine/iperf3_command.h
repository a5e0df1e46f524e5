// `pollux iperf3 -c`: measures from a running engine to an iperf3 server.
#pragma once

#include <cstdint>
#include <functional>
#include <iosfwd>
#include <optional>
#include <string>

namespace CLI {
class App;
}

namespace pollux::engine {

/// The options of iperf3 that there are, as they are given.
struct Iperf3Command {
  std::string control;  ///< path of the daemon's control socket
  std::string server;   ///< address
  std::uint16_t port = 5201;
  bool udp = false;
  double time_s = 10;
  std::string bytes, blocks;  ///< "": none
  std::string block, rate;    ///< "": the default; of rate also "RATE/BURST"
  std::string fq_rate;        ///< "": none
  unsigned parallel = 1;
  unsigned omit_s = 0;
  double interval_s = 1;
  bool reverse = false, bidirectional = false, nodelay = false, json = false;
  bool get_server_output = false, wide_counters = false;
  bool only_v4 = false, only_v6 = false;
  bool forceflush = false;          ///< as it is without
  unsigned mss = 0;                 ///< octets; 0: what the MTU allows
  unsigned connect_timeout_ms = 0;  ///< 0: 30 s
  std::string window;               ///< "": as configured
  std::string bind;                 ///< "": the engine's first address
  std::uint16_t cport = 0;          ///< 0: any
  bool verbose = false;
  bool zerocopy = false;                  ///< as it is without
  std::optional<std::string> timestamps;  ///< strftime's format, in front of each line
  std::string tos, dscp, congestion, title, extra_data;
  std::string format, logfile;  ///< "": as it fits; standard output
};

/// Declares the options on `app`.
void declare_iperf3(CLI::App& app, Iperf3Command& command);

/// Prints what iperf3 prints: its text as it comes, or its JSON at the end. SIGINT and SIGTERM end
/// the test with a report of what it has measured; a second one does not wait for that. 0, also
/// then, or 1 with one line on `err` (in the JSON's `error` where that is asked for). Throws
/// std::runtime_error when no daemon can be asked.
int run_iperf3(const Iperf3Command& command, std::ostream& out, std::ostream& err);

}  // namespace pollux::engine
