#include "workers/shard.h"

#include <algorithm>

#include "proto/wire/checksum.h"

namespace pollux {

namespace {

constexpr std::size_t kFlushQuantum = 32;  // segments of one connection in one turn
constexpr std::uint32_t kResetsPerSecond = 20000;
constexpr std::uint32_t kIcmpPerSecond = 20000;
constexpr std::uint16_t kEphemeralFirst = 32768;
constexpr std::uint16_t kEphemeralCount = 28232;
constexpr std::uint8_t kEcnMask = 3, kEcnCapable = 2, kEcnCongested = 3;  // RFC 3168 5: ECT(0), CE
constexpr std::uint64_t kIsnPurpose = 1;
constexpr std::uint64_t kTimestampPurpose = 2;

bool is_broken(const tcp::Conn& c) {
  return c.is_closed() && c.close_cause() != tcp::CloseCause::normal;
}

/// Servers answer and then reset, when they close with something unread: their last words count.
bool has_last_words(const tcp::Conn& c) {
  return c.is_closed() && c.close_cause() == tcp::CloseCause::reset && c.readable() > 0;
}

}  // namespace

Shard::Shard(const ShardOptions& options, TxPort& port, WorkerCounters& counters, Instant start)
    : options_(options),
      port_(port),
      counters_(counters),
      now_(start),
      wheel_(start),
      table_(options.max_connections),
      half_open_(options.secret, options.syn_backlog, options.tcp.user_timeout),
      time_wait_(options.secret, options.max_time_wait, options.tcp.time_wait),
      reassembler_(options.secret, {.octets = std::min<std::size_t>(ip::ReassemblyLimits{}.octets,
                                                                    options.memory_limit / 8)}),
      small_(small_slots(options.memory_limit)),
      medium_(medium_slots(options.memory_limit)),
      reset_bucket_(kResetsPerSecond, kResetsPerSecond / 10),
      icmp_bucket_(kIcmpPerSecond, kIcmpPerSecond / 10),
      datagram_flows_(0, FlowHasher{options.secret}) {}

Shard::~Shard() {
  std::vector<ConnEntry*> all;
  table_.for_each([&](FlowEntry& e) { all.push_back(&static_cast<ConnEntry&>(e)); });
  for (ConnEntry* e : all) {
    wheel_.cancel(*e);
    delete e;
  }
}

// --- packets in

// The table's lines first, then those of each connection; a segment touches most of them.
void Shard::prefetch(std::span<const RxPacket> batch) const {
  for (const RxPacket& p : batch) table_.prefetch(p.hash);
  std::uint32_t last = 0;
  for (const RxPacket& p : batch) {
    if (std::exchange(last, p.hash) == p.hash) continue;
    const auto* lines = reinterpret_cast<const std::uint8_t*>(table_.guess(p.hash));
    if (lines == nullptr) continue;
    for (std::size_t at = 0; at < ConnEntry::kHotOctets; at += 64)
      __builtin_prefetch(lines + at, 1);
  }
}

void Shard::on_packet(Instant now, const RxPacket& packet) {
  now_ = now;
  stages_->enter(Stage::parse);
  const Slice whole(packet.buffer, packet.bytes());
  --packet.buffer->refs;  // the descriptor's reference is now `whole`
  counters_.rx_packets.add();
  counters_.rx_bytes.add(packet.length);
  const auto parsed = wire::parse_ip(packet.bytes(), must_verify(packet));
  if (const auto* reason = std::get_if<DropReason>(&parsed)) return drop(*reason);
  const auto& ip = std::get<wire::IpHeader>(parsed);
  if (const auto reason = check_addresses(ip)) return drop(*reason);
  deliver(ip, packet);
}

void Shard::deliver(const wire::IpHeader& ip, const RxPacket& packet) {
  const Bytes payload = packet.bytes().subspan(ip.header_size, ip.payload_size);
  if (ip.is_fragment()) return on_fragment(ip, payload);
  if (ip.protocol == wire::kProtoTcp) return on_tcp(ip, packet, payload);
  if (ip.protocol == (ip.is_v4() ? wire::kProtoIcmp : wire::kProtoIcmpV6)) {
    return on_icmp(ip, packet, payload);
  }
  if (ip.protocol == wire::kProtoUdp) return on_udp(ip, packet, payload);
  drop(DropReason::ip_protocol);
}

bool Shard::is_ours(const IpAddr& a) const {
  return std::any_of(options_.addresses.begin(), options_.addresses.end(), [&](const Prefix& p) {
    return p.contains(a) && (p.is_host() || !p.is_group(a));
  });
}

/// LAND and smurf end here: an address of ours, or one that can never send (RFC 1122 3.2.1.3). A
/// prefix that the engine owns may hold its neighbours, the host's own address among them; there
/// only a packet from and to the same address is a lie.
std::optional<DropReason> Shard::check_addresses(const wire::IpHeader& ip) const {
  if (!is_ours(ip.dst)) return DropReason::ip_not_ours;
  const bool own = ip.src == ip.dst || is_own_host(ip.src);
  if (ip.src.is_never_source() || own) return DropReason::ip_bad_source;
  return std::nullopt;
}

bool Shard::is_own_host(const IpAddr& a) const {
  return std::any_of(options_.addresses.begin(), options_.addresses.end(),
                     [&](const Prefix& p) { return p.is_host() && p.contains(a); });
}

void Shard::on_tcp(const wire::IpHeader& ip, const RxPacket& packet, Bytes segment) {
  wire::TcpHeader h;
  const std::size_t header = wire::parse_tcp(segment, h);
  if (header == 0) return drop(DropReason::tcp_malformed);
  if (must_verify(packet) && !wire::tcp_checksum_ok(ip.src, ip.dst, segment)) {
    counters_.checksum_errors.add();
    return drop(DropReason::tcp_checksum);
  }
  const FlowKey key{.local = {ip.dst, h.dst_port}, .remote = {ip.src, h.src_port}};
  const std::uint32_t hash = packet.hash != 0 ? packet.hash : flow_hash(options_.secret, key);
  const Segment s{key, hash, h, segment.subspan(header), packet, ip.tos};
  stages_->enter(Stage::lookup);
  FlowEntry* const found = table_.find(hash, key);
  stages_->enter(Stage::tcp_in);
  if (found != nullptr) {
    auto& e = static_cast<ConnEntry&>(*found);
    return e.tcp.may_reopen(h) ? reopen(e, s) : on_known(e, s);
  }
  if (const auto n = half_open_.find(hash, key); n != HalfOpenTable::kNone) {
    return on_half_open(n, s);
  }
  if (const auto n = time_wait_.find(hash, key); n != TimeWaitTable::kNone) {
    return on_time_wait(n, s);
  }
  on_unknown(s, std::nullopt);
}

void Shard::trace_in(const Segment& s, const tcp::Conn* conn, std::optional<DropReason> dropped) {
  if (trace_) trace_->segment(now_, true, s.key, s.h, s.size(), conn, dropped);
}

std::optional<DropReason> Shard::feed(tcp::Conn& c, const Segment& s, Slice* crumbs) {
  const bool had_gap = c.keeps_out_of_order();
  if (s.h.has(wire::tcp_flag::rst)) counters_.resets_received.add();
  const Slice before = crumbs != nullptr ? *crumbs : Slice{};
  const bool congested = (s.tos & kEcnMask) == kEcnCongested;
  const auto dropped =
      c.on_segment(now_, s.h, hold(c, s, crumbs), s.packet.segment_size, congested);
  if (crumbs != nullptr && dropped) *crumbs = before;  // nothing was kept of it
  if (crumbs != nullptr && !c.keeps_out_of_order()) *crumbs = {};
  trace_in(s, &c, dropped);
  if (dropped) {
    drop(*dropped);
  } else if (s.size() > 0 && (had_gap || c.keeps_out_of_order())) {
    counters_.out_of_order_segments.add();
  }
  return dropped;
}

void Shard::on_known(ConnEntry& e, const Segment& s) {
  const bool opening = !tcp::is_synchronized(e.tcp.state());
  e.received_dscp = s.tos >> 2;
  if (feed(e.tcp, s, &e.crumbs) == DropReason::tcp_bad_ack && opening) send_reset(s);
  mark_dirty(e);
}

tcp::Setup Shard::setup_for(const FlowKey& key) const {
  const bool v4 = key.remote.addr.is_v4();
  const std::uint32_t ip = v4 ? 20 : 40;
  const std::uint32_t mtu = port_.caps().mtu;
  tcp::Setup s;
  s.iss = tcp::initial_sequence(flow_prf(options_.secret, key, kIsnPurpose), now_);
  s.ts_offset = static_cast<std::uint32_t>(flow_prf(options_.secret, key, kTimestampPurpose));
  s.mss = static_cast<std::uint16_t>(mtu - ip - 20);  // MUST-67
  s.default_mss = v4 ? 536 : 1220;
  s.max_payload =
      port_.caps().segmentation ? static_cast<std::uint32_t>(limits::kMaxPacket) - ip - 60 : s.mss;
  return s;
}

ConnEntry* Shard::add(const FlowKey& key, std::uint32_t hash, const tcp::Conn& c, Service& s) {
  auto* e = new ConnEntry(c, s);
  e->key = key;
  e->hash = hash;
  e->id = next_id_++;
  e->opened_at = now_;
  if (!table_.insert(e)) {
    delete e;
    return nullptr;
  }
  return e;
}

bool Shard::is_known(std::uint32_t hash, const FlowKey& key) const {
  return table_.find(hash, key) != nullptr || half_open_.find(hash, key) != HalfOpenTable::kNone ||
         time_wait_.find(hash, key) != TimeWaitTable::kNone;
}

IpAddr Shard::source_for(const IpAddr& remote) const {
  for (const Prefix& p : options_.addresses) {
    if (p.addr.is_v4() == remote.is_v4()) return p.addr;
  }
  return {};
}

/// From a port that nobody uses and whose flow comes to this shard: a keyed offset for each
/// destination, then the next one (RFC 6056 3.3.3).
std::optional<FlowKey> Shard::pick_flow(const Endpoint& local, const Endpoint& remote,
                                        const IsFree& is_free) const {
  const bool none = remote.addr.is_never_source() || remote.addr.is_multicast_or_broadcast();
  if (none || is_own_host(remote.addr)) return {};
  const IpAddr source = local.addr == IpAddr{} ? source_for(remote.addr) : local.addr;
  const bool fits_remote = source.is_v4() == remote.addr.is_v4() && source != remote.addr;
  if (!fits_remote || !is_ours(source)) return {};
  FlowKey key{.local = {source, local.port}, .remote = remote};
  const auto is_good = [&] {
    const std::uint32_t hash = flow_hash(options_.secret, key);
    return options_.owns(hash) && is_free(hash, key);
  };
  if (local.port != 0) return is_good() ? std::optional(key) : std::nullopt;
  const auto offset =
      static_cast<std::uint32_t>(flow_prf(options_.secret, key, kIsnPurpose + 100) + next_id_);
  for (std::uint32_t i = 0; i < kEphemeralCount; ++i) {
    key.local.port = static_cast<std::uint16_t>(kEphemeralFirst + (offset + i) % kEphemeralCount);
    if (is_good()) return key;
  }
  return {};
}

std::size_t Shard::owner_of(const Endpoint& local, const Endpoint& remote) const {
  const IpAddr source = local.addr == IpAddr{} ? source_for(remote.addr) : local.addr;
  const FlowKey key{.local = {source, local.port}, .remote = remote};
  return options_.worker_of ? options_.worker_of(flow_hash(options_.secret, key)) : options_.worker;
}

ConnEntry* Shard::connect(Instant now, const IpAddr& local_address, const Endpoint& remote,
                          Service& service, const ConnectOptions& options) {
  now_ = now;
  const auto key =
      pick_flow({local_address, options.local_port}, remote,
                [this](std::uint32_t hash, const FlowKey& k) { return !is_known(hash, k); });
  if (!key) return nullptr;
  tcp::Setup setup = setup_for(*key);
  if (options.mss != 0) setup.mss = std::min(setup.mss, options.mss);
  ConnEntry* e = add(*key, flow_hash(options_.secret, *key),
                     tcp::Conn::active(options_.tcp, setup, now), service);
  if (e == nullptr) return nullptr;
  if (options.buffer_limit != 0) e->tcp.set_buffer_limit(options.buffer_limit);
  mark_dirty(*e);
  return e;
}

// --- ICMP

void Shard::on_icmp_error(const icmp::Error& error, bool v4) {
  if (error.protocol == wire::kProtoUdp) return on_datagram_error(error);
  const std::uint32_t headers = v4 ? 40 : 60;
  const std::uint32_t mss = error.mtu > headers ? error.mtu - headers : 0;
  const auto kind = static_cast<tcp::PathError>(error.kind);
  const std::uint32_t hash = flow_hash(options_.secret, error.flow);
  if (FlowEntry* f = table_.find(hash, error.flow)) {
    auto& e = static_cast<ConnEntry&>(*f);
    e.tcp.on_icmp(now_, kind, error.seq, mss);
    return mark_dirty(e);
  }
  const std::uint32_t n = half_open_.find(hash, error.flow);
  if (n == HalfOpenTable::kNone) return drop(DropReason::icmp_ignored);
  tcp::Conn c = thaw(half_open_.at(n));
  c.on_icmp(now_, kind, error.seq, mss);
  if (c.is_closed()) forget_half_open(n);
}

void Shard::on_icmp(const wire::IpHeader& ip, const RxPacket& packet, Bytes message) {
  const auto judged = icmp::parse(ip, message, must_verify(packet));
  if (const auto* reason = std::get_if<DropReason>(&judged)) return drop(*reason);
  if (const auto* error = std::get_if<icmp::Error>(&judged)) {
    return on_icmp_error(*error, ip.is_v4());
  }
  if (const auto* reply = std::get_if<icmp::EchoReply>(&judged)) return on_echo_reply(*reply);
  if (const auto* failed = std::get_if<icmp::EchoError>(&judged)) return on_echo_error(*failed);
  answer_echo(ip, std::get<icmp::EchoRequest>(judged), message);
}

void Shard::answer_echo(const wire::IpHeader& ip, const icmp::EchoRequest& echo, Bytes message) {
  if (!icmp_bucket_.take(now_)) return drop(DropReason::icmp_rate_limited);
  std::uint8_t head[wire::kIpv6HeaderSize + 4];
  wire::IpHeader reply;
  reply.src = ip.dst;
  reply.dst = ip.src;
  reply.protocol = ip.protocol;
  reply.hop_limit = options_.hop_limit;
  reply.tos = ip.tos & ~kEcnMask;  // as asked (RFC 1122 3.2.2.6), and ECN is for transports
  const std::size_t n = wire::emit_ip(reply, message.size(), head);
  head[n] = echo.reply_type;
  head[n + 1] = 0;
  store_be16(head + n + 2, echo.reply_checksum);
  const Bytes parts[] = {Bytes{head, n + 4}, message.subspan(4)};
  if (is_too_long(n + message.size())) {
    // What is limited are packets: the first one's token is taken already.
    for (std::size_t i = message.size() / port_.caps().mtu; i > 0; --i) {
      if (!icmp_bucket_.take(now_)) return drop(DropReason::icmp_rate_limited);
    }
    send_fragments(reply, parts);
    return;
  }
  const TxPacket tx{.parts = parts,
                    .header_size = static_cast<std::uint16_t>(n + 4),
                    .checksum_start = static_cast<std::uint16_t>(n),
                    .checksum_offset = 2,
                    .v4 = ip.is_v4()};
  send(tx, n + message.size());
}

// --- time

void Shard::on_timers(Instant now) {
  now_ = now;
  for (std::size_t i = 0; i < limits::kTimersPerTurn; ++i) {
    TimerNode* node = wheel_.expire(now);
    if (node == nullptr) break;
    ConnEntry& e = static_cast<ConnEntry&>(*node);
    e.armed_for = kNever;
    if (e.tcp.deadline() <= now) e.tcp.on_timer(now);
    if (e.user_timer <= now) {
      e.user_timer = kNever;
      if ((e.opened || !e.tcp.passive_open()) && !e.finished) {
        Stream s(*this, e);
        e.service->on_timer(s);
      }
    }
    mark_dirty(e);
  }
  retransmit_syn_acks();
  expire_time_wait();
  expire_fragments();
  tasks_.run(now);
}

/// One wheel entry per connection at its earliest deadline; one that moves later stays where it is
/// and is put right when it fires.
void Shard::rearm(ConnEntry& e) {
  const Instant deadline = std::min(e.tcp.deadline(), e.user_timer);
  if (deadline >= e.armed_for) return;
  wheel_.arm(e, deadline);
  e.armed_for = deadline;
}

void Shard::set_user_timer(ConnEntry& e, Instant deadline) {
  e.user_timer = deadline;
  mark_dirty(e);
}

// --- the end of a turn: services, then transmissions

void Shard::mark_dirty(ConnEntry& e) {
  if (e.dirty) return;
  e.dirty = true;
  dirty_.push_back(&e);
}

bool Shard::finish_turn(Instant now, bool burst) {
  now_ = now;
  if (!burst || now - burst_since_ > limits::kAckHold) {
    burst_since_ = now;
    burst = false;
  }
  if (dirty_.empty() && !records_moved_) return false;
  records_moved_ = false;
  active_.advance(now);
  local_window_ = share_of_queue();
  wheel_.advance(now);  // deadlines count from this turn, not from the one before a sleep
  turn_.swap(dirty_);
  stages_->enter(Stage::service);
  for (ConnEntry* e : turn_) dispatch(*e);
  stages_->enter(Stage::tcp_out);
  for (ConnEntry* e : turn_) {
    e->dirty = false;
    const bool more = flush(*e, burst);
    account(*e);
    settle_fast_open(*e);
    if (e->tcp.is_closed()) {
      remove(*e);
      continue;
    }
    if (!more && may_retire(*e)) {
      retire(*e);
      continue;
    }
    rearm(*e);
    if (more) mark_dirty(*e);
  }
  turn_.clear();
  update_memory();
  return true;
}

void Shard::dispatch(ConnEntry& e) {
  const std::uint8_t events = e.tcp.take_events();
  Stream s(*this, e);
  if ((events & tcp::event::opened) != 0) {
    e.opened = true;
    counters_.connections_opened.add();
    counters_.connections_open.add();
    e.service->on_open(s);
    if (draining_) e.tcp.shutdown_write();
  }
  if (!e.finished && !e.tcp.is_closed()) {  // of an active open too, before on_open (MUST-22)
    if ((events & tcp::event::trouble) != 0) e.service->on_soft_error(s, SoftError::delivery);
    if ((events & tcp::event::path_error) != 0) e.service->on_soft_error(s, SoftError::path);
  }
  if (!e.opened || e.finished) return;
  e.tcp.set_growth(!memory_short_);
  e.tcp.set_local_window(local_window_);
  if ((events & tcp::event::readable) != 0) active_.note(e.active_mark);
  // A connection that broke, or that a callback aborted, is told on_closed and nothing else, but
  // for data that came with the reset.
  const auto wants = [&](std::uint8_t event) { return (events & event) != 0 && !is_broken(e.tcp); };
  if (wants(tcp::event::urgent)) e.service->on_urgent(s);
  const bool last_words = (events & tcp::event::readable) != 0 && has_last_words(e.tcp);
  if (wants(tcp::event::readable) || last_words) e.service->on_readable(s);
  if (wants(tcp::event::peer_closed)) e.service->on_peer_closed(s);
  if (wants(tcp::event::writable)) e.service->on_writable(s);
  const bool over = e.tcp.state() == tcp::State::time_wait && e.tcp.readable() == 0;
  if (over) finish(e, CloseReason::normal);
}

/// True when the connection wants another turn.
bool Shard::flush(ConnEntry& e, bool burst) {
  for (std::size_t i = 0; i < kFlushQuantum; ++i) {
    if (!e.tcp.poll_tx(now_, out_, burst)) return e.tcp.holds_ack();
    transmit(e.key, &e.tcp, out_, e.marks);
  }
  return true;
}

/// Fills in the transport checksum, as far as the device does not, and sends. `parts[0]` is what is
/// written of `head`: all headers.
bool Shard::send_sealed(const wire::IpHeader& ip, MutableBytes head, std::span<const Bytes> parts,
                        const Seal& seal) {
  std::size_t l4 = parts[0].size() - seal.checksum_start;
  for (const Bytes part : parts.subspan(1)) l4 += part.size();
  // TCP sends no fragments: its segments fit, or the device cuts them.
  const bool long_one = seal.segment_size == 0 && ip.protocol != wire::kProtoTcp &&
                        is_too_long(seal.checksum_start + l4);
  const bool cut_by_device =
      long_one && ip.protocol == wire::kProtoUdp && port_.caps().datagram_fragmentation;
  const bool in_pieces = long_one && !cut_by_device;
  const bool partial = seal.may_be_partial && port_.caps().checksum && !in_pieces;
  wire::ChecksumSum sum;
  if (seal.pseudo_header) {
    wire::add_pseudo_header(sum, ip.src, ip.dst, ip.protocol, static_cast<std::uint32_t>(l4));
  }
  if (!partial) {
    sum.add(parts[0].subspan(seal.checksum_start));
    for (const Bytes part : parts.subspan(1)) sum.add(part);
  }
  std::uint16_t checksum = partial ? sum.fold() : sum.checksum();
  // RFC 768: a sum of zero is sent as its other form; zero says that there is none.
  if (checksum == 0 && ip.protocol == wire::kProtoUdp) checksum = 0xffff;
  store_be16(&head[seal.checksum_start + std::size_t{seal.checksum_offset}], checksum);
  if (in_pieces) return send_fragments(ip, parts);
  if (cut_by_device) emit_cuttable(ip, l4, head);
  const TxPacket tx{.parts = parts,
                    .header_size = static_cast<std::uint16_t>(parts[0].size()),
                    .segment_size = cut_by_device ? fragment_size(ip.is_v4()) : seal.segment_size,
                    .checksum_start = seal.checksum_start,
                    .checksum_offset = seal.checksum_offset,
                    .partial_checksum = partial,
                    .fragments = cut_by_device,
                    .v4 = ip.is_v4()};
  const bool sent = send(tx, seal.checksum_start + l4);
  if (sent && cut_by_device) counters_.packets_fragmented.add();
  return sent;
}

bool Shard::send(const TxPacket& packet, std::size_t octets) {
  const StageScope writing(*stages_, Stage::write);
  if (!port_.transmit(packet)) {
    counters_.tx_drops.add();
    drop(DropReason::tx_error);
    return false;
  }
  counters_.tx_packets.add();
  counters_.tx_bytes.add(octets);
  return true;
}

void Shard::transmit_bare(const FlowKey& key, const wire::TcpHeader& h) {
  out_.header = h;
  out_.payload_size = 0;
  out_.segment_size = 0;
  out_.retransmission = out_.ecn_capable = false;
  out_.part_count = 0;
  transmit(key, nullptr, out_);
}

void Shard::transmit(const FlowKey& key, const tcp::Conn* conn, tcp::SegmentOut& out,
                     IpMarks marks) {
  out.header.src_port = key.local.port;
  out.header.dst_port = key.remote.port;
  if (trace_) {
    trace_->segment(now_, false, key, out.header, out.payload_size, conn, std::nullopt);
  }
  const bool v4 = key.remote.addr.is_v4();
  std::uint8_t head[wire::kIpv6HeaderSize + wire::kTcpMaxHeaderSize];
  const std::size_t ip_size = wire::ip_header_size(v4);
  const std::size_t tcp_size = wire::emit_tcp(out.header, MutableBytes{head}.subspan(ip_size));
  const std::size_t l4 = tcp_size + out.payload_size;
  wire::IpHeader ip;
  ip.src = key.local.addr;
  ip.dst = key.remote.addr;
  ip.protocol = wire::kProtoTcp;
  ip.hop_limit = marks.hop_limit != 0 ? marks.hop_limit : options_.hop_limit;
  ip.tos = static_cast<std::uint8_t>(marks.dscp << 2 | (out.ecn_capable ? kEcnCapable : 0));
  wire::emit_ip(ip, l4, head);

  Bytes parts[tcp::kMaxParts + 1];
  parts[0] = Bytes{head, ip_size + tcp_size};
  std::copy_n(out.parts.begin(), out.part_count, parts + 1);
  const bool sent = send_sealed(ip, head, std::span(parts, out.part_count + 1),
                                {.segment_size = out.segment_size,
                                 .checksum_start = static_cast<std::uint16_t>(ip_size),
                                 .checksum_offset = wire::kTcpChecksumOffset});
  if (!sent) return;
  if (out.retransmission) counters_.retransmitted_segments.add();
  if (out.header.has(wire::tcp_flag::rst)) counters_.resets_sent.add();
}

void Shard::begin_drain(Instant now) {
  now_ = now;
  draining_ = true;
  for (Listener& l : listeners_) {
    l.accepting = false;
    l.service->on_drain();
  }
  table_.for_each([&](FlowEntry& f) {
    auto& e = static_cast<ConnEntry&>(f);
    e.tcp.shutdown_write();
    mark_dirty(e);
  });
}

void Shard::abort_all(Instant now) {
  now_ = now;
  abort_half_open();
  time_wait_.clear();
  table_.for_each([&](FlowEntry& f) {
    auto& e = static_cast<ConnEntry&>(f);
    e.tcp.abort();
    mark_dirty(e);
  });
}

}  // namespace pollux
