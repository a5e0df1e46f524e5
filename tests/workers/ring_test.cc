// The ring against a deque, and order between two threads.
#include "workers/ring.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <array>
#include <cstdint>
#include <deque>
#include <numeric>
#include <thread>
#include <vector>

namespace pollux {
namespace {

TEST(Ring, HoldsExactlyItsSlots) {
  SpscRing<int> ring(3);
  EXPECT_TRUE(ring.empty());
  EXPECT_TRUE(ring.push(1));
  EXPECT_TRUE(ring.push(2));
  EXPECT_TRUE(ring.push(3));
  EXPECT_FALSE(ring.push(4));
  EXPECT_EQ(ring.size(), 3U);
  std::array<int, 8> out{};
  EXPECT_EQ(ring.pop(std::span<int>(out)), 3U);
  EXPECT_EQ(out[0], 1);
  EXPECT_EQ(out[2], 3);
  EXPECT_TRUE(ring.empty());
}

TEST(Ring, BatchTakesWhatFits) {
  SpscRing<int> ring(4);
  const std::array<int, 6> in{1, 2, 3, 4, 5, 6};
  EXPECT_EQ(ring.push(std::span<const int>(in)), 4U);
  EXPECT_EQ(ring.push(std::span<const int>(in)), 0U);
}

struct RingModel {
  explicit RingModel(std::size_t slots) : capacity(slots), ring(slots) {}
  void push(std::size_t n) {
    std::vector<int> in(n);
    std::iota(in.begin(), in.end(), next);
    const std::size_t taken = ring.push(std::span<const int>(in));
    RC_ASSERT(taken == std::min(n, capacity - model.size()));
    model.insert(model.end(), in.begin(), in.begin() + static_cast<std::ptrdiff_t>(taken));
    next += static_cast<int>(taken);
  }
  void pop(std::size_t n) {
    std::vector<int> out(n);
    const std::size_t got = ring.pop(std::span<int>(out));
    RC_ASSERT(got == std::min(n, model.size()));
    for (std::size_t i = 0; i < got; ++i) {
      RC_ASSERT(out[i] == model.front());
      model.pop_front();
    }
  }
  std::size_t capacity;
  SpscRing<int> ring;
  std::deque<int> model;
  int next = 0;
};

TEST(Ring, AgreesWithADeque) {
  EXPECT_TRUE(rc::check("batches of any size in any order", [] {
    RingModel m(*rc::gen::inRange<std::size_t>(1, 17));
    const auto steps = *rc::gen::container<std::vector<int>>(rc::gen::inRange(-20, 20));
    for (int step : steps) {
      if (step < 0) {
        m.pop(static_cast<std::size_t>(-step));
      } else {
        m.push(static_cast<std::size_t>(step));
      }
      RC_ASSERT(m.ring.size() == m.model.size());
      RC_ASSERT(m.ring.empty() == m.model.empty());
    }
  }));
}

void produce(SpscRing<std::uint32_t>& ring, std::uint32_t count) {
  std::array<std::uint32_t, 64> batch;
  for (std::uint32_t sent = 0; sent < count;) {
    const std::size_t n = std::min<std::size_t>(1 + sent % batch.size(), count - sent);
    std::iota(batch.begin(), batch.end(), sent);
    const std::size_t taken = ring.push(std::span<const std::uint32_t>(batch.data(), n));
    if (taken == 0) std::this_thread::yield();
    sent += static_cast<std::uint32_t>(taken);
  }
}

TEST(Ring, TwoThreadsKeepOrder) {
  constexpr std::uint32_t kCount = 1000000;
  SpscRing<std::uint32_t> ring(256);
  std::thread producer([&] { produce(ring, kCount); });
  std::array<std::uint32_t, 48> batch;
  std::uint32_t expected = 0;
  std::uint32_t wrong = 0;
  while (expected < kCount) {
    const std::size_t n = ring.pop(std::span<std::uint32_t>(batch));
    if (n == 0) std::this_thread::yield();
    for (std::size_t i = 0; i < n; ++i) wrong += batch[i] != expected++ ? 1U : 0U;
  }
  producer.join();
  EXPECT_EQ(wrong, 0U);
  EXPECT_TRUE(ring.empty());
}

}  // namespace
}  // namespace pollux
