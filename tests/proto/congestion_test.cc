#include "proto/tcp/congestion.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>

namespace pollux::tcp {
namespace {

constexpr std::uint32_t kMss = 1460;
constexpr Instant kStart{10s};

AckEvent ack(std::uint32_t octets, Instant now = kStart) {
  AckEvent e;
  e.now = now;
  e.acked = octets;
  e.in_flight = octets;
  e.srtt = 50ms;
  e.cwnd_limited = true;
  return e;
}

/// Acknowledges one window in pieces of `unit` octets.
template <class Cc>
void ack_window(Cc& cc, std::uint32_t unit, Instant now = kStart) {
  for (std::uint32_t left = cc.cwnd(); left > 0;) {
    const std::uint32_t octets = std::min(left, unit);
    cc.on_ack(ack(octets, now));
    left -= octets;
  }
}

TEST(InitialWindowTest, FollowsRfc6928) {
  EXPECT_EQ(initial_window(1460), 14600U);
  EXPECT_EQ(initial_window(536), 5360U);
  EXPECT_EQ(initial_window(4000), 14600U);
  EXPECT_EQ(initial_window(9000), 18000U);
  EXPECT_EQ(initial_window(65535), 131070U);
}

TEST(CongestionControlTest, PicksTheAlgorithm) {
  for (const CcKind kind : {CcKind::reno, CcKind::cubic, CcKind::bbr}) {
    const CongestionControl cc(kind, kMss);
    EXPECT_EQ(cc.kind(), kind);
    EXPECT_EQ(cc.cwnd(), 14600U);
    EXPECT_EQ(cc.drives_recovery(), kind == CcKind::bbr);
    EXPECT_EQ(cc.pacing_rate({}) == kUnpaced, kind != CcKind::bbr);
  }
  EXPECT_EQ(to_string(CcKind::reno), "reno");
  EXPECT_EQ(to_string(CcKind::cubic), "cubic");
  EXPECT_EQ(to_string(CcKind::bbr), "bbr");
}

/// What both algorithms have in common.
class BothTest : public testing::TestWithParam<CcKind> {
 protected:
  CongestionControl make(std::uint32_t mss = kMss) const { return {GetParam(), mss}; }
};

INSTANTIATE_TEST_SUITE_P(All, BothTest, testing::Values(CcKind::reno, CcKind::cubic),
                         [](const auto& info) { return std::string(to_string(info.param)); });

TEST_P(BothTest, SlowStartDoublesHoweverTheAcksAreCut) {
  for (const std::uint32_t unit : {1U, 100U, kMss, 2 * kMss, 65535U}) {
    auto cc = make();
    for (int round = 0; round < 5; ++round) ack_window(cc, unit);
    EXPECT_EQ(cc.cwnd(), 14600U * 32) << "unit " << unit;
  }
}

TEST_P(BothTest, AvoidanceGrowsAlikeHoweverTheAcksAreCut) {
  const auto grown = [this](std::uint32_t unit) {
    auto cc = make();
    cc.on_loss(kStart, 200 * kMss);
    while (cc.cwnd() < cc.ssthresh()) ack_window(cc, kMss);
    for (int round = 0; round < 20; ++round) ack_window(cc, unit, kStart + 50ms * round);
    return cc.cwnd();
  };
  const std::uint32_t reference = grown(kMss);
  for (const std::uint32_t unit : {1U, 100U, 65535U}) {
    EXPECT_NEAR(grown(unit), reference, 2 * kMss) << "unit " << unit;
  }
}

TEST_P(BothTest, NothingGrowsWhileTheWindowIsNotTheLimit) {  // RFC 7661
  auto cc = make();
  for (int i = 0; i < 100; ++i) {
    auto e = ack(kMss);
    e.cwnd_limited = false;
    cc.on_ack(e);
  }
  EXPECT_EQ(cc.cwnd(), 14600U);
}

TEST_P(BothTest, AStaleAckAfterATimeoutAtMostDoubles) {  // RFC 3465 2.3
  auto cc = make();
  cc.on_rto(kStart, 100 * kMss);
  EXPECT_EQ(cc.cwnd(), kMss);
  cc.on_ack(ack(50 * kMss));
  EXPECT_EQ(cc.cwnd(), 2 * kMss);
}

TEST_P(BothTest, RepeatedTimeoutsHoldSsthresh) {  // RFC 5681 3.1
  auto cc = make();
  cc.on_rto(kStart, 100 * kMss);
  const std::uint32_t ssthresh = cc.ssthresh();
  cc.on_rto(kStart + 1s, kMss);
  EXPECT_EQ(cc.ssthresh(), ssthresh);
  cc.on_ack(ack(kMss));
  cc.on_rto(kStart + 2s, 10 * kMss);
  EXPECT_LT(cc.ssthresh(), ssthresh);
}

TEST_P(BothTest, ALossNeverEnlargesTheWindow) {
  auto cc = make();
  cc.on_rto(kStart, 1000 * kMss);
  cc.on_loss(kStart, 1000 * kMss);
  EXPECT_LE(cc.cwnd(), 2 * kMss);
}

TEST_P(BothTest, IdleRestartsFromTheInitialWindow) {  // RFC 5681 4.1
  auto cc = make();
  for (int round = 0; round < 5; ++round) ack_window(cc, kMss);
  const std::uint32_t proven = cc.cwnd();
  cc.on_idle(100ms, 200ms);
  EXPECT_EQ(cc.cwnd(), proven);
  cc.on_idle(200ms, 200ms);
  EXPECT_EQ(cc.cwnd(), 14600U);
  EXPECT_GE(cc.ssthresh(), proven / 4 * 3);
  cc.on_rto(kStart, kMss);
  cc.on_idle(10s, 200ms);
  EXPECT_EQ(cc.cwnd(), kMss) << "the restart window is min(IW, cwnd)";
}

TEST_P(BothTest, TheHandshakesMssSetsTheInitialWindow) {
  auto cc = make(536);
  cc.set_mss(8960);
  EXPECT_EQ(cc.cwnd(), 17920U);
  cc.on_ack(ack(1000));
  cc.set_mss(1000);
  EXPECT_EQ(cc.cwnd(), 18920U) << "later, only the unit changes";
  cc.on_rto(kStart, 1000);
  cc.set_mss(60000);
  EXPECT_EQ(cc.cwnd(), 60000U) << "never below one MSS";
}

TEST(RenoTest, AvoidanceAddsOneMssPerWindow) {  // RFC 5681 (3)
  Reno cc(kMss);
  cc.on_loss(kStart, 40 * kMss);
  EXPECT_EQ(cc.ssthresh(), 20 * kMss);
  EXPECT_EQ(cc.cwnd(), 14600U);
  cc.on_ack(ack(10 * kMss));
  EXPECT_EQ(cc.cwnd(), 20 * kMss);
  for (const std::uint32_t unit : {kMss, 1U, 65535U}) {
    const std::uint32_t before = cc.cwnd();
    ack_window(cc, unit);
    EXPECT_EQ(cc.cwnd(), before + kMss) << "unit " << unit;
  }
}

TEST(RenoTest, LossHalvesWhatIsInFlight) {  // RFC 5681 (4)
  Reno cc(kMss);
  for (int round = 0; round < 5; ++round) ack_window(cc, kMss);
  cc.on_loss(kStart, 100 * kMss);
  EXPECT_EQ(cc.cwnd(), 50 * kMss);
  cc.on_loss(kStart, kMss);
  EXPECT_EQ(cc.ssthresh(), 2 * kMss);
}

/// Brings `cc` into avoidance: the last loss was at `w_max` octets.
void lose_at(Cubic& cc, std::uint32_t w_max) {
  while (cc.cwnd() < w_max) cc.on_ack(ack(std::min(cc.cwnd(), w_max - cc.cwnd())));
  cc.on_loss(kStart, w_max);
}

TEST(CubicTest, LossTakesThreeTenths) {  // RFC 9438 4.6
  Cubic cc(kMss);
  lose_at(cc, 1000 * kMss);
  EXPECT_EQ(cc.cwnd(), 700 * kMss);
  EXPECT_EQ(cc.ssthresh(), 700 * kMss);
}

/// Sends one ACK per `step` for a window per `rtt` and returns cwnd after `total`.
std::uint32_t run(Cubic& cc, Instant& now, Duration total, Duration rtt, Duration step) {
  const Instant end = now + total;
  for (; now < end; now += step) {
    auto e = ack(static_cast<std::uint32_t>(std::uint64_t{cc.cwnd()} *
                                            static_cast<std::uint64_t>(step / 1us) /
                                            static_cast<std::uint64_t>(rtt / 1us)),
                 now);
    e.srtt = rtt;
    cc.on_ack(e);
  }
  return cc.cwnd();
}

class CurveTest : public testing::TestWithParam<std::tuple<std::uint32_t, std::uint32_t>> {};

INSTANTIATE_TEST_SUITE_P(Windows, CurveTest,
                         testing::Combine(testing::Values(536U, 1460U, 8960U, 65535U),
                                          testing::Values(1000U, 3000U, 12000U)));

TEST_P(CurveTest, FollowsTheRealNumbers) {  // RFC 9438 4.2
  const auto [mss, segments] = GetParam();
  Cubic cc(mss);
  const std::uint32_t w_max = mss * segments;
  lose_at(cc, w_max);
  const double w = segments;
  const double k = std::cbrt(w * 0.3 / 0.4);
  constexpr Duration kRtt = 100ms;  // long enough that the curve is above Reno's line
  Instant now = kStart + 1s;
  for (double t = 0.5; t < 2 * k; t += 0.5) {
    const double got = run(cc, now, 500ms, kRtt, 5ms);
    // (4.4): at t the window reaches for the curve's value one RTT later.
    const double ideal = (0.4 * std::pow(t + 0.1 - k, 3) + w) * mss;
    const double late = (0.4 * std::pow(t - 0.1 - k, 3) + w) * mss;
    EXPECT_LE(got, ideal * 1.015) << "t " << t;
    EXPECT_GE(got, late * 0.985) << "t " << t;
  }
}

TEST(CubicTest, KeepsUpWithRenoOnShortPaths) {  // RFC 9438 4.3
  Cubic cc(kMss);
  lose_at(cc, 100 * kMss);
  Instant now = kStart + 1s;
  // 1 ms: 200 round trips take 0.2 s, in which the curve hardly moves. alpha = 9/17 per round trip
  // up to the old window (57 rounds), 1 from there.
  const std::uint32_t got = run(cc, now, 200ms, 1ms, 100us);
  const double ideal = 100 + (200 - 30 * 17 / 9.0);
  EXPECT_NEAR(got / double{kMss}, ideal, ideal * 0.02);
}

TEST(CubicTest, FastConvergenceLeavesRoom) {  // RFC 9438 4.7
  Cubic plain(kMss);
  lose_at(plain, 1000 * kMss);
  Cubic shrinking(kMss);
  lose_at(shrinking, 2000 * kMss);
  shrinking.on_loss(kStart, 1000 * kMss + 1);  // its window is 1400 MSS, below the old 2000
  Cubic reference(kMss);
  lose_at(reference, 1400 * kMss);
  reference.on_loss(kStart, 1000 * kMss + 1);
  Instant a = kStart + 1s;
  Instant b = a;
  EXPECT_EQ(shrinking.cwnd(), plain.cwnd());
  // Both start at 700 MSS; W_max is 1190 there and 1000 here.
  EXPECT_GT(run(shrinking, a, 4s, 100ms, 5ms), run(plain, b, 4s, 100ms, 5ms));
}

TEST(CubicTest, TimeWithoutDemandIsNotPartOfTheCurve) {  // RFC 9438 5.8
  const auto busy_then = [](auto&& pause) {
    Cubic cc(kMss);
    lose_at(cc, 1000 * kMss);
    Instant now = kStart + 1s;
    run(cc, now, 2s, 100ms, 5ms);
    pause(cc, now);
    return run(cc, now, 1s, 100ms, 5ms);
  };
  const double reference = busy_then([](Cubic&, Instant&) {});
  const double limited = busy_then([](Cubic& cc, Instant& now) {
    for (int i = 0; i < 1000; ++i, now += 100ms) {
      auto e = ack(kMss, now);
      e.cwnd_limited = false;
      cc.on_ack(e);
    }
  });
  const double idle = busy_then([](Cubic& cc, Instant& now) {
    cc.on_idle(100s, 200s);
    now += 100s;
  });
  const double polite = busy_then([](Cubic& cc, Instant& now) {  // a request per reply
    for (int i = 0; i < 1000; ++i, now += 100ms) {
      cc.on_idle(100ms, 200s);
      auto e = ack(kMss, now + 50ms);
      e.cwnd_limited = false;
      cc.on_ack(e);
    }
  });
  EXPECT_NEAR(polite, reference, reference * 0.01);
  EXPECT_NEAR(limited, reference, reference * 0.01);
  EXPECT_NEAR(idle, reference, reference * 0.01);
}

TEST(CubicTest, AfterATimeoutTheCurveBeginsFlat) {  // RFC 9438 4.8
  Cubic cc(kMss);
  lose_at(cc, 1000 * kMss);
  cc.on_rto(kStart, 700 * kMss);
  EXPECT_EQ(cc.ssthresh(), 490 * kMss);
  while (cc.cwnd() < cc.ssthresh()) cc.on_ack(ack(cc.cwnd(), kStart + 1s));
  Instant now = kStart + 2s;
  const double got = run(cc, now, 3s, 100ms, 5ms) / double{kMss};
  EXPECT_GT(got, 490 + 0.4 * 2.8 * 2.8 * 2.8);  // W_max = 490 MSS, K = 0
  EXPECT_LT(got, 490 + 0.4 * 3.1 * 3.1 * 3.1 + 20);
}

/// One round trip of slow start with `samples` ACKs of the given RTT.
void hystart_round(Cubic& cc, Duration rtt, int samples = 10) {
  const std::uint32_t share = cc.cwnd() / static_cast<std::uint32_t>(samples);
  for (int i = 0; i < samples; ++i) {
    auto e = ack(share);
    e.rtt = rtt;
    e.round_start = i == 0;
    cc.on_ack(e);
  }
}

TEST(HystartTest, EndsSlowStartWhenTheQueueBuilds) {  // RFC 9406 4.2
  Cubic cc(kMss);
  for (int i = 0; i < 3; ++i) hystart_round(cc, 40ms);
  EXPECT_EQ(cc.ssthresh(), UINT32_MAX);
  hystart_round(cc, 46ms);  // threshold: 40 ms / 8 = 5 ms
  for (int i = 0; i < 4; ++i) {
    const std::uint32_t before = cc.cwnd();
    hystart_round(cc, 46ms);
    EXPECT_EQ(cc.ssthresh(), UINT32_MAX);
    EXPECT_NEAR(cc.cwnd(), before * 1.25, before * 0.02) << "CSS grows by a quarter";
  }
  hystart_round(cc, 46ms);
  EXPECT_NE(cc.ssthresh(), UINT32_MAX);
  EXPECT_LE(cc.ssthresh(), cc.cwnd());
}

TEST(HystartTest, ResumesWhenTheGrowthWasNoise) {
  Cubic cc(kMss);
  for (int i = 0; i < 3; ++i) hystart_round(cc, 40ms);
  hystart_round(cc, 46ms);
  hystart_round(cc, 41ms);
  const std::uint32_t before = cc.cwnd();
  for (int i = 0; i < 3; ++i) hystart_round(cc, 41ms);
  EXPECT_EQ(cc.ssthresh(), UINT32_MAX);
  EXPECT_GE(cc.cwnd(), before * 7.9);
}

TEST(HystartTest, IgnoresSmallGrowthAndFewSamples) {
  Cubic cc(kMss);
  hystart_round(cc, 1ms);
  for (int i = 0; i < 8; ++i) hystart_round(cc, 3ms + i * 100us);  // under 4 ms of growth
  EXPECT_EQ(cc.ssthresh(), UINT32_MAX);
  Cubic few(kMss);
  for (int i = 0; i < 8; ++i) hystart_round(few, 40ms * (1 + i), 7);
  EXPECT_EQ(few.ssthresh(), UINT32_MAX);
}

TEST(HystartTest, StaysOutOfLaterSlowStarts) {
  Cubic cc(kMss);
  cc.on_rto(kStart, 1000 * kMss);
  const std::uint32_t ssthresh = cc.ssthresh();
  for (int i = 0; i < 12; ++i) hystart_round(cc, 40ms + i * 20ms, 10);
  EXPECT_EQ(cc.ssthresh(), ssthresh);
  EXPECT_GE(cc.cwnd(), ssthresh);
}

// Any octet counts and times, the extremes above all; undefined behaviour is for the sanitizers.
rc::Gen<std::uint32_t> any_octets() {
  return rc::gen::oneOf(rc::gen::arbitrary<std::uint32_t>(),
                        rc::gen::element<std::uint32_t>(0, 1, 1460, 65535, 1U << 30, UINT32_MAX));
}

rc::Gen<std::int64_t> any_time() {
  using Limits = std::numeric_limits<std::int64_t>;
  return rc::gen::oneOf(
      rc::gen::inRange<std::int64_t>(0, 10'000'000'000),
      rc::gen::element<std::int64_t>(0, 1, -1, Limits::max(), Limits::min(), Limits::max() / 2));
}

AckEvent any_ack() {
  AckEvent e;
  e.now = Instant(Duration(*any_time()));
  e.acked = *any_octets();
  e.in_flight = *any_octets();
  e.srtt = Duration(*any_time());
  e.rtt = Duration(*any_time());
  e.cwnd_limited = *rc::gen::arbitrary<bool>();
  e.round_start = *rc::gen::inRange(0, 8) == 0;
  return e;
}

void any_event(CongestionControl& cc, std::uint32_t& mss) {
  const Instant now{Duration(*any_time())};
  switch (*rc::gen::weightedElement<int>({{20, 0}, {1, 1}, {1, 2}, {1, 3}, {1, 4}})) {
    case 0:
      return cc.on_ack(any_ack());
    case 1:
      return cc.on_loss(now, *any_octets());
    case 2:
      return cc.on_rto(now, *any_octets());
    case 3:
      return cc.on_idle(Duration(*any_time()), Duration(*any_time()));
    default:
      mss = *rc::gen::element<std::uint32_t>(1, 216, 1460, 65535);
      return cc.set_mss(mss);
  }
}

TEST_P(BothTest, StaysWithinBoundsForAnyInput) {
  EXPECT_TRUE(rc::check([this] {
    auto mss = *rc::gen::element<std::uint32_t>(1, 48, 536, 1460, 65535);
    auto cc = make(mss);
    for (int i = 0; i < 150; ++i) {
      any_event(cc, mss);
      RC_ASSERT(cc.cwnd() >= mss);
      RC_ASSERT(cc.cwnd() <= kMaxCwnd);
      RC_ASSERT(cc.ssthresh() >= 2U);
    }
  }));
}

TEST_P(BothTest, ReachesTheCapAndStays) {
  for (const std::uint32_t mss : {1U, 1460U, 65535U}) {
    auto cc = make(mss);
    Instant now = kStart;
    for (int i = 0; i < 100; ++i) cc.on_ack(ack(cc.cwnd(), now += 1s));
    EXPECT_EQ(cc.cwnd(), kMaxCwnd);
    cc.on_loss(now, cc.cwnd());
    for (int i = 0; i < 3'000'000 && cc.cwnd() < kMaxCwnd; ++i)
      cc.on_ack(ack(cc.cwnd(), now += 1s));
    EXPECT_LE(cc.cwnd(), kMaxCwnd);
  }
}

}  // namespace
}  // namespace pollux::tcp
