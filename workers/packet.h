// A packet on its way in (a descriptor: what rings carry) and on its way out.
#pragma once

#include <cstdint>
#include <span>

#include "proto/base/buffer.h"

namespace pollux {

enum class ChecksumState : std::uint8_t {
  unverified,  ///< nobody looked: verify
  trusted,     ///< partial or already verified: the payload checksum is not computed
};

/// A received IP packet: `length` octets at `offset` of the buffer, which the descriptor owns one
/// reference of. Trivially copyable: rings copy it.
struct RxPacket {
  Buffer* buffer = nullptr;
  std::uint32_t hash = 0;  ///< flow_hash of the packet's flow; 0 when it is not TCP/UDP
  std::uint32_t length = 0;
  std::uint16_t offset = 0;
  std::uint16_t segment_size = 0;  ///< GSO size of a super-packet, else 0
  ChecksumState checksum = ChecksumState::unverified;

  Bytes bytes() const { return {buffer->data + offset, length}; }
};

/// A packet to send. `parts[0]` holds all headers, the rest is payload; the port copies or sends
/// before it returns, nothing is kept.
struct TxPacket {
  std::span<const Bytes> parts;
  std::uint16_t header_size = 0;      ///< IP and transport headers, all within parts[0]
  std::uint16_t segment_size = 0;     ///< payload octets per segment when longer than one, else 0
  std::uint16_t checksum_start = 0;   ///< offset of the transport header
  std::uint16_t checksum_offset = 0;  ///< of the checksum field within it
  bool partial_checksum = false;      ///< the field holds the pseudo-header sum only
  bool fragments = false;             ///< `segment_size` is that of one datagram's fragments
  bool v4 = true;
};

}  // namespace pollux
