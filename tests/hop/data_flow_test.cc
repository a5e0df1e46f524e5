#include "bench/hop/data_flow.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <set>

namespace pollux::hop {
namespace {

constexpr Seq kIsn(0xffff'fff0);
constexpr Instant kNow{1s};
constexpr Seq at(std::uint32_t offset) { return kIsn + 1 + offset; }

DataFlow started() {
  DataFlow flow;
  flow.on_syn(kIsn);
  return flow;
}

TEST(DataFlow, CountsFirstTransmissionsAcrossTheWrap) {
  DataFlow flow = started();
  for (std::uint32_t i = 0; i < 5; ++i) {
    const auto sent = flow.on_data(kNow, at(i * 100), 100);
    ASSERT_TRUE(sent);
    EXPECT_EQ(sent->ordinal, i + 1);
    EXPECT_EQ(sent->range, (Range{i * 100, i * 100 + 100}));
    EXPECT_EQ(sent->sent_before, 0u);
    EXPECT_EQ(flow.nth_of(i * 100), 1u);
  }
}

TEST(DataFlow, ARetransmissionHasNoOrdinalAndCounts) {
  DataFlow flow = started();
  flow.on_data(kNow, at(0), 200);
  const auto again = flow.on_data(kNow, at(100), 100);
  EXPECT_EQ(again->ordinal, 0u);
  EXPECT_EQ(again->sent_before, 100u);
  EXPECT_EQ(flow.nth_of(0), 1u);
  EXPECT_EQ(flow.nth_of(100), 2u);
  flow.on_data(kNow, at(150), 10);
  EXPECT_EQ(flow.nth_of(150), 3u);
  EXPECT_EQ(flow.nth_of(160), 2u);
}

TEST(DataFlow, APacketWithOldAndNewOctetsIsBoth) {
  DataFlow flow = started();
  flow.on_data(kNow, at(0), 100);
  const auto sent = flow.on_data(kNow, at(50), 100);
  EXPECT_EQ(sent->ordinal, 2u);
  EXPECT_EQ(sent->sent_before, 50u);
  EXPECT_FALSE(sent->spurious);
}

TEST(DataFlow, AKeepAliveIsNoData) {
  DataFlow flow = started();
  EXPECT_FALSE(flow.on_data(kNow, kIsn, 1));
}

TEST(DataFlow, ARepeatedSynChangesNothingANewOneStartsAfresh) {
  DataFlow flow = started();
  flow.on_data(kNow, at(0), 100);
  flow.on_syn(kIsn);
  EXPECT_EQ(flow.on_data(kNow, at(0), 100)->sent_before, 100u);
  flow.on_syn(Seq(77));
  EXPECT_EQ(flow.on_data(kNow, Seq(78), 100)->ordinal, 1u);
}

TEST(DataFlow, WithoutASynTheFirstPacketIsTheStart) {
  DataFlow flow;
  EXPECT_EQ(flow.on_data(kNow, Seq(500), 10)->range, (Range{0, 10}));
}

TEST(DataFlow, SpuriousIsWhatHadGotThrough) {
  DataFlow flow = started();
  for (std::uint32_t i = 0; i < 3; ++i) flow.on_data(kNow, at(i * 100), 100);
  flow.on_lost(kNow, {100, 200});
  EXPECT_TRUE(flow.on_data(kNow, at(0), 100)->spurious);
  EXPECT_FALSE(flow.on_data(kNow, at(100), 100)->spurious);
  flow.on_forwarded({100, 200});
  EXPECT_TRUE(flow.on_data(kNow, at(100), 100)->spurious);
}

TEST(DataFlow, TheLagIsFromALossToTheNextTransmission) {
  DataFlow flow = started();
  flow.on_data(kNow, at(0), 100);
  flow.on_data(kNow, at(100), 100);
  flow.on_lost(kNow, {0, 100});
  flow.on_lost(kNow + 1ms, {100, 200});
  EXPECT_EQ(flow.on_data(kNow + 10ms, at(100), 100)->lag, 9ms);
  EXPECT_EQ(flow.on_data(kNow + 20ms, at(0), 100)->lag, 20ms);
  flow.on_lost(kNow + 20ms, {0, 100});
  EXPECT_EQ(flow.on_data(kNow + 50ms, at(0), 100)->lag, 30ms);
  EXPECT_EQ(flow.on_data(kNow + 60ms, at(0), 100)->lag, 0ms);
}

TEST(DataFlow, FourGigabytesAreNotTheEnd) {
  DataFlow flow = started();
  constexpr std::uint32_t kStep = 1U << 30;
  std::uint64_t offset = 0;
  for (int i = 0; i < 6; ++i, offset += kStep) {
    EXPECT_EQ(flow.on_data(kNow, at(static_cast<std::uint32_t>(offset)), kStep)->range.begin,
              offset);
  }
}

Range any_range() {
  const std::uint64_t begin = *rc::gen::inRange(0, 60);
  return {begin, begin + static_cast<std::uint64_t>(*rc::gen::inRange(1, 20))};
}

TEST(RangeSetProperty, IsASetOfOctets) {
  EXPECT_TRUE(rc::check([] {
    RangeSet set;
    std::set<std::uint64_t> model;
    for (int i = *rc::gen::inRange(1, 30); i > 0; --i) {
      const Range r = any_range();
      const bool add = *rc::gen::arbitrary<bool>();
      add ? set.add(r) : set.remove(r);
      for (std::uint64_t o = r.begin; o < r.end; ++o) {
        if (add) {
          model.insert(o);
        } else {
          model.erase(o);
        }
      }
      for (std::uint64_t o = 0; o < 80; ++o)
        RC_ASSERT(set.overlaps({o, o + 1}) == model.contains(o));
    }
  }));
}

TEST(SendCountsProperty, CountsEachOctet) {
  EXPECT_TRUE(rc::check([] {
    SendCounts counts;
    std::vector<std::uint32_t> model(80);
    for (int i = *rc::gen::inRange(1, 30); i > 0; --i) {
      const Range r = any_range();
      counts.add(r);
      for (std::uint64_t o = r.begin; o < r.end; ++o) ++model[o];
    }
    for (std::uint64_t o = 0; o < 80; ++o) RC_ASSERT(counts.at(o) == model[o]);
  }));
}

}  // namespace
}  // namespace pollux::hop
