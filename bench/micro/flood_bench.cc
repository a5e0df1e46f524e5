// What a hostile peer's segments cost a shard, against the next segment in order. `ns_per_segment`
// is the mean of on_packet() alone, `ns_with_turn` adds its share of finish_turn() (batches of 64),
// `worst_ns` is the worst single on_packet(). The best of all iterations for each segment keeps the
// machine's interrupts out; each includes one reading of the clock (~20 ns).
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <numeric>
#include <vector>

#include "proto/wire/tcp.h"
#include "workers/shard.h"

namespace {

using namespace pollux;
namespace flag = wire::tcp_flag;
using Clock = std::chrono::steady_clock;

const IpAddr kEngine = *IpAddr::parse("198.18.0.2");
const IpAddr kPeer = *IpAddr::parse("198.18.0.1");
constexpr std::uint32_t kIss = 100;  // the peer's
constexpr std::uint32_t kFlight = 4U << 20;
constexpr std::uint32_t kFloorMss = tcp::kMinPeerMss;

/// Remembers the last header; sends nowhere.
class DeafPort final : public TxPort {
 public:
  bool transmit(const TxPacket& p) noexcept override {
    wire::parse_tcp(p.parts[0].subspan(wire::ip_header_size(p.v4)), last);
    ++count;
    return true;
  }
  const PortCaps& caps() const noexcept override { return caps_; }
  wire::TcpHeader last;
  std::uint64_t count = 0;

 private:
  PortCaps caps_;
};

/// Reads all, and sends without end.
class Spout final : public Service {
 public:
  explicit Spout(bool sends) : sends_(sends) {}
  std::string_view name() const override { return "spout"; }
  void on_open(Stream& s) override { on_writable(s); }
  void on_readable(Stream& s) override {
    while (!s.peek().empty()) s.consume(s.peek().size());
  }
  void on_writable(Stream& s) override {
    static const std::vector<std::uint8_t> octets(65536);
    while (sends_ && s.write(Slice::from_static(octets)) > 0) {
    }
    s.want_writable();
  }

 private:
  bool sends_;
};

/// A shard with one open connection, whose peer the benchmark plays.
class Field {
 public:
  explicit Field(bool sends) : service(sends) {
    options.addresses = {{kEngine, 32}};
    options.secret = {1, 2};
    shard = std::make_unique<Shard>(options, port, counters, now);
    shard->listen({{}, 7}, true, service);
    wire::TcpHeader syn = header(flag::syn, kIss, 0);
    syn.options.mss = std::uint16_t{48};
    syn.options.window_scale = std::uint8_t{14};
    syn.options.sack_permitted = true;
    give(syn, 0);
    turn();
    una = port.last.seq.raw() + 1;
    give(header(flag::ack, kIss + 1, una), 0);
    turn();
  }

  static wire::TcpHeader header(std::uint8_t flags, std::uint32_t seq, std::uint32_t ack) {
    wire::TcpHeader h;
    h.src_port = 1000;
    h.dst_port = 7;
    h.seq = Seq{seq};
    h.ack = Seq{ack};
    h.flags = flags;
    h.window = 1000;
    return h;
  }

  RxPacket packet(const wire::TcpHeader& h, std::size_t data) {
    Buffer* b = pool.alloc();
    b->refs = 1;
    std::uint8_t head[wire::kTcpMaxHeaderSize];
    const std::size_t n = wire::emit_tcp(h, head);
    wire::IpHeader ip;
    ip.src = kPeer;
    ip.dst = kEngine;
    ip.protocol = wire::kProtoTcp;
    const std::size_t at = wire::emit_ip(ip, n + data, MutableBytes{b->data, b->capacity});
    std::memcpy(b->data + at, head, n);
    return {.buffer = b,
            .length = static_cast<std::uint32_t>(at + n + data),
            .checksum = ChecksumState::trusted};
  }
  void give(const wire::TcpHeader& h, std::size_t data) { shard->on_packet(now, packet(h, data)); }
  void turn() {
    while (shard->finish_turn(now) && shard->has_work()) {
    }
  }
  std::uint32_t flight() const {
    std::uint32_t n = 0;
    shard->for_each([&](const ConnEntry& e) { n = distance(e.tcp.snd_una(), e.tcp.snd_nxt()); });
    return n;
  }
  /// Acknowledges whole windows until 4 MiB are in flight.
  void fill_the_path() {
    for (int i = 0; i < 200 && flight() < kFlight; ++i) {
      now += 10ms;
      una += flight();
      give(header(flag::ack, kIss + 1, una), 0);
      turn();
    }
  }

  ShardOptions options;
  DeafPort port;
  WorkerCounters counters;
  Spout service;
  BufferPool pool{{.slot_size = 2048, .max_slots = 8192, .chunk_slots = 256}};
  Instant now{Duration{1'000'000'000}};
  std::uint32_t una = 0;
  std::unique_ptr<Shard> shard;
};

struct Step {
  wire::TcpHeader header;
  std::size_t data;
};

class Stopwatch {
 public:
  explicit Stopwatch(std::size_t steps)
      : best_(steps, std::numeric_limits<std::int64_t>::max()), turn_(best_.back()) {}

  double play(Field& f, const std::vector<Step>& steps) {
    std::int64_t turns = 0;
    const auto begin = Clock::now();
    for (std::size_t i = 0; i < steps.size(); ++i) {
      const RxPacket p = f.packet(steps[i].header, steps[i].data);
      const auto before = Clock::now();
      f.shard->on_packet(f.now, p);
      best_[i] = std::min<std::int64_t>(best_[i], (Clock::now() - before).count());
      if (i % limits::kBatch != limits::kBatch - 1) continue;
      const auto turn = Clock::now();
      f.shard->finish_turn(f.now);
      turns += (Clock::now() - turn).count();
      f.now += 100us;
    }
    turn_ = std::min(turn_, turns);
    return std::chrono::duration<double>(Clock::now() - begin).count();
  }
  void report(benchmark::State& state) const {
    const auto total = std::accumulate(best_.begin(), best_.end(), std::int64_t{0});
    const auto n = static_cast<double>(best_.size());
    state.counters["ns_per_segment"] = static_cast<double>(total) / n;
    state.counters["ns_with_turn"] = static_cast<double>(total + turn_) / n;
    state.counters["worst_ns"] = static_cast<double>(*std::max_element(best_.begin(), best_.end()));
  }

 private:
  std::vector<std::int64_t> best_;
  std::int64_t turn_;
};

using Plan = std::function<std::vector<Step>(const Field&)>;

void run(benchmark::State& state, bool sends, const Plan& plan) {
  std::unique_ptr<Stopwatch> watch;
  for (auto _ : state) {
    Field f(sends);
    if (sends) f.fill_the_path();
    const auto steps = plan(f);
    if (!watch) watch = std::make_unique<Stopwatch>(steps.size());
    state.SetIterationTime(watch->play(f, steps));
  }
  watch->report(state);
}

/// `count` segments of `size` octets, each `stride` behind the last, from `first` on.
Plan data(std::uint32_t first, std::uint32_t count, std::uint32_t stride, std::size_t size) {
  return [=](const Field& f) {
    std::vector<Step> steps;
    for (std::uint32_t i = 0; i < count; ++i) {
      steps.push_back({Field::header(flag::ack, kIss + 1 + first + i * stride, f.una), size});
    }
    return steps;
  };
}

void in_order_one_octet(benchmark::State& s) { run(s, false, data(0, 20000, 1, 1)); }
BENCHMARK(in_order_one_octet)->Name("flood/in_order_one_octet")->UseManualTime();

void in_order_full(benchmark::State& s) { run(s, false, data(0, 1000, 1400, 1400)); }
BENCHMARK(in_order_full)->Name("flood/in_order_full")->UseManualTime();

/// Up to the edge of a window of 256 KiB: what the store takes, and what it refuses.
void comb_to_the_edge(benchmark::State& s) { run(s, false, data(1, 30000, 2, 1)); }
BENCHMARK(comb_to_the_edge)->Name("flood/comb_to_the_edge")->UseManualTime();

void comb_that_is_kept(benchmark::State& s) { run(s, false, data(1, 1000, 2, 1)); }
BENCHMARK(comb_that_is_kept)->Name("flood/comb_that_is_kept")->UseManualTime();

void comb_backwards(benchmark::State& s) {
  run(s, false, [](const Field& f) {
    auto steps = data(1, 1000, 2, 1)(f);
    std::reverse(steps.begin(), steps.end());
    return steps;
  });
}
BENCHMARK(comb_backwards)->Name("flood/comb_backwards")->UseManualTime();

/// ACKs for 4 MiB in flight in segments of the floor's size: the next two segments each time.
void acks_in_order(benchmark::State& s) {
  run(s, true, [](const Field& f) {
    std::vector<Step> steps;
    for (std::uint32_t i = 1; i <= 2000; ++i) {
      steps.push_back({Field::header(flag::ack, kIss + 1, f.una + 2 * i * kFloorMss), 0});
    }
    return steps;
  });
}
BENCHMARK(acks_in_order)->Name("flood/acks_in_order")->UseManualTime();

/// Four blocks of one segment each, every second segment, over all that is in flight.
std::vector<Step> sack_every_second(const Field& f) {
  std::vector<Step> steps;
  const std::uint32_t blocks = f.flight() / (2 * kFloorMss);
  for (std::uint32_t i = 0; i + 4 < blocks; i += 4) {
    Step step{Field::header(flag::ack, kIss + 1, f.una), 0};
    step.header.options.sack_count = 4;
    for (std::uint32_t k = 0; k < 4; ++k) {
      const Seq begin{f.una + (2 * (i + k) + 1) * kFloorMss};
      step.header.options.sack[k] = {begin, begin + kFloorMss};
    }
    steps.push_back(step);
  }
  return steps;
}

void sack_panic(benchmark::State& s) { run(s, true, sack_every_second); }
BENCHMARK(sack_panic)->Name("flood/sack_panic")->UseManualTime()->Iterations(10);

void sack_panic_backwards(benchmark::State& s) {
  run(s, true, [](const Field& f) {
    auto steps = sack_every_second(f);
    std::reverse(steps.begin(), steps.end());
    return steps;
  });
}
BENCHMARK(sack_panic_backwards)
    ->Name("flood/sack_panic_backwards")
    ->UseManualTime()
    ->Iterations(10);

/// A lie about what came twice, in front of the blocks.
void dsack_lies(benchmark::State& s) {
  run(s, true, [](const Field& f) {
    auto steps = sack_every_second(f);
    for (Step& step : steps) {
      step.header.options.sack[0] = {Seq{f.una - 100}, Seq{f.una - 1}};
    }
    return steps;
  });
}
BENCHMARK(dsack_lies)->Name("flood/dsack_lies")->UseManualTime()->Iterations(10);

}  // namespace
