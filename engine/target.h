// Where connections go that the engine opens for somebody: "host:port" and which addresses may be
// reached that way.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proto/base/addr.h"

namespace pollux {

struct Target {
  std::string host;  ///< an address without brackets, or a name
  std::uint16_t port = 0;
  /// The address, when `host` is one.
  std::optional<IpAddr> address() const { return IpAddr::parse(host); }
};

/// "198.18.0.1:80", "[2001:2::1]:80", "db.example.net:5432"; nullopt: none of them.
std::optional<Target> parse_target(std::string_view text);

/// Whether somebody else's connections may be led to `a`. With an empty list: all but what only the
/// host itself or its own link should reach, as 127.0.0.1 or a cloud's 169.254.169.254. A list is
/// the whole truth: what is on it may be reached, whatever it is.
bool may_reach(const IpAddr& a, const std::vector<Prefix>& allow);

/// The addresses of `target`, by the host's resolver, which may take its time: not for a worker's
/// thread. Throws std::runtime_error("cannot resolve ...").
std::vector<Endpoint> resolve(const Target& target);

}  // namespace pollux
