#include "proto/tcp/bbr.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <tuple>

#include "tests/proto/path_model.h"

namespace pollux::tcp {
namespace {

using State = Bbr::State;
constexpr std::uint32_t kMss = PathModel::kMss;
constexpr std::uint64_t kMbit = 125'000;  // octets per second
constexpr std::uint64_t kOffload = 4 * 64 * 1024;

double share(std::uint64_t got, std::uint64_t of) {
  return static_cast<double>(got) / static_cast<double>(of);
}

/// Long enough to leave Startup and Drain and to have probed once or twice.
Duration warm_up(Duration rtt) { return std::max<Duration>(40 * rtt, 1s); }

/// A path of 100 Mbit/s and 20 ms whose model is complete.
PathModel settled(const PathOptions& o = {.rate = 100 * kMbit, .rtt = 20ms}) {
  PathModel m(o);
  m.run(4s);
  m.forget_visits();
  m.take_max_queue();
  m.take_max_burst();
  return m;
}

// ---- every path ---------------------------------------------------------------------------

class EveryPathTest : public testing::TestWithParam<std::tuple<std::uint64_t, Duration>> {
 protected:
  PathOptions path() const {
    return {.rate = std::get<0>(GetParam()) * kMbit, .rtt = std::get<1>(GetParam())};
  }
};

INSTANTIATE_TEST_SUITE_P(All, EveryPathTest,
                         testing::Combine(testing::Values(10U, 100U, 1000U, 10000U),
                                          testing::Values(50us, 1ms, 20ms, 200ms)),
                         [](const auto& info) {
                           return std::to_string(std::get<0>(info.param)) + "Mbit" +
                                  std::to_string(to_us(std::get<1>(info.param))) + "us";
                         });

TEST_P(EveryPathTest, IsFilledWithABoundedQueue) {
  PathModel m(path());
  m.run(warm_up(path().rtt));
  m.take_max_queue();
  EXPECT_GE(share(m.run(10s), path().rate), 0.9);
  EXPECT_LE(m.take_max_queue(), m.bdp() * 3 / 2 + kOffload);
  EXPECT_EQ(m.time_outs(), 0U);
  EXPECT_NEAR(share(m.bbr().bandwidth(), path().rate), 1, 0.1);
}

TEST_P(EveryPathTest, OnePercentOfRandomLossCostsLittle) {
  PathOptions o = path();
  o.loss_per_mille = 10;
  PathModel m(o);
  m.run(warm_up(o.rtt));
  EXPECT_GE(share(m.run(10s), o.rate), 0.85);
}

TEST_P(EveryPathTest, FivePercentOfRandomLossLeavesMostOfTheRate) {
  PathOptions o = path();
  o.loss_per_mille = 50;
  PathModel m(o);
  m.run(warm_up(o.rtt));
  EXPECT_GE(share(m.run(10s), o.rate), 0.6);
}

TEST_P(EveryPathTest, StartupEndsAndDrainEmptiesTheQueue) {
  PathModel m(path());
  while (m.bbr().state() == State::startup && m.now() < Instant{30s}) m.run(path().rtt);
  while (m.bbr().state() == State::drain && m.now() < Instant{40s}) m.run(path().rtt);
  EXPECT_LT(m.now(), Instant{1s + 40 * path().rtt + 100ms});
  EXPECT_TRUE(m.visited(State::startup) && !m.visited(State::probe_rtt));
  EXPECT_LE(m.in_flight(), m.bdp() * 5 / 4 + kOffload);
}

TEST(BbrPathTest, AcksInBunchesCostLittle) {
  for (const Duration bunch : {2ms, 10ms, 30ms}) {
    PathModel m({.rate = 100 * kMbit, .rtt = 20ms, .ack_every = bunch});
    m.run(2s);
    EXPECT_GE(share(m.run(10s), 100 * kMbit), 0.9) << to_ms(bunch) << " ms";
  }
}

TEST(BbrPathTest, SuperPacketsOnAShortPathReachTheRate) {
  // One ACK for what came in 60 us, as a virtual link gives.
  PathModel m({.rate = 20'000 * kMbit, .rtt = 30us, .ack_every = 60us});
  m.run(1s);
  EXPECT_GE(share(m.run(6s), 20'000 * kMbit), 0.9);
}

TEST(BbrPathTest, AShallowQueueEndsStartupAndBoundsWhatIsInFlight) {
  const std::uint64_t bdp = 250'000;
  PathModel m({.rate = 100 * kMbit, .rtt = 20ms, .queue = bdp / 4});
  m.run(2s);
  EXPECT_GE(share(m.run(10s), 100 * kMbit), 0.85);
  EXPECT_LE(m.bbr().cwnd(), 3 * bdp / 2);
}

TEST(BbrPathTest, NoiseDoesNotEndStartupAndMuchLossDoes) {
  const auto found = [](unsigned per_mille) {
    PathModel m({.rate = 1000 * kMbit, .rtt = 20ms, .loss_per_mille = per_mille});
    while (m.bbr().state() == State::startup && m.now() < Instant{5s}) m.run(1ms);
    EXPECT_LT(m.now(), Instant{5s});
    return m.bbr().bandwidth();
  };
  EXPECT_GE(found(50), 900 * kMbit);
  EXPECT_LT(found(300), 500 * kMbit) << "before the rate that is there";
}

TEST(BbrPathTest, ProbesForBandwidthEveryFewSeconds) {
  auto m = settled();
  m.run(5s);
  for (const State s : {State::down, State::cruise, State::refill, State::up}) {
    EXPECT_TRUE(m.visited(s)) << static_cast<int>(s);
  }
}

// ---- paths that change --------------------------------------------------------------------

TEST(BbrPathTest, ProbeRttComesEveryFiveSecondsAndFindsALongerRoute) {
  auto m = settled();
  m.path().rtt = 60ms;
  m.run(6s);
  EXPECT_TRUE(m.visited(State::probe_rtt));
  EXPECT_LT(m.bbr().min_rtt(), 60ms) << "the minimum is remembered for 10 s";
  m.run(10s);
  EXPECT_GE(m.bbr().min_rtt(), 60ms);
  EXPECT_LE(m.bbr().min_rtt(), 65ms) << "measured with little in flight";
  EXPECT_GE(share(m.run(5s), 100 * kMbit), 0.9);
}

TEST(BbrPathTest, AShorterRouteIsFound) {
  auto m = settled({.rate = 100 * kMbit, .rtt = 60ms});
  m.path().rtt = 20ms;
  m.run(8s);  // what is in flight too much is a queue until ProbeRTT
  EXPECT_LE(m.bbr().min_rtt(), 30ms);
}

TEST(BbrPathTest, ProbeRttHoldsHalfABandwidthDelayProduct) {
  auto m = settled();
  while (m.bbr().state() != State::probe_rtt) m.run(1ms);
  m.run(100ms);
  ASSERT_EQ(m.bbr().state(), State::probe_rtt);
  EXPECT_LE(m.in_flight(), m.bdp() * 6 / 10);
  m.run(300ms);
  EXPECT_NE(m.bbr().state(), State::probe_rtt);
  EXPECT_GE(m.bbr().cwnd(), m.bdp() * 3 / 2) << "the window is restored";
}

TEST(BbrPathTest, HalfTheBandwidthIsFollowedWithinTwoCycles) {
  auto m = settled();
  m.path().rate = 50 * kMbit;
  m.run(12s);  // the queue is too long to lose anything, and ProbeRTT puts the next probe off
  m.take_max_queue();
  EXPECT_GE(share(m.run(8s), 50 * kMbit), 0.9);
  EXPECT_LE(m.take_max_queue(), m.bdp() * 3 / 2);
  EXPECT_NEAR(share(m.bbr().bandwidth(), 50 * kMbit), 1, 0.1);
}

TEST(BbrPathTest, HalfTheBandwidthIsFollowedAtOnceWhereTheQueueIsShort) {
  auto m = settled({.rate = 100 * kMbit, .rtt = 20ms, .queue = 250'000});
  m.path().rate = 50 * kMbit;
  m.run(1s);
  EXPECT_NEAR(share(m.bbr().bandwidth(), 50 * kMbit), 1, 0.1);
  EXPECT_GE(share(m.run(2s), 50 * kMbit), 0.9);
}

TEST(BbrPathTest, MoreBandwidthIsFound) {
  auto m = settled();
  m.path().rate = 400 * kMbit;
  m.run(12s);
  EXPECT_GE(share(m.run(6s), 400 * kMbit), 0.9);
}

TEST(BbrPathTest, AnOutageIsSurvived) {
  auto m = settled();
  const std::uint64_t before = m.bbr().bandwidth();
  m.black_hole(true);
  m.run(2s);
  EXPECT_GE(m.time_outs(), 2U);
  EXPECT_EQ(m.bbr().cwnd(), kMss);
  m.black_hole(false);
  m.run(2s);  // the time-out has been backed off
  EXPECT_GE(share(m.bbr().bandwidth(), before), 0.9);
  EXPECT_GE(share(m.run(2s), 100 * kMbit), 0.85);
}

// ---- applications that pause --------------------------------------------------------------

TEST(BbrPathTest, AfterSilenceThereIsNoBurst) {
  auto m = settled();
  const std::uint32_t cwnd = m.bbr().cwnd();
  m.path().burst = 300ms;
  m.path().pause = 1s;
  m.run(5s);
  EXPECT_GE(m.bbr().cwnd(), cwnd / 2) << "the window stays";
  // A millisecond at the highest gain, and a quantum at its start and at its end.
  EXPECT_LE(m.take_max_burst(), 100 * kMbit / 1000 * 125 / 100 + 2 * m.bbr().send_quantum());
}

TEST(BbrPathTest, AnApplicationThatIsSlowDoesNotLowerTheBandwidth) {
  auto m = settled();
  const std::uint64_t before = m.bbr().bandwidth();
  m.path().burst = 1ms;
  m.path().pause = 49ms;
  EXPECT_LE(m.run(30s), before / 10);
  EXPECT_GE(m.bbr().bandwidth(), before * 99 / 100);
}

TEST(BbrPathTest, AfterLongSilenceThereIsNoProbeRtt) {
  auto m = settled();
  m.path().burst = 300ms;
  m.path().pause = 6s;
  m.run(20s);
  EXPECT_FALSE(m.visited(State::probe_rtt)) << "the silence has emptied the queue";
}

TEST(BbrPathTest, SilenceDuringProbeRttCountsAsOne) {
  auto m = settled();
  while (m.bbr().state() != State::probe_rtt) m.run(1ms);
  m.run(100ms);
  Bbr b = m.bbr();
  b.on_idle(50ms, 200ms);
  EXPECT_EQ(b.state(), State::probe_rtt);
  b.on_idle(250ms, 200ms);
  EXPECT_EQ(b.state(), State::cruise);
  EXPECT_GE(b.cwnd(), m.bdp() * 3 / 2);
}

// ---- losses that were none ----------------------------------------------------------------

/// An ACK in the middle of a transfer over a settled() path.
AckEvent ack_of(PathModel& m, std::uint32_t acked, std::uint32_t lost) {
  AckEvent e{.now = m.now(), .acked = acked, .in_flight = m.in_flight(), .lost = lost};
  e.pipe = m.in_flight() - std::min(m.in_flight(), acked + lost);
  e.in_recovery = lost != 0;
  e.rtt = lost != 0 ? m.path().rtt * 3 / 2 : m.path().rtt;  // losses come of a queue here
  e.rate.delivered_total = m.delivered() + acked;
  e.rate.prior_delivered = m.delivered();
  e.rate.delivered = m.bdp();
  e.rate.interval = m.path().rtt;
  e.rate.lost = lost;
  e.rate.tx_in_flight = m.in_flight();
  return e;
}

TEST(BbrTest, AnApplicationLimitedSampleMayRaiseTheBandwidth) {
  auto m = settled();
  Bbr b = m.bbr();
  const std::uint64_t before = b.bandwidth();
  AckEvent e = ack_of(m, kMss, 0);
  e.rate.app_limited = true;
  e.rate.delivered = m.bdp() / 2;
  b.on_ack(e);
  EXPECT_EQ(b.bandwidth(), before);
  e.rate.delivered = m.bdp() * 2;
  b.on_ack(e);
  EXPECT_GE(b.bandwidth(), before * 19 / 10);
}

TEST(BbrUndoTest, AProbeThatSeemedToLoseIsTakenUpAgain) {
  auto m = settled();
  while (m.bbr().state() != State::up) m.run(1ms);
  m.run(25ms);
  Bbr b = m.bbr();
  ASSERT_EQ(b.state(), State::up);
  const std::uint32_t cwnd = b.cwnd();
  AckEvent e = ack_of(m, 10 * kMss, 20 * kMss);
  e.rate.tx_in_flight = static_cast<std::uint32_t>(m.bdp());
  b.on_ack(e);
  b.on_loss(m.now(), m.in_flight());
  EXPECT_EQ(b.state(), State::down);
  EXPECT_LE(b.cwnd(), m.bdp()) << "what was in flight then was too much";
  b.undo();
  EXPECT_EQ(b.state(), State::refill);
  EXPECT_EQ(b.cwnd(), cwnd);
  b.undo();
  EXPECT_EQ(b.state(), State::refill) << "once";
}

TEST(BbrUndoTest, LossesWhileCruisingLowerTheModelUntilTheyAreUndone) {
  auto m = settled();
  while (m.bbr().state() != State::cruise) m.run(1ms);
  Bbr b = m.bbr();
  const std::uint32_t cwnd = b.cwnd();
  const std::uint64_t bandwidth = b.bandwidth();
  for (int round = 1; round < 8; ++round) {
    AckEvent e = ack_of(m, 10 * kMss, 20 * kMss);
    e.rate.delivered_total += round * m.bdp();
    e.rate.prior_delivered = e.rate.delivered_total - 1;
    e.rate.delivered /= 2;
    b.on_ack(e);
    b.on_loss(m.now(), m.in_flight());
  }
  EXPECT_LT(b.bandwidth(), bandwidth * 8 / 10);
  EXPECT_LT(b.cwnd(), m.bdp() * 9 / 10);
  EXPECT_EQ(b.state(), State::cruise);
  b.undo();
  EXPECT_EQ(b.bandwidth(), bandwidth);
  EXPECT_EQ(b.cwnd(), cwnd);
}

TEST(BbrUndoTest, ATimeOutLeavesOneSegmentAndIsUndone) {
  auto m = settled();
  Bbr b = m.bbr();
  const std::uint32_t cwnd = b.cwnd();
  b.on_rto(m.now(), m.in_flight());
  b.on_rto(m.now() + 1s, m.in_flight());
  EXPECT_EQ(b.cwnd(), kMss);
  b.undo();
  EXPECT_EQ(b.cwnd(), cwnd);
}

TEST(BbrUndoTest, TheEndOfARecoveryRestoresTheWindow) {
  auto m = settled();
  Bbr b = m.bbr();
  const std::uint32_t cwnd = b.cwnd();
  b.on_rto(m.now(), m.in_flight());
  AckEvent e = ack_of(m, kMss, 0);
  e.in_recovery = true;
  b.on_ack(e);
  EXPECT_LT(b.cwnd(), 10 * kMss);
  e.in_recovery = false;
  b.on_ack(e);
  EXPECT_GE(b.cwnd(), cwnd * 9 / 10);
}

// ---- the beginning, and anything at all ---------------------------------------------------

TEST(BbrTest, BeginsWithTheInitialWindowAndPacesItByTheFirstRoundTrip) {
  Bbr b(kMss);
  EXPECT_EQ(b.cwnd(), 14600U);
  EXPECT_EQ(b.ssthresh(), UINT32_MAX);
  EXPECT_EQ(b.pacing_rate(), 14'600'000U * 277 / 100);  // as if the round trip took 1 ms
  b.on_ack({.now = Instant{1s}, .acked = kMss, .rtt = 100ms});
  EXPECT_EQ(b.pacing_rate(), 146'000U * 277 / 100);
  EXPECT_EQ(b.min_rtt(), 100ms);
}

TEST(BbrTest, TheSegmentSizeMayChangeBeforeTheFirstAck) {
  Bbr b(kMss);
  b.set_mss(536);
  EXPECT_EQ(b.cwnd(), 5360U);
  b.on_ack({.now = Instant{1s}, .acked = 536});
  const std::uint32_t cwnd = b.cwnd();
  b.set_mss(500);
  EXPECT_EQ(b.cwnd(), cwnd);
}

TEST(BbrTest, IsSmall) { EXPECT_LE(sizeof(Bbr), 240U); }

/// A number of any magnitude.
std::uint64_t any(std::uint64_t most = UINT64_MAX) {
  const auto v = *rc::gen::arbitrary<std::uint64_t>() >> *rc::gen::inRange(0, 64);
  return std::min(v, most);
}

Duration any_time() { return Duration(static_cast<std::int64_t>(any(INT64_MAX / 2))); }

AckEvent any_ack(Instant now) {
  AckEvent e{.now = now, .acked = static_cast<std::uint32_t>(any(kMaxCwnd))};
  e.pipe = static_cast<std::uint32_t>(any(UINT32_MAX));
  e.in_flight = static_cast<std::uint32_t>(any(UINT32_MAX));
  if (*rc::gen::arbitrary<bool>()) e.lost = static_cast<std::uint32_t>(any(UINT32_MAX));
  if (*rc::gen::arbitrary<bool>()) e.rtt = e.srtt = any_time();
  e.cwnd_limited = *rc::gen::arbitrary<bool>();
  e.in_recovery = *rc::gen::arbitrary<bool>();
  e.rate = {.delivered_total = any(), .prior_delivered = any(), .delivered = any()};
  e.rate.interval = any_time();
  e.rate.lost = any();
  e.rate.tx_in_flight = static_cast<std::uint32_t>(any(UINT32_MAX));
  e.rate.app_limited = *rc::gen::arbitrary<bool>();
  return e;
}

void anything(Bbr& b, Instant now, std::uint32_t& mss) {
  const auto octets = static_cast<std::uint32_t>(any(UINT32_MAX));
  switch (*rc::gen::inRange(0, 10)) {
    case 0:
      return b.on_loss(now, octets);
    case 1:
      return b.on_rto(now, octets);
    case 2:
      return b.on_idle(any_time(), any_time());
    case 3:
      return b.undo();
    case 4:
      mss = std::clamp(octets, 1U, 65535U);
      return b.set_mss(octets);
    default:
      return b.on_ack(any_ack(now));
  }
}

TEST(BbrTest, WhateverHappensItsControlsStayWithinTheirBounds) {
  EXPECT_TRUE(rc::check([] {
    auto mss = std::max(static_cast<std::uint32_t>(any(65535)), 1U);
    Bbr b(mss);
    Instant now{};
    for (int i = *rc::gen::inRange(0, 200); i > 0; --i) {
      now = Instant(std::min(now.time_since_epoch(), Duration::max() / 2) + any_time() / 2);
      anything(b, now, mss);
      RC_ASSERT(b.cwnd() >= mss && b.cwnd() <= kMaxCwnd);
      RC_ASSERT(b.pacing_rate() > 0U);
      RC_ASSERT(b.send_quantum() > 0U);
    }
  }));
}

TEST(BbrTest, TheWindowHoldsASegmentWhateverTheLossesAre) {
  EXPECT_TRUE(rc::check([] {
    PathOptions o{.rate = *rc::gen::inRange<std::uint64_t>(1, 2000) * kMbit};
    o.rtt = std::chrono::microseconds(*rc::gen::inRange(20, 50'000));
    o.loss_per_mille = *rc::gen::inRange(0U, 400U);
    o.queue = *rc::gen::inRange<std::uint64_t>(3000, 1'000'000);
    PathModel m(o);
    for (int i = 0; i < 20; ++i) {
      m.black_hole(*rc::gen::inRange(0, 8) == 0);
      m.run(20ms);
      RC_ASSERT(m.bbr().cwnd() >= kMss && m.bbr().cwnd() <= kMaxCwnd);
      RC_ASSERT(m.bbr().pacing_rate() > 0U);
    }
    m.black_hole(false);
    m.run(5s);
    RC_ASSERT(m.delivered() > 0U);
  }));
}

}  // namespace
}  // namespace pollux::tcp
