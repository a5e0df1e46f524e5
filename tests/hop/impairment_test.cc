#include "bench/hop/impairment.h"

#include <gtest/gtest.h>

#include "tests/hop/packets.h"

namespace pollux::hop {
namespace {

using test::data;

constexpr Instant kStart{1s};
constexpr std::size_t kSize = 1000;  // octets of an IP packet
constexpr std::size_t kHeaders = wire::kIpv4HeaderSize + wire::kTcpHeaderSize;

/// A path that is given packets of kSize, one after the other.
class Path {
 public:
  explicit Path(const LinkOptions& options, std::string_view rules = "", std::uint64_t seed = 1)
      : impairment_(options, parse_script(rules), seed) {}

  Plan send(Instant now) {
    test::Packet packet = data(next_, kSize - kHeaders);
    next_ += kSize - kHeaders;
    return impairment_.on_packet(now, packet);
  }
  Plan resend(Instant now, std::uint64_t number) {
    test::Packet packet = data(number * (kSize - kHeaders), kSize - kHeaders);
    return impairment_.on_packet(now, packet);
  }
  const LinkCounters& counters() const { return impairment_.counters(); }

 private:
  Impairment impairment_;
  std::uint64_t next_ = 0;
};

TEST(Impairment, NothingSetPassesAtOnce) {
  Path path({});
  const Plan plan = path.send(kStart);
  EXPECT_EQ(plan.copies, 1u);
  EXPECT_EQ(plan.release[0], kStart);
}

TEST(Impairment, DelayIsAdded) {
  Path path({.delay = 10ms});
  EXPECT_EQ(path.send(kStart).release[0], kStart + 10ms);
}

TEST(Impairment, TheRateSpacesPackets) {
  Path path({.delay = 10ms, .rate = 8'000'000});  // 1000 octets take 1 ms
  EXPECT_EQ(path.send(kStart).release[0], kStart + 11ms);
  EXPECT_EQ(path.send(kStart).release[0], kStart + 12ms);
  EXPECT_EQ(path.send(kStart + 5ms).release[0], kStart + 16ms);
}

TEST(Impairment, AFullQueueDropsAndDrains) {
  for (const bool packets : {true, false}) {
    Path path({.rate = 8'000'000,
               .queue_octets = packets ? 0 : 3 * kSize,
               .queue_packets = packets ? 3U : 0U});
    for (int i = 0; i < 3; ++i) EXPECT_EQ(path.send(kStart).copies, 1u);
    EXPECT_EQ(path.send(kStart).copies, 0u);
    EXPECT_EQ(path.send(kStart + 1ms).copies, 1u);
    EXPECT_EQ(path.send(kStart + 1ms).copies, 0u);
    EXPECT_EQ(path.counters().lost_queue, 2u);
    EXPECT_EQ(path.counters().queue_octets_max, 3 * kSize);
  }
}

TEST(Impairment, APacketThatDoesNotFitWhollyIsDropped) {
  Path path({.rate = 8'000'000, .queue_octets = 2 * kSize - 1});
  EXPECT_EQ(path.send(kStart).copies, 1u);
  EXPECT_EQ(path.send(kStart).copies, 0u);
}

TEST(Impairment, LossComesNearItsRateAndIsTheSameFromTheSameSeed) {
  const LinkOptions options{.loss = 0.05};
  Path one(options, "", 7), same(options, "", 7), other(options, "", 8);
  unsigned differs = 0;
  for (int i = 0; i < 20'000; ++i) {
    const unsigned copies = one.send(kStart).copies;
    ASSERT_EQ(copies, same.send(kStart).copies);
    differs += copies != other.send(kStart).copies;
  }
  EXPECT_NEAR(static_cast<double>(one.counters().lost), 1000, 150);  // five sigma
  EXPECT_GT(differs, 0u);
}

TEST(Impairment, OneKindOfChanceDoesNotShiftAnother) {
  Path plain({.loss = 0.1});
  Path more({.jitter = 1ms, .loss = 0.1, .reorder = 0.2, .reorder_delay = 5ms, .duplicate = 0.3});
  for (int i = 0; i < 1000; ++i) {
    EXPECT_EQ(plain.send(kStart).copies == 0, more.send(kStart).copies == 0);
  }
}

TEST(Impairment, BurstsAreLongerThanChance) {
  Path path({.burst = {.to_bad = 0.01, .to_good = 0.25}});
  unsigned runs = 0, lost = 0;
  bool before = false;
  for (int i = 0; i < 40'000; ++i) {
    const bool gone = path.send(kStart).copies == 0;
    runs += gone && !before;
    lost += gone;
    before = gone;
  }
  EXPECT_EQ(path.counters().lost_burst, lost);
  EXPECT_NEAR(static_cast<double>(lost) / runs, 4, 1);  // 1 / to_good
}

TEST(Impairment, JitterKeepsTheOrder) {
  Path path({.jitter = 10ms});
  Instant last{}, now = kStart;
  for (int i = 0; i < 1000; ++i, now += 100us) {
    const Instant release = path.send(now).release[0];
    EXPECT_GE(release, last);
    EXPECT_GE(release, now);
    EXPECT_LE(release, now + 10ms);
    last = release;
  }
}

TEST(Impairment, AReorderedPacketIsOvertaken) {
  Path path({.delay = 1ms}, "a>b delay 5ms packet 2");
  EXPECT_EQ(path.send(kStart).release[0], kStart + 1ms);
  EXPECT_EQ(path.send(kStart).release[0], kStart + 6ms);
  EXPECT_EQ(path.send(kStart).release[0], kStart + 1ms);
  EXPECT_EQ(path.counters().reordered, 1u);
}

TEST(Impairment, RandomReorderingComesNearItsRate) {
  Path path({.reorder = 0.1, .reorder_delay = 5ms});
  unsigned late = 0;
  for (int i = 0; i < 10'000; ++i) late += path.send(kStart).release[0] == kStart + 5ms;
  EXPECT_NEAR(late, 1000, 150);
  EXPECT_EQ(path.counters().reordered, late);
}

TEST(Impairment, ADuplicateTakesItsPlaceInTheQueue) {
  Path path({.rate = 8'000'000}, "a>b duplicate packet 1");
  const Plan plan = path.send(kStart);
  ASSERT_EQ(plan.copies, 2u);
  EXPECT_EQ(plan.release[1], kStart + 2ms);
  EXPECT_EQ(path.counters().duplicated, 1u);
  EXPECT_EQ(path.counters().forwarded, 1u);
}

TEST(Impairment, TheHandshakeIsSparedWhenAsked) {
  for (const bool spare : {true, false}) {
    for (const LinkOptions& options :
         {LinkOptions{.loss = 1, .spare_handshake = spare},
          LinkOptions{.burst = {.to_bad = 1, .to_good = 0}, .spare_handshake = spare}}) {
      Impairment path(options, {}, 1);
      test::Packet packet = test::syn();
      EXPECT_EQ(path.on_packet(kStart, packet).copies, spare ? 1u : 0u);
      packet = data(0, 10);
      EXPECT_EQ(path.on_packet(kStart, packet).copies, 0u);
    }
  }
}

TEST(Impairment, CountsWhatWasSentAgain) {
  Path path({}, "a>b drop packet 2");
  for (int i = 0; i < 4; ++i) path.send(kStart);
  path.resend(kStart, 1);
  path.resend(kStart, 2);
  const LinkCounters& c = path.counters();
  EXPECT_EQ(c.lost_script, 1u);
  EXPECT_EQ(c.data_packets, 6u);
  EXPECT_EQ(c.retransmitted_packets, 2u);
  EXPECT_EQ(c.retransmitted_octets, 2 * (kSize - kHeaders));
  EXPECT_EQ(c.spurious_packets, 1u);
  EXPECT_EQ(c.forwarded, 5u);
}

TEST(Impairment, EachFlowHasItsOwnNumbers) {
  Impairment path({}, parse_script("a>b drop packet 1"), 1);
  test::Packet one = data(0, 10), other = data(0, 10);
  store_be16(&other[wire::kIpv4HeaderSize], 999);  // another source port
  EXPECT_EQ(path.on_packet(kStart, one).copies, 0u);
  EXPECT_EQ(path.on_packet(kStart, other).copies, 0u);
  EXPECT_EQ(path.on_packet(kStart, one).copies, 1u);
}

TEST(Impairment, WhatIsNotTcpPasses) {
  Impairment path({}, parse_script("both drop packet 1..1000\nboth drop ack all"), 1);
  for (test::Packet packet : {test::Packet{}, test::Packet{0x45}, test::Packet(40, 0xff)}) {
    EXPECT_EQ(path.on_packet(kStart, packet).copies, 1u);
  }
}

}  // namespace
}  // namespace pollux::hop
