#include "proto/tcp/rate.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <deque>

namespace pollux::tcp {
namespace {

constexpr Instant kStart{10s};
constexpr std::uint32_t kSize = 1000;

/// Segments of kSize octets that are sent and acknowledged in order.
class RateSamplerTest : public testing::Test {
 protected:
  struct Sent {
    Instant at;
    RateStamp stamp;
  };
  void send(Duration at) {
    sent_.push_back({kStart + at, sampler_.stamp(kStart + at, in_flight_, kSize)});
    in_flight_ += kSize;
  }
  /// One ACK for the `n` oldest segments.
  RateSample ack(Duration at, unsigned n = 1, Duration min_rtt = 1ms) {
    const Sent newest = sent_[n - 1];
    sent_.erase(sent_.begin(), sent_.begin() + n);
    in_flight_ -= n * kSize;
    return sampler_.on_delivered(kStart + at, n * kSize, newest.stamp, newest.at, min_rtt);
  }

  RateSampler sampler_;
  std::deque<Sent> sent_;
  std::uint32_t in_flight_ = 0;
};

TEST_F(RateSamplerTest, OneSegmentPerRoundTrip) {
  send(0ms);
  const RateSample s = ack(50ms);
  EXPECT_EQ(s.delivered_total, kSize);
  EXPECT_EQ(s.prior_delivered, 0U);
  EXPECT_EQ(s.delivered, kSize);
  EXPECT_EQ(s.interval, 50ms);
  EXPECT_EQ(s.tx_in_flight, kSize);
  EXPECT_EQ(s.rate(), 20'000U);
  EXPECT_FALSE(s.app_limited);
}

TEST_F(RateSamplerTest, APathOfConstantRateIsMeasuredExactly) {
  // A segment each 10 ms through a path of 100 ms.
  RateSample s;
  for (int i = 0; i < 50; ++i) {
    if (i >= 10) s = ack(10ms * i);
    send(10ms * i);
  }
  EXPECT_EQ(s.interval, 100ms);
  EXPECT_EQ(s.delivered, 10 * kSize);
  EXPECT_EQ(s.rate(), 100'000U);
  EXPECT_EQ(s.tx_in_flight, 10 * kSize);
}

TEST_F(RateSamplerTest, ABunchOfAcksDoesNotRaiseTheRate) {
  for (int i = 0; i < 10; ++i) send(10ms * i);
  ack(100ms);  // nine more would have come every 10 ms; they are held back and come at once
  for (int i = 0; i < 8; ++i) ack(190ms);
  const RateSample s = ack(190ms);
  EXPECT_EQ(s.delivered, 10 * kSize);
  EXPECT_EQ(s.interval, 190ms);
}

TEST_F(RateSamplerTest, ACompressedBurstOfAcksIsMeasuredByTheTimeOfSending) {
  // Sent over 90 ms; the ACKs of a round trip come within 10 ms of each other.
  send(0ms);
  ack(10ms);
  for (int i = 0; i < 10; ++i) send(10ms + 10ms * i);
  RateSample s;
  for (int i = 0; i < 10; ++i) s = ack(110ms + 1ms * i);
  // The newest was sent 90 ms after the one before the burst was delivered.
  EXPECT_GE(s.interval, 90ms);
  EXPECT_LE(s.rate(), 10 * kSize * 1000U / 90);
}

TEST_F(RateSamplerTest, SilenceDoesNotCount) {
  send(0ms);
  ack(50ms);
  send(10s);
  const RateSample s = ack(10s + 50ms);
  EXPECT_EQ(s.interval, 50ms);
  EXPECT_EQ(s.delivered, kSize);
}

TEST_F(RateSamplerTest, OneAckForManySegmentsIsMeasuredByTheNewest) {
  for (int i = 0; i < 4; ++i) send(1ms * i);
  const RateSample s = ack(20ms, 4);
  EXPECT_EQ(s.delivered, 4 * kSize);
  EXPECT_EQ(s.interval, 20ms);
  EXPECT_EQ(s.tx_in_flight, 4 * kSize);
}

TEST_F(RateSamplerTest, WhatIsShorterThanARoundTripIsNoSample) {
  send(0ms);
  const RateSample s = ack(10ms, 1, 11ms);
  EXPECT_EQ(s.interval, Duration::zero());
  EXPECT_EQ(s.rate(), 0U);
  EXPECT_EQ(s.delivered_total, kSize) << "but it counts";
}

TEST_F(RateSamplerTest, CountsWhatWasLostSinceTheSegmentWasSent) {
  sampler_.on_lost(5 * kSize);
  send(0ms);
  sampler_.on_lost(2 * kSize);
  send(1ms);
  sampler_.on_lost(kSize);
  EXPECT_EQ(ack(20ms).lost, 3 * kSize);
  EXPECT_EQ(ack(21ms).lost, kSize);
  EXPECT_EQ(sampler_.lost(), 8 * kSize);
}

TEST_F(RateSamplerTest, TheApplicationIsTheLimitUntilWhatWasInFlightThenIsDelivered) {
  send(0ms);
  send(1ms);
  sampler_.on_app_limited(in_flight_);
  EXPECT_TRUE(sampler_.app_limited());
  EXPECT_FALSE(ack(20ms).app_limited) << "sent before";
  send(20ms);
  EXPECT_FALSE(ack(21ms).app_limited);
  EXPECT_TRUE(sampler_.app_limited());
  EXPECT_TRUE(ack(40ms).app_limited) << "sent while limited";
  EXPECT_FALSE(sampler_.app_limited());
  send(41ms);
  EXPECT_FALSE(ack(60ms).app_limited);
}

TEST_F(RateSamplerTest, AnIdleConnectionMayBeLimitedFromItsFirstOctet) {
  sampler_.on_app_limited(0);
  EXPECT_TRUE(sampler_.app_limited());
  send(0ms);
  EXPECT_TRUE(ack(10ms).app_limited);
}

TEST(RateSamplerPropertyTest, NeverMeasuresMoreThanTheBottleneckGives) {
  EXPECT_TRUE(rc::check([] {
    // Segments leave the bottleneck one per `gap`, whatever was done to sending and to the ACKs.
    const auto gap = std::chrono::microseconds(*rc::gen::inRange(1, 5000));
    const auto delay = std::chrono::microseconds(*rc::gen::inRange(1, 50'000));
    RateSampler sampler;
    std::deque<std::tuple<Instant, Instant, RateStamp>> sent;  // when, and when it is answered
    Instant now{1s}, free{}, answered{};
    std::uint32_t in_flight = 0;
    for (int i = 0; i < 200; ++i) {
      if (*rc::gen::inRange(0, 2) == 0)
        now += std::chrono::microseconds(*rc::gen::inRange(0, 9999));
      while (!sent.empty() && std::get<1>(sent.front()) <= now) {
        const auto [at, answer, stamp] = sent.front();
        sent.pop_front();
        in_flight -= kSize;
        const RateSample s = sampler.on_delivered(answer, kSize, stamp, at, delay);
        if (s.interval == Duration::zero()) continue;
        const double most =
            static_cast<double>((s.interval + 1ms).count()) / Duration(gap).count() + 1;
        RC_ASSERT(static_cast<double>(s.delivered) <= most * kSize);
      }
      free = std::max(free, now) + gap;
      // An ACK may be late by a millisecond, which shortens the next interval.
      answered =
          std::max(answered, free + delay + std::chrono::microseconds(*rc::gen::inRange(0, 999)));
      sent.emplace_back(now, answered, sampler.stamp(now, in_flight, kSize));
      in_flight += kSize;
    }
  }));
}

}  // namespace
}  // namespace pollux::tcp
