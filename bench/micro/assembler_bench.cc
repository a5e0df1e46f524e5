// The out-of-order store under the shapes that peers and attackers make. `ns_per_insert` is the
// mean of a pass with no clock inside, the median of all passes; `worst_ns` is the worst single
// insert: each is timed in passes of its own, and the best of these for each insert keeps the
// machine's interrupts out.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <limits>
#include <random>
#include <vector>

#include "bench/micro/clock.h"
#include "proto/tcp/assembler.h"

namespace pollux::bench {
namespace {

using tcp::Assembler;

constexpr std::uint32_t kPieces = 1000;
constexpr std::uint32_t kMss = 1460;
constexpr std::size_t kTimedPasses = 20;  // at most
const std::array<std::uint8_t, 65536> kOctets{};

class Home : public Recycler {
 public:
  void recycle(Buffer*) noexcept override {}
};

struct Step {
  std::uint32_t at;
  std::uint32_t size;
};
using Steps = std::vector<Step>;

/// Steps into an Assembler that others went into before.
class Play {
 public:
  Play(const Steps& before, const Steps& steps)
      : before_(before), steps_(steps), best_(steps.size(), kNone) {}

  /// Ticks of all steps.
  std::int64_t whole() {
    Assembler a;
    prepare(a);
    const std::int64_t begin = ticks();
    for (const Step& s : steps_) benchmark::DoNotOptimize(a.insert(Seq{s.at}, slice(s)));
    return ticks() - begin;
  }
  void each() {
    Assembler a;
    prepare(a);
    std::int64_t last = ticks();
    for (std::size_t i = 0; i < steps_.size(); ++i) {
      benchmark::DoNotOptimize(a.insert(Seq{steps_[i].at}, slice(steps_[i])));
      const std::int64_t now = ticks();
      best_[i] = std::min(best_[i], now - last);
      last = ticks();
    }
  }
  double worst_ns() const {
    const std::int64_t worst = *std::max_element(best_.begin(), best_.end()) - empty_ticks();
    return static_cast<double>(worst) * ns_per_tick();
  }

 private:
  static constexpr std::int64_t kNone = std::numeric_limits<std::int64_t>::max();
  Slice slice(const Step& s) { return Slice(&buffer_, Bytes{kOctets.data(), s.size}); }
  void prepare(Assembler& a) {
    for (const Step& s : before_) a.insert(Seq{s.at}, slice(s));
  }

  Home home_;
  Buffer buffer_{.recycler = &home_};
  const Steps& before_;
  const Steps& steps_;
  std::vector<std::int64_t> best_;
};

void run(benchmark::State& state, const Steps& before, const Steps& steps) {
  Play play(before, steps);
  std::vector<std::int64_t> passes;
  for (auto _ : state) {
    passes.push_back(play.whole());
    state.SetIterationTime(static_cast<double>(passes.back()) * ns_per_tick() * 1e-9);
    if (passes.size() <= kTimedPasses) play.each();
  }
  state.counters["ns_per_insert"] = median_ns(passes) / static_cast<double>(steps.size());
  state.counters["worst_ns"] = play.worst_ns();
}

Steps spaced(std::uint32_t first, std::uint32_t stride, std::uint32_t size) {
  Steps steps;
  for (std::uint32_t i = 0; i < kPieces; ++i) steps.push_back({first + i * stride, size});
  return steps;
}

Steps shuffled(Steps steps) {
  std::shuffle(steps.begin(), steps.end(), std::mt19937{7});
  return steps;
}

Steps reversed(Steps steps) {
  std::reverse(steps.begin(), steps.end());
  return steps;
}

const bool kRegistered = [] {
  const auto add = [](const char* name, Steps before, Steps steps) {
    const auto body = [before = std::move(before), steps = std::move(steps)](benchmark::State& s) {
      run(s, before, steps);
    };
    benchmark::RegisterBenchmark(name, body)->UseManualTime();
  };
  // One hole at the front, then everything in order: the most common loss.
  add("reassembly/in_order", {}, spaced(kMss, kMss, kMss));
  add("reassembly/every_second_missing", {}, spaced(kMss, 2 * kMss, kMss));
  add("reassembly/reverse", {}, reversed(spaced(kMss, 2 * kMss, kMss)));
  add("reassembly/random_octets", {}, shuffled(spaced(0, 2, 1)));
  // With 1000 holes there already: octets into the middle of them, and pieces over two edges, until
  // the store is full, and the refusals and duplicates after that.
  add("reassembly/random_octets_in_1000_holes", spaced(0, 4, 1), shuffled(spaced(2, 4, 1)));
  add("reassembly/overlapping_1000_holes", spaced(0, 20, 10), shuffled(spaced(5, 20, 18)));
  // The worst call that the bounds allow: one payload over 500 holes.
  auto holes = spaced(0, 100, 50);
  holes.resize(500);
  add("reassembly/one_payload_over_500_holes", holes, {{0, 50000}});
  return true;
}();

void fill(Assembler& a, const Steps& steps) {
  for (const Step& s : steps) {
    a.insert(Seq{s.at}, Slice::from_static(Bytes{kOctets.data(), s.size}));
  }
}

void sack_blocks(benchmark::State& state, const Steps& steps) {
  Assembler a;
  fill(a, steps);
  std::array<wire::SackBlock, 3> out;
  for (auto _ : state) benchmark::DoNotOptimize(a.sack_blocks(out));
}
BENCHMARK_CAPTURE(sack_blocks, in_1000_holes, shuffled(spaced(0, 2, 1)))
    ->Name("reassembly/sack_blocks_in_1000_holes");
BENCHMARK_CAPTURE(sack_blocks, of_1000_pieces, spaced(kMss, kMss, kMss))
    ->Name("reassembly/sack_blocks_of_a_run_of_1000");

void drain(benchmark::State& state) {
  const Steps steps = spaced(0, kMss, kMss);
  for (auto _ : state) {
    Assembler a;
    fill(a, steps);
    const std::int64_t begin = ticks();
    for (Seq next{0}; !a.empty(); next += kMss) benchmark::DoNotOptimize(a.take(next));
    state.SetIterationTime(static_cast<double>(ticks() - begin) * ns_per_tick() * 1e-9);
  }
  state.SetItemsProcessed(state.iterations() * kPieces);
}
BENCHMARK(drain)->Name("reassembly/drain_1000_pieces")->UseManualTime();

}  // namespace
}  // namespace pollux::bench
