// ICMP (RFC 792) and ICMPv6 (RFC 4443): answer echo, hand errors about our flows to transport.
#pragma once

#include <cstdint>
#include <optional>
#include <variant>

#include "proto/base/addr.h"
#include "proto/base/bytes.h"
#include "proto/base/drop.h"
#include "proto/base/seq.h"
#include "proto/wire/ip.h"

namespace pollux::icmp {

/// What an ICMP error says about one of our flows (RFC 5927: seq lets TCP check it).
struct Error {
  enum class Kind : std::uint8_t { soft, hard, packet_too_big };
  FlowKey flow;  ///< as the engine sees it: local is the embedded source
  std::uint8_t protocol = 0;
  Kind kind = Kind::soft;
  std::uint32_t mtu = 0;  ///< next-hop MTU with packet_too_big, else 0
  Seq seq;                ///< sequence number of the embedded TCP segment
};

/// An echo request to answer: the reply is the message itself with `type` and `checksum` replaced.
struct EchoRequest {
  std::uint8_t reply_type = 0;       ///< 0 (ICMP) or 129 (ICMPv6)
  std::uint16_t reply_checksum = 0;  ///< incremental update of the request's (RFC 1624)
};

/// Judges a message. `message` is the IP payload. Source Quench, redirects and answers are
/// icmp_ignored; wrong checksum or truncation is icmp_malformed.
std::variant<EchoRequest, Error, DropReason> parse(const wire::IpHeader& ip, Bytes message,
                                                   bool verify_checksum);

}  // namespace pollux::icmp
