// Connections that are open and silent, for the memory that they take.
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "bench/load/client.h"

namespace pollux::load {

nlohmann::json idle(const Options& options) {
  constexpr std::uint64_t kOthers = 64;
  raise_descriptor_limit(options.connections + kOthers);
  std::vector<Fd> held;
  held.reserve(options.connections);
  for (std::uint32_t i = 0; i < options.connections; ++i) {
    held.push_back(connect_to(options.target(i)));
  }
  const nlohmann::json figures{{"open", held.size()}};
  std::puts(figures.dump().c_str());
  std::fflush(stdout);
  char octet = 0;
  while (read(STDIN_FILENO, &octet, 1) > 0 || errno == EINTR) errno = 0;
  return figures;
}

}  // namespace pollux::load
