// The wheel against a plain list: never early, late within the bound, and next_deadline() exact
// enough to sleep on.
#include "workers/wheel.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <vector>

namespace pollux {
namespace {

constexpr std::int64_t kTick = 1 << 16;

Instant at(std::int64_t ns) { return Instant{Duration{ns}}; }
std::int64_t ns_of(Instant t) { return t.time_since_epoch().count(); }

std::size_t drain(TimerWheel& wheel, Instant now) {
  std::size_t n = 0;
  while (wheel.expire(now) != nullptr) ++n;
  return n;
}

TEST(Wheel, FiresNotBeforeAndSoonAfter) {
  TimerNode node;
  TimerWheel wheel(at(0));
  wheel.arm(node, at(10 * kTick + 1));
  EXPECT_EQ(wheel.expire(at(10 * kTick + 1)), nullptr);
  EXPECT_EQ(wheel.expire(at(11 * kTick)), &node);
  EXPECT_FALSE(node.armed());
  EXPECT_EQ(wheel.size(), 0U);
  EXPECT_EQ(wheel.next_deadline(), kNever);
}

TEST(Wheel, ArmingForThePastWhileExpiringEndsTheLoop) {
  TimerNode node;
  TimerWheel wheel(at(0));
  wheel.arm(node, at(5));
  const Instant now = at(100 * kTick);
  int fired = 0;
  while (TimerNode* n = wheel.expire(now)) {
    ASSERT_LT(++fired, 10);
    wheel.arm(*n, at(5));
  }
  EXPECT_EQ(fired, 1);
  EXPECT_EQ(wheel.expire(now + Duration{kTick}), &node);
}

TEST(Wheel, CancelledWhileDueDoesNotFire) {
  TimerNode a, b;
  TimerWheel wheel(at(0));
  wheel.arm(a, at(3 * kTick));
  wheel.arm(b, at(3 * kTick));
  TimerNode* first = wheel.expire(at(10 * kTick));
  ASSERT_NE(first, nullptr);
  wheel.cancel(first == &a ? b : a);
  EXPECT_EQ(wheel.expire(at(20 * kTick)), nullptr);
  EXPECT_EQ(wheel.size(), 0U);
}

TEST(Wheel, NeverMeansCancel) {
  TimerNode node;
  TimerWheel wheel(at(0));
  wheel.arm(node, at(5));
  wheel.arm(node, kNever);
  EXPECT_FALSE(node.armed());
  EXPECT_EQ(wheel.size(), 0U);
}

TEST(Wheel, BeyondItsRangeIsStillNotEarly) {
  using namespace std::chrono_literals;
  TimerNode node;
  TimerWheel wheel(at(12345));
  const Instant deadline = at(12345) + 24h * 30;
  wheel.arm(node, deadline);
  Instant now = at(12345);
  int wakes = 0;
  while (node.armed()) {
    const Instant next = wheel.next_deadline();
    ASSERT_GT(next, now);
    now = next;
    EXPECT_EQ(wheel.expire(now) != nullptr, now >= deadline);
    ASSERT_LT(++wakes, 100);
  }
}

TEST(Wheel, JumpOfTimeFiresEverything) {
  using namespace std::chrono_literals;
  std::deque<TimerNode> nodes(1000);
  TimerWheel wheel(at(0));
  std::int64_t deadline = 1;
  for (TimerNode& n : nodes) wheel.arm(n, at(deadline += deadline / 50 + 1000));
  EXPECT_EQ(drain(wheel, at(deadline) + 24h * 365), nodes.size());
  EXPECT_EQ(wheel.next_deadline(), kNever);
}

TEST(Wheel, DelaysCountFromAdvance) {
  using namespace std::chrono_literals;
  TimerNode node;
  TimerWheel wheel(at(0));
  wheel.advance(at(0) + 1h);
  wheel.arm(node, at(0) + 1h + 200ms);
  EXPECT_LE(wheel.next_deadline(), at(0) + 1h + 226ms);
}

TEST(WheelDeathTest, DestroyingAnArmedNodeIsCaught) {
  EXPECT_DEATH(
      {
        TimerWheel wheel(at(0));
        TimerNode node;
        wheel.arm(node, at(5));
      },
      "armed");
}

// What the model knows of one timer.
struct Shadow {
  TimerNode node;
  bool armed = false;
  std::int64_t deadline = 0;
  std::int64_t armed_at = 0;  // the wheel's time then

  // Deadline rounded up to a tick, one tick for what is past, and the bucket's width.
  std::int64_t latest() const {
    const std::int64_t delay = std::max<std::int64_t>(deadline - armed_at, 0);
    return std::max(deadline, armed_at) + 2 * kTick + delay * 8 / 63;
  }
};

class Model {
 public:
  explicit Model(std::int64_t start) : wheel_(at(start)), now_(start), timers_(24) {}

  void arm(std::size_t i, std::int64_t delay) {
    Shadow& s = timers_[i];
    s.deadline = now_ + delay;
    s.armed_at = now_;
    s.armed = true;
    wheel_.arm(s.node, at(s.deadline));
  }
  void cancel(std::size_t i) {
    timers_[i].armed = false;
    wheel_.cancel(timers_[i].node);
  }
  void move(std::int64_t by) {
    now_ += by;
    wheel_.advance(at(now_));
    check_next();
    while (TimerNode* n = wheel_.expire(at(now_))) fired(*n);
    for (const Shadow& s : timers_) RC_ASSERT(!s.armed || s.latest() > now_);
  }
  /// Sleeps like a worker does; what it woke for must be there.
  void sleep() {
    const Instant next = wheel_.next_deadline();
    if (next == kNever) return;
    const std::size_t before = wheel_.size();
    const std::int64_t by = std::max<std::int64_t>(ns_of(next) - now_, 0);
    if (by > 0) move(by - 1);
    RC_ASSERT(by == 0 || wheel_.size() == before);
    move(by > 0 ? 1 : 0);
    RC_ASSERT(wheel_.size() < before);
  }
  void check_all() const {
    check_next();
    const auto armed = std::ranges::count_if(timers_, [](const Shadow& s) { return s.armed; });
    RC_ASSERT(wheel_.size() == static_cast<std::size_t>(armed));
    for (const Shadow& s : timers_) RC_ASSERT(s.armed == s.node.armed());
  }
  void finish() {
    for (std::size_t i = 0; i < timers_.size(); ++i) cancel(i);
    RC_ASSERT(wheel_.next_deadline() == kNever);
  }
  ~Model() {
    for (Shadow& s : timers_) wheel_.cancel(s.node);
  }

 private:
  void fired(const TimerNode& node) {
    const auto it =
        std::ranges::find_if(timers_, [&](const Shadow& s) { return &s.node == &node; });
    RC_ASSERT(it != timers_.end());
    RC_ASSERT(it->armed);
    RC_ASSERT(it->deadline <= now_);
    it->armed = false;
  }
  void check_next() const {
    const Instant next = wheel_.next_deadline();
    for (const Shadow& s : timers_) {
      if (s.armed) RC_ASSERT(ns_of(next) <= std::max(s.latest(), now_));
    }
  }

  TimerWheel wheel_;
  std::int64_t now_;
  std::deque<Shadow> timers_;
};

/// Magnitudes from nanoseconds to hours, evenly by logarithm.
std::int64_t any_span() {
  const int bits = *rc::gen::inRange(0, 45);
  return *rc::gen::inRange<std::int64_t>(0, (std::int64_t{1} << bits) + 1);
}

TEST(Wheel, AgreesWithAList) {
  EXPECT_TRUE(rc::check("arm, cancel, advance and sleep in any order", [] {
    Model model(*rc::gen::inRange<std::int64_t>(-(std::int64_t{1} << 40), std::int64_t{1} << 60));
    const int steps = *rc::gen::inRange(1, 200);
    for (int i = 0; i < steps; ++i) {
      const auto which = *rc::gen::inRange<std::size_t>(0, 24);
      switch (*rc::gen::inRange(0, 8)) {
        case 0:
          model.cancel(which);
          break;
        case 1:
          model.move(any_span());
          break;
        case 2:
          model.sleep();
          break;
        case 3:
          model.arm(which, -any_span());
          break;
        default:
          model.arm(which, any_span());
      }
      model.check_all();
    }
    model.finish();
  }));
}

}  // namespace
}  // namespace pollux
