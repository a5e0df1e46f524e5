#include "tests/sim/network.h"

#include <algorithm>
#include <cstring>

#include "proto/wire/ip.h"
#include "proto/wire/tcp.h"

namespace pollux::sim {

namespace {

constexpr std::uint16_t kHeadroom = 64;
constexpr std::uint64_t kMaxStepsAtOnce = 10000;
constexpr std::size_t kMaxFlights = 200000;

ShardOptions with_address(ShardOptions o, const IpAddr& a) {
  o.addresses.push_back({a, static_cast<std::uint8_t>(a.is_v4() ? 32 : 128)});
  return o;
}

}  // namespace

std::uint64_t below(Random& r, std::uint64_t n) { return n == 0 ? 0 : r() % n; }
std::uint64_t between(Random& r, std::uint64_t lo, std::uint64_t hi) {
  return lo + below(r, hi - lo + 1);
}
bool chance(Random& r, double p) { return static_cast<double>(r() >> 11) * 0x1.0p-53 < p; }

bool SimPort::transmit(const TxPacket& packet) noexcept {
  try {
    network_.send(host_, packet);
  } catch (const Broken& b) {
    network_.broken_ = b.what();  // told by step(): nothing may be thrown through the shard
  }
  return true;
}

Host::Host(Network& network, std::size_t index, const HostOptions& o, Instant start)
    : address(*IpAddr::parse(o.address)),
      rx({.slot_size = kHeadroom + 65536, .max_slots = 1 << 16, .chunk_slots = 4}),
      port(network, index, o.caps),
      shard(with_address(o.shard, address), port, counters, start) {}

Network::Network(std::uint64_t seed) : random_(seed) {}

Host& Network::add_host(const HostOptions& options) {
  hosts_.push_back(std::make_unique<Host>(*this, hosts_.size(), options, now_));
  links_.emplace_back();
  return *hosts_.back();
}

void Network::set_link(std::size_t host, const LinkOptions& options) {
  links_[host].options = options;
}

std::size_t Network::host_of(const IpAddr& a) const {
  for (std::size_t i = 0; i < hosts_.size(); ++i) {
    if (hosts_[i]->address == a) return i;
  }
  return hosts_.size();
}

void Network::send(std::size_t from, const TxPacket& packet) {
  std::vector<std::uint8_t> octets;
  for (const Bytes part : packet.parts) octets.insert(octets.end(), part.begin(), part.end());
  const PortCaps& caps = hosts_[from]->port.caps();
  const std::size_t payload = octets.size() - packet.header_size;
  if (packet.parts.empty() || packet.parts[0].size() != packet.header_size) {
    throw Broken("headers are not in parts[0]");
  }
  if (octets.size() > limits::kMaxPacket) throw Broken("a packet beyond 65,535 octets");
  if (packet.segment_size == 0 && octets.size() > caps.mtu) throw Broken("a packet beyond the MTU");
  if (packet.segment_size != 0) {
    if (!caps.segmentation) throw Broken("a super-packet without segmentation");
    if (payload <= packet.segment_size) throw Broken("a super-packet of one segment");
    if (packet.header_size + packet.segment_size > caps.mtu)
      throw Broken("segments beyond the MTU");
  }
  if (packet.partial_checksum && !caps.checksum) throw Broken("a partial checksum");
  if (packet.segment_size != 0 && links_[from].options.split) {
    return send_split(from, octets, packet.segment_size);
  }
  put(from, std::move(octets), packet.segment_size);
}

/// What a device with segmentation offload makes of a super-packet: FIN and PSH on the last only.
void Network::send_split(std::size_t from, const std::vector<std::uint8_t>& whole,
                         std::uint16_t size) {
  const auto ip = std::get<wire::IpHeader>(wire::parse_ip(whole, true));
  const Bytes segment = Bytes(whole).subspan(ip.header_size, ip.payload_size);
  wire::TcpHeader h;
  const std::size_t header = wire::parse_tcp(segment, h);
  const Bytes payload = segment.subspan(header);
  const std::uint8_t flags = h.flags;
  for (std::size_t at = 0; at < payload.size(); at += size) {
    const std::size_t n = std::min<std::size_t>(size, payload.size() - at);
    std::vector<std::uint8_t> out(ip.header_size + header + n);
    wire::TcpHeader part = h;
    part.seq = h.seq + static_cast<std::uint32_t>(at);
    const bool last = at + n == payload.size();
    if (!last) {
      part.flags = static_cast<std::uint8_t>(flags & ~(wire::tcp_flag::fin | wire::tcp_flag::psh));
    }
    wire::emit_ip(ip, header + n, out);
    std::uint8_t head[wire::kTcpMaxHeaderSize];
    wire::emit_tcp(part, head);
    std::memcpy(out.data() + ip.header_size, head, header);
    std::memcpy(out.data() + ip.header_size + header, payload.data() + at, n);
    put(from, std::move(out), 0);
  }
}

/// Through the link's queue and faults into the air.
void Network::put(std::size_t from, std::vector<std::uint8_t> octets, std::uint16_t segment_size) {
  Link& link = links_[from];
  const LinkOptions& o = link.options;
  const auto parsed = wire::parse_ip(octets, true);
  if (!std::holds_alternative<wire::IpHeader>(parsed)) throw Broken("a malformed packet was sent");
  const std::size_t to = host_of(std::get<wire::IpHeader>(parsed).dst);
  if (to == hosts_.size()) return;
  Instant leaves = now_;
  if (o.octets_per_s != 0) {
    const Instant start = std::max(link.wire_free, now_);
    const auto waiting =
        static_cast<std::uint64_t>((start - now_).count()) * (o.octets_per_s / 1000) / 1'000'000;
    // One packet always fits, however large: else a small queue would never pass it.
    if (waiting > 0 && waiting + octets.size() > o.queue_octets) return;
    leaves = start + Duration(octets.size() * 1'000'000'000 / o.octets_per_s);
    link.wire_free = leaves;
  }
  const bool faulty = now_ < o.heals_at;
  if (faulty && chance(random_, o.loss)) return;
  const bool verify = !hosts_[from]->port.caps().checksum;
  const int copies = faulty && chance(random_, o.duplicate) ? 2 : 1;
  if (flights_.size() > kMaxFlights) throw Broken("a packet storm");
  for (int i = 0; i < copies; ++i) {
    Flight f{.at = leaves + o.delay,
             .order = order_++,
             .to = to,
             .octets = octets,
             .segment_size = segment_size,
             .checksum = verify ? ChecksumState::unverified : ChecksumState::trusted};
    if (faulty && chance(random_, o.reorder)) {
      f.at += Duration(below(random_, static_cast<std::uint64_t>(o.jitter.count()) + 1));
    }
    if (faulty && verify && chance(random_, o.corrupt)) {
      const std::uint64_t bit = below(random_, f.octets.size() * 8);
      f.octets[bit / 8] = static_cast<std::uint8_t>(f.octets[bit / 8] ^ (1U << (bit % 8)));
    }
    flights_.push(std::move(f));
  }
}

Instant Network::next_due() const {
  Instant due = flights_.empty() ? kNever : flights_.top().at;
  for (const auto& h : hosts_) {
    due = std::min(due, h->shard.has_work() ? now_ : h->shard.next_deadline());
  }
  return due;
}

void Network::deliver(const Flight& f) {
  Host& h = *hosts_[f.to];
  Buffer* b = h.rx.alloc();
  if (b == nullptr) throw Broken("receive buffers ran out");
  b->refs = 1;
  std::memcpy(b->data + kHeadroom, f.octets.data(), f.octets.size());
  h.shard.on_packet(now_, {.buffer = b,
                           .length = static_cast<std::uint32_t>(f.octets.size()),
                           .offset = kHeadroom,
                           .segment_size = f.segment_size,
                           .checksum = f.checksum});
}

void Network::deliver_due() {
  while (!flights_.empty() && flights_.top().at <= now_) {
    const Flight f = flights_.top();
    flights_.pop();
    deliver(f);
  }
}

bool Network::step() {
  const Instant due = next_due();
  if (due == kNever) return false;
  steps_here_ = due > now_ ? 0 : steps_here_ + 1;
  if (steps_here_ > kMaxStepsAtOnce) throw Broken("the clock stands still: endless work");
  now_ = std::max(now_, due);
  deliver_due();
  for (std::size_t i = 0; i < hosts_.size(); ++i) turn(i);
  if (!broken_.empty()) throw Broken(broken_);
  return true;
}

void Network::turn(std::size_t host) {
  Host& h = *hosts_[host];
  h.shard.on_timers(now_);
  h.shard.finish_turn(now_);
  check(h);
}

void Network::check(Host& h) const {
  h.shard.for_each([&](ConnEntry& e) {
    e.tcp.check_invariants();
    if (e.tcp.state() <= tcp::State::syn_sent) return;
    const auto [it, first] = h.right_edge.try_emplace(e.id, e.tcp.rcv_edge());
    if (!first && e.tcp.rcv_edge() < it->second) throw Broken("the right edge shrank");
    it->second = e.tcp.rcv_edge();
  });
}

void Network::run_until(const std::function<bool()>& done, Duration bound, const char* what) {
  const Instant limit = now_ + bound;
  while (!done()) {
    if (!step()) throw Broken(std::string(what) + ": nothing is due any more");
    if (now_ > limit) throw Broken(std::string(what) + ": no end within the bound");
  }
}

}  // namespace pollux::sim
