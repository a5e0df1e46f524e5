// TCP segments on the wire (RFC 9293 3.1, options of RFC 7323, RFC 2018, RFC 5482 and RFC 7413).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "proto/base/addr.h"
#include "proto/base/bytes.h"
#include "proto/base/seq.h"

namespace pollux::wire {

namespace tcp_flag {
inline constexpr std::uint8_t fin = 0x01, syn = 0x02, rst = 0x04, psh = 0x08, ack = 0x10,
                              urg = 0x20, ece = 0x40, cwr = 0x80;
}

struct SackBlock {
  Seq begin;
  Seq end;  ///< one past the last octet
  constexpr bool operator==(const SackBlock&) const = default;
};

struct TcpTimestamps {
  std::uint32_t value = 0;
  std::uint32_t echo = 0;
  constexpr bool operator==(const TcpTimestamps&) const = default;
};

/// Fast Open (RFC 7413 2): size 0 asks for a cookie.
struct FastOpenCookie {
  std::uint8_t size = 0;
  std::array<std::uint8_t, 16> octets{};
  constexpr bool operator==(const FastOpenCookie&) const = default;
};

/// The options that the engine knows; unknown ones are skipped (MUST-6).
struct TcpOptions {
  std::optional<std::uint16_t> mss;          ///< only valid on SYN (MUST-65)
  std::optional<std::uint8_t> window_scale;  ///< raw shift, may exceed 14
  bool sack_permitted = false;
  std::optional<TcpTimestamps> timestamps;
  std::optional<std::uint32_t> user_timeout_s;  ///< RFC 5482, seconds; sent cut to what it can say
  std::optional<FastOpenCookie> fast_open;      ///< only on SYN
  std::uint8_t sack_count = 0;
  SackBlock sack[4];
};

struct TcpHeader {
  std::uint16_t src_port = 0;
  std::uint16_t dst_port = 0;
  Seq seq;
  Seq ack;
  std::uint8_t flags = 0;
  std::uint16_t window = 0;  ///< as on the wire, unscaled
  std::uint16_t urgent = 0;
  TcpOptions options;

  bool has(std::uint8_t f) const { return (flags & f) != 0; }
};

inline constexpr std::size_t kTcpHeaderSize = 20;
inline constexpr std::size_t kTcpTimestampsSize = 12;  ///< of the option with its padding
inline constexpr std::size_t kTcpMaxHeaderSize = 60;
inline constexpr std::size_t kTcpChecksumOffset = 16;

/// Parses the header of `segment` (header and payload). Returns the header's size in octets, or 0
/// when it is malformed: data offset below 5 or past the end, or an option of illegal length
/// (MUST-7). The common layout NOP,NOP,TS is taken without walking. The checksum is not looked at.
std::size_t parse_tcp(Bytes segment, TcpHeader& out);

/// Size that emit_tcp will write: a multiple of 4, at most 60.
std::size_t tcp_header_size(const TcpOptions& options);

/// Writes header and options with a zero checksum field. SACK blocks that do not fit are left off.
/// Returns the header's size. `out` must hold kTcpMaxHeaderSize.
std::size_t emit_tcp(const TcpHeader& h, MutableBytes out);

/// True when the checksum over the pseudo-header and `segment` holds.
bool tcp_checksum_ok(const IpAddr& src, const IpAddr& dst, Bytes segment);

/// "SYN,ACK" and the like, for logs and tests.
std::string tcp_flags_to_string(std::uint8_t flags);

}  // namespace pollux::wire
