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

/// An answer to an echo request of ours (or to nobody's).
struct EchoReply {
  IpAddr local;
  IpAddr remote;
  std::uint8_t hop_limit = 0;  ///< TTL that is left
  std::uint16_t id = 0;
  std::uint16_t sequence = 0;
  Bytes data;
};

/// An ICMP error about an echo request of ours (or about nobody's).
struct EchoError {
  IpAddr local;
  IpAddr remote;
  IpAddr from;  ///< who says so
  std::uint16_t id = 0;
  std::uint16_t sequence = 0;
  std::uint8_t type = 0;  ///< of the error, of ICMP or ICMPv6 as `from` is
  std::uint8_t code = 0;
  std::uint32_t mtu = 0;  ///< where the packet was too long, else 0
};

inline constexpr std::size_t kHeaderSize = 8;
inline constexpr std::size_t kChecksumOffset = 2;

/// Writes the header of an echo request with a zero checksum field; `out` must hold kHeaderSize.
void emit_echo_request(bool v4, std::uint16_t id, std::uint16_t sequence, MutableBytes out);

/// True when `message`, the payload of a packet of `protocol`, is an ICMP error: destination
/// unreachable, source quench, redirect, time exceeded, parameter problem; every ICMPv6 type below
/// 128 (RFC 4443 2.1). About those no error is sent (RFC 1122 3.2.2).
bool is_error(std::uint8_t protocol, Bytes message);

/// True when `message` is an echo request or reply.
bool is_echo(std::uint8_t protocol, Bytes message);

/// Judges a message. `message` is the IP payload. Source Quench, redirects and other answers are
/// icmp_ignored; wrong checksum or truncation is icmp_malformed.
using Judgement = std::variant<EchoRequest, EchoReply, Error, EchoError, DropReason>;
Judgement parse(const wire::IpHeader& ip, Bytes message, bool verify_checksum);

}  // namespace pollux::icmp
