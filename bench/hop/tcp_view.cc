#include "bench/hop/tcp_view.h"

#include <algorithm>
#include <variant>

#include "proto/wire/checksum.h"
#include "proto/wire/ip.h"
#include "proto/wire/tcp.h"

namespace pollux::hop {
namespace {

constexpr std::uint8_t kEndOfOptions = 0;
constexpr std::uint8_t kNop = 1;

void write_checksum(MutableBytes segment, const FlowKey& flow) {
  store_be16(&segment[wire::kTcpChecksumOffset], 0);
  wire::ChecksumSum sum;
  wire::add_pseudo_header(sum, flow.local.addr, flow.remote.addr, wire::kProtoTcp,
                          static_cast<std::uint32_t>(segment.size()));
  sum.add(segment);
  store_be16(&segment[wire::kTcpChecksumOffset], sum.checksum());
}

}  // namespace

std::optional<TcpView> view_tcp(Bytes packet) {
  const auto parsed = wire::parse_ip(packet, false);
  const auto* ip = std::get_if<wire::IpHeader>(&parsed);
  if (ip == nullptr || ip->protocol != wire::kProtoTcp) return std::nullopt;
  const Bytes segment = packet.subspan(ip->header_size, ip->payload_size);
  wire::TcpHeader tcp;
  const std::size_t header_size = wire::parse_tcp(segment, tcp);
  if (header_size == 0) return std::nullopt;
  return TcpView{
      .flow = {{ip->src, tcp.src_port}, {ip->dst, tcp.dst_port}},
      .seq = tcp.seq,
      .flags = tcp.flags,
      .payload = static_cast<std::uint32_t>(segment.size() - header_size),
      .tcp_offset = ip->header_size,
      .tcp_size = segment.size(),
  };
}

bool strip_option(MutableBytes packet, const TcpView& tcp, std::uint8_t kind) {
  const MutableBytes segment = packet.subspan(tcp.tcp_offset, tcp.tcp_size);
  const MutableBytes options =
      segment.subspan(wire::kTcpHeaderSize, segment.size() - tcp.payload - wire::kTcpHeaderSize);
  bool found = false;
  for (std::size_t i = 0; i < options.size() && options[i] != kEndOfOptions;) {
    // view_tcp() has seen that every option has a legal length.
    const std::size_t size = options[i] == kNop ? 1 : options[i + 1];
    if (options[i] == kind) {
      std::fill_n(options.begin() + static_cast<std::ptrdiff_t>(i), size, kNop);
      found = true;
    }
    i += size;
  }
  if (found) write_checksum(segment, tcp.flow);
  return found;
}

}  // namespace pollux::hop
