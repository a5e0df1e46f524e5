// SIGINT and SIGTERM of a command that waits for the daemon's lines.
#pragma once

#include "engine/control_client.h"
#include "engine/owned_fd.h"

namespace pollux::engine {

/// Blocks both signals from its construction to the end of the process. Before any thread starts.
class Interruption {
 public:
  Interruption();  ///< throws std::runtime_error
  /// Waits for the next line of `call`; false: a signal came first. It counts once, so whoever goes
  /// on waiting waits for a line or the next signal.
  bool wait_for_line(const ControlCall& call) const;

 private:
  OwnedFd signals_;
};

}  // namespace pollux::engine
