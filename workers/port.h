// The seam between a worker and the device: packets out, and packets in where the worker polls.
#pragma once

#include <cstddef>
#include <span>

#include "workers/packet.h"

namespace pollux {

/// What a port can do with what it is given.
struct PortCaps {
  std::uint32_t mtu = 1500;             ///< octets of one IP packet on the wire
  bool checksum = false;                ///< takes partial checksums
  bool segmentation = false;            ///< takes TCP super-packets up to 65,535 octets
  bool datagram_segmentation = false;   ///< the same of UDP (USO)
  bool datagram_fragmentation = false;  ///< takes datagrams longer than the MTU (UFO)
  /// Packets that may wait to be received before the device drops more; 0: nobody knows.
  std::uint32_t queue_packets = 0;
};

/// Where a worker transmits. Used by that worker's thread only.
class TxPort {
 public:
  virtual ~TxPort() = default;
  /// Sends at once. False when the device refused (the caller counts tx_error).
  virtual bool transmit(const TxPacket& packet) noexcept = 0;
  virtual const PortCaps& caps() const noexcept = 0;
};

/// Where a worker gets packets: its rings, and in inline mode its own queue.
class RxSource {
 public:
  virtual ~RxSource() = default;
  /// Fills `out` with packets that belong to this worker, returns how many; 0 when there are none.
  virtual std::size_t poll(std::span<RxPacket> out) noexcept = 0;
  /// The last poll() stopped at a bound of its own: more packets wait.
  virtual bool more() const noexcept { return false; }
};

}  // namespace pollux
