// A TUN device without offloads: every packet that is read or written is at most MTU-sized and
// carries full checksums.
#pragma once

#include <cstddef>
#include <cstdint>

#include "bench/hop/options.h"
#include "proto/base/bytes.h"

namespace pollux::hop {

class Device {
 public:
  /// Opens or makes it in its namespace, sets MTU and queue length, and sets it up. Throws
  /// std::runtime_error.
  Device(const DeviceName& name, std::uint32_t mtu, std::uint32_t txqueuelen);
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  ~Device();

  /// Octets of the next packet, 0 when there is none.
  std::size_t read(MutableBytes buffer);
  bool write(Bytes packet);
  int fd() const { return fd_; }

 private:
  int fd_ = -1;
};

}  // namespace pollux::hop
