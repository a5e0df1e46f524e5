// Values of iperf3's options, in the forms that iperf3 takes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace pollux::engine {

/// "10M": a number and K, M, G or T, in powers of `base`; 1e18 at most.
std::optional<std::uint64_t> scaled(const std::string& text, double base);

/// A type of service: 32, 0x20 or 040; 255 at most.
std::optional<unsigned> tos_of(const std::string& text);

/// A DSCP by number, 63 at most, or by name (RFC 2474, 2597, 3246, 8622, and what RFC 791 had).
std::optional<unsigned> dscp_of(std::string text);

struct Rate {
  std::uint64_t bits = 0;                   ///< a second; 0: any
  std::optional<std::uint64_t> burst = {};  ///< blocks that are sent together, 1 to 1000
};
/// "10M" or "10M/20".
std::optional<Rate> rate_of(const std::string& text);

}  // namespace pollux::engine
