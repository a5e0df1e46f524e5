// One way through a ring: Boost's queue (ours) against a hand-written ring whose ends cache each
// other's index. Both in one thread (the cost of the code) and between two (the cost of the lines).
#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <span>
#include <thread>
#include <vector>

#include "workers/packet.h"
#include "workers/ring.h"

namespace pollux {
namespace {

constexpr std::size_t kSlots = 2048;

/// Each end re-reads the other's index only when its copy says full or empty.
template <class T>
class CachedRing {
 public:
  explicit CachedRing(std::size_t slots) : slots_(std::bit_ceil(slots)) {}
  std::size_t push(std::span<const T> in) {
    const std::size_t w = write_.load(std::memory_order_relaxed);
    if (slots_.size() - (w - seen_read_) < in.size()) {
      seen_read_ = read_.load(std::memory_order_acquire);
    }
    const std::size_t n = std::min(in.size(), slots_.size() - (w - seen_read_));
    for (std::size_t i = 0; i < n; ++i) slots_[(w + i) & (slots_.size() - 1)] = in[i];
    write_.store(w + n, std::memory_order_release);
    return n;
  }
  std::size_t pop(std::span<T> out) {
    const std::size_t r = read_.load(std::memory_order_relaxed);
    if (seen_write_ - r < out.size()) seen_write_ = write_.load(std::memory_order_acquire);
    const std::size_t n = std::min(out.size(), seen_write_ - r);
    for (std::size_t i = 0; i < n; ++i) out[i] = slots_[(r + i) & (slots_.size() - 1)];
    if (n != 0) read_.store(r + n, std::memory_order_release);
    return n;
  }

 private:
  std::vector<T> slots_;
  alignas(128) std::atomic<std::size_t> write_{0};
  std::size_t seen_read_ = 0;
  alignas(128) std::atomic<std::size_t> read_{0};
  std::size_t seen_write_ = 0;
};

template <class Ring>
void BM_RingOneThread(benchmark::State& state) {
  Ring ring(kSlots);
  const auto batch = static_cast<std::size_t>(state.range(0));
  std::vector<RxPacket> in(batch), out(batch);
  for (auto _ : state) {
    benchmark::DoNotOptimize(ring.push(std::span<const RxPacket>(in)));
    benchmark::DoNotOptimize(ring.pop(std::span<RxPacket>(out)));
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

template <class Ring>
void drain_until(Ring& ring, const std::atomic<bool>& stop, std::size_t batch) {
  std::vector<RxPacket> out(batch);
  while (!stop.load(std::memory_order_relaxed)) {
    if (ring.pop(std::span<RxPacket>(out)) == 0) std::this_thread::yield();
  }
}

template <class Ring>
void BM_RingTwoThreads(benchmark::State& state) {
  Ring ring(kSlots);
  const auto batch = static_cast<std::size_t>(state.range(0));
  std::atomic<bool> stop{false};
  std::thread consumer([&] { drain_until(ring, stop, batch); });
  const std::vector<RxPacket> in(batch);
  for (auto _ : state) {
    for (std::size_t sent = 0; sent < batch;) {
      const std::size_t n = ring.push(std::span<const RxPacket>(in).subspan(sent));
      if (n == 0) std::this_thread::yield();
      sent += n;
    }
  }
  stop = true;
  consumer.join();
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

BENCHMARK(BM_RingOneThread<SpscRing<RxPacket>>)->Arg(1)->Arg(8)->Arg(64);
BENCHMARK(BM_RingOneThread<CachedRing<RxPacket>>)->Arg(1)->Arg(8)->Arg(64);
BENCHMARK(BM_RingTwoThreads<SpscRing<RxPacket>>)->Arg(1)->Arg(8)->Arg(64)->UseRealTime();
BENCHMARK(BM_RingTwoThreads<CachedRing<RxPacket>>)->Arg(1)->Arg(8)->Arg(64)->UseRealTime();

}  // namespace
}  // namespace pollux
