// The command line of pollux. Exit codes: 0 clean, 1 failure at run time, 2 bad usage or bad
// configuration.
#pragma once

#include <functional>
#include <iosfwd>

#include "engine/config.h"

namespace pollux::engine {

/// Parses and runs one command. `daemon` is what `run` calls with a checked configuration.
int run_cli(int argc, const char* const* argv, const std::function<int(const Config&)>& daemon,
            std::ostream& out, std::ostream& err);

}  // namespace pollux::engine
