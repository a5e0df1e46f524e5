// Many seeds on all cores: each seed has a network of its own, so nothing is shared. A failure
// prints the command that repeats it.
#pragma once

#include <cstdint>
#include <functional>

namespace pollux::sim {

/// What one life came to, for the sums.
struct Lived {
  std::uint64_t connections = 0;
  std::uint64_t packets = 0;
};

/// Runs `life` for seeds 1 .. `seeds` (POLLUX_SEEDS replaces the number, POLLUX_SEED=n runs n
/// alone) and adds a GoogleTest failure for the smallest seed that broke a law.
void sweep(std::uint64_t seeds, const std::function<Lived(std::uint64_t seed)>& life);

/// Assertions of the engine, and worse, end the process: says before with which seed.
void tell_seed_when_killed();

}  // namespace pollux::sim
