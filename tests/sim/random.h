// The one source of chance of a simulated network: everything drawn comes from its seed.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <random>

namespace pollux::sim {

using Random = std::mt19937_64;

/// 0 .. n-1. The modulo's bias is far below what any test could see, and it is the same on every
/// library, which std::uniform_int_distribution is not.
inline std::uint64_t below(Random& r, std::uint64_t n) { return n == 0 ? 0 : r() % n; }
/// Both ends included.
inline std::uint64_t between(Random& r, std::uint64_t lo, std::uint64_t hi) {
  return lo + below(r, hi - lo + 1);
}
inline bool chance(Random& r, double p) { return static_cast<double>(r() >> 11) * 0x1.0p-53 < p; }
template <class T>
T pick(Random& r, std::initializer_list<T> of) {
  return of.begin()[below(r, of.size())];
}

}  // namespace pollux::sim
