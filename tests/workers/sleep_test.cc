// The sleep protocol: with producers that signal only when told to, the consumer gets every
// message.
#include "workers/sleep.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <semaphore>
#include <thread>
#include <vector>

#include "workers/ring.h"

namespace pollux {
namespace {

// Only a lost wake-up takes this long.
constexpr auto kWatchdog = std::chrono::seconds(60);

// One consumer and what its producers share with it; the semaphore stands for the eventfd.
struct Mailbox {
  explicit Mailbox(std::size_t producers) {
    for (std::size_t i = 0; i < producers; ++i) {
      rings.emplace_back(16);
      taken.emplace_back(0);
    }
  }
  bool all_empty() const {
    for (const auto& r : rings) {
      if (!r.empty()) return false;
    }
    return true;
  }
  std::deque<SpscRing<std::uint32_t>> rings;
  std::deque<std::atomic<std::uint32_t>> taken;  // per ring, what the consumer has got
  std::atomic<bool> stop{false};
  SleepFlag flag;
  std::counting_semaphore<> signal{0};
};

// Every few messages it waits for the consumer to have them all: a lost wake-up must not be made
// good by the next message, and the consumer runs dry just as the next one is published.
void send(Mailbox& box, std::size_t which, std::uint32_t count) {
  for (std::uint32_t i = 0; i < count && !box.stop;) {
    if (!box.rings[which].push(i)) {
      std::this_thread::yield();
      continue;
    }
    if (box.flag.must_wake()) box.signal.release();
    if (++i % 8 >= 4) continue;
    for (int spins = 0; box.taken[which] != i && !box.stop; ++spins) {
      if (spins > 200) std::this_thread::yield();
    }
  }
}

/// Takes what is there; false when something was out of order.
bool take(Mailbox& box, std::vector<std::uint32_t>& next, std::uint32_t& total) {
  std::array<std::uint32_t, 8> batch;
  bool in_order = true;
  for (std::size_t r = 0; r < box.rings.size(); ++r) {
    const std::size_t n = box.rings[r].pop(std::span<std::uint32_t>(batch));
    for (std::size_t i = 0; i < n; ++i) in_order &= batch[i] == next[r]++;
    total += static_cast<std::uint32_t>(n);
    box.taken[r].store(next[r], std::memory_order_relaxed);
  }
  return in_order;
}

/// Sleeps unless there is work; false when the watchdog barked.
bool sleep(Mailbox& box) {
  bool woken = true;
  box.flag.prepare();
  if (box.all_empty()) woken = box.signal.try_acquire_for(kWatchdog);
  box.flag.done();
  return woken;
}

void run(std::size_t producers, std::uint32_t each) {
  Mailbox box(producers);
  std::vector<std::thread> threads;
  for (std::size_t p = 0; p < producers; ++p) {
    threads.emplace_back([&box, p, each] { send(box, p, each); });
  }
  std::vector<std::uint32_t> next(producers, 0);
  const std::uint32_t all = each * static_cast<std::uint32_t>(producers);
  std::uint32_t total = 0;
  bool woken = true;
  while (total < all && woken) {
    EXPECT_TRUE(take(box, next, total));
    if (total < all && box.all_empty()) woken = sleep(box);
  }
  box.stop = true;
  for (std::thread& t : threads) t.join();
  EXPECT_TRUE(woken) << "a wake-up was lost";
}

TEST(Sleep, NoWakeUpIsLostWithOneProducer) { run(1, 200000); }
TEST(Sleep, NoWakeUpIsLostWithThreeProducers) { run(3, 50000); }

TEST(Sleep, AwakeConsumerIsNotSignalled) {
  SleepFlag flag;
  EXPECT_FALSE(flag.must_wake());
  EXPECT_TRUE(flag.prepare());
  EXPECT_FALSE(flag.prepare());
  flag.done();
  EXPECT_FALSE(flag.must_wake());
}

TEST(Sleep, OneSignalPerSleep) {
  SleepFlag flag;
  flag.prepare();
  EXPECT_TRUE(flag.must_wake());
  EXPECT_FALSE(flag.must_wake());
  flag.done();
  EXPECT_TRUE(flag.prepare());
  EXPECT_TRUE(flag.must_wake());
}

}  // namespace
}  // namespace pollux
