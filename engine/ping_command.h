// `pollux ping`: ICMP echo from a running daemon's engine, printed as iputils' ping does.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>

namespace pollux::engine {

struct PingCommand {
  std::string control;  ///< path of the daemon's control socket
  std::string address;
  std::uint64_t count = 0;  ///< 0: until SIGINT
  double interval_s = 1;
  double wait_s = 0;  ///< 0: 10 s, or what the round trips suggest
  unsigned size = 56;
  bool json = false;
};

/// 0 when an answer came, 1 when none did, 2 with one line on `err` when nobody could be asked.
/// SIGINT ends it with what there is until then.
int run_ping(const PingCommand& command, std::ostream& out, std::ostream& err);

}  // namespace pollux::engine
