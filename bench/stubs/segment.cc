#include "bench/stubs/segment.h"

#include <variant>

#include "proto/wire/checksum.h"

namespace pollux::stubs {

Seq Arrived::end() const {
  return tcp.seq + static_cast<std::uint32_t>(payload.size()) +
         (has(wire::tcp_flag::syn) ? 1U : 0U) + (has(wire::tcp_flag::fin) ? 1U : 0U);
}

bool parse(Bytes packet, Arrived& out) {
  const auto ip = wire::parse_ip(packet, false);
  if (!std::holds_alternative<wire::IpHeader>(ip)) return false;
  out.ip = std::get<wire::IpHeader>(ip);
  if (out.ip.protocol != wire::kProtoTcp) return false;
  const Bytes segment = packet.subspan(out.ip.header_size, out.ip.payload_size);
  const std::size_t header = wire::parse_tcp(segment, out.tcp);
  if (header == 0) return false;
  out.payload = segment.subspan(header);
  return true;
}

const TxPacket& Composer::compose(const IpAddr& from, const IpAddr& to, const wire::TcpHeader& tcp,
                                  Bytes payload, std::uint16_t mss) {
  wire::IpHeader ip;
  ip.src = from;
  ip.dst = to;
  ip.protocol = wire::kProtoTcp;
  const std::size_t tcp_size = wire::tcp_header_size(tcp.options);
  const std::size_t ip_size = wire::emit_ip(ip, tcp_size + payload.size(), headers_);
  wire::emit_tcp(tcp, MutableBytes(headers_).subspan(ip_size));
  set_checksum(from, to, ip_size, tcp_size, payload);

  parts_ = {Bytes(headers_).first(ip_size + tcp_size), payload};
  packet_.parts = std::span<const Bytes>(parts_).first(payload.empty() ? 1 : 2);
  packet_.header_size = static_cast<std::uint16_t>(ip_size + tcp_size);
  packet_.segment_size = payload.size() > mss ? mss : std::uint16_t{0};
  packet_.checksum_start = static_cast<std::uint16_t>(ip_size);
  packet_.checksum_offset = wire::kTcpChecksumOffset;
  packet_.partial_checksum = caps_.checksum;
  packet_.v4 = from.is_v4();
  return packet_;
}

void Composer::set_checksum(const IpAddr& from, const IpAddr& to, std::size_t ip_size,
                            std::size_t tcp_size, Bytes payload) {
  wire::ChecksumSum sum;
  wire::add_pseudo_header(sum, from, to, wire::kProtoTcp,
                          static_cast<std::uint32_t>(tcp_size + payload.size()));
  std::uint8_t* field = &headers_[ip_size + wire::kTcpChecksumOffset];
  if (caps_.checksum) {
    store_be16(field, sum.fold());
    return;
  }
  sum.add(Bytes(headers_).subspan(ip_size, tcp_size));
  sum.add(payload);
  store_be16(field, sum.checksum());
}

}  // namespace pollux::stubs
