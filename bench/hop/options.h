// The command line of the hop.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "bench/hop/impairment.h"
#include "bench/hop/script.h"

namespace pollux::hop {

/// "NAME" or "NAME@NETNS".
struct DeviceName {
  std::string name;
  std::string netns;  ///< empty: the one that the hop runs in
};

struct Options {
  std::array<DeviceName, 2> devices;  ///< a, b
  std::array<LinkOptions, 2> links;   ///< a>b, b>a
  std::array<std::vector<Rule>, 2> rules;
  std::uint32_t mtu = 1500;
  std::uint32_t txqueuelen = 20'000;
  std::uint64_t seed = 1;
  std::size_t hold = 200'000;  ///< packets under way at most, both directions together
  bool realtime = false;
};

/// Fills `options`. Returns -1 to go on, or the exit status: help was asked for, or a word is
/// wrong.
int parse_command_line(int argc, char** argv, Options& options);

}  // namespace pollux::hop
