// IPv4 (RFC 791) and IPv6 (RFC 8200) headers: parse to one small value for both, emit from it.
#pragma once

#include <cstdint>
#include <variant>

#include "proto/base/addr.h"
#include "proto/base/bytes.h"
#include "proto/base/drop.h"

namespace pollux::wire {

inline constexpr std::uint8_t kProtoIcmp = 1;
inline constexpr std::uint8_t kProtoTcp = 6;
inline constexpr std::uint8_t kProtoUdp = 17;
inline constexpr std::uint8_t kProtoIcmpV6 = 58;

struct IpHeader {
  IpAddr src;
  IpAddr dst;
  std::uint8_t protocol = 0;  ///< of the payload, past all extension headers
  std::uint8_t hop_limit = 64;
  std::uint8_t tos = 0;            ///< DSCP and ECN
  std::uint16_t header_size = 0;   ///< octets to the payload, options/extension headers included
  std::uint16_t payload_size = 0;  ///< octets of payload, by the header's own length

  /// IPv4: whoever sends it on may cut it into fragments; `id` is theirs.
  bool may_fragment = false;

  // Of a fragment. Its payload is a piece, and `protocol` is what the whole begins with.
  bool more_fragments = false;
  std::uint16_t fragment_offset = 0;  ///< octets, a multiple of 8
  std::uint32_t id = 0;               ///< which datagram; IPv4: 16 bits, 0 with DF set (RFC 6864)

  bool is_v4() const { return dst.is_v4(); }
  bool is_fragment() const { return more_fragments || fragment_offset != 0; }
};

inline constexpr std::size_t kIpv4HeaderSize = 20;
inline constexpr std::size_t kIpv6HeaderSize = 40;
constexpr std::size_t ip_header_size(bool v4) { return v4 ? kIpv4HeaderSize : kIpv6HeaderSize; }
/// The same in front of a piece of a datagram.
inline constexpr std::size_t kIpv6FragmentHeaderSize = 8;
constexpr std::size_t fragment_header_size(bool v4) {
  return ip_header_size(v4) + (v4 ? 0 : kIpv6FragmentHeaderSize);
}

/// Parses the IP header(s) in front of `packet`. One truth for the length: total length must
/// fit into the packet; what lies behind it is ignored. IPv4 options and at most
/// kMaxExtensionHeaders IPv6 extension headers are walked with bounds. Returns the reason when the
/// packet must be dropped: ip_malformed, ip_checksum, ip_source_route, ip_extension_headers.
/// Behind the Fragment header of an IPv6 fragment nothing is looked at; an atomic one (offset 0, no
/// more) is no fragment (RFC 6946).
std::variant<IpHeader, DropReason> parse_ip(Bytes packet, bool verify_checksum);

inline constexpr unsigned kMaxExtensionHeaders = 8;

/// Writes an option-less header for `payload_size` octets of payload, IPv4 checksum included.
/// Uses src, dst, protocol, hop_limit, tos, and of a fragment its three. `out` must hold
/// ip_header_size(), or fragment_header_size(). Returns its size.
std::size_t emit_ip(const IpHeader& h, std::size_t payload_size, MutableBytes out);

}  // namespace pollux::wire
