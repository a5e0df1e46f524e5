#include "workers/record_store.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <deque>
#include <map>

namespace pollux {
namespace {

struct Small {
  FlowKey key;
  std::uint32_t value = 0;
  std::uint32_t next : 24 = 0;
  std::uint32_t prev : 24 = 0;
};
using Store = RecordStore<Small>;

const HashKey kSecret{1, 2};

FlowKey flow(std::uint32_t i) {
  return {{IpAddr::v4(0xc6120002), 7}, {IpAddr::v4(i), static_cast<std::uint16_t>(i)}};
}
std::uint32_t hash_of(std::uint32_t i) { return flow_hash(kSecret, flow(i)); }

TEST(RecordStore, FullSaysNoAndFindsAll) {
  Store store(kSecret, 5000);
  for (std::uint32_t i = 0; i < 5000; ++i) ASSERT_NE(store.add(hash_of(i), flow(i)), Store::kNone);
  EXPECT_EQ(store.add(hash_of(5000), flow(5000)), Store::kNone);
  for (std::uint32_t i = 0; i < 5000; ++i) {
    ASSERT_EQ(store.at(store.find(hash_of(i), flow(i))).key, flow(i));
  }
  EXPECT_EQ(store.find(hash_of(5000), flow(5000)), Store::kNone);
  EXPECT_EQ(store.bytes(), 5000 * sizeof(Small));
}

/// Add, remove, find and queue order against a map and a deque.
TEST(RecordStore, AgreesWithAMapAndAQueue) {
  EXPECT_TRUE(rc::check("any order of calls", [] {
    Store store(kSecret, 200);
    Store::Queue queue;
    std::map<std::uint32_t, std::uint32_t> model;  // flow -> record
    std::deque<std::uint32_t> order;
    const auto steps =
        *rc::gen::container<std::vector<std::pair<std::uint8_t, std::uint16_t>>>(rc::gen::pair(
            rc::gen::inRange<std::uint8_t>(0, 4), rc::gen::inRange<std::uint16_t>(0, 300)));
    for (const auto& [what, i] : steps) {
      const std::uint32_t n = store.find(hash_of(i), flow(i));
      RC_ASSERT((n != Store::kNone) == (model.count(i) != 0));
      if (n == Store::kNone) {
        const std::uint32_t added = store.add(hash_of(i), flow(i));
        RC_ASSERT((added == Store::kNone) == (model.size() == 200));
        if (added == Store::kNone) continue;
        RC_ASSERT(store.at(added).value == 0);  // nothing of an earlier one
        store.at(added).value = i + 1U;
        store.push_back(queue, added);
        model[i] = added;
        order.push_back(i);
      } else if (what == 0) {  // to the end of the queue
        store.unlink(queue, n);
        store.push_back(queue, n);
        std::erase(order, i);
        order.push_back(i);
      } else {
        RC_ASSERT(store.at(n).value == i + 1U);
        store.unlink(queue, n);
        store.remove(n);
        model.erase(i);
        std::erase(order, i);
      }
    }
    RC_ASSERT(store.size() == model.size());
    std::size_t seen = 0;
    store.for_each([&](const Small&) { ++seen; });
    RC_ASSERT(seen == model.size());
    for (const std::uint32_t i : order) {
      RC_ASSERT(store.at(queue.head).key == flow(i));
      const std::uint32_t n = queue.head;
      store.unlink(queue, n);
      store.remove(n);
    }
    RC_ASSERT(queue.empty());
    RC_ASSERT(store.bytes() == 0U);
  }));
}

TEST(RecordStore, ShortTimesComeBackAcrossTheirWrap) {
  using Us = ShortTime<std::chrono::microseconds>;
  EXPECT_TRUE(rc::check("up to an hour", [] {
    const Instant t{std::chrono::microseconds(*rc::gen::inRange<std::int64_t>(0, 1LL << 40))};
    const auto age = std::chrono::milliseconds(*rc::gen::inRange(0, 3'600'000));
    RC_ASSERT(Us::restore(Us::cut(t), t + age) == t);
  }));
}

}  // namespace
}  // namespace pollux
