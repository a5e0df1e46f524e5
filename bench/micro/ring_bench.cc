// One way through a ring: Boost's queue (ours) against a hand-written ring whose ends cache each
// other's index. In one thread (the cost of the code), between two in batches (what gets through),
// and as a hop: a descriptor goes over and one comes back through a second ring, half of the time
// is one way. `line` hands a cache line over and back without a ring: what the machine gives. The
// two threads are pinned to CPUs of their own.
#include <benchmark/benchmark.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <span>
#include <thread>
#include <vector>

#include "bench/micro/clock.h"
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

/// The calling thread to the n-th CPU that the process may use.
void pin(std::size_t n) {
  static const cpu_set_t allowed = [] {
    cpu_set_t set;
    sched_getaffinity(0, sizeof set, &set);
    return set;
  }();
  std::size_t seen = 0;
  for (std::size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed) || seen++ != n) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    sched_setaffinity(0, sizeof one, &one);
  }
}

/// Spins, and gives the CPU away now and then: there may be one only.
class Patience {
 public:
  void wait() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
    if (++spins_ % 1024 == 0) std::this_thread::yield();
  }

 private:
  std::uint32_t spins_ = 0;
};

/// This thread on the first CPU and `other`, told when to stop, on the second; undone at the end.
class Pair {
 public:
  template <class Other>
  explicit Pair(Other other)
      : thread_([this, other] {
          pin(1);
          other(stop_);
        }) {
    sched_getaffinity(0, sizeof before_, &before_);
    pin(0);
  }
  ~Pair() {
    stop_ = true;
    thread_.join();
    sched_setaffinity(0, sizeof before_, &before_);
  }

 private:
  cpu_set_t before_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

template <class Ring>
void BM_RingTwoThreads(benchmark::State& state) {
  Ring ring(kSlots);
  const auto batch = static_cast<std::size_t>(state.range(0));
  const Pair pair([&ring, batch](const std::atomic<bool>& stop) {
    Patience patience;
    std::vector<RxPacket> out(batch);
    while (!stop.load(std::memory_order_relaxed)) {
      if (ring.pop(std::span<RxPacket>(out)) == 0) patience.wait();
    }
  });
  Patience patience;
  const std::vector<RxPacket> in(batch);
  for (auto _ : state) {
    for (std::size_t sent = 0; sent < batch;) {
      const std::size_t n = ring.push(std::span<const RxPacket>(in).subspan(sent));
      if (n == 0) patience.wait();
      sent += n;
    }
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

/// Half of a round trip of `batch` descriptors; manual time.
template <class Ring>
void BM_RingHop(benchmark::State& state) {
  Ring there(kSlots), back(kSlots);
  const auto batch = static_cast<std::size_t>(state.range(0));
  const Pair pair([&there, &back, batch](const std::atomic<bool>& stop) {
    Patience patience;
    std::vector<RxPacket> out(batch);
    while (!stop.load(std::memory_order_relaxed)) {
      const std::size_t n = there.pop(std::span<RxPacket>(out));
      if (n == 0) patience.wait();
      if (n != 0) back.push(std::span<const RxPacket>(out).first(n));
    }
  });
  Patience patience;
  std::vector<RxPacket> in(batch);
  for (auto _ : state) {
    const std::int64_t begin = bench::ticks();
    there.push(std::span<const RxPacket>(in));
    for (std::size_t got = 0; got < batch;) {
      const std::size_t n = back.pop(std::span<RxPacket>(in));
      if (n == 0) patience.wait();
      got += n;
    }
    const auto trip = static_cast<double>(bench::ticks() - begin);
    state.SetIterationTime(trip * bench::ns_per_tick() * 0.5e-9);
  }
}

void BM_Line(benchmark::State& state) {
  alignas(128) std::atomic<std::uint64_t> word{0};
  const Pair pair([&word](const std::atomic<bool>& stop) {
    Patience patience;
    for (std::uint64_t next = 1; !stop.load(std::memory_order_relaxed);) {
      if (word.load(std::memory_order_acquire) != next) {
        patience.wait();
        continue;
      }
      word.store(next + 1, std::memory_order_release);
      next += 2;
    }
  });
  Patience patience;
  std::uint64_t next = 1;
  for (auto _ : state) {
    const std::int64_t begin = bench::ticks();
    word.store(next, std::memory_order_release);
    while (word.load(std::memory_order_acquire) != next + 1) patience.wait();
    next += 2;
    const auto trip = static_cast<double>(bench::ticks() - begin);
    state.SetIterationTime(trip * bench::ns_per_tick() * 0.5e-9);
  }
}

using Boost = SpscRing<RxPacket>;
using Cached = CachedRing<RxPacket>;
void batches(benchmark::internal::Benchmark* b) { b->Arg(1)->Arg(8)->Arg(64); }
BENCHMARK(BM_RingOneThread<Boost>)->Name("ring/one_thread/boost")->Apply(batches);
BENCHMARK(BM_RingOneThread<Cached>)->Name("ring/one_thread/own")->Apply(batches);
BENCHMARK(BM_RingTwoThreads<Boost>)->Name("ring/through/boost")->Apply(batches)->UseRealTime();
BENCHMARK(BM_RingTwoThreads<Cached>)->Name("ring/through/own")->Apply(batches)->UseRealTime();
BENCHMARK(BM_RingHop<Boost>)->Name("ring/hop/boost")->Arg(1)->Arg(64)->UseManualTime();
BENCHMARK(BM_RingHop<Cached>)->Name("ring/hop/own")->Arg(1)->Arg(64)->UseManualTime();
BENCHMARK(BM_Line)->Name("ring/line")->UseManualTime();

}  // namespace
}  // namespace pollux
