// `pollux top`: asks a running daemon again and again, and shows it in the terminal.
#pragma once

#include <chrono>
#include <iosfwd>
#include <string>

namespace pollux::engine {

struct TopOptions {
  std::string control;
  double interval_s = 1;  ///< between two frames
  bool once = false;      ///< one frame, plain
};

/// Refreshes until q, SIGINT or SIGTERM; prints one plain frame, of one interval, when standard
/// output is no terminal. Returns the exit code; throws like control_request(). The terminal is as
/// before on every way out.
int run_top(const TopOptions& options, std::ostream& out);

}  // namespace pollux::engine
