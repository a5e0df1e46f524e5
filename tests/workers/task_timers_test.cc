// Timers that no connection carries: order, exactness, and every way in which they may go.
#include "workers/task_timers.h"

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <vector>

namespace pollux {
namespace {

constexpr Instant at(Duration d) { return Instant{} + d; }

TEST(TaskTimers, FiresInTheOrderOfDeadlinesAndNeverEarly) {
  TaskTimers timers;
  std::vector<int> fired;
  TaskTimer a([&](Instant) { fired.push_back(1); });
  TaskTimer b([&](Instant) { fired.push_back(2); });
  TaskTimer c([&](Instant) { fired.push_back(3); });
  timers.arm(c, at(3ms));
  timers.arm(a, at(1ms));
  timers.arm(b, at(2ms));
  EXPECT_EQ(timers.next_deadline(), at(1ms));
  timers.run(at(1ms) - 1ns);
  EXPECT_TRUE(fired.empty());
  timers.run(at(2ms));
  EXPECT_EQ(fired, (std::vector{1, 2}));
  EXPECT_TRUE(c.armed());
  EXPECT_FALSE(a.armed());
  timers.run(at(1s));
  EXPECT_EQ(fired, (std::vector{1, 2, 3}));
  EXPECT_EQ(timers.next_deadline(), kNever);
}

TEST(TaskTimers, ItsFunctionGetsTheInstantOfTheTurn) {
  TaskTimers timers;
  Instant told{};
  TaskTimer t([&](Instant now) { told = now; });
  timers.arm(t, at(1ms));
  timers.run(at(7ms));
  EXPECT_EQ(told, at(7ms));
}

TEST(TaskTimers, TwoOfOneDeadlineBothFire) {
  TaskTimers timers;
  int fired = 0;
  TaskTimer a([&](Instant) { ++fired; });
  TaskTimer b([&](Instant) { ++fired; });
  timers.arm(a, at(1ms));
  timers.arm(b, at(1ms));
  EXPECT_EQ(timers.size(), 2U);
  timers.run(at(1ms));
  EXPECT_EQ(fired, 2);
}

TEST(TaskTimers, MovesAndCancels) {
  TaskTimers timers;
  int fired = 0;
  TaskTimer t([&](Instant) { ++fired; });
  timers.arm(t, at(1ms));
  timers.arm(t, at(5ms));
  EXPECT_EQ(timers.size(), 1U);
  timers.run(at(4ms));
  EXPECT_EQ(fired, 0);
  timers.arm(t, kNever);
  EXPECT_FALSE(t.armed());
  timers.run(at(1s));
  EXPECT_EQ(fired, 0);
}

TEST(TaskTimers, OneThatArmsItselfForThePastWaitsForTheNextTurn) {
  TaskTimers timers;
  int fired = 0;
  std::optional<TaskTimer> t;
  t.emplace([&](Instant now) {
    ++fired;
    timers.arm(*t, now - 1ms);
  });
  timers.arm(*t, at(1ms));
  timers.run(at(10ms));
  EXPECT_EQ(fired, 1);
  EXPECT_LE(timers.next_deadline(), at(10ms));  // so the worker does not sleep
  timers.run(at(10ms));
  EXPECT_EQ(fired, 2);
}

TEST(TaskTimers, OneMayArmCancelAndDestroyOthers) {
  TaskTimers timers;
  int fired = 0;
  auto doomed = std::make_unique<TaskTimer>([&](Instant) { ++fired; });
  TaskTimer cancelled([&](Instant) { ++fired; });
  TaskTimer later([&](Instant) { ++fired; });
  TaskTimer first([&](Instant now) {
    doomed.reset();
    timers.arm(cancelled, kNever);
    timers.arm(later, now + 1ms);
  });
  timers.arm(first, at(1ms));
  timers.arm(*doomed, at(2ms));
  timers.arm(cancelled, at(2ms));
  timers.run(at(2ms));
  EXPECT_EQ(fired, 0);
  timers.run(at(3ms));
  EXPECT_EQ(fired, 1);
  EXPECT_EQ(timers.size(), 0U);
}

TEST(TaskTimers, EitherSideMayGoFirst) {
  auto timers = std::make_unique<TaskTimers>();
  TaskTimer stays([](Instant) {});
  {
    TaskTimer goes([](Instant) {});
    timers->arm(goes, at(1ms));
    timers->arm(stays, at(2ms));
  }
  EXPECT_EQ(timers->next_deadline(), at(2ms));
  timers.reset();
  EXPECT_FALSE(stays.armed());
}

}  // namespace
}  // namespace pollux
