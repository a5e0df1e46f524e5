#include "proto/wire/udp.h"

#include "proto/wire/checksum.h"

namespace pollux::wire {
namespace {

bool checksum_ok(const IpHeader& ip, Bytes datagram) {
  ChecksumSum sum;
  add_pseudo_header(sum, ip.src, ip.dst, kProtoUdp, static_cast<std::uint32_t>(datagram.size()));
  sum.add(datagram);
  return sum.fold() == 0xffff;
}

}  // namespace

std::variant<UdpHeader, DropReason> parse_udp(const IpHeader& ip, Bytes datagram,
                                              bool verify_checksum) {
  if (datagram.size() < kUdpHeaderSize) return DropReason::udp_malformed;
  UdpHeader h;
  h.src_port = load_be16(&datagram[0]);
  h.dst_port = load_be16(&datagram[2]);
  h.length = load_be16(&datagram[4]);
  if (h.length < kUdpHeaderSize || h.length > datagram.size() || h.dst_port == 0) {
    return DropReason::udp_malformed;
  }
  if (load_be16(&datagram[kUdpChecksumOffset]) == 0) {  // none was computed
    if (ip.is_v4()) return h;
    return DropReason::udp_checksum;
  }
  if (verify_checksum && !checksum_ok(ip, datagram.first(h.length))) {
    return DropReason::udp_checksum;
  }
  return h;
}

std::size_t emit_udp(const UdpHeader& h, std::size_t payload_size, MutableBytes out) {
  store_be16(&out[0], h.src_port);
  store_be16(&out[2], h.dst_port);
  store_be16(&out[4], static_cast<std::uint16_t>(kUdpHeaderSize + payload_size));
  store_be16(&out[kUdpChecksumOffset], 0);
  return kUdpHeaderSize;
}

}  // namespace pollux::wire
