// IPv4 packets with TCP as the hop would read them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "proto/base/addr.h"
#include "proto/wire/checksum.h"
#include "proto/wire/ip.h"
#include "proto/wire/tcp.h"

namespace pollux::hop::test {

using Packet = std::vector<std::uint8_t>;
inline constexpr std::uint32_t kIsn = 0xffff'f000;  // the stream wraps early

inline const Endpoint kSender{IpAddr::v4(0xc6120001), 1000};
inline const Endpoint kReceiver{IpAddr::v4(0xc6120002), 2000};

inline Packet tcp_packet(wire::TcpHeader tcp, std::size_t payload) {
  tcp.src_port = kSender.port;
  tcp.dst_port = kReceiver.port;
  const std::size_t tcp_size = wire::tcp_header_size(tcp.options);
  Packet packet(wire::kIpv4HeaderSize + tcp_size + payload, 0x5a);
  wire::IpHeader ip;
  ip.src = kSender.addr;
  ip.dst = kReceiver.addr;
  ip.protocol = wire::kProtoTcp;
  wire::emit_ip(ip, tcp_size + payload, packet);
  const MutableBytes segment = MutableBytes(packet).subspan(wire::kIpv4HeaderSize);
  Packet header(wire::kTcpMaxHeaderSize);
  wire::emit_tcp(tcp, header);
  std::copy_n(header.begin(), tcp_size, segment.begin());
  wire::ChecksumSum sum;
  wire::add_pseudo_header(sum, ip.src, ip.dst, ip.protocol,
                          static_cast<std::uint32_t>(segment.size()));
  sum.add(segment);
  store_be16(&segment[wire::kTcpChecksumOffset], sum.checksum());
  return packet;
}

inline Packet data(std::uint64_t offset, std::size_t octets, std::uint8_t flags = 0) {
  wire::TcpHeader tcp;
  tcp.seq = Seq(kIsn) + 1 + static_cast<std::uint32_t>(offset);
  tcp.flags = static_cast<std::uint8_t>(wire::tcp_flag::ack | flags);
  return tcp_packet(tcp, octets);
}

inline Packet syn() {
  wire::TcpHeader tcp;
  tcp.seq = Seq(kIsn);
  tcp.flags = wire::tcp_flag::syn;
  tcp.options.mss = 1460;
  tcp.options.sack_permitted = true;
  tcp.options.timestamps = wire::TcpTimestamps{1, 2};
  tcp.options.window_scale = 7;
  return tcp_packet(tcp, 0);
}

}  // namespace pollux::hop::test
