#include "proto/tcp/rtt.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <vector>

namespace pollux::tcp {
namespace {

TEST(RttTest, BeginsWithOneSecond) {  // RFC 6298 (2.1)
  const RttEstimator e;
  EXPECT_FALSE(e.has_sample());
  EXPECT_EQ(e.rto(), 1s);
}

TEST(RttTest, FirstSampleSetsBothVariables) {  // (2.2)
  RttEstimator e;
  e.sample(400ms);
  EXPECT_EQ(e.srtt(), 400ms);
  EXPECT_EQ(e.rttvar(), 200ms);
  EXPECT_EQ(e.rto(), 1200ms);
  EXPECT_EQ(e.min_rtt(), 400ms);
}

TEST(RttTest, FollowsTheTableOfLaterSamples) {  // (2.3)
  struct Row {
    Duration sample, srtt, rttvar, rto;
  };
  // RTTVAR = 3/4 RTTVAR + 1/4 |SRTT - R|, then SRTT = 7/8 SRTT + 1/8 R, by hand from 400 ms.
  const std::vector<Row> table = {
      {400ms, 400ms, 150ms, 1000ms},
      {800ms, 450ms, 212500us, 1300ms},
      {450ms, 450ms, 159375us, 1087500us},
      {50ms, 400ms, 219531250ns, 1278125us},
  };
  RttEstimator e;
  e.sample(400ms);
  for (const Row& row : table) {
    e.sample(row.sample);
    EXPECT_EQ(e.srtt(), row.srtt);
    EXPECT_EQ(e.rttvar(), row.rttvar);
    EXPECT_EQ(e.rto(), row.rto);
  }
  EXPECT_EQ(e.min_rtt(), 50ms);
}

TEST(RttTest, BoundsTheTimeout) {  // (2.4), (2.5)
  RttEstimator e;
  e.sample(50us);
  EXPECT_EQ(e.rto(), 50us + RttEstimator::kMinSpread);
  RttEstimator slow;
  slow.sample(50s);
  EXPECT_EQ(slow.rto(), RttEstimator::kMaxRto);
}

TEST(RttTest, VarianceIsNeverTakenBelowItsFloor) {  // (2.3): max(G, K RTTVAR)
  RttEstimator e;
  for (int i = 0; i < 200; ++i) e.sample(300ms);
  EXPECT_EQ(e.rto(), 500ms);
}

TEST(RttTest, BackOffDoublesUntilTheBound) {  // (5.5)
  RttEstimator e;
  std::vector<Duration> seen;
  for (int i = 0; i < 7; ++i) {
    e.back_off();
    seen.push_back(e.rto());
  }
  EXPECT_EQ(seen, (std::vector<Duration>{2s, 4s, 8s, 16s, 32s, 60s, 60s}));
  EXPECT_EQ(e.back_offs(), 7U);
  for (int i = 0; i < 1000; ++i) e.back_off();
  EXPECT_EQ(e.rto(), RttEstimator::kMaxRto);
  EXPECT_GT(e.back_offs(), 7U);
}

TEST(RttTest, ASampleEndsTheBackOff) {
  RttEstimator e;
  e.back_off();
  e.back_off();
  e.sample(400ms);
  EXPECT_EQ(e.rto(), 1200ms);
  e.back_off();
  e.reset_back_off();
  EXPECT_EQ(e.rto(), 1200ms);
}

TEST(RttTest, ALostSynMakesDataBeginAtThreeSeconds) {  // (5.7)
  RttEstimator e;
  e.back_off();
  e.syn_timed_out();
  EXPECT_EQ(e.rto(), 3s);
  RttEstimator sampled;
  sampled.sample(400ms);
  sampled.syn_timed_out();
  EXPECT_EQ(sampled.rto(), 1200ms);
}

TEST(RttTest, AZeroSampleIsASample) {
  RttEstimator e;
  e.sample(0ns);
  e.sample(-5s);
  EXPECT_TRUE(e.has_sample());
  EXPECT_GT(e.min_rtt(), 0ns);
  EXPECT_EQ(e.rto(), 1ns + RttEstimator::kMinSpread);
}

TEST(RttProperty, StaysWithinItsBoundsForAnySample) {
  EXPECT_TRUE(rc::check([](const std::vector<std::int64_t>& samples) {
    RttEstimator e;
    for (const auto ns : samples) {
      e.sample(Duration(ns));
      if (ns % 3 == 0) e.back_off();
      RC_ASSERT(e.rto() >= RttEstimator::kMinSpread);
      RC_ASSERT(e.rto() <= RttEstimator::kMaxRto);
      RC_ASSERT(e.min_rtt() > 0ns);
      RC_ASSERT(e.min_rtt() <= e.srtt() + 1us);
    }
  }));
}

}  // namespace
}  // namespace pollux::tcp
