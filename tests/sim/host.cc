#include "tests/sim/host.h"

#include <algorithm>
#include <cstring>

namespace pollux::sim {

namespace {

constexpr std::uint16_t kHeadroom = 64;

ShardOptions with_address(ShardOptions o, const IpAddr& a) {
  o.addresses.push_back({a, static_cast<std::uint8_t>(a.is_v4() ? 32 : 128)});
  return o;
}

void check_form(const TxPacket& packet, std::size_t size, const PortCaps& caps) {
  if (packet.parts.empty() || packet.parts[0].size() != packet.header_size) {
    throw Broken("headers are not in parts[0]");
  }
  if (size > limits::kMaxPacket) throw Broken("a packet beyond 65,535 octets");
  if (packet.partial_checksum && !caps.checksum) throw Broken("a partial checksum");
  if (packet.segment_size == 0) {
    if (size > caps.mtu) throw Broken("a packet beyond the MTU");
    return;
  }
  if (!caps.segmentation) throw Broken("a super-packet without segmentation");
  if (size - packet.header_size <= packet.segment_size) {
    throw Broken("a super-packet of one segment");
  }
  if (packet.header_size + packet.segment_size > caps.mtu) throw Broken("segments beyond the MTU");
}

}  // namespace

bool SimPort::transmit(const TxPacket& packet) noexcept {
  host_.transmit(packet);
  return true;
}

Host::Host(Network& network, std::size_t index, const HostOptions& o)
    : Node(network, index, *IpAddr::parse(o.address)),
      rx({.slot_size = kHeadroom + 65536, .max_slots = 1 << 16, .chunk_slots = 4}),
      port(*this, o.caps),
      shard(with_address(o.shard, address), port, counters, network.now()) {}

Host::~Host() = default;

/// Nothing may be thrown through the shard: what is broken is told by the network's step().
void Host::transmit(const TxPacket& packet) {
  try {
    Packet p{.segment_size = packet.segment_size,
             .checksum = port.caps().checksum ? ChecksumState::trusted : ChecksumState::unverified};
    for (const Bytes part : packet.parts) p.octets.insert(p.octets.end(), part.begin(), part.end());
    check_form(packet, p.octets.size(), port.caps());
    if (network_.careful()) watcher_.on_send(p);
    network_.send(index(), std::move(p));
  } catch (const Broken& b) {
    network_.broke(b.what());
  }
}

void Host::receive(Instant now, const Packet& p) {
  if (network_.careful()) watcher_.on_receive(p);
  Buffer* b = rx.alloc();
  if (b == nullptr) throw Broken("receive buffers ran out");
  b->refs = 1;
  std::memcpy(b->data + kHeadroom, p.octets.data(), p.octets.size());
  shard.on_packet(now, {.buffer = b,
                        .length = static_cast<std::uint32_t>(p.octets.size()),
                        .offset = kHeadroom,
                        .segment_size = p.segment_size,
                        .checksum = p.checksum});
}

void Host::turn(Instant now) {
  shard.on_timers(now);
  shard.finish_turn(now);
}

Instant Host::next_due(Instant now) const { return shard.has_work() ? now : shard.next_deadline(); }

void Host::check(Instant) {
  shard.for_each([&](ConnEntry& e) { check(e); });
  const std::uint64_t most = shard.options().memory_limit + (1ULL << 20);
  if (counters.memory_bytes.get() > most) throw Broken("more memory than the limit allows");
}

void Host::check(ConnEntry& e) {
  const tcp::Conn& c = e.tcp;
  c.check_invariants();
  if (c.snd_una() > c.snd_nxt()) throw Broken("SND.UNA beyond SND.NXT");
  if (c.state() <= tcp::State::syn_sent) return;
  const auto [it, first] = right_edge_.try_emplace(e.id, c.rcv_edge());
  if (!first && c.rcv_edge() < it->second) throw Broken("the right edge shrank");
  it->second = c.rcv_edge();
  if (c.is_closed() || c.state() == tcp::State::time_wait) return;
  const tcp::Conn::Info i = c.info();
  if (i.cwnd < i.mss) throw Broken("cwnd below one segment");
  // Whatever waits for the peer has a time at which something is done about it, in the wheel too.
  const bool waits = c.snd_una() != c.snd_nxt() || i.send_queue > 0;
  const Instant deadline = c.deadline();
  if (waits && deadline == kNever && !e.dirty) throw Broken("data waits and no timer runs");
  if (!e.dirty && e.armed_for > deadline) throw Broken("the wheel wakes it after its deadline");
}

Duration Host::longest_rto() const {
  Duration longest{};
  shard.for_each([&](ConnEntry& e) { longest = std::max(longest, e.tcp.info().rto); });
  // A SYN-ACK waits a second at first, then twice as long each time (RFC 6298 (2.1), (5.5)).
  shard.for_each_half_open([&](const HalfOpen& r, Instant) {
    longest = std::max<Duration>(longest, std::min<Duration>(1s * (1 << r.attempt), 60s));
  });
  return longest;
}

void Host::check_nothing_left() const {
  if (shard.connections() != 0) throw Broken("connections are left");
  if (counters.connections_open.get() != 0) throw Broken("open connections are counted");
  if (rx.in_use() != 0) throw Broken("receive buffers are held");
  if (counters.memory_bytes.get() != 0) throw Broken("the shard's slots are held");
}

}  // namespace pollux::sim
