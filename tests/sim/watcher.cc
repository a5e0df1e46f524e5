#include "tests/sim/watcher.h"

#include <algorithm>

namespace pollux::sim {

namespace flag = wire::tcp_flag;

namespace {

struct Seen {
  FlowKey key;  ///< local is the engine
  wire::TcpHeader tcp;
  std::uint32_t payload = 0;
};

bool see(const Packet& p, bool sent, Seen& out) {
  const auto parsed = wire::parse_ip(p.octets, false);
  const auto* ip = std::get_if<wire::IpHeader>(&parsed);
  if (ip == nullptr || ip->protocol != wire::kProtoTcp) return false;
  const Bytes segment = Bytes(p.octets).subspan(ip->header_size, ip->payload_size);
  const std::size_t header = wire::parse_tcp(segment, out.tcp);
  if (header == 0) return false;
  out.payload = static_cast<std::uint32_t>(segment.size() - header);
  const Endpoint from{ip->src, out.tcp.src_port};
  const Endpoint to{ip->dst, out.tcp.dst_port};
  out.key = sent ? FlowKey{from, to} : FlowKey{to, from};
  return true;
}

std::optional<std::uint8_t> scale_of(const wire::TcpHeader& syn) {
  if (!syn.options.window_scale) return std::nullopt;
  return std::min<std::uint8_t>(*syn.options.window_scale, 14);
}

}  // namespace

std::size_t Watcher::Hash::operator()(const FlowKey& k) const {
  return (std::size_t{k.local.port} << 16 | k.remote.port) * 0x9e3779b97f4a7c15ULL +
         k.remote.addr.octets()[15];
}

void Watcher::on_send(const Packet& p) {
  Seen s;
  if (!see(p, true, s) || s.tcp.has(flag::rst)) return;
  Direction& d = flows_[s.key];
  if (s.tcp.has(flag::syn)) {
    if (d.open && d.iss == s.tcp.seq) return;
    d.iss = s.tcp.seq;
    d.open = true;
    d.offered = false;
    d.sent = s.tcp.seq + 1;
    d.scales = s.tcp.options.window_scale.has_value();
    d.peer = s.tcp.has(flag::ack) ? d.next : std::nullopt;
    return;
  }
  const Seq end = s.tcp.seq + s.payload;
  d.sent = max(d.sent, end + (s.tcp.has(flag::fin) ? 1U : 0U));
  if (!d.offered || s.payload == 0) return;
  if (end <= d.edge + 1) return;
  throw Broken(s.key.local.to_string() + " sent " + std::to_string(distance(d.edge, end)) +
               " octets beyond the window that was offered");
}

void Watcher::on_receive(const Packet& p) {
  Seen s;
  if (p.corrupt || !see(p, false, s) || s.tcp.has(flag::rst)) return;
  Direction& d = flows_[s.key];
  const bool syn = s.tcp.has(flag::syn);
  // A connection that is open keeps what its handshake said, whatever SYNs come later; ours that
  // answers one of them opens a new one.
  if (syn && !(d.open && d.offered)) d.peer = d.next = scale_of(s.tcp);
  if (syn) d.next = scale_of(s.tcp);
  if (!s.tcp.has(flag::ack) || !d.open) return;
  // Of what was never sent, or from another age: no engine may believe it.
  if (s.tcp.ack > d.sent || s.tcp.ack < d.sent - (1U << 30)) return;
  const unsigned shift = !syn && d.scales && d.peer ? *d.peer : 0U;
  const Seq edge = s.tcp.ack + (std::uint32_t{s.tcp.window} << shift);
  if (!d.offered || edge > d.edge) d.edge = edge;
  d.offered = true;
}

}  // namespace pollux::sim
