// What the stubs know of a packet: one look at what came in, one way to lay out what goes out.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>

#include "proto/base/bytes.h"
#include "proto/wire/ip.h"
#include "proto/wire/tcp.h"
#include "workers/packet.h"
#include "workers/port.h"

namespace pollux::stubs {

using Instant = std::chrono::steady_clock::time_point;

/// A TCP segment, or a super-packet of several, as it came in.
struct Arrived {
  wire::IpHeader ip;
  wire::TcpHeader tcp;
  Bytes payload;

  bool has(std::uint8_t flag) const { return tcp.has(flag); }
  /// One past the last octet of sequence space that it takes (RFC 9293 3.4).
  Seq end() const;
};

/// False when it is not TCP or is malformed. Checksums are not looked at.
bool parse(Bytes packet, Arrived& out);

/// Lays out headers in front of a payload that stays where it is.
class Composer {
 public:
  explicit Composer(const PortCaps& caps) : caps_(caps) {}

  /// The packet is valid until the next call, and as long as `payload` lives. More payload than
  /// `mss` makes a super-packet, which only a device with segmentation takes.
  const TxPacket& compose(const IpAddr& from, const IpAddr& to, const wire::TcpHeader& tcp,
                          Bytes payload, std::uint16_t mss);

 private:
  void set_checksum(const IpAddr& from, const IpAddr& to, std::size_t ip_size, std::size_t tcp_size,
                    Bytes payload);

  PortCaps caps_;
  std::array<std::uint8_t, wire::kIpv6HeaderSize + wire::kTcpMaxHeaderSize> headers_{};
  std::array<Bytes, 2> parts_{};
  TxPacket packet_;
};

}  // namespace pollux::stubs
