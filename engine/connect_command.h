// `pollux connect`: a connection of a running daemon's engine, joined to standard input and output.
#pragma once

#include <iosfwd>
#include <string>

namespace pollux::engine {

struct ConnectCommand {
  std::string control;     ///< path of the daemon's control socket
  std::string target;      ///< "ADDR:PORT"
  unsigned timeout_s = 0;  ///< until it is open; 0: as TCP has it
};

/// Copies both ways until both ended, each half by itself, as `nc -N` does. 0, or 1 with one line
/// on `err` when the connection could not be opened or did not end well. Throws
/// std::runtime_error when no daemon can be asked.
int run_connect(const ConnectCommand& command, std::ostream& err);

}  // namespace pollux::engine
