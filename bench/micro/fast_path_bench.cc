// What a segment costs where nothing special happens: the next data in order, for a connection
// alone and for a worker with many of them, which come up in random order. Whole turns of the
// worker are timed: packets, timers, the service (it reads all), ACKs. Payload of 64 octets with
// timestamps, checksums trusted; the packets themselves are hot, as they are after a read of the
// device.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "bench/micro/clock.h"
#include "proto/wire/tcp.h"
#include "workers/worker.h"

namespace pollux::bench {
namespace {

namespace flag = wire::tcp_flag;

constexpr std::size_t kPayload = 64;
constexpr std::size_t kWarmUp = 4;  // segments of each connection before it is measured
constexpr Duration kTurn = 20us;
const IpAddr kEngine = IpAddr::v4(0xc6120002);  // 198.18.0.2
constexpr std::uint32_t kFirstPeer = 0xc6120100;
constexpr std::uint32_t kPortsOfAPeer = 50000;

/// Counts; keeps the sequence number of the last.
class CountingPort final : public TxPort {
 public:
  bool transmit(const TxPacket& p) noexcept override {
    wire::TcpHeader h;
    wire::parse_tcp(p.parts[0].subspan(wire::ip_header_size(p.v4)), h);
    last_seq = h.seq;
    ++count;
    return true;
  }
  const PortCaps& caps() const noexcept override { return caps_; }
  Seq last_seq;
  std::uint64_t count = 0;

 private:
  PortCaps caps_{.mtu = 1500, .checksum = true, .segmentation = true};
};

class Sink final : public Service {
 public:
  std::string_view name() const override { return "sink"; }
  void on_readable(Stream& s) override {
    while (!s.peek().empty()) s.consume(s.peek().size());
  }
};

/// Gives out what was put into it.
class Tray final : public RxSource {
 public:
  std::size_t poll(std::span<RxPacket> out) noexcept override {
    const std::size_t n = std::min(out.size(), packets.size());
    std::copy_n(packets.begin(), n, out.begin());
    packets.clear();
    return n;
  }
  std::vector<RxPacket> packets;
};

class Sleepless final : public Sleeper {
 public:
  void prepare() noexcept override {}
  void sleep(Instant) noexcept override {}
  void done() noexcept override {}
};

struct Peer {
  std::uint32_t number;
  std::uint32_t hash;
  Seq next;
  Seq ack;
};

/// A worker with open connections.
class Crowd {
 public:
  explicit Crowd(std::size_t connections)
      : shard_(options(), port_, counters_, now_),
        worker_({}, shard_, tray_, sleeper_, [] { return Instant{}; }) {
    shard_.listen({{}, 7}, true, sink_);
    for (std::uint32_t i = 0; i < connections; ++i) open(i);
    std::shuffle(peers_.begin(), peers_.end(), std::mt19937{11});
    assert(shard_.open_connections() == connections);
    for (std::size_t i = 0; i < kWarmUp * connections; i += kWarmUp) turn(kWarmUp);
  }

  /// A turn with the next segment of each of the next `batch` peers; its ticks.
  std::int64_t turn(std::size_t batch) {
    for (std::size_t i = 0; i < batch; ++i) {
      Peer& p = peers_[next_peer_];
      if (++next_peer_ == peers_.size()) next_peer_ = 0;
      wire::TcpHeader h = header(p, flag::ack);
      tray_.packets.push_back(packet(p, h, kPayload));
      p.next += kPayload;
    }
    now_ += kTurn;
    const std::int64_t begin = ticks();
    worker_.turn(now_);
    return ticks() - begin;
  }
  std::size_t size() const { return peers_.size(); }

 private:
  static ShardOptions options() {
    ShardOptions o;
    o.addresses = {{kEngine, 32}};
    o.secret = {1, 2};
    o.memory_limit = 16ULL << 30;
    return o;
  }
  static FlowKey key(const Peer& p) {
    const auto port = static_cast<std::uint16_t>(1024 + p.number % kPortsOfAPeer);
    return {{kEngine, 7}, {IpAddr::v4(kFirstPeer + p.number / kPortsOfAPeer), port}};
  }
  wire::TcpHeader header(const Peer& p, std::uint8_t flags) const {
    wire::TcpHeader h;
    h.src_port = key(p).remote.port;
    h.dst_port = 7;
    h.seq = p.next;
    h.ack = p.ack;
    h.flags = flags;
    h.window = 60000;
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now_.time_since_epoch());
    h.options.timestamps = wire::TcpTimestamps{static_cast<std::uint32_t>(ms.count()), 0};
    return h;
  }
  RxPacket packet(const Peer& p, const wire::TcpHeader& h, std::size_t data) {
    Buffer* b = pool_.alloc();
    b->refs = 1;
    std::uint8_t head[wire::kTcpMaxHeaderSize];
    const std::size_t n = wire::emit_tcp(h, head);
    wire::IpHeader ip;
    ip.src = key(p).remote.addr;
    ip.dst = kEngine;
    ip.protocol = wire::kProtoTcp;
    const std::size_t at = wire::emit_ip(ip, n + data, MutableBytes{b->data, b->capacity});
    std::memcpy(b->data + at, head, n);
    return {.buffer = b,
            .hash = p.hash,
            .length = static_cast<std::uint32_t>(at + n + data),
            .checksum = ChecksumState::trusted};
  }
  void give(const Peer& p, const wire::TcpHeader& h) {
    tray_.packets.push_back(packet(p, h, 0));
    worker_.turn(now_);
  }
  void open(std::uint32_t number) {
    Peer p{number, 0, Seq{number * 7919}, Seq{}};
    p.hash = flow_hash(options().secret, key(p));
    wire::TcpHeader syn = header(p, flag::syn);
    syn.options.mss = std::uint16_t{1460};
    syn.options.window_scale = std::uint8_t{7};
    syn.options.sack_permitted = true;
    give(p, syn);
    p.next += 1;
    p.ack = port_.last_seq + 1U;
    give(p, header(p, flag::ack));
    peers_.push_back(p);
    now_ += 1us;
  }

  Instant now_{Duration{1'000'000'000}};
  CountingPort port_;
  WorkerCounters counters_;
  Sink sink_;
  Tray tray_;
  Sleepless sleeper_;
  BufferPool pool_{{.slot_size = 2048, .max_slots = 256, .chunk_slots = 256}};
  Shard shard_;
  Worker worker_;
  std::vector<Peer> peers_;
  std::size_t next_peer_ = 0;
};

/// Made once: opening 100,000 connections takes longer than measuring them.
Crowd& crowd_of(std::size_t connections) {
  static std::map<std::size_t, std::unique_ptr<Crowd>> all;
  auto& found = all[connections];
  if (!found) found = std::make_unique<Crowd>(connections);
  return *found;
}

/// `ns_per_segment` is of the median turn, in which no timer fires; the mean, `ns_with_timers`, has
/// its share of the delayed ACKs' timers, and of what else the machine does.
void segments(benchmark::State& state) {
  Crowd& crowd = crowd_of(static_cast<std::size_t>(state.range(0)));
  const auto batch = static_cast<std::size_t>(state.range(1));
  std::vector<std::int64_t> turns;
  for (auto _ : state) {
    turns.push_back(crowd.turn(batch));
    state.SetIterationTime(static_cast<double>(turns.back()) * ns_per_tick() * 1e-9);
  }
  state.SetItemsProcessed(state.iterations() * state.range(1));
  const auto total = std::accumulate(turns.begin(), turns.end(), std::int64_t{0});
  const auto count = static_cast<double>(turns.size() * batch);
  state.counters["ns_with_timers"] = static_cast<double>(total) * ns_per_tick() / count;
  state.counters["ns_per_segment"] = median_ns(turns) / static_cast<double>(batch);
}
BENCHMARK(segments)
    ->Name("segment/connections_batch")
    ->ArgsProduct({{1, 100, 10000, 100000}, {1, limits::kBatch}})
    ->MinTime(0.1)  // thousands of turns: the median is of those that nothing disturbed
    ->UseManualTime();

/// A connection without a shard: on_segment(), the reader, and the ACK for every 64th.
void bare_connection(benchmark::State& state) {
  const tcp::Options options;
  Instant now{Duration{1'000'000'000}};
  wire::TcpHeader h;
  h.seq = Seq{100};
  h.window = 60000;
  h.flags = flag::syn;
  h.options.mss = std::uint16_t{1460};
  h.options.timestamps = wire::TcpTimestamps{1, 0};
  tcp::Conn conn = tcp::Conn::passive(options, {.iss = Seq{500}}, h, now);
  tcp::SegmentOut out;
  conn.poll_tx(now, out);
  h.options = {};
  h.options.timestamps = wire::TcpTimestamps{1, 0};
  h.flags = flag::ack;
  h.seq += 1;
  h.ack = out.header.seq + 1U;
  conn.on_segment(now, h, {}, 0);
  static const std::array<std::uint8_t, kPayload> octets{};
  std::uint32_t count = 0;
  for (auto _ : state) {
    conn.on_segment(now, h, Slice::from_static(octets), 0);
    h.seq += kPayload;
    conn.consume(conn.peek().size());
    if (++count % limits::kBatch != 0) continue;
    now += kTurn;
    conn.take_events();
    while (conn.poll_tx(now, out)) {
    }
  }
  assert(conn.state() == tcp::State::established && conn.info().bytes_received >= count * kPayload);
}
BENCHMARK(bare_connection)->Name("segment/bare_connection");

}  // namespace
}  // namespace pollux::bench
