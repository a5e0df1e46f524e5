// Flow table with 1K, 100K and 1M entries; keys are looked up in random order, as packets come.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

#include "workers/table.h"

namespace pollux {
namespace {

std::vector<FlowEntry> random_entries(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<FlowEntry> out(n);
  for (std::size_t i = 0; i < n; ++i) {
    const auto host = static_cast<std::uint32_t>(i) + (seed << 24);
    out[i] = {{{IpAddr::v4(0xc6120001), 80}, {IpAddr::v4(host), 40000}},
              static_cast<std::uint32_t>(random())};
  }
  return out;
}

struct Filled {
  explicit Filled(benchmark::State& state)
      : entries(random_entries(static_cast<std::size_t>(state.range(0)), 1)),
        table(entries.size()) {
    for (FlowEntry& e : entries) table.insert(&e);
  }
  std::vector<FlowEntry> entries;
  FlowTable table;
};

/// Keys by value in random order, so that looking one up does not warm its entry.
std::vector<FlowEntry> shuffled(std::vector<FlowEntry> keys) {
  std::shuffle(keys.begin(), keys.end(), std::mt19937(3));
  keys.resize(std::min<std::size_t>(keys.size(), 100000));
  return keys;
}

void look_up(benchmark::State& state, const FlowTable& table, const std::vector<FlowEntry>& keys) {
  std::size_t i = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(table.find(keys[i].hash, keys[i].key));
    if (++i == keys.size()) i = 0;
  }
  state.SetItemsProcessed(state.iterations());
}

void BM_TableHit(benchmark::State& state) {
  Filled f(state);
  look_up(state, f.table, shuffled(f.entries));
}

void BM_TableMiss(benchmark::State& state) {
  Filled f(state);
  look_up(state, f.table, shuffled(random_entries(f.entries.size(), 2)));
}

void BM_TableEraseInsert(benchmark::State& state) {
  Filled f(state);
  std::minstd_rand random(5);
  for (auto _ : state) {
    FlowEntry& e = f.entries[random() % f.entries.size()];
    f.table.erase(&e);
    f.table.insert(&e);
  }
  state.SetItemsProcessed(state.iterations());
}

/// From empty; time per entry includes every doubling.
void BM_TableFill(benchmark::State& state) {
  auto entries = random_entries(static_cast<std::size_t>(state.range(0)), 1);
  for (auto _ : state) {
    FlowTable table(entries.size());
    for (FlowEntry& e : entries) table.insert(&e);
    benchmark::DoNotOptimize(table.size());
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

void sizes(benchmark::internal::Benchmark* b) { b->Arg(1000)->Arg(100000)->Arg(1000000); }
BENCHMARK(BM_TableHit)->Name("table/hit")->Apply(sizes);
BENCHMARK(BM_TableMiss)->Name("table/miss")->Apply(sizes);
BENCHMARK(BM_TableEraseInsert)->Name("table/erase_insert")->Apply(sizes);
BENCHMARK(BM_TableFill)->Name("table/fill")->Apply(sizes)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace pollux
