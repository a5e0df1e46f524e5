// The TUN device: one interface, N queues, each of them a port to transmit on and a queue to
// receive from. A packet may be a super-packet of up to 65,535 octets both ways.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/owned_fd.h"
#include "engine/packet_queue.h"
#include "proto/base/addr.h"
#include "workers/port.h"

namespace pollux {

struct TunOptions {
  std::string name = "pollux0";  ///< may hold a "%d" that the kernel fills in
  unsigned queues = 1;
  bool offload = true;  ///< partial checksums and super-packets, both ways
  /// False: every checksum is verified and computed in software. That rules out partial checksums
  /// and with them offload.
  bool trust_checksums = true;
  std::uint32_t mtu = 1500;
  /// False: the interface exists already and is left as it is, its own MTU holds.
  bool manage = true;
  std::uint32_t txqueuelen = 1000;
  std::vector<Prefix> host_addresses;
  std::vector<Prefix> routes;
};

/// One queue. One thread may transmit while another receives: the two halves share nothing that
/// is written.
class TunQueue final : public TxPort, public PacketQueue {
 public:
  TunQueue(OwnedFd fd, const PortCaps& caps, bool trust_checksums);

  /// One writev: [virtio-net header][parts...]. False when the kernel refused it.
  bool transmit(const TxPacket& packet) noexcept override;
  const PortCaps& caps() const noexcept override { return caps_; }

  /// One read, straight into a slot: the IP header starts 12 octets in, so that the payload behind
  /// IPv4 and TCP with timestamps starts on a cache line.
  RxResult receive(BufferPool& pool, RxPacket& packet) noexcept override;
  int fd() const noexcept override { return fd_.get(); }

 private:
  friend class TunDevice;
  RxResult discard() noexcept;

  const OwnedFd fd_;
  PortCaps caps_;
  const bool trust_checksums_;
};

/// The device. While it lives the interface exists; one that it made goes with it.
class TunDevice {
 public:
  /// Opens the queues, probes the offloads and, with `manage`, sets the interface up. Throws
  /// std::runtime_error with one line saying what failed and what would help.
  explicit TunDevice(const TunOptions& options);

  const std::string& name() const { return name_; }
  unsigned queues() const { return static_cast<unsigned>(queues_.size()); }
  TunQueue& queue(unsigned i) { return *queues_[i]; }
  const PortCaps& caps() const { return caps_; }
  /// The largest packet that the kernel may hand over: what a receive pool's slots must hold.
  std::uint32_t largest_packet() const { return largest_packet_; }
  /// What did not work and was done without, one line each, for the log.
  const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  std::vector<OwnedFd> open_queues(const TunOptions& options);
  void negotiate_offload(const std::vector<OwnedFd>& fds);
  void set_up_interface(const TunOptions& options);
  void self_test(int fd);

  std::string name_;
  PortCaps caps_;
  std::uint32_t largest_packet_ = 0;
  std::vector<std::unique_ptr<TunQueue>> queues_;
  std::vector<std::string> warnings_;
};

}  // namespace pollux
