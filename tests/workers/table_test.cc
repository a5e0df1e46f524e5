// The flow table against std::unordered_map, with hashes as bad as an attacker without the key
// could not make them.
#include "workers/table.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <deque>
#include <unordered_map>
#include <vector>

namespace pollux {
namespace {

FlowKey key_of(std::uint32_t n) {
  return {{IpAddr::v4(0xc6120001), 80}, {IpAddr::v4(n), static_cast<std::uint16_t>(1024 + n % 7)}};
}
std::uint32_t spread(std::uint32_t n) { return n * 2654435761U ^ (n >> 15); }

std::deque<FlowEntry> entries_of(std::uint32_t n, std::uint32_t (*hash)(std::uint32_t)) {
  std::deque<FlowEntry> out;
  for (std::uint32_t i = 0; i < n; ++i) out.push_back({key_of(i), hash(i)});
  return out;
}

TEST(Table, FindsWhatWasInsertedThroughGrowth) {
  FlowTable table(100000);
  auto entries = entries_of(100000, spread);
  for (FlowEntry& e : entries) ASSERT_TRUE(table.insert(&e));
  for (FlowEntry& e : entries) ASSERT_EQ(table.find(e.hash, e.key), &e);
  EXPECT_EQ(table.size(), entries.size());
  EXPECT_EQ(table.find(spread(100001), key_of(100001)), nullptr);
  std::size_t visited = 0;
  table.for_each([&](FlowEntry&) { ++visited; });
  EXPECT_EQ(visited, entries.size());
}

TEST(Table, GuessesWithoutAKey) {
  FlowTable table(1000);
  EXPECT_EQ(table.guess(spread(1)), nullptr);
  auto entries = entries_of(100, spread);
  for (FlowEntry& e : entries) ASSERT_TRUE(table.insert(&e));
  int right = 0;
  for (FlowEntry& e : entries) right += table.guess(e.hash) == &e ? 1 : 0;
  EXPECT_GE(right, 90);  // the others lie in a later group
  for (FlowEntry& e : entries) table.erase(&e);
  for (FlowEntry& e : entries) EXPECT_EQ(table.guess(e.hash), nullptr);
}

TEST(Table, RefusesPastItsBound) {
  FlowTable table(3);
  auto entries = entries_of(4, spread);
  for (std::uint32_t i = 0; i < 3; ++i) EXPECT_TRUE(table.insert(&entries[i]));
  EXPECT_FALSE(table.insert(&entries[3]));
  table.erase(&entries[0]);
  EXPECT_TRUE(table.insert(&entries[3]));
}

TEST(Table, ChurnDoesNotGrowIt) {
  FlowTable table(1 << 20);
  auto entries = entries_of(40, [](std::uint32_t) { return 7U; });
  const std::size_t before = table.reserved_bytes();
  for (int round = 0; round < 2000; ++round) {
    for (FlowEntry& e : entries) ASSERT_TRUE(table.insert(&e));
    for (FlowEntry& e : entries) table.erase(&e);
  }
  EXPECT_LE(table.reserved_bytes(), 2 * before);
  EXPECT_EQ(table.find(7, key_of(1)), nullptr);
}

TEST(TableDeathTest, EraseOfAStrangerIsCaught) {
  FlowTable table(8);
  FlowEntry e{key_of(1), 1};
  EXPECT_DEATH(table.erase(&e), "not in the table");
}

// Few distinct hashes: all collide. Equal low bits: what a shard sees. Then the good case.
std::uint32_t degraded(std::uint32_t n, int kind) {
  if (kind == 0) return n % 3;
  return kind == 1 ? spread(n) << 9 : spread(n);
}

struct TableModel {
  explicit TableModel(std::size_t bound) : max(bound), table(bound) {}
  void flip(FlowEntry& e, std::uint32_t n) {
    if (map.contains(n)) {
      table.erase(&e);
      map.erase(n);
    } else if (table.insert(&e)) {
      map.emplace(n, &e);
    } else {
      RC_ASSERT(map.size() == max);
    }
  }
  void check(std::deque<FlowEntry>& entries) const {
    RC_ASSERT(table.size() == map.size());
    for (std::uint32_t n = 0; n < entries.size(); ++n) {
      const auto it = map.find(n);
      RC_ASSERT(table.find(entries[n].hash, entries[n].key) ==
                (it == map.end() ? nullptr : it->second));
    }
    std::size_t visited = 0;
    table.for_each([&](FlowEntry&) { ++visited; });
    RC_ASSERT(visited == map.size());
  }
  std::size_t max;
  FlowTable table;
  std::unordered_map<std::uint32_t, FlowEntry*> map;
};

TEST(Table, AgreesWithUnorderedMap) {
  EXPECT_TRUE(rc::check("insert and erase in any order", [] {
    const int kind = *rc::gen::inRange(0, 3);
    std::deque<FlowEntry> entries;
    for (std::uint32_t i = 0; i < 300; ++i) entries.push_back({key_of(i), degraded(i, kind)});
    TableModel model(*rc::gen::inRange<std::size_t>(1, 300));
    const auto flips =
        *rc::gen::container<std::vector<std::uint32_t>>(rc::gen::inRange<std::uint32_t>(0, 300));
    for (int repeat = 0; repeat < 5; ++repeat) {
      for (std::uint32_t n : flips) model.flip(entries[n], n);
      model.flip(entries[static_cast<std::size_t>(repeat)], static_cast<std::uint32_t>(repeat));
      model.check(entries);
    }
  }));
}

}  // namespace
}  // namespace pollux
