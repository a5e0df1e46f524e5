// UDP of one worker: what comes goes to the service at once, and what a service sends goes to the
// device at once. There is no queue to fill up; a peer costs the work on its datagrams and no more.
#include "proto/wire/checksum.h"
#include "proto/wire/udp.h"
#include "workers/shard.h"

namespace pollux {
namespace {

constexpr std::uint64_t kEchoPurpose = 3;
constexpr IcmpKind kPortUnreachableV4{3, 3};  // RFC 792
constexpr IcmpKind kPortUnreachableV6{1, 4};  // RFC 4443 3.1
/// An error quotes as much as fits: RFC 1812 4.3.2.3, RFC 4443 3.1.
constexpr std::size_t kMaxErrorV4 = 576, kMaxErrorV6 = 1280;
/// Payload octets of one super-datagram, whichever the family.
constexpr std::size_t kMaxSuperPayload =
    limits::kMaxPacket - wire::kIpv6HeaderSize - wire::kUdpHeaderSize;

}  // namespace

void Shard::on_udp(const wire::IpHeader& ip, const RxPacket& packet, Bytes datagram) {
  const auto parsed = wire::parse_udp(ip, datagram, must_verify(packet));
  if (const auto* reason = std::get_if<DropReason>(&parsed)) {
    if (*reason == DropReason::udp_checksum) counters_.checksum_errors.add();
    return drop(*reason);
  }
  const auto& h = std::get<wire::UdpHeader>(parsed);
  const FlowKey flow{.local = {ip.dst, h.dst_port}, .remote = {ip.src, h.src_port}};
  Service* const service = find_datagram_service(flow);
  if (service == nullptr) {
    drop(DropReason::udp_no_listener);
    return send_port_unreachable(ip, packet.bytes().first(ip.header_size + datagram.size()));
  }
  const Bytes payload = datagram.subspan(wire::kUdpHeaderSize, h.length - wire::kUdpHeaderSize);
  const bool several = packet.segment_size != 0 && packet.segment_size < payload.size();
  const Datagram d{.flow = flow,
                   .payload = Slice(packet.buffer, payload),
                   .segment_size = several ? packet.segment_size : std::uint16_t{0},
                   .tos = ip.tos,
                   .at = now_};
  counters_.datagrams_received.add(d.count());
  stages_->enter(Stage::service);
  if (const auto reason = service->on_datagram(d)) drop(*reason);
}

/// A flow that a service asked for, else who listens.
Service* Shard::find_datagram_service(const FlowKey& flow) const {
  if (!datagram_flows_.empty()) {
    const auto at = datagram_flows_.find(flow);
    if (at != datagram_flows_.end()) return at->second;
  }
  for (const Listener& l : listeners_) {
    if (l.accepting && l.service->takes_datagrams() && l.is_at(flow.local)) return l.service;
  }
  return nullptr;
}

bool Shard::takes_datagrams(std::uint16_t port) const {
  return std::any_of(listeners_.begin(), listeners_.end(), [port](const Listener& l) {
    return l.local.port == port && l.service->takes_datagrams();
  });
}

void Shard::on_datagram_error(const icmp::Error& error) {
  const auto at = datagram_flows_.find(error.flow);
  if (at == datagram_flows_.end()) return drop(DropReason::icmp_ignored);
  at->second->on_datagram_error(error.flow, error.kind == icmp::Error::Kind::hard);
}

std::optional<FlowKey> Shard::open_datagrams(const IpAddr& local_address, const Endpoint& remote,
                                             Service& service, std::uint16_t local_port) {
  if (datagram_flows_.size() >= limits::kDatagramFlows) return std::nullopt;
  const auto flow = pick_flow(
      {local_address, local_port}, remote,
      [this](std::uint32_t, const FlowKey& key) { return find_datagram_service(key) == nullptr; });
  if (flow) datagram_flows_.emplace(*flow, &service);
  return flow;
}

bool Shard::claim_datagrams(const FlowKey& flow, Service& service) {
  if (datagram_flows_.size() >= limits::kDatagramFlows) return false;
  datagram_flows_.insert_or_assign(flow, &service);
  return true;
}

void Shard::close_datagrams(const FlowKey& flow) { datagram_flows_.erase(flow); }

std::size_t Shard::max_unfragmented(bool v4) const {
  return port_.caps().mtu - wire::ip_header_size(v4) - wire::kUdpHeaderSize;
}

bool Shard::send_datagram(const FlowKey& flow, Bytes payload, DatagramOptions options) {
  const bool v4 = flow.remote.addr.is_v4();
  const std::size_t each = options.segment_size != 0 ? options.segment_size : payload.size();
  if (each > max_datagram(v4)) {
    counters_.tx_drops.add();
    return false;
  }
  if (payload.size() <= each) return emit_datagram(flow, payload, {.tos = options.tos});
  // What goes out as one: as many as a super-datagram takes, or where there is none, one.
  const std::size_t most =
      port_.caps().datagram_segmentation && each <= max_unfragmented(v4)
          ? std::clamp<std::size_t>(kMaxSuperPayload / each, 1, limits::kDatagramSegments)
          : 1;
  bool all = true;
  while (!payload.empty()) {
    const std::size_t n = std::min(payload.size(), most * each);
    if (n <= each) options.segment_size = 0;
    all &= emit_datagram(flow, payload.first(n), options);
    payload = payload.subspan(n);
  }
  return all;
}

bool Shard::emit_datagram(const FlowKey& flow, Bytes payload, DatagramOptions options) {
  const bool v4 = flow.remote.addr.is_v4();
  const std::size_t ip_size = wire::ip_header_size(v4);
  std::uint8_t head[wire::kIpv6HeaderSize + wire::kUdpHeaderSize];
  wire::IpHeader ip;
  ip.src = flow.local.addr;
  ip.dst = flow.remote.addr;
  ip.protocol = wire::kProtoUdp;
  ip.hop_limit = options_.hop_limit;
  ip.tos = options.tos;
  wire::emit_ip(ip, wire::kUdpHeaderSize + payload.size(), head);
  wire::emit_udp({.src_port = flow.local.port, .dst_port = flow.remote.port}, payload.size(),
                 MutableBytes{head}.subspan(ip_size));
  const Bytes parts[] = {Bytes{head, ip_size + wire::kUdpHeaderSize}, payload};
  const bool sent = send_sealed(ip, head, parts,
                                {.segment_size = options.segment_size,
                                 .checksum_start = static_cast<std::uint16_t>(ip_size),
                                 .checksum_offset = wire::kUdpChecksumOffset});
  if (sent) {
    const std::size_t each = options.segment_size != 0 ? options.segment_size : payload.size();
    counters_.datagrams_sent.add(each == 0 ? 1 : (payload.size() + each - 1) / each);
  }
  return sent;
}

/// RFC 1122 4.1.3.1: a datagram to a port that nobody has is answered by Port Unreachable. Never
/// more than the limit of all ICMP, and never to an address that cannot be a sender: those are
/// dropped before. Not for a super-datagram's every piece, either: one answer says it.
void Shard::send_port_unreachable(const wire::IpHeader& cause, Bytes packet) {
  send_icmp_error(cause, kPortUnreachableV4, kPortUnreachableV6, packet);
}

void Shard::send_icmp_error(const wire::IpHeader& cause, IcmpKind for_v4, IcmpKind for_v6,
                            Bytes packet) {
  if (!icmp_bucket_.take(now_)) return;
  const bool v4 = cause.is_v4();
  const std::size_t ip_size = wire::ip_header_size(v4);
  const Bytes quote = packet.first(
      std::min(packet.size(), (v4 ? kMaxErrorV4 : kMaxErrorV6) - ip_size - icmp::kHeaderSize));
  std::uint8_t head[wire::kIpv6HeaderSize + icmp::kHeaderSize] = {};
  wire::IpHeader ip;
  ip.src = cause.dst;
  ip.dst = cause.src;
  ip.protocol = v4 ? wire::kProtoIcmp : wire::kProtoIcmpV6;
  ip.hop_limit = options_.hop_limit;
  wire::emit_ip(ip, icmp::kHeaderSize + quote.size(), head);
  const auto [type, code] = v4 ? for_v4 : for_v6;
  head[ip_size] = type;
  head[ip_size + 1] = code;
  const Bytes parts[] = {Bytes{head, ip_size + icmp::kHeaderSize}, quote};
  send_icmp(ip, head, parts);
}

bool Shard::send_icmp(const wire::IpHeader& ip, MutableBytes head, std::span<const Bytes> parts) {
  return send_sealed(
      ip, head, parts,
      {.checksum_start = static_cast<std::uint16_t>(wire::ip_header_size(ip.is_v4())),
       .checksum_offset = icmp::kChecksumOffset,
       .pseudo_header = !ip.is_v4(),
       .may_be_partial = false});
}

// --- ping

std::optional<EchoFlow> Shard::open_echo(const IpAddr& remote, Service& service) {
  const bool none = remote.is_never_source() || remote.is_multicast_or_broadcast();
  if (none || is_own_host(remote)) return {};
  EchoFlow flow{.local = source_for(remote), .remote = remote};
  // Answers go by their addresses alone.
  const FlowKey key{.local = {flow.local, 0}, .remote = {remote, 0}};
  if (!options_.owns(flow_hash(options_.secret, key))) return {};
  if (echo_flows_.size() >= limits::kEchoFlows) return {};
  flow.id = static_cast<std::uint16_t>(flow_prf(options_.secret, key, kEchoPurpose) + next_id_++);
  while (echo_flows_.contains(flow.id)) ++flow.id;
  echo_flows_.emplace(flow.id, std::pair(flow, &service));
  return flow;
}

void Shard::close_echo(const EchoFlow& flow) { echo_flows_.erase(flow.id); }

bool Shard::send_echo(const EchoFlow& flow, std::uint16_t sequence, Bytes data) {
  const bool v4 = flow.remote.is_v4();
  const std::size_t ip_size = wire::ip_header_size(v4);
  std::uint8_t head[wire::kIpv6HeaderSize + icmp::kHeaderSize];
  wire::IpHeader ip;
  ip.src = flow.local;
  ip.dst = flow.remote;
  ip.protocol = v4 ? wire::kProtoIcmp : wire::kProtoIcmpV6;
  ip.hop_limit = options_.hop_limit;
  wire::emit_ip(ip, icmp::kHeaderSize + data.size(), head);
  icmp::emit_echo_request(v4, flow.id, sequence, MutableBytes{head}.subspan(ip_size));
  const Bytes parts[] = {Bytes{head, ip_size + icmp::kHeaderSize}, data};
  return send_icmp(ip, head, parts);
}

Service* Shard::echo_sender(std::uint16_t id, const IpAddr& local, const IpAddr& remote) const {
  const auto at = echo_flows_.find(id);
  if (at == echo_flows_.end()) return nullptr;
  const auto& [flow, service] = at->second;
  return flow.local == local && flow.remote == remote ? service : nullptr;
}

void Shard::on_echo_reply(const icmp::EchoReply& reply) {
  Service* const service = echo_sender(reply.id, reply.local, reply.remote);
  if (service == nullptr) return drop(DropReason::icmp_ignored);
  stages_->enter(Stage::service);
  service->on_echo_reply(reply);
}

void Shard::on_echo_error(const icmp::EchoError& error) {
  Service* const service = echo_sender(error.id, error.local, error.remote);
  if (service == nullptr) return drop(DropReason::icmp_ignored);
  stages_->enter(Stage::service);
  service->on_echo_error(error);
}

}  // namespace pollux
