#include "workers/active_flows.h"

#include <gtest/gtest.h>

namespace pollux {
namespace {

constexpr Duration kPeriod = ActiveFlows::kPeriod;

/// Three connections; each of `all()` brings data.
struct Three {
  void at(Duration d) { flows.advance(Instant{1s} + d); }
  void all() {
    for (std::uint32_t& m : marks) flows.note(m);
  }
  ActiveFlows flows;
  std::uint32_t marks[3] = {};
};

TEST(ActiveFlows, each_connection_counts_once_in_a_period) {
  Three t;
  t.at(0ms);
  EXPECT_EQ(t.flows.count(), 1U);
  for (int i = 0; i < 5; ++i) t.all();
  EXPECT_EQ(t.flows.count(), 3U);
}

TEST(ActiveFlows, who_falls_silent_is_forgotten_after_a_period_more) {
  Three t;
  t.at(0ms);
  t.all();
  t.at(kPeriod);
  t.flows.note(t.marks[0]);
  EXPECT_EQ(t.flows.count(), 3U);
  t.at(2 * kPeriod);
  EXPECT_EQ(t.flows.count(), 1U);
}

TEST(ActiveFlows, after_a_silence_nobody_counts) {
  Three t;
  t.at(0ms);
  t.all();
  t.at(10 * kPeriod);
  EXPECT_EQ(t.flows.count(), 1U);
}

}  // namespace
}  // namespace pollux
