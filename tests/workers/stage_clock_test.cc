#include "workers/stage_clock.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/workers/shard_fixture.h"
#include "workers/worker.h"

namespace pollux {
namespace {

std::uint64_t tick = 0;
std::uint64_t readings = 0;

std::uint64_t read_ticks() noexcept {
  ++readings;
  return tick;
}

class StageClockTest : public testing::Test {
 protected:
  StageClockTest() {
    tick = 1000;
    readings = 0;
  }
  static std::uint64_t spent(const StageClock& c, Stage s) { return c.spent(s).get(); }
  /// 10 ticks of loop, 30 of parse.
  static void turn(StageClock& c, bool busy) {
    c.begin_turn();
    tick += 10;
    c.enter(Stage::parse);
    tick += 30;
    c.end_turn(busy);
  }
};

TEST_F(StageClockTest, WithoutASourceNothingIsMeasured) {
  for (int i = 0; i < 1000; ++i) turn(StageClock::off(), true);
  EXPECT_EQ(StageClock::off().samples().get(), 0U);
  EXPECT_EQ(spent(StageClock::off(), Stage::parse), 0U);
}

TEST_F(StageClockTest, DividesTheTimeOfATurnAmongItsStages) {
  StageClock c(&read_ticks);
  for (int i = 0; i < 10'000; ++i) turn(c, true);
  EXPECT_GT(c.samples().get(), 100U);
  EXPECT_EQ(spent(c, Stage::parse), 3 * spent(c, Stage::loop));
  EXPECT_EQ(spent(c, Stage::write), 0U);
  // Samples stand for all turns.
  EXPECT_NEAR(static_cast<double>(spent(c, Stage::parse)), 10'000 * 30.0, 10'000 * 30.0 * 0.2);
}

TEST_F(StageClockTest, ForgetsTurnsThatDidNothing) {
  StageClock c(&read_ticks);
  for (int i = 0; i < 1000; ++i) turn(c, false);
  EXPECT_GT(readings, 0U);
  EXPECT_EQ(c.samples().get(), 0U);
  EXPECT_EQ(spent(c, Stage::loop), 0U);
}

TEST_F(StageClockTest, AScopeInterruptsAStage) {
  StageClock c(&read_ticks);
  c.begin_turn();  // the first turn is a sample
  c.enter(Stage::tcp_out);
  tick += 5;
  {
    const StageScope writing(c, Stage::write);
    tick += 7;
  }
  tick += 11;
  c.end_turn(true);
  EXPECT_EQ(spent(c, Stage::tcp_out) * 7, spent(c, Stage::write) * 16);
  EXPECT_GT(spent(c, Stage::write), 0U);
}

TEST_F(StageClockTest, ReadingTicksCountsForNoStageAndNeverBelowZero) {
  StageClock c(&read_ticks, 4);
  c.begin_turn();
  tick += 10;
  c.enter(Stage::parse);
  tick += 3;
  c.enter(Stage::lookup);
  tick -= 100;  // another CPU
  c.enter(Stage::write);
  tick += 10;
  c.end_turn(true);
  EXPECT_EQ(spent(c, Stage::loop), spent(c, Stage::write));
  EXPECT_EQ(spent(c, Stage::parse), 0U);
  EXPECT_EQ(spent(c, Stage::lookup), 0U);
}

TEST_F(StageClockTest, GapsVaryAndAreShortWhereTurnsAreLong) {
  StageClock c(&read_ticks, 4);  // 3 readings of 4 ticks in a turn of 40: as rarely as it may
  std::set<int> gaps;
  int last = 0;
  for (int i = 0; i < 10'000; ++i) {
    const std::uint64_t before = readings;
    turn(c, true);
    if (readings == before) continue;
    gaps.insert(i - last);
    last = i;
  }
  EXPECT_GT(gaps.size(), 20U);
  EXPECT_NEAR(static_cast<double>(c.samples().get()), 10'000 / 64.0, 40);
  const std::uint64_t rare = c.samples().get();
  for (int i = 0; i < 10'000; ++i) {
    c.begin_turn();
    tick += 1'000'000;
    c.end_turn(true);
  }
  EXPECT_GT(c.samples().get() - rare, 2'000U);
}

/// A turn that nobody samples reads no ticks.
TEST_F(StageClockTest, ReadsTicksInSampledTurnsOnly) {
  StageClock c(&read_ticks);
  turn(c, true);
  const std::uint64_t in_a_sample = readings;
  for (int i = 0; i < 1000; ++i) turn(c, true);
  EXPECT_EQ(readings, in_a_sample * c.samples().get());
}

class ShardStagesTest : public ShardTest {};

TEST_F(ShardStagesTest, AShardPassesThroughItsStages) {
  StageClock c([]() noexcept { return ++tick; });
  shard().set_stage_clock(c);
  c.begin_turn();
  open();
  c.end_turn(true);
  for (const Stage s : {Stage::loop, Stage::parse, Stage::lookup, Stage::tcp_in, Stage::service,
                        Stage::tcp_out, Stage::write}) {
    EXPECT_GT(c.spent(s).get(), 0U) << to_string(s);
  }
}

}  // namespace
}  // namespace pollux
