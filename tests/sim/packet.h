// What travels through the simulator: octets from the IP header on, and a TCP segment taken apart,
// so that devices on the way can change it and put it together again with right checksums.
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <vector>

#include "proto/base/seq.h"
#include "proto/wire/ip.h"
#include "proto/wire/tcp.h"
#include "workers/packet.h"

namespace pollux::sim {

/// Where the oracle speaks: what() says which law was broken.
struct Broken : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Packet {
  std::vector<std::uint8_t> octets{};
  std::uint16_t segment_size = 0;  ///< nonzero: a super-packet of segments of this size
  ChecksumState checksum = ChecksumState::unverified;
  bool corrupt = false;  ///< a fault flipped a bit; its receiver must drop it
};

/// Options as they are on the wire, unknown ones too; no NOP, no END.
struct Option {
  std::uint8_t kind = 0;
  std::vector<std::uint8_t> body;
};
namespace option {
inline constexpr std::uint8_t mss = 2, window_scale = 3, sack_permitted = 4, sack = 5,
                              timestamps = 8, unknown = 253;
}

struct Segment {
  wire::IpHeader ip;
  std::uint16_t src_port = 0;
  std::uint16_t dst_port = 0;
  Seq seq;
  Seq ack;
  std::uint8_t reserved = 0;  ///< the four bits that must be zero
  std::uint8_t flags = 0;
  std::uint16_t window = 0;
  std::uint16_t urgent = 0;
  std::vector<Option> options;
  std::vector<std::uint8_t> payload;

  bool has(std::uint8_t f) const { return (flags & f) != 0; }
  std::size_t option_octets() const;
};

/// nullopt when it is no TCP segment, or one that is malformed.
std::optional<Segment> take_apart(const Packet& p);
/// The same segment on the wire, lengths and checksums right; options that do not fit are left off.
Packet put_together(const Segment& s, std::uint16_t segment_size, ChecksumState checksum);

/// Pieces of at most `size` octets of payload; FIN and PSH stay with the last, as a device with
/// segmentation offload does it.
std::vector<Segment> cut(const Segment& s, std::size_t size);

/// Acknowledges and does nothing else.
bool is_pure_ack(const Packet& p);

/// Octets of the largest IP packet that this is on the wire.
std::size_t wire_size(const Packet& p);
/// A router's answer to a packet that does not fit: ICMP 3/4 (RFC 1191) or ICMPv6 2/0 (RFC 4443).
Packet too_big(const Packet& dropped, std::uint32_t mtu);

}  // namespace pollux::sim
