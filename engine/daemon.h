// The daemon: TUN, RX stage, workers, services and the control thread under one roof.
#pragma once

#include "engine/config.h"

namespace pollux::engine {

/// Runs until SIGINT or SIGTERM and returns the exit code. Throws std::runtime_error with one line
/// that names the cause and the mend when it cannot start.
int run_daemon(const Config& config);

}  // namespace pollux::engine
