#include "workers/active_flows.h"

#include <gtest/gtest.h>

namespace pollux {
namespace {

constexpr Instant kStart{Duration{1'000'000'000}};
constexpr Duration kPeriod = ActiveFlows::kPeriod;

TEST(ActiveFlows, each_connection_counts_once_in_a_period) {
  ActiveFlows flows;
  std::uint32_t marks[3] = {};
  flows.advance(kStart);
  EXPECT_EQ(flows.count(), 1U);
  for (int i = 0; i < 5; ++i) {
    for (std::uint32_t& m : marks) flows.note(m);
  }
  EXPECT_EQ(flows.count(), 3U);
}

TEST(ActiveFlows, who_falls_silent_is_forgotten_after_a_period_more) {
  ActiveFlows flows;
  std::uint32_t marks[3] = {};
  flows.advance(kStart);
  for (std::uint32_t& m : marks) flows.note(m);
  flows.advance(kStart + kPeriod);
  flows.note(marks[0]);
  EXPECT_EQ(flows.count(), 3U);
  flows.advance(kStart + 2 * kPeriod);
  EXPECT_EQ(flows.count(), 1U);
}

TEST(ActiveFlows, after_a_silence_nobody_counts) {
  ActiveFlows flows;
  std::uint32_t marks[3] = {};
  flows.advance(kStart);
  for (std::uint32_t& m : marks) flows.note(m);
  flows.advance(kStart + 10 * kPeriod);
  EXPECT_EQ(flows.count(), 1U);
}

}  // namespace
}  // namespace pollux
