// The twelve octets in front of every packet on a TUN queue (virtio 1.2, 5.1.6, "struct
// virtio_net_hdr") and the TUN driver's constants. Declared here because linux/virtio_net.h of
// Debian 12 does not compile as C++ and its linux/if_tun.h does not know the newer offloads.
#pragma once

#include <bit>
#include <cstdint>

namespace pollux::vnet {

static_assert(std::endian::native == std::endian::little, "the header is little-endian");

/// Twelve octets and not ten: 12 + IPv4 20 + TCP with timestamps 32 = 64, so in an aligned buffer
/// the payload starts on a cache line.
struct Header {
  std::uint8_t flags = 0;
  std::uint8_t gso_type = 0;
  std::uint16_t hdr_len = 0;      ///< IP and transport headers
  std::uint16_t gso_size = 0;     ///< payload octets per segment
  std::uint16_t csum_start = 0;   ///< where summing starts
  std::uint16_t csum_offset = 0;  ///< of the checksum field from there
  std::uint16_t num_buffers = 0;  ///< TUN ignores it
};
static_assert(sizeof(Header) == 12);

inline constexpr std::uint8_t kNeedsChecksum = 1;  ///< the field holds the pseudo-header sum
inline constexpr std::uint8_t kDataValid = 2;      ///< somebody verified the checksum

inline constexpr std::uint8_t kGsoNone = 0;
inline constexpr std::uint8_t kGsoTcp4 = 1;
inline constexpr std::uint8_t kGsoTcp6 = 4;
inline constexpr std::uint8_t kGsoFragments = 3;  ///< of one datagram (UDP)
inline constexpr std::uint8_t kGsoUdp = 5;        ///< datagrams of equal size (UDP_L4)
inline constexpr std::uint8_t kGsoEcn = 0x80;  ///< the first segment carries CWR (RFC 3168 6.1.2)

}  // namespace pollux::vnet

namespace pollux::tun {

inline constexpr unsigned long kSetInterface = 0x400454ca;   // TUNSETIFF
inline constexpr unsigned long kSetOffload = 0x400454d0;     // TUNSETOFFLOAD
inline constexpr unsigned long kGetInterface = 0x800454d2;   // TUNGETIFF
inline constexpr unsigned long kSetHeaderSize = 0x400454d8;  // TUNSETVNETHDRSZ

inline constexpr unsigned kTun = 0x0001;           // IFF_TUN
inline constexpr unsigned kMultiQueue = 0x0100;    // IFF_MULTI_QUEUE
inline constexpr unsigned kPersist = 0x0800;       // IFF_PERSIST
inline constexpr unsigned kNoPacketInfo = 0x1000;  // IFF_NO_PI
inline constexpr unsigned kVnetHeader = 0x4000;    // IFF_VNET_HDR

inline constexpr unsigned kOffloadChecksum = 0x01;  // TUN_F_CSUM
inline constexpr unsigned kOffloadTso4 = 0x02;      // TUN_F_TSO4
inline constexpr unsigned kOffloadTso6 = 0x04;      // TUN_F_TSO6
inline constexpr unsigned kOffloadTsoEcn = 0x08;    // TUN_F_TSO_ECN

inline constexpr unsigned kOffloadUso = 0x60;  // TUN_F_USO4, TUN_F_USO6: only together

inline constexpr unsigned kMaxQueues = 256;  // MAX_TAP_QUEUES

}  // namespace pollux::tun
