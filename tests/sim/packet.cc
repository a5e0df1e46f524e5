#include "tests/sim/packet.h"

#include <algorithm>

#include "proto/wire/checksum.h"

namespace pollux::sim {

namespace flag = wire::tcp_flag;

namespace {

std::vector<Option> parse_options(Bytes b) {
  std::vector<Option> all;
  while (!b.empty() && b[0] != 0) {
    if (b[0] == 1) {
      b = b.subspan(1);
      continue;
    }
    if (b.size() < 2 || b[1] < 2 || b[1] > b.size()) break;
    all.push_back({b[0], {b.begin() + 2, b.begin() + b[1]}});
    b = b.subspan(b[1]);
  }
  return all;
}

std::vector<std::uint8_t> emit_options(const std::vector<Option>& all) {
  std::vector<std::uint8_t> out;
  for (const Option& o : all) {
    if (out.size() + 2 + o.body.size() > wire::kTcpMaxHeaderSize - wire::kTcpHeaderSize) break;
    out.push_back(o.kind);
    out.push_back(static_cast<std::uint8_t>(2 + o.body.size()));
    out.insert(out.end(), o.body.begin(), o.body.end());
  }
  while (out.size() % 4 != 0) out.push_back(1);
  return out;
}

}  // namespace

std::size_t Segment::option_octets() const {
  std::size_t n = 0;
  for (const Option& o : options) n += 2 + o.body.size();
  return n;
}

std::optional<Segment> take_apart(const Packet& p) {
  const auto parsed = wire::parse_ip(p.octets, false);
  const auto* ip = std::get_if<wire::IpHeader>(&parsed);
  if (ip == nullptr || ip->protocol != wire::kProtoTcp) return std::nullopt;
  const Bytes b = Bytes(p.octets).subspan(ip->header_size, ip->payload_size);
  if (b.size() < wire::kTcpHeaderSize) return std::nullopt;
  const std::size_t header = static_cast<std::size_t>(b[12] >> 4) * 4;
  if (header < wire::kTcpHeaderSize || header > b.size()) return std::nullopt;
  Segment s;
  s.ip = *ip;
  s.src_port = load_be16(b.data());
  s.dst_port = load_be16(b.data() + 2);
  s.seq = Seq{load_be32(b.data() + 4)};
  s.ack = Seq{load_be32(b.data() + 8)};
  s.reserved = b[12] & 0x0f;
  s.flags = b[13];
  s.window = load_be16(b.data() + 14);
  s.urgent = load_be16(b.data() + 18);
  s.options = parse_options(b.subspan(20, header - 20));
  s.payload.assign(b.begin() + static_cast<std::ptrdiff_t>(header), b.end());
  return s;
}

Packet put_together(const Segment& s, std::uint16_t segment_size, ChecksumState checksum) {
  const std::vector<std::uint8_t> options = emit_options(s.options);
  const std::size_t ip_size = wire::ip_header_size(s.ip.is_v4());
  const std::size_t header = wire::kTcpHeaderSize + options.size();
  Packet p{.segment_size = segment_size, .checksum = checksum};
  p.octets.resize(ip_size + header + s.payload.size());
  wire::emit_ip(s.ip, header + s.payload.size(), p.octets);
  std::uint8_t* b = p.octets.data() + ip_size;
  store_be16(b, s.src_port);
  store_be16(b + 2, s.dst_port);
  store_be32(b + 4, s.seq.raw());
  store_be32(b + 8, s.ack.raw());
  b[12] = static_cast<std::uint8_t>((header / 4) << 4 | (s.reserved & 0x0f));
  b[13] = s.flags;
  store_be16(b + 14, s.window);
  store_be16(b + 18, s.urgent);
  std::copy(options.begin(), options.end(), b + wire::kTcpHeaderSize);
  std::copy(s.payload.begin(), s.payload.end(), b + header);
  wire::ChecksumSum sum;
  const Bytes segment{b, header + s.payload.size()};
  wire::add_pseudo_header(sum, s.ip.src, s.ip.dst, wire::kProtoTcp,
                          static_cast<std::uint32_t>(segment.size()));
  sum.add(segment);
  store_be16(b + wire::kTcpChecksumOffset, sum.checksum());
  return p;
}

std::vector<Segment> cut(const Segment& s, std::size_t size) {
  std::vector<Segment> pieces;
  for (std::size_t at = 0; at < s.payload.size(); at += size) {
    const std::size_t n = std::min(size, s.payload.size() - at);
    Segment piece = s;
    piece.seq = s.seq + static_cast<std::uint32_t>(at);
    const auto begin = s.payload.begin() + static_cast<std::ptrdiff_t>(at);
    piece.payload.assign(begin, begin + static_cast<std::ptrdiff_t>(n));
    if (at + n != s.payload.size()) {
      piece.flags = static_cast<std::uint8_t>(s.flags & ~(flag::fin | flag::psh));
    }
    pieces.push_back(std::move(piece));
  }
  if (pieces.empty()) pieces.push_back(s);
  return pieces;
}

bool is_pure_ack(const Packet& p) {
  const std::size_t ip = wire::ip_header_size(p.octets[0] >> 4 == 4);
  if (p.octets.size() < ip + wire::kTcpHeaderSize || p.octets.size() > ip + 60) return false;
  if (p.octets[ip == wire::kIpv4HeaderSize ? 9 : 6] != wire::kProtoTcp) return false;
  const std::uint8_t* b = p.octets.data() + ip;
  const std::size_t header = static_cast<std::size_t>(b[12] >> 4) * 4;
  return p.octets.size() == ip + header && (b[13] & ~flag::psh) == flag::ack;
}

std::size_t wire_size(const Packet& p) {
  if (p.segment_size == 0) return p.octets.size();
  const std::size_t ip = wire::ip_header_size(p.octets[0] >> 4 == 4);
  return ip + static_cast<std::size_t>(p.octets[ip + 12] >> 4) * 4 + p.segment_size;
}

Packet too_big(const Packet& dropped, std::uint32_t mtu) {
  const auto parsed = wire::parse_ip(dropped.octets, false);
  const auto& from = std::get<wire::IpHeader>(parsed);
  const bool v4 = from.is_v4();
  const std::size_t quote = std::min<std::size_t>(dropped.octets.size(), from.header_size + 8U);
  wire::IpHeader ip;
  ip.src = *IpAddr::parse(v4 ? "198.19.255.1" : "2001:2:ffff::1");
  ip.dst = from.src;
  ip.protocol = v4 ? wire::kProtoIcmp : wire::kProtoIcmpV6;
  Packet p;
  const std::size_t head = wire::ip_header_size(v4);
  p.octets.resize(head + 8 + quote);
  wire::emit_ip(ip, 8 + quote, p.octets);
  std::uint8_t* b = p.octets.data() + head;
  b[0] = v4 ? 3 : 2;
  b[1] = v4 ? 4 : 0;
  store_be32(b + 4, mtu);
  std::copy_n(dropped.octets.begin(), quote, b + 8);
  wire::ChecksumSum sum;
  const auto size = static_cast<std::uint32_t>(8 + quote);
  if (!v4) wire::add_pseudo_header(sum, ip.src, ip.dst, wire::kProtoIcmpV6, size);
  sum.add(Bytes{b, size});
  store_be16(b + 2, sum.checksum());
  return p;
}

}  // namespace pollux::sim
