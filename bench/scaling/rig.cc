#include "bench/scaling/rig.h"

#include <algorithm>
#include <cstring>

#include "proto/wire/ip.h"

namespace pollux::scaling {

namespace {

namespace flag = wire::tcp_flag;

constexpr HashKey kSecret{0x706f6c6c7578, 0x7363616c696e67};
constexpr std::uint16_t kEchoPort = 7, kFirstPort = 10000;
constexpr std::uint16_t kOffset = 12;  // where a TUN device puts the IP header
const IpAddr kEngine = IpAddr::v4(0xc6120002), kPeer = IpAddr::v4(0xc6120001);

Instant never_asked() { return {}; }

}  // namespace

void MemoryQueue::add(Bytes head, std::size_t payload) {
  Packet p{.head = {},
           .head_size = static_cast<std::uint32_t>(head.size()),
           .payload = static_cast<std::uint32_t>(payload)};
  std::copy(head.begin(), head.end(), p.head.begin());
  packets_.push_back(p);
}

/// The payload is whatever the slot holds: nobody looks at it.
RxResult MemoryQueue::receive(BufferPool& pool, RxPacket& packet) noexcept {
  if (next_ == packets_.size()) {
    packets_.clear();
    next_ = 0;
    return RxResult::empty;
  }
  Buffer* buffer = pool.alloc();
  if (buffer == nullptr) return RxResult::no_buffer;
  const Packet& p = packets_[next_++];
  std::memcpy(buffer->data + kOffset, p.head.data(), p.head.size());
  buffer->refs = 1;
  packet = {.buffer = buffer,
            .length = p.head_size + p.payload,
            .offset = kOffset,
            .checksum = ChecksumState::trusted};
  return RxResult::packet;
}

bool MemoryPort::transmit(const TxPacket& packet) noexcept {
  Sent s{};
  const Bytes tcp = packet.parts[0].subspan(packet.checksum_start);
  s.tcp_size = static_cast<std::uint32_t>(tcp.size());
  std::memcpy(s.tcp.data(), tcp.data(), std::min(tcp.size(), s.tcp.size()));
  for (const Bytes part : packet.parts.subspan(1)) {
    s.payload += static_cast<std::uint32_t>(part.size());
  }
  sent_.push_back(s);
  return true;
}

Rig::Rig(std::size_t workers, std::size_t flows) {
  RxStageOptions o;
  o.key = kSecret;
  o.queues = {&queue_};
  o.workers = workers;
  o.pool = {.slot_size = 65600, .max_slots = 2 * flows + 64, .chunk_slots = 32};
  for (std::size_t i = 0; i < workers; ++i) {
    lanes_.push_back(std::make_unique<Lane>(4 * flows));
    o.wakers.push_back(&lanes_.back()->sleeper);
  }
  stage_ = std::make_unique<RxStage>(o);
  for (std::size_t i = 0; i < workers; ++i) {
    Lane& lane = *lanes_[i];
    lane.inbox = std::make_unique<WorkerInbox>(i, std::vector{stage_.get()});
    ShardOptions shard;
    shard.secret = kSecret;
    shard.addresses = {{kEngine, 32}};
    lane.shard = std::make_unique<Shard>(shard, lane.port, lane.counters, Instant{});
    lane.shard->listen({{}, kEchoPort}, true, lane.echo);
    lane.worker = std::make_unique<Worker>(WorkerOptions{}, *lane.shard, *lane.inbox, lane.sleeper,
                                           &never_asked);
  }
}

void Rig::run(Instant now) {
  while (stage_->poll({}) > 0) {
  }
  for (auto& lane : lanes_) {
    while (lane->inbox->has_pending() || lane->shard->has_work()) lane->worker->turn(now);
  }
}

std::uint64_t Rig::received() const {
  std::uint64_t n = 0;
  for (const auto& lane : lanes_) n += lane->counters.rx_packets.get();
  return n;
}

std::uint64_t Rig::connections_opened() const {
  std::uint64_t n = 0;
  for (const auto& lane : lanes_) n += lane->counters.connections_opened.get();
  return n;
}

Trace::Trace(std::size_t flows) : flows_(flows) {}

void Trace::send(MemoryQueue& queue, std::size_t i, std::uint8_t flags, std::uint32_t size) {
  Flow& f = flows_[i];
  wire::TcpHeader h;
  h.src_port = static_cast<std::uint16_t>(kFirstPort + i);
  h.dst_port = kEchoPort;
  h.seq = Seq{f.next};
  h.ack = Seq{f.heard};
  h.flags = flags;
  h.window = 65535;
  h.options.timestamps = {f.stamp++, f.echo_stamp};
  if ((flags & flag::syn) != 0) {
    h.options.mss = std::uint16_t{1460};
    h.options.window_scale = std::uint8_t{7};
    h.options.sack_permitted = true;
    ++f.next;
  }
  f.next += size;
  f.sent += size;
  std::uint8_t head[wire::kIpv6HeaderSize + wire::kTcpMaxHeaderSize];
  const std::size_t ip_size = wire::ip_header_size(true);
  const std::size_t tcp_size = wire::emit_tcp(h, MutableBytes{head}.subspan(ip_size));
  wire::IpHeader ip;
  ip.src = kPeer;
  ip.dst = kEngine;
  ip.protocol = wire::kProtoTcp;
  wire::emit_ip(ip, tcp_size + size, head);
  queue.add(Bytes{head, ip_size + tcp_size}, size);
}

void Trace::send_syns(MemoryQueue& queue) {
  for (std::size_t i = 0; i < flows_.size(); ++i) send(queue, i, flag::syn, 0);
}

void Trace::send_data(MemoryQueue& queue, std::uint32_t size) {
  for (std::size_t i = 0; i < flows_.size(); ++i) send(queue, i, flag::ack | flag::psh, size);
}

void Trace::send_acks(MemoryQueue& queue) {
  for (std::size_t i = 0; i < flows_.size(); ++i) send(queue, i, flag::ack, 0);
}

void Trace::hear(const MemoryPort::Sent& sent) {
  wire::TcpHeader h;
  if (wire::parse_tcp(Bytes{sent.tcp}.first(sent.tcp_size), h) == 0) return;
  Flow& f = flows_[h.dst_port - kFirstPort];
  f.heard = h.seq.raw() + sent.payload + (h.has(flag::syn) ? 1 : 0);
  f.echoed += sent.payload;
  if (h.options.timestamps) f.echo_stamp = h.options.timestamps->value;
}

std::size_t Trace::in_step() const {
  return static_cast<std::size_t>(std::count_if(flows_.begin(), flows_.end(),
                                                [](const Flow& f) { return f.echoed == f.sent; }));
}

}  // namespace pollux::scaling
