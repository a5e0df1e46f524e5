// The seam between the RX stage and a queue of a device: tests feed the stage from memory.
#pragma once

#include <cstdint>

#include "workers/packet.h"
#include "workers/pool.h"

namespace pollux {

enum class RxResult : std::uint8_t {
  packet,     ///< there is one, its descriptor owns one reference of the buffer
  empty,      ///< nothing there now
  no_buffer,  ///< there was one and it is gone: the pool is exhausted
};

class PacketQueue {
 public:
  virtual ~PacketQueue() = default;
  /// Takes one packet without waiting.
  virtual RxResult receive(BufferPool& pool, RxPacket& packet) noexcept = 0;
  /// What to wait on for a packet; -1 where there is nothing.
  virtual int fd() const noexcept = 0;
};

/// Slots of a pool that receive() is given must have this many octets: a packet of the largest
/// size and the header in front of it, rounded to cache lines.
constexpr std::uint32_t rx_slot_size(std::uint32_t largest_packet) {
  return (largest_packet + 12 + 63) / 64 * 64;
}

}  // namespace pollux
