// Timer wheel with 1K, 100K and 1M timers armed around it.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <deque>
#include <random>

#include "bench/micro/clock.h"
#include "workers/wheel.h"

namespace pollux {
namespace {

constexpr std::int64_t kMilli = 1000000;

Instant at(std::int64_t ns) { return Instant{Duration{ns}}; }

/// Timers of 0.2 to 60 s, and a cheap sequence of delays and victims.
struct Field {
  explicit Field(benchmark::State& state)
      : nodes(static_cast<std::size_t>(state.range(0))), wheel(at(0)) {
    for (TimerNode& n : nodes) wheel.arm(n, at(delay()));
  }
  std::int64_t delay() { return (200 + static_cast<std::int64_t>(random() % 59800)) * kMilli; }
  TimerNode& any() { return nodes[random() % nodes.size()]; }

  std::minstd_rand random{7};
  std::deque<TimerNode> nodes;
  TimerWheel wheel;
};

void BM_WheelRearm(benchmark::State& state) {
  Field f(state);
  for (auto _ : state) f.wheel.arm(f.any(), at(f.delay()));
  state.SetItemsProcessed(state.iterations());
}

void BM_WheelCancelAndArm(benchmark::State& state) {
  Field f(state);
  for (auto _ : state) {
    TimerNode& n = f.any();
    f.wheel.cancel(n);
    benchmark::ClobberMemory();
    f.wheel.arm(n, at(f.delay()));
  }
  state.SetItemsProcessed(state.iterations());
}

/// The short life of a delayed ACK: armed and cancelled while hot.
void BM_WheelArmCancelHot(benchmark::State& state) {
  Field f(state);
  TimerNode node;
  for (auto _ : state) {
    f.wheel.arm(node, at(40 * kMilli));
    benchmark::ClobberMemory();
    f.wheel.cancel(node);
  }
  state.SetItemsProcessed(state.iterations());
}

/// Time goes on by 1 ms a turn; what fires is armed again. `ns_per_timer`: of one that fires.
void BM_WheelExpire(benchmark::State& state) {
  Field f(state);
  std::int64_t now = 0;
  std::int64_t fired = 0;
  const std::int64_t begin = bench::ticks();
  for (auto _ : state) {
    now += kMilli;
    while (TimerNode* n = f.wheel.expire(at(now))) {
      f.wheel.arm(*n, at(now + f.delay()));
      ++fired;
    }
  }
  const std::int64_t spent = bench::ticks() - begin;
  state.SetItemsProcessed(fired);
  if (fired == 0) return;
  const double ns = static_cast<double>(spent) * bench::ns_per_tick();
  state.counters["ns_per_timer"] = ns / static_cast<double>(fired);
}

/// A busy turn in which nothing is due, and the question how long to sleep.
void BM_WheelIdleTurn(benchmark::State& state) {
  Field f(state);
  for (auto _ : state) {
    benchmark::DoNotOptimize(f.wheel.expire(at(0)));
    benchmark::DoNotOptimize(f.wheel.next_deadline());
  }
}

void sizes(benchmark::internal::Benchmark* b) { b->Arg(1000)->Arg(100000)->Arg(1000000); }
BENCHMARK(BM_WheelRearm)->Name("wheel/rearm")->Apply(sizes);
BENCHMARK(BM_WheelCancelAndArm)->Name("wheel/cancel_arm")->Apply(sizes);
BENCHMARK(BM_WheelArmCancelHot)->Name("wheel/arm_cancel_hot")->Apply(sizes);
BENCHMARK(BM_WheelExpire)->Name("wheel/expire_turn")->Apply(sizes);
BENCHMARK(BM_WheelIdleTurn)->Name("wheel/idle_turn")->Apply(sizes);

}  // namespace
}  // namespace pollux
