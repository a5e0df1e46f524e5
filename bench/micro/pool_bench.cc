// Buffer pool against malloc, and the way home over a ring.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <vector>

#include "workers/pool.h"

namespace pollux {
namespace {

PoolOptions options(std::uint32_t slot_size) {
  return {.slot_size = slot_size, .max_slots = 1024, .chunk_slots = 64};
}

/// Takes a batch, touches each header line, gives it back.
void BM_PoolBatch(benchmark::State& state) {
  BufferPool pool(options(65536 + 128));
  std::vector<Buffer*> out(static_cast<std::size_t>(state.range(0)));
  for (auto _ : state) {
    for (Buffer*& b : out) {
      b = pool.alloc();
      b->data[0] = 1;
    }
    for (Buffer* b : out) pool.recycle(b);
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

void BM_MallocBatch(benchmark::State& state) {
  std::vector<unsigned char*> out(static_cast<std::size_t>(state.range(0)));
  for (auto _ : state) {
    for (unsigned char*& p : out) {
      p = static_cast<unsigned char*>(std::malloc(65536 + 128));
      benchmark::DoNotOptimize(p);
      p[0] = 1;
    }
    for (unsigned char* p : out) std::free(p);
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

void BM_PoolSlice(benchmark::State& state) {
  BufferPool pool(options(2048));
  for (auto _ : state) {
    Buffer* b = pool.alloc();
    Slice whole(b, Bytes{b->data, 1460});
    Slice part = whole.sub(20, 1000);
    benchmark::DoNotOptimize(part);
  }
  state.SetItemsProcessed(state.iterations());
}

void BM_ReturnPath(benchmark::State& state) {
  BufferPool pool(options(2048));
  ReturnPath path(pool);
  const std::int64_t batch = state.range(0);
  for (auto _ : state) {
    for (std::int64_t i = 0; i < batch; ++i) {
      Buffer* b = pool.alloc();
      path.adopt(b);
      b->recycler->recycle(b);
    }
    benchmark::DoNotOptimize(path.drain());
  }
  state.SetItemsProcessed(state.iterations() * batch);
}

BENCHMARK(BM_PoolBatch)->Arg(1)->Arg(64)->Arg(512);
BENCHMARK(BM_MallocBatch)->Arg(1)->Arg(64)->Arg(512);
BENCHMARK(BM_PoolSlice);
BENCHMARK(BM_ReturnPath)->Arg(1)->Arg(64);

}  // namespace
}  // namespace pollux
