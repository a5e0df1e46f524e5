// Buffer pool against malloc, and the way home over a ring.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "workers/pool.h"

namespace pollux {
namespace {

PoolOptions options(std::uint32_t slot_size, bool huge_pages = false) {
  return {.slot_size = slot_size, .max_slots = 1024, .chunk_slots = 64, .huge_pages = huge_pages};
}

/// Takes a batch, touches each header line, gives it back.
void pool_batch(benchmark::State& state, bool huge_pages) {
  BufferPool pool(options(65536 + 128, huge_pages));
  std::vector<Buffer*> out(static_cast<std::size_t>(state.range(0)));
  const auto round = [&] {
    for (Buffer*& b : out) {
      b = pool.alloc();
      b->data[0] = 1;
    }
    for (Buffer* b : out) pool.recycle(b);
  };
  round();  // the pages are there
  for (auto _ : state) round();
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

/// A batch of MTU-sized packets is written into 64 slots of the RX pool and read again.
void pool_payload(benchmark::State& state, bool huge_pages) {
  BufferPool pool(options(65536 + 128, huge_pages));
  std::vector<Buffer*> out(64);
  const std::vector<std::uint8_t> from(1500, 1);
  std::vector<std::uint8_t> to(1500);
  for (auto _ : state) {
    for (Buffer*& b : out) {
      b = pool.alloc();
      std::memcpy(b->data, from.data(), from.size());
    }
    for (Buffer* b : out) {
      std::memcpy(to.data(), b->data, to.size());
      benchmark::DoNotOptimize(to.data());
      pool.recycle(b);
    }
  }
  state.SetItemsProcessed(state.iterations() * 64);
}

BENCHMARK_CAPTURE(pool_batch, small_pages, false)->Name("pool/batch")->Arg(1)->Arg(64)->Arg(512);
BENCHMARK_CAPTURE(pool_batch, huge_pages, true)->Name("pool/batch_huge_pages")->Arg(64)->Arg(512);
BENCHMARK_CAPTURE(pool_payload, small_pages, false)->Name("pool/payload_of_64");
BENCHMARK_CAPTURE(pool_payload, huge_pages, true)->Name("pool/payload_of_64_huge_pages");
BENCHMARK(BM_MallocBatch)->Name("pool/malloc_batch")->Arg(1)->Arg(64);
BENCHMARK(BM_PoolSlice)->Name("pool/slice");
BENCHMARK(BM_ReturnPath)->Name("pool/return_ring")->Arg(1)->Arg(64);

}  // namespace
}  // namespace pollux
