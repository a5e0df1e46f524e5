// The out-of-order store under the shapes that peers and attackers make: `ns_per_insert` is the
// mean of the inserts, `worst_ns` the worst single one; both include one reading of the clock (~20
// ns).
#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "proto/tcp/assembler.h"

namespace {

using pollux::Bytes;
using pollux::Seq;
using pollux::Slice;
using pollux::tcp::Assembler;
using Clock = std::chrono::steady_clock;

constexpr std::uint32_t kPieces = 1000;
constexpr std::uint32_t kMss = 1460;
const std::array<std::uint8_t, 65536> kOctets{};

class Home : public pollux::Recycler {
 public:
  void recycle(pollux::Buffer*) noexcept override {}
};

struct Step {
  std::uint32_t at;
  std::uint32_t size;
};

/// Inserts `steps` into an Assembler prepared with `before`, and times each insert. The best time
/// of each step over all iterations keeps the machine's interrupts out of the counters.
void run(benchmark::State& state, const std::vector<Step>& before, const std::vector<Step>& steps) {
  Home home;
  pollux::Buffer buffer{.recycler = &home};
  const auto slice = [&](const Step& s) { return Slice(&buffer, Bytes{kOctets.data(), s.size}); };
  std::vector<std::int64_t> best(steps.size(), std::numeric_limits<std::int64_t>::max());
  for (auto _ : state) {
    Assembler a;
    for (const Step& s : before) a.insert(Seq{s.at}, slice(s));
    const auto begin = Clock::now();
    auto last = begin;
    for (std::size_t i = 0; i < steps.size(); ++i) {
      benchmark::DoNotOptimize(a.insert(Seq{steps[i].at}, slice(steps[i])));
      const auto now = Clock::now();
      best[i] = std::min<std::int64_t>(best[i], (now - last).count());
      last = now;
    }
    state.SetIterationTime(std::chrono::duration<double>(last - begin).count());
  }
  const auto total = std::accumulate(best.begin(), best.end(), std::int64_t{0});
  state.counters["ns_per_insert"] = static_cast<double>(total) / static_cast<double>(best.size());
  state.counters["worst_ns"] = static_cast<double>(*std::max_element(best.begin(), best.end()));
}

std::vector<Step> spaced(std::uint32_t first, std::uint32_t stride, std::uint32_t size) {
  std::vector<Step> steps;
  for (std::uint32_t i = 0; i < kPieces; ++i) steps.push_back({first + i * stride, size});
  return steps;
}

/// One hole at the front, then everything in order: the most common loss.
void in_order(benchmark::State& state) { run(state, {}, spaced(kMss, kMss, kMss)); }
BENCHMARK(in_order)->UseManualTime();

void every_second_missing(benchmark::State& state) { run(state, {}, spaced(0, 2 * kMss, kMss)); }
BENCHMARK(every_second_missing)->UseManualTime();

void reverse(benchmark::State& state) {
  auto steps = spaced(0, 2 * kMss, kMss);
  std::reverse(steps.begin(), steps.end());
  run(state, {}, steps);
}
BENCHMARK(reverse)->UseManualTime();

void random_one_octet(benchmark::State& state) {
  auto steps = spaced(0, 2, 1);
  std::shuffle(steps.begin(), steps.end(), std::mt19937{7});
  run(state, {}, steps);
}
BENCHMARK(random_one_octet)->UseManualTime();

/// 1000 holes are there; small pieces that lie over two edges, in random order, until it is full,
/// and the refusals and duplicates after that.
void overlapping_at_1000_holes(benchmark::State& state) {
  auto steps = spaced(5, 20, 18);
  std::shuffle(steps.begin(), steps.end(), std::mt19937{7});
  run(state, spaced(0, 20, 10), steps);
}
BENCHMARK(overlapping_at_1000_holes)->UseManualTime();

/// The worst call that the bound allows: one payload over 500 holes.
void one_payload_over_500_holes(benchmark::State& state) {
  auto holes = spaced(0, 100, 50);
  holes.resize(500);
  run(state, holes, {{0, 50000}});
}
BENCHMARK(one_payload_over_500_holes)->UseManualTime();

void sack_blocks_at_1000_holes(benchmark::State& state) {
  Assembler a;
  auto steps = spaced(0, 2, 1);
  std::shuffle(steps.begin(), steps.end(), std::mt19937{7});
  for (const Step& s : steps)
    a.insert(Seq{s.at}, Slice::from_static(Bytes{kOctets.data(), s.size}));
  std::array<pollux::wire::SackBlock, 3> out;
  for (auto _ : state) benchmark::DoNotOptimize(a.sack_blocks(out));
}
BENCHMARK(sack_blocks_at_1000_holes);

/// A run of 1000 pieces behind one hole, an ACK for each.
void sack_blocks_of_a_long_run(benchmark::State& state) {
  Assembler a;
  for (const Step& s : spaced(kMss, kMss, kMss)) {
    a.insert(Seq{s.at}, Slice::from_static(Bytes{kOctets.data(), s.size}));
  }
  std::array<pollux::wire::SackBlock, 3> out;
  for (auto _ : state) benchmark::DoNotOptimize(a.sack_blocks(out));
}
BENCHMARK(sack_blocks_of_a_long_run);

void drain_1000_pieces(benchmark::State& state) {
  const auto steps = spaced(0, kMss, kMss);
  for (auto _ : state) {
    Assembler a;
    for (const Step& s : steps)
      a.insert(Seq{s.at}, Slice::from_static(Bytes{kOctets.data(), s.size}));
    const auto begin = Clock::now();
    for (Seq next{0}; !a.empty(); next += kMss) benchmark::DoNotOptimize(a.take(next));
    state.SetIterationTime(std::chrono::duration<double>(Clock::now() - begin).count());
  }
  state.SetItemsProcessed(state.iterations() * kPieces);
}
BENCHMARK(drain_1000_pieces)->UseManualTime();

}  // namespace
