// Addresses, endpoints and flow keys of both families in one shape: an IPv4 address is held as
// its IPv4-mapped IPv6 form (RFC 4291 2.5.5.2), so comparing and hashing never branch on family.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "proto/base/bytes.h"

namespace pollux {

class IpAddr {
 public:
  constexpr IpAddr() = default;
  static constexpr IpAddr v4(std::uint32_t host_order) {
    IpAddr a;
    a.b_[10] = a.b_[11] = 0xff;
    for (unsigned i = 0; i < 4; ++i) {
      a.b_[12 + i] = static_cast<std::uint8_t>(host_order >> (24 - 8 * i));
    }
    return a;
  }
  static IpAddr from_v4_octets(const std::uint8_t* p) {
    IpAddr a;
    a.b_[10] = a.b_[11] = 0xff;
    std::memcpy(a.b_.data() + 12, p, 4);
    return a;
  }
  static IpAddr from_v6_octets(const std::uint8_t* p) {
    IpAddr a;
    std::memcpy(a.b_.data(), p, 16);
    return a;
  }
  /// Parses dotted-quad IPv4 or RFC 4291 text IPv6; nullopt when it is neither.
  static std::optional<IpAddr> parse(std::string_view text);

  constexpr bool is_v4() const { return high() == 0 && low() >> 32U == 0xffff; }
  constexpr std::uint32_t v4_value() const {
    return (std::uint32_t{b_[12]} << 24) | (std::uint32_t{b_[13]} << 16) |
           (std::uint32_t{b_[14]} << 8) | std::uint32_t{b_[15]};
  }
  /// All 16 octets; the last 4 are the address of an IPv4 one.
  constexpr const std::array<std::uint8_t, 16>& octets() const { return b_; }

  /// True for 0/8, 127/8, 224/4, 240/4 (with broadcast), ::, ::1 and ff00::/8: never a legal
  /// source of a segment (RFC 1122 3.2.1.3, RFC 9293 MUST-63).
  bool is_never_source() const;
  bool is_multicast_or_broadcast() const;
  /// RFC 5952 text.
  std::string to_string() const;

  /// The octets as two numbers, for comparing many at once.
  constexpr std::uint64_t high() const { return be64(0); }
  constexpr std::uint64_t low() const { return be64(8); }

  constexpr bool operator==(const IpAddr& o) const {
    return high() == o.high() && low() == o.low();
  }

 private:
  constexpr std::uint64_t be64(std::size_t at) const {
    return (std::uint64_t{load_be32(b_.data() + at)} << 32U) | load_be32(b_.data() + at + 4);
  }
  std::array<std::uint8_t, 16> b_{};
};

struct Endpoint {
  IpAddr addr;
  std::uint16_t port = 0;
  constexpr bool operator==(const Endpoint&) const = default;
  /// "198.18.0.2:80" or "[2001:2::2]:80".
  std::string to_string() const;
};

/// The two ends of a flow as the engine sees them.
struct FlowKey {
  Endpoint local;
  Endpoint remote;
  constexpr bool operator==(const FlowKey&) const = default;
};

/// A CIDR prefix; `length` counts in the family's own bits (0..32 or 0..128).
struct Prefix {
  IpAddr addr;
  std::uint8_t length = 0;
  bool contains(const IpAddr& a) const;
  bool is_host() const { return length == (addr.is_v4() ? 32 : 128); }  ///< one address
  /// Whether `a` in here is not one host but a group: multicast, or the broadcast address of this
  /// network, all ones (RFC 922). A network of two addresses has none (RFC 3021).
  bool is_group(const IpAddr& a) const;
  /// Parses "198.18.0.0/16" or a bare address (a host prefix).
  static std::optional<Prefix> parse(std::string_view text);
  std::string to_string() const;
};

}  // namespace pollux
