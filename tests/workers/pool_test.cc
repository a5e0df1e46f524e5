// Pools: layout, reuse order, bounds, and the way home from another thread.
#include "workers/pool.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <set>
#include <thread>
#include <vector>

namespace pollux {
namespace {

PoolOptions small(std::size_t max = 10, bool huge = false) {
  return {.slot_size = 2048, .max_slots = max, .chunk_slots = 4, .huge_pages = huge};
}

TEST(Pool, GivesUpToItsBoundAndCounts) {
  BufferPool pool(small());
  std::vector<Buffer*> out;
  std::set<std::uint8_t*> seen;
  while (Buffer* b = pool.alloc()) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(b->data) % 64, 0U);
    EXPECT_EQ(b->capacity, 2048U);
    EXPECT_EQ(b->refs, 0U);
    EXPECT_EQ(b->recycler, &pool);
    std::memset(b->data, 0xa5, b->capacity);
    seen.insert(b->data);
    out.push_back(b);
  }
  EXPECT_EQ(out.size(), 10U);
  EXPECT_EQ(seen.size(), 10U);
  EXPECT_EQ(pool.in_use(), 10U);
  EXPECT_GE(pool.reserved_bytes(), 10U * 2048U);
  for (Buffer* b : out) pool.recycle(b);
  EXPECT_EQ(pool.in_use(), 0U);
}

TEST(Pool, ReusesTheLastOneFirst) {
  BufferPool pool(small());
  Buffer* a = pool.alloc();
  Buffer* b = pool.alloc();
  pool.recycle(a);
  pool.recycle(b);
  EXPECT_EQ(pool.alloc(), b);
  EXPECT_EQ(pool.alloc(), a);
  pool.recycle(a);
  pool.recycle(b);
}

TEST(Pool, StrideIsNoPowerOfTwo) {
  for (std::uint32_t size : {1U, 64U, 256U, 2048U, 4096U, 65536U, 65536U + 64U}) {
    BufferPool pool({.slot_size = size, .max_slots = 4, .chunk_slots = 4});
    Buffer* a = pool.alloc();
    Buffer* b = pool.alloc();
    const auto stride = static_cast<std::size_t>(b->data - a->data);
    EXPECT_GE(stride, size);
    EXPECT_EQ(stride % 64, 0U);
    EXPECT_FALSE(std::has_single_bit(stride)) << size;
    pool.recycle(a);
    pool.recycle(b);
  }
}

TEST(Pool, HugePagesAreAlignedAndUsable) {
  BufferPool pool(small(64, true));
  Buffer* b = pool.alloc();
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(b->data) % (2U << 20), 0U);
  std::memset(b->data, 1, b->capacity);
  pool.recycle(b);
}

TEST(Pool, SlicesBringTheSlotHome) {
  BufferPool pool(small());
  {
    Buffer* b = pool.alloc();
    Slice s(b, Bytes{b->data, 100});
    Slice t = s.sub(10, 20);
    s = Slice();
    EXPECT_EQ(pool.in_use(), 1U);
  }
  EXPECT_EQ(pool.in_use(), 0U);
}

TEST(PoolDeathTest, DoubleRecycleIsCaught) {
  BufferPool pool(small());
  Buffer* b = pool.alloc();
  pool.recycle(b);
  EXPECT_DEATH(pool.recycle(b), "recycled twice");
}

TEST(PoolDeathTest, ForeignRecycleIsCaught) {
  BufferPool mine(small());
  BufferPool theirs(small());
  Buffer* b = mine.alloc();
  EXPECT_DEATH(theirs.recycle(b), "another pool");
  mine.recycle(b);
}

TEST(ReturnPath, BringsHomeAndResetsTheRecycler) {
  BufferPool pool(small());
  ReturnPath path(pool);
  Buffer* b = pool.alloc();
  path.adopt(b);
  { Slice s(b, Bytes{b->data, 1}); }
  EXPECT_EQ(pool.in_use(), 1U);
  EXPECT_EQ(path.drain(), 1U);
  EXPECT_EQ(pool.in_use(), 0U);
  EXPECT_EQ(b->recycler, &pool);
  EXPECT_EQ(path.drain(), 0U);
}

TEST(ReturnPath, TwoThreads) {
  constexpr std::uint32_t kMessages = 100000;
  BufferPool pool(small(64));
  ReturnPath path(pool);
  SpscRing<Buffer*> ring(64);
  std::thread b([&] {
    for (std::uint32_t expected = 0; expected < kMessages;) {
      Buffer* buffer = nullptr;
      if (ring.pop(std::span<Buffer*>(&buffer, 1)) == 0) {
        std::this_thread::yield();
        continue;
      }
      path.adopt(buffer);
      Slice s(buffer, Bytes{buffer->data, 4});
      std::uint32_t got = 0;
      std::memcpy(&got, s.data(), 4);
      ASSERT_EQ(got, expected++);
    }
  });
  for (std::uint32_t sent = 0; sent < kMessages;) {
    path.drain();
    Buffer* buffer = pool.alloc();
    if (buffer == nullptr) {
      std::this_thread::yield();
      continue;
    }
    std::memcpy(buffer->data, &sent, 4);
    ASSERT_TRUE(ring.push(buffer));
    ++sent;
  }
  b.join();
  path.drain();
  EXPECT_EQ(pool.in_use(), 0U);
}

}  // namespace
}  // namespace pollux
