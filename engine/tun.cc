#include "engine/tun.h"

#include <fcntl.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "engine/errno_text.h"
#include "engine/netlink.h"
#include "engine/vnet.h"
#include "proto/base/bytes.h"
#include "proto/wire/ip.h"
#include "proto/wire/tcp.h"
#include "proto/wire/udp.h"
#include "workers/limits.h"

namespace pollux {
namespace {

constexpr const char* kDevicePath = "/dev/net/tun";
constexpr std::size_t kVnetSize = sizeof(vnet::Header);
static_assert(rx_slot_size(limits::kMaxPacket) >= limits::kMaxPacket + kVnetSize);

[[noreturn]] void fail(const std::string& name, const std::string& why) {
  throw std::runtime_error("cannot create TUN device " + name + ": " + why);
}

OwnedFd open_device_file(const std::string& name) {
  OwnedFd fd(open(kDevicePath, O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (fd.get() >= 0) return fd;
  const int error = errno;
  const std::string path(kDevicePath);
  if (error == ENOENT) {
    fail(name, path + " does not exist; load the tun module or pass the device into the container");
  }
  if (error == ENODEV || error == ENXIO) {
    fail(name, path + " has no driver behind it; load the tun module");
  }
  if (error == EACCES || error == EPERM) {
    fail(name,
         "cannot open " + path + ": " + errno_text(error) + "; run as root or grant access to it");
  }
  fail(name, "cannot open " + path + ": " + errno_text(error));
}

std::string explain(int error, const std::string& name, bool existed) {
  switch (error) {
    case EPERM:
      return "operation not permitted; run as root or grant CAP_NET_ADMIN";
    case EBUSY:
      return "the name is in use (" + errno_text(error) + "); choose another tun.name";
    case EINVAL:
      if (existed) return "interface " + name + " exists and is not a multi-queue TUN device";
      return "the kernel does not take the name or multi-queue TUN with a virtio-net header";
    case E2BIG:
      return "the interface has no room for another queue";
    default:
      return errno_text(error);
  }
}

ifreq request_for(const std::string& name, unsigned flags) {
  ifreq request{};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_flags = static_cast<short>(flags);
  return request;
}

/// Attaches one queue; 0 or the errno. Sets `name` to what the kernel made of it.
int attach(int fd, std::string& name, unsigned extra_flags) {
  ifreq request =
      request_for(name, tun::kTun | tun::kNoPacketInfo | tun::kVnetHeader | extra_flags);
  if (ioctl(fd, tun::kSetInterface, &request) != 0) return errno;
  name = request.ifr_name;
  return 0;
}

bool is_persistent(int fd) {
  ifreq request{};
  if (ioctl(fd, tun::kGetInterface, &request) != 0) return false;
  return (static_cast<unsigned>(request.ifr_flags) & tun::kPersist) != 0;
}

std::uint32_t mtu_of(const std::string& name) {
  OwnedFd socket_fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request = request_for(name, 0);
  if (ioctl(socket_fd.get(), SIOCGIFMTU, &request) != 0) {
    throw std::runtime_error("cannot read the MTU of " + name + ": " + errno_text(errno));
  }
  return static_cast<std::uint32_t>(request.ifr_mtu);
}

void check_options(const TunOptions& o) {
  if (o.name.empty() || o.name.size() >= IFNAMSIZ) {
    fail(o.name, "a name has 1 to " + std::to_string(IFNAMSIZ - 1) + " characters");
  }
  if (o.queues == 0 || o.queues > tun::kMaxQueues) {
    fail(o.name, "it can have 1 to " + std::to_string(tun::kMaxQueues) + " queues");
  }
  if (!o.manage && if_nametoindex(o.name.c_str()) == 0) {
    fail(o.name, "tun.manage is false and there is no such interface");
  }
}

constexpr std::uint16_t kProbeSegment = 536;
constexpr std::size_t kProbePayload = kProbeSegment + 10;  // two segments, the second one short

/// Which super-packet a probe is.
struct Probe {
  bool v4 = true;
  bool udp = false;
  bool fragments = false;  ///< one datagram
  std::uint16_t ip_size() const { return v4 ? wire::kIpv4HeaderSize : wire::kIpv6HeaderSize; }
  std::uint16_t header_size() const { return udp ? wire::kUdpHeaderSize : wire::kTcpHeaderSize; }
};

/// A super-packet that the kernel accepts from the device and drops in its IP input: the IPv4 one
/// for its header checksum, the IPv6 one for its loopback source (RFC 4291 2.5.3).
std::vector<std::uint8_t> probe_packet(const Probe& probe) {
  const std::size_t ip_size = probe.ip_size();
  std::vector<std::uint8_t> p(ip_size + probe.header_size() + kProbePayload);
  const auto l4_size = static_cast<std::uint16_t>(probe.header_size() + kProbePayload);
  const std::uint8_t protocol = probe.udp ? wire::kProtoUdp : wire::kProtoTcp;
  if (probe.v4) {
    p[0] = 0x45;
    store_be16(&p[2], static_cast<std::uint16_t>(p.size()));
    p[9] = protocol;
    store_be16(&p[10], 0xdead);
  } else {
    p[0] = 0x60;
    store_be16(&p[4], l4_size);
    p[6] = protocol;
    p[23] = 1;  // from ::1
    p[39] = 1;  // to ::1
  }
  if (probe.udp) {
    store_be16(&p[ip_size + 4], l4_size);
  } else {
    p[ip_size + 12] = 0x50;  // data offset: no options
    p[ip_size + 13] = 0x10;  // ACK
  }
  return p;
}

std::uint8_t gso_type(bool v4, bool udp, bool fragments) {
  if (fragments) return vnet::kGsoFragments;
  if (udp) return vnet::kGsoUdp;
  return v4 ? vnet::kGsoTcp4 : vnet::kGsoTcp6;
}

/// 0, or why the kernel refuses a super-packet with a short tail.
int probe_segmentation(int fd, const Probe& probe) {
  std::vector<std::uint8_t> packet = probe_packet(probe);
  vnet::Header header;
  header.flags = vnet::kNeedsChecksum;
  header.gso_type = gso_type(probe.v4, probe.udp, probe.fragments);
  header.hdr_len = static_cast<std::uint16_t>(probe.ip_size() + probe.header_size());
  header.gso_size = kProbeSegment;
  header.csum_start = probe.ip_size();
  header.csum_offset = probe.udp ? wire::kUdpChecksumOffset : wire::kTcpChecksumOffset;
  const std::array<iovec, 2> iov{{{&header, kVnetSize}, {packet.data(), packet.size()}}};
  return writev(fd, iov.data(), static_cast<int>(iov.size())) < 0 ? errno : 0;
}

vnet::Header header_for(const TxPacket& packet) {
  vnet::Header h;
  // Only the headers go into the linear part of the kernel's buffer, payload into page fragments.
  h.hdr_len = packet.header_size;
  if (packet.partial_checksum) {
    h.flags = vnet::kNeedsChecksum;
    h.csum_start = packet.checksum_start;
    h.csum_offset = packet.checksum_offset;
  }
  if (packet.segment_size != 0) {
    h.gso_size = packet.segment_size;
    const bool udp = packet.checksum_offset == wire::kUdpChecksumOffset;
    h.gso_type = gso_type(packet.v4, udp, packet.fragments);
    if (udp) return h;
    constexpr std::size_t kTcpFlags = 13;
    constexpr std::uint8_t kCwr = 0x80;
    const std::size_t flags_at = packet.checksum_start + kTcpFlags;
    if (flags_at < packet.parts[0].size() && (packet.parts[0][flags_at] & kCwr) != 0) {
      h.gso_type |= vnet::kGsoEcn;
    }
  }
  return h;
}

void describe(const vnet::Header& header, bool trust, RxPacket& packet) {
  const bool checked = (header.flags & (vnet::kNeedsChecksum | vnet::kDataValid)) != 0;
  packet.checksum = checked && trust ? ChecksumState::trusted : ChecksumState::unverified;
  const bool is_super = (header.gso_type & ~vnet::kGsoEcn) != vnet::kGsoNone;
  packet.segment_size = is_super ? header.gso_size : std::uint16_t{0};
}

}  // namespace

TunQueue::TunQueue(OwnedFd fd, const PortCaps& caps, bool trust_checksums)
    : fd_(std::move(fd)), caps_(caps), trust_checksums_(trust_checksums) {}

bool TunQueue::transmit(const TxPacket& packet) noexcept {
  if (packet.parts.empty() || packet.parts.size() > limits::kTxParts) return false;
  vnet::Header header = header_for(packet);
  std::array<iovec, limits::kTxParts + 1> iov;
  iov[0] = {&header, kVnetSize};
  std::size_t n = 1;
  for (const Bytes part : packet.parts) {
    // writev only reads; iovec is shared with readv and has no const.
    iov[n++] = {const_cast<std::uint8_t*>(part.data()), part.size()};
  }
  ssize_t written = 0;
  do {
    written = writev(fd_.get(), iov.data(), static_cast<int>(n));
  } while (written < 0 && errno == EINTR);
  return written >= 0;
}

RxResult TunQueue::discard() noexcept {
  // The driver drops what does not fit, so the header is all that has to be read.
  std::array<std::uint8_t, kVnetSize> scratch;
  const ssize_t n = read(fd_.get(), scratch.data(), scratch.size());
  return n < 0 ? RxResult::empty : RxResult::no_buffer;
}

RxResult TunQueue::receive(BufferPool& pool, RxPacket& packet) noexcept {
  Buffer* buffer = pool.alloc();
  if (buffer == nullptr) return discard();
  const ssize_t n = read(fd_.get(), buffer->data, buffer->capacity);
  if (n < static_cast<ssize_t>(kVnetSize)) {
    pool.recycle(buffer);
    return RxResult::empty;
  }
  buffer->refs = 1;
  vnet::Header header;
  std::memcpy(&header, buffer->data, kVnetSize);
  packet.buffer = buffer;
  packet.hash = 0;
  packet.offset = kVnetSize;
  packet.length = static_cast<std::uint32_t>(n) - static_cast<std::uint32_t>(kVnetSize);
  describe(header, trust_checksums_, packet);
  return RxResult::packet;
}

TunDevice::TunDevice(const TunOptions& options) : name_(options.name) {
  check_options(options);
  std::vector<OwnedFd> fds = open_queues(options);
  caps_.checksum = caps_.segmentation = options.offload && options.trust_checksums;
  negotiate_offload(fds);
  // What the kernel may send is settled here; the self-test below only judges what we may send.
  const bool super_packets = caps_.segmentation;
  set_up_interface(options);
  largest_packet_ = super_packets ? std::uint32_t{limits::kMaxPacket} : caps_.mtu;
  self_test(fds[0].get());
  for (OwnedFd& fd : fds) {
    queues_.push_back(std::make_unique<TunQueue>(std::move(fd), caps_, options.trust_checksums));
  }
}

std::vector<OwnedFd> TunDevice::open_queues(const TunOptions& options) {
  const bool existed = if_nametoindex(name_.c_str()) != 0;
  std::vector<OwnedFd> fds;
  for (unsigned i = 0; i < options.queues; ++i) {
    OwnedFd fd = open_device_file(name_);
    int error = attach(fd.get(), name_, tun::kMultiQueue);
    if (error == EINVAL && existed && options.queues == 1) error = attach(fd.get(), name_, 0);
    if (error != 0) fail(name_, explain(error, name_, existed));
    // A queue more on somebody else's device would take part of their flows.
    if (i == 0 && existed && options.manage && !is_persistent(fd.get())) {
      fail(name_, explain(EBUSY, name_, existed));
    }
    int header_size = kVnetSize;
    if (ioctl(fd.get(), tun::kSetHeaderSize, &header_size) != 0) {
      fail(name_, "cannot set the virtio-net header size: " + errno_text(errno));
    }
    fds.push_back(std::move(fd));
  }
  return fds;
}

/// Asks for the most and steps back where the kernel says no. Everything needs CSUM, and both TSO
/// families come together: a capability holds for every flow.
void TunDevice::negotiate_offload(const std::vector<OwnedFd>& fds) {
  constexpr unsigned kTso = tun::kOffloadChecksum | tun::kOffloadTso4 | tun::kOffloadTso6;
  constexpr unsigned kTsoEcn = kTso | tun::kOffloadTsoEcn;
  std::vector<unsigned> steps{0};
  if (caps_.checksum) {
    steps = {kTsoEcn | tun::kOffloadUso, kTsoEcn, kTso, tun::kOffloadChecksum, 0};
  }
  for (const unsigned offload : steps) {
    bool accepted = true;
    for (const OwnedFd& fd : fds) accepted &= ioctl(fd.get(), tun::kSetOffload, offload) == 0;
    if (!accepted) continue;
    if (caps_.segmentation && (offload & kTso) != kTso) {
      warnings_.push_back("the kernel refuses segmentation offload on " + name_ + ": " +
                          (offload == 0 ? "no offload at all" : "checksum offload only"));
    }
    caps_.checksum = (offload & tun::kOffloadChecksum) != 0;
    caps_.segmentation = (offload & kTso) == kTso;
    caps_.datagram_segmentation = (offload & tun::kOffloadUso) == tun::kOffloadUso;
    caps_.datagram_fragmentation = caps_.segmentation;  // nothing to ask for: the self-test tells
    return;
  }
  fail(name_, "cannot set offloads: " + errno_text(errno));
}

void TunDevice::set_up_interface(const TunOptions& options) {
  if (!options.manage) {
    caps_.mtu = mtu_of(name_);
    return;
  }
  InterfaceOptions interface;
  interface.name = name_;
  interface.mtu = options.mtu;
  interface.txqueuelen = options.txqueuelen;
  interface.host_addresses = options.host_addresses;
  interface.routes = options.routes;
  std::vector<std::string> lines = configure_interface(interface);
  warnings_.insert(warnings_.end(), lines.begin(), lines.end());
  caps_.mtu = options.mtu;
  caps_.queue_packets = options.txqueuelen;
}

/// Some kernels refuse a super-packet whose last segment is short (Linux 6.6.44, 6.10.3 and others
/// of that summer): every bulk transfer would stall there.
void TunDevice::self_test(int fd) {
  const auto refused = [fd](Probe probe) {
    for (const bool v4 : {true, false}) {
      probe.v4 = v4;
      const int error = probe_segmentation(fd, probe);
      // EIO: the interface, which is not ours to touch, is down; nothing can be said.
      if (error != 0 && error != EIO) return error;
    }
    return 0;
  };
  const auto judge = [&](const Probe& probe, bool& capability, const char* what) {
    const int error = capability ? refused(probe) : 0;
    if (error == 0) return;
    capability = false;
    warnings_.push_back(std::string("the kernel refuses ") + what + " on " + name_ + " (" +
                        errno_text(error) + "); sending without that offload");
  };
  judge({.udp = false}, caps_.segmentation, "super-packets");
  judge({.udp = true}, caps_.datagram_segmentation, "super-datagrams");
  judge({.udp = true, .fragments = true}, caps_.datagram_fragmentation,
        "datagrams longer than the MTU");
}

}  // namespace pollux
