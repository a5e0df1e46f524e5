// UDP datagrams on the wire (RFC 768; over IPv6 RFC 8200 8.1).
#pragma once

#include <cstdint>
#include <variant>

#include "proto/base/addr.h"
#include "proto/base/bytes.h"
#include "proto/base/drop.h"
#include "proto/wire/ip.h"

namespace pollux::wire {

inline constexpr std::size_t kUdpHeaderSize = 8;
inline constexpr std::size_t kUdpChecksumOffset = 6;

struct UdpHeader {
  std::uint16_t src_port = 0;  ///< 0: the sender wants no answer
  std::uint16_t dst_port = 0;
  std::uint16_t length = 0;  ///< octets of header and payload; what lies behind is ignored
};

/// Parses the header of `datagram`, the payload of `ip`. udp_malformed: shorter than a header, a
/// length that is smaller than that or larger than what is there, or destination port 0.
/// udp_checksum: wrong where `verify_checksum`, or absent over IPv6, where it must not be.
std::variant<UdpHeader, DropReason> parse_udp(const IpHeader& ip, Bytes datagram,
                                              bool verify_checksum);

/// Writes a header for `payload_size` octets with a zero checksum field; returns its size. `out`
/// must hold kUdpHeaderSize.
std::size_t emit_udp(const UdpHeader& h, std::size_t payload_size, MutableBytes out);

}  // namespace pollux::wire
