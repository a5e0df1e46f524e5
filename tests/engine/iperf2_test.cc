// iperf2's server side: heads of every kind, both directions, bounce-back, connections back, the
// report of UDP tests, and every bound.
#include "engine/services/iperf2.h"

#include <rapidcheck.h>

#include "tests/engine/two_shards.h"

namespace pollux {
namespace {

using namespace iperf2;

constexpr std::uint32_t kFlagsReverse = 0x44010078, kFlagsPlain = 0x40010078;
constexpr std::uint16_t kUpperReverse = 0x0400, kUpperDuplex = 0x0800, kUpperTrips = 0x0010;

struct Head {
  std::uint32_t flags = kFlagsPlain;
  std::uint16_t upper = 0;
  std::int32_t amount = -100;  ///< 1 s
  std::uint32_t port = 0;
  std::uint32_t block = 0;
  std::uint32_t rate = 0;
  std::uint32_t tos = 0;
};

std::string words(std::initializer_list<std::uint32_t> all) {
  std::string out;
  for (const std::uint32_t w : all) {
    std::uint8_t octets[4];
    store_be32(octets, w);
    out += text_of(octets);
  }
  return out;
}

std::string test_head(const Head& h) {
  return words({h.flags, 1, h.port, h.block, 0, static_cast<std::uint32_t>(h.amount), 0, 0,
                std::uint32_t{h.upper} << 16, 0x20001, 0x80003, h.tos, h.rate, 0, 0});
}

std::string datagram(std::int64_t id, std::size_t size = 1000, std::uint32_t sent_us = 0,
                     const std::string& head = "") {
  std::string d = words({static_cast<std::uint32_t>(id), 0, sent_us,
                         static_cast<std::uint32_t>(static_cast<std::uint64_t>(id) >> 32)}) +
                  head;
  d.resize(size);
  return d;
}

std::uint32_t word(const std::string& text, std::size_t n) {
  return load_be32(reinterpret_cast<const std::uint8_t*>(text.data()) + 4 * n);
}

class Iperf2 : public testing::Test {
 protected:
  static Iperf2Options options() {
    return {.udp_reverse = true, .max_flows = 8, .max_senders = 2, .max_duration = 10s};
  }
  Collector::Side& side(const TwoShards::Opened& s) { return net.app.sides[s.port]; }
  /// Connects, says `head`; runs for `time`.
  std::uint16_t start(const Head& head, Duration time) {
    auto s = net.connect();
    s.write(bytes_of(test_head(head)));
    net.run(time);
    return s.port;
  }
  Iperf2Service service{options()};
  TwoShards net{service};
};

TEST_F(Iperf2, ASinkTakesAllAndSaysNothing) {
  auto s = net.connect();
  net.send(s, test_head({}) + std::string(1'000'000, 'x'));
  EXPECT_TRUE(side(s).received.empty());
  EXPECT_FALSE(side(s).peer_closed);
  s.shutdown_write();
  net.run(1s);
  EXPECT_TRUE(side(s).peer_closed);
  net.run(120s);
  EXPECT_EQ(net.server.connections(), 0U);
}

TEST_F(Iperf2, WhatIsNoHeadIsASinkToo) {
  for (const std::string& text :
       {std::string("0123456789"), std::string(), std::string(5000, '5')}) {
    auto s = net.connect();
    net.send(s, text);
    s.shutdown_write();
    net.run(1s);
    EXPECT_TRUE(side(s).received.empty());
    EXPECT_TRUE(side(s).peer_closed);
  }
}

TEST_F(Iperf2, TheHeadMayComeInAnyPieces) {
  auto s = net.connect();
  for (const char c : test_head({.flags = kFlagsReverse, .upper = kUpperReverse, .amount = 5000})) {
    net.send(s, {&c, 1});
  }
  net.run(1s);
  EXPECT_EQ(side(s).received.size(), 5000U);
}

TEST_F(Iperf2, AClientThatSaysNothingHasItsTime) {
  auto s = net.connect();
  net.run(Iperf2Service::kHeadTimeout / 2);
  EXPECT_FALSE(side(s).closed);
  net.run(Iperf2Service::kHeadTimeout);
  EXPECT_TRUE(side(s).closed);
  EXPECT_EQ(side(s).reason, CloseReason::reset);
}

TEST_F(Iperf2, SendsSoManyOctets) {
  for (const std::int32_t amount : {0, 1, 100'000, 3'000'000}) {
    const auto port = start({.flags = kFlagsReverse, .upper = kUpperReverse, .amount = amount}, 5s);
    EXPECT_EQ(net.app.sides[port].received.size(), static_cast<std::size_t>(amount));
    EXPECT_TRUE(net.app.sides[port].peer_closed);
  }
  EXPECT_EQ(service.free_senders(), 2U);
}

TEST_F(Iperf2, SendsForSoLongAtARate) {
  const auto port = start(
      {.flags = kFlagsReverse, .upper = kUpperReverse, .amount = -200, .rate = 8'000'000}, 1s);
  auto& side = net.app.sides[port];
  EXPECT_NEAR(static_cast<double>(side.received.size()), 1e6, 3e5);
  EXPECT_FALSE(side.peer_closed);
  net.run(2s);
  EXPECT_NEAR(static_cast<double>(side.received.size()), 2e6, 3e5);
  EXPECT_TRUE(side.peer_closed);
}

/// The longer head, with a start time and a pace in octets a second.
std::string long_head(std::uint16_t upper, std::int32_t amount, std::uint32_t block,
                      std::uint32_t pace = 0) {
  return words({0x440100a0, 1,       0,
                block,      0,       static_cast<std::uint32_t>(amount),
                0,          0,       std::uint32_t{upper} << 16,
                0x20001,    0x80003, 0,
                0,          0,       0,
                0,          1,       2,
                pace,       0});
}

TEST_F(Iperf2, WithTripTimesEachBurstHasAHead) {
  auto s = net.connect();
  s.write(bytes_of(long_head(kUpperReverse | kUpperTrips, 10'000, 1'000)));
  net.run(1s);
  const std::string& got = side(s).received;
  ASSERT_EQ(got.size(), kTestHead + 10'000) << "the test head is no payload";
  EXPECT_EQ(word(got, 8), std::uint32_t{kUpperTrips} << 16);
  const std::uint32_t begun = word(got, 16);
  EXPECT_GT(begun, 1'500'000'000U) << "by the wall clock";
  for (std::uint32_t i = 0; i < 10; ++i) {
    const std::string burst = got.substr(kTestHead + i * 1'000);
    EXPECT_EQ(word(burst, 3), begun);
    EXPECT_GE(word(burst, 5), begun);
    EXPECT_EQ(word(burst, 11), i + 1);
    EXPECT_EQ(word(burst, 12), 1'000U);
    EXPECT_EQ(word(burst, 13), (i + 1) * 1'000);
  }
}

TEST_F(Iperf2, ABurstIsNeverShorterThanItsHead) {
  auto s = net.connect();
  s.write(bytes_of(long_head(kUpperReverse | kUpperTrips, 1'000'000, 1)));
  net.run(5s);
  const std::string& got = side(s).received;
  EXPECT_GE(got.size(), kTestHead + 1'000'000);
  EXPECT_LE(got.size(), kTestHead + 1'000'000 + kBurstHead);
  for (std::size_t i = 0; kTestHead + (i + 1) * kBurstHead <= got.size(); ++i)
    ASSERT_EQ(word(got.substr(kTestHead + i * kBurstHead, kBurstHead), 11), i + 1);
}

TEST_F(Iperf2, TheLowerOfRateAndPaceHolds) {
  constexpr std::uint16_t kUpperPace = 0x0200;
  const auto rate_of = [](std::uint16_t upper, std::uint32_t rate, std::uint32_t pace) {
    std::string head = long_head(upper, -100, 0, pace);
    const std::string r = words({rate});
    head.replace(48, 4, r);
    return parse_test(bytes_of(head)).rate;
  };
  EXPECT_EQ(rate_of(kUpperPace, 0, 100), 800U);
  EXPECT_EQ(rate_of(kUpperPace, 500, 100), 500U);
  EXPECT_EQ(rate_of(kUpperPace, 900, 100), 800U);
  EXPECT_EQ(rate_of(kUpperPace, 900, 0), 900U);
  EXPECT_EQ(rate_of(0, 0, 100), 0U) << "only where the flag says so";
}

TEST_F(Iperf2, WhatItSendsHasTheTypeOfServiceOfTheHead) {
  Head h{.flags = kFlagsReverse, .upper = kUpperReverse};
  h.tos = 0xb8;
  EXPECT_EQ(parse_test(bytes_of(test_head(h))).dscp(), 46);
  EXPECT_EQ(parse_test(bytes_of(words({0x00800000, 100, 1, 0xb8, 0, 0}))).dscp(), 46);  // bounce
  EXPECT_EQ(parse_test(bytes_of(words({0, 1, 0, 0, 0, 0}))).dscp(), 0);
}

TEST_F(Iperf2, NoSenderOutlastsItsLimit) {
  const auto port = start(
      {.flags = kFlagsReverse, .upper = kUpperReverse, .amount = INT32_MIN, .rate = 8'000'000}, 8s);
  EXPECT_FALSE(net.app.sides[port].peer_closed);
  net.run(4s);
  EXPECT_TRUE(net.app.sides[port].peer_closed);
}

TEST_F(Iperf2, BothDirectionsOnOneConnection) {
  net.app.closes = false;
  auto s = net.connect();
  const Head head{.flags = kFlagsReverse, .upper = kUpperDuplex, .amount = 500'000};
  net.send(s, test_head(head) + std::string(300'000, 'x'));
  s.shutdown_write();
  net.run(5s);
  EXPECT_EQ(side(s).received.size(), 500'000U);
  EXPECT_TRUE(side(s).peer_closed);
}

TEST_F(Iperf2, ItsOwnDirectionGoesOnAfterThePeersFin) {
  auto s = net.connect();
  s.write(bytes_of(test_head({.flags = kFlagsReverse, .upper = kUpperDuplex, .amount = 500'000})));
  s.shutdown_write();
  net.run(5s);
  EXPECT_EQ(side(s).received.size(), 500'000U);
}

TEST_F(Iperf2, SendersAreBounded) {
  const Head endless{
      .flags = kFlagsReverse, .upper = kUpperReverse, .amount = -500, .rate = 80'000};
  const auto a = start(endless, 100ms);
  const auto b = start(endless, 100ms);
  EXPECT_EQ(service.free_senders(), 0U);
  const auto c = start(endless, 100ms);
  EXPECT_FALSE(net.app.sides[a].closed || net.app.sides[b].closed);
  EXPECT_EQ(net.app.sides[c].reason, CloseReason::reset);
  net.run(20s);
  EXPECT_EQ(service.free_senders(), 2U);
}

TEST_F(Iperf2, AReceiverThatNeverReadsEndsAtLast) {
  net.app.reading = false;
  net.app.closes = false;
  start({.flags = kFlagsReverse, .upper = kUpperReverse}, 2s);
  EXPECT_EQ(service.free_senders(), 2U);
  EXPECT_LE(net.server_counters.memory_bytes.get(), 2U << 20);
  net.run(2 * Iperf2Service::kLinger);
  EXPECT_EQ(net.server.connections(), 0U);
}

TEST_F(Iperf2, AcksWhereTheClientAsks) {
  auto plain = net.connect();
  net.send(plain, test_head({.flags = kFlagsPlain | 0x02000000}));
  EXPECT_EQ(side(plain).received, words({2, 28, 0, 0x20001, 0x80003, 0, 0}));
  auto trips = net.connect();
  const Head head{.flags = 0x460100a0, .upper = kUpperTrips};
  net.send(trips, test_head(head) + words({0, 1234, 5678, 0, 0}));
  const std::string& ack = side(trips).received;
  ASSERT_EQ(ack.size(), 52U);
  EXPECT_EQ(word(ack, 1), 52U);
  EXPECT_EQ(word(ack, 7), 1234U);
  EXPECT_EQ(word(ack, 8), 5678U);
  EXPECT_GT(word(ack, 9), 1'000'000'000U);
}

TEST_F(Iperf2, BouncesMessages) {
  const auto bounce = [](std::uint32_t size) {
    std::string m = words({0x00800000, size, 1, 0x80005a5a, 0, 11, 22, UINT32_MAX, UINT32_MAX,
                           UINT32_MAX, UINT32_MAX, 0});
    m.resize(size, 'b');
    return m;
  };
  auto s = net.connect();
  net.send(s, bounce(100) + bounce(70'000) + bounce(48));
  const std::string& back = side(s).received;
  ASSERT_EQ(back.size(), 100U + 70'000 + 48);
  for (const std::size_t at : {std::size_t{0}, std::size_t{100}, std::size_t{70'100}}) {
    const std::string m = back.substr(at);
    EXPECT_EQ(word(m, 0), 0x00800000U);
    EXPECT_EQ(word(m, 5), 11U);
    EXPECT_EQ(word(m, 6), 22U);
    EXPECT_LT(word(m, 8), 1'000'000U);
    EXPECT_EQ(word(m, 7), word(m, 9));
    EXPECT_NE(word(m, 7), UINT32_MAX);
  }
  EXPECT_EQ(back.substr(48, 52), std::string(52, 'b'));
  for (const std::uint32_t size : {0U, 47U, kMaxBounce + 1}) {
    auto wrong = net.connect();
    net.send(wrong, words({0x00800000, size}) + std::string(100, '\0'));
    EXPECT_EQ(side(wrong).reason, CloseReason::reset) << size;
  }
}

// --- connections back

constexpr std::uint32_t kDual = 0xc0010079, kTradeoff = 0xc0010078;

TEST_F(Iperf2, ConnectsBackAtOnceOrAfterTheData) {
  for (const std::uint32_t flags : {kDual, kTradeoff}) {
    const auto port = static_cast<std::uint16_t>(flags == kDual ? 6001 : 6002);
    net.client.listen({TwoShards::kClient, port}, true, net.app);
    auto s = net.connect();
    net.send(s, test_head({.flags = flags, .amount = 100'000, .port = port}));
    EXPECT_EQ(net.app.sides[port].open, flags == kDual);
    s.shutdown_write();
    net.run(5s);
    EXPECT_TRUE(net.app.sides[port].open);
    EXPECT_EQ(net.app.sides[port].received.size(), 100'000U);
    EXPECT_EQ(net.app.sides[port].received.substr(0, kMinTestHead), std::string(kMinTestHead, 0));
    EXPECT_TRUE(net.app.sides[port].peer_closed);
  }
  net.run(300s);
  EXPECT_EQ(service.free_senders(), 2U);
  EXPECT_EQ(net.server.connections(), 0U);
}

TEST_F(Iperf2, ConnectsBackToNoPortOfServicesAndToNobodyTwice) {
  net.client.listen({TwoShards::kClient, 1023}, true, net.app);
  start({.flags = kDual, .port = 1023}, 1s);
  EXPECT_FALSE(net.app.sides[1023].open);
  start({.flags = kDual, .port = 7000}, 1s);  // nobody listens there
  EXPECT_EQ(service.free_dials(), 1U) << "it is tried again";
  net.run(300s);
  EXPECT_EQ(service.free_dials(), 2U);
}

TEST_F(Iperf2, WhoNamesClosedPortsKeepsNobodyFromATest) {
  for (std::uint16_t port = 7000; port < 7010; ++port) start({.flags = kDual, .port = port}, 100ms);
  EXPECT_EQ(service.free_dials(), 0U) << "bounded, and tried again";
  EXPECT_EQ(service.free_senders(), 2U);
  const auto port = start({.flags = kFlagsReverse, .upper = kUpperReverse, .amount = 5000}, 1s);
  EXPECT_EQ(net.app.sides[port].received.size(), 5000U);
  net.run(Iperf2Service::kRedialTime);
  EXPECT_EQ(service.free_dials(), 2U);
}

TEST_F(Iperf2, AConnectionBackIsASenderOnceItIsOpen) {
  for (int i = 0; i < 2; ++i) {
    start({.flags = kFlagsReverse, .upper = kUpperReverse, .amount = -1000, .rate = 1'000'000}, 1s);
  }
  net.client.listen({TwoShards::kClient, 7003}, true, net.app);
  start({.flags = kDual, .amount = 100'000, .port = 7003}, 1s);
  EXPECT_TRUE(net.app.sides[7003].received.empty()) << "no sender is free";
  EXPECT_EQ(service.free_senders(), 0U);
  EXPECT_EQ(service.free_dials(), 2U);
}

TEST_F(Iperf2, AClientMayBeginToListenLate) {
  start({.flags = kDual, .amount = 100'000, .port = 7001}, 300ms);
  net.client.listen({TwoShards::kClient, 7001}, true, net.app);
  net.run(1s);
  EXPECT_EQ(net.app.sides[7001].received.size(), 100'000U);
}

TEST_F(Iperf2, ADrainEndsWhatIsTriedAgain) {
  start({.flags = kDual, .port = 7002}, 300ms);
  service.on_drain();
  EXPECT_EQ(service.free_dials(), 2U);
  net.client.listen({TwoShards::kClient, 7002}, true, net.app);
  net.run(1s);
  EXPECT_FALSE(net.app.sides[7002].open);
}

// --- UDP

TEST_F(Iperf2, ReportsLossOrderOctetsAndTime) {
  const FlowKey flow = net.open_flow();
  for (const int id : {1, 2, 5, 4, 6, 10}) {
    net.send_datagram(flow, datagram(id));
    net.run(100ms);
  }
  for (int i = 0; i < 2; ++i) {
    net.send_datagram(flow, datagram(-11));
    ASSERT_EQ(net.app.datagrams.size(), 1U + static_cast<unsigned>(i));
    const std::string& r = net.app.datagrams.back();
    ASSERT_EQ(r.size(), kReport);
    EXPECT_EQ(word(r, 4), 0x88000000U);
    EXPECT_EQ(word(r, 6), 7000U);
    EXPECT_EQ(word(r, 7), 0U);
    EXPECT_EQ(word(r, 8), 600'000U);
    EXPECT_EQ(word(r, 9), 4U);
    EXPECT_EQ(word(r, 10), 1U);
    EXPECT_EQ(word(r, 11), 11U);
  }
}

TEST_F(Iperf2, MeasuresJitterAsRfc1889Does) {
  const FlowKey flow = net.open_flow();
  const std::uint32_t sent_us[] = {0, 100'000, 216'000};  // they come every 100 ms
  for (int i = 0; i < 3; ++i) {
    net.send_datagram(flow, datagram(i + 1, 1000, sent_us[i]));
    net.run(100ms);
  }
  net.send_datagram(flow, datagram(-4, 1000, 316'000));
  const std::string& r = net.app.datagrams.back();
  EXPECT_EQ(word(r, 12), 0U);
  EXPECT_EQ(word(r, 13), 938U);  // 16 ms / 16, and a sixteenth less
}

TEST_F(Iperf2, CountsIn64Bits) {
  const FlowKey flow = net.open_flow();
  const std::string head = words({0x48010098, 1, 0, 0, 0, 0});
  constexpr std::int64_t far = 0x5'0000'0007;
  net.send_datagram(flow, datagram(1, 1000, 0, head));
  net.send_datagram(flow, datagram(-far, 1000, 0, head));
  const std::string& r = net.app.datagrams.back();
  EXPECT_EQ(word(r, 11), 7U);
  EXPECT_EQ(word(r, 31), 5U);
  EXPECT_EQ(word(r, 9), 5U);
  EXPECT_EQ(word(r, 29), 5U);
}

TEST_F(Iperf2, ANewTestOfTheSameFlowBeginsAnewAndALateDatagramDoesNot) {
  const FlowKey flow = net.open_flow();
  for (const int id : {1, 2, 3, -5, 4, -5}) net.send_datagram(flow, datagram(id));
  EXPECT_EQ(word(net.app.datagrams.back(), 11), 5U);
  for (const int id : {1, -2}) net.send_datagram(flow, datagram(id));
  EXPECT_EQ(word(net.app.datagrams.back(), 11), 2U);
  EXPECT_EQ(word(net.app.datagrams.back(), 6), 2000U);
}

TEST_F(Iperf2, AFlowNeverGetsMoreThanItSent) {
  const FlowKey flow = net.open_flow();
  for (int i = 0; i < 7; ++i) net.send_datagram(flow, datagram(-1, 16));
  EXPECT_TRUE(net.app.datagrams.empty());
  EXPECT_EQ(net.drops(DropReason::udp_reflection), 7U);
  net.send_datagram(flow, datagram(-1, 16));
  EXPECT_EQ(net.app.datagrams.size(), 1U);
}

TEST_F(Iperf2, DatagramsWithoutAHeadAreIgnored) {
  const FlowKey flow = net.open_flow();
  for (std::size_t size = 0; size < kDatagramHead; ++size) {
    net.send_datagram(flow, std::string(size, '\xff'));
  }
  EXPECT_EQ(net.drops(DropReason::udp_ignored), kDatagramHead);
  EXPECT_EQ(service.flows(), 0U);
}

TEST_F(Iperf2, FlowsAreBoundedAndForgotten) {
  std::vector<FlowKey> flows;
  for (int i = 0; i < 12; ++i) {
    flows.push_back(net.open_flow());
    net.send_datagram(flows.back(), datagram(1));
    net.send_datagram(flows[0], datagram(2));  // never silent for long
  }
  EXPECT_EQ(service.flows(), 8U);
  net.send_datagram(flows[0], datagram(-3));
  EXPECT_EQ(word(net.app.datagrams.back(), 6), 14'000U);
  net.send_datagram(flows[1], datagram(-3));  // forgotten: it begins here
  EXPECT_EQ(word(net.app.datagrams.back(), 6), 1000U);
  net.run(Flows::kForget + 1s);
  net.send_datagram(flows[2], datagram(1));
  EXPECT_EQ(service.flows(), 1U);
}

TEST_F(Iperf2, SendsDatagramsWhereItIsAllowed) {
  const FlowKey flow = net.open_flow();
  const Head head{.flags = 0x6c010098, .upper = kUpperReverse, .block = 500, .rate = 400'000};
  net.send_datagram(flow, datagram(1, 1000, 0, test_head(head)));
  net.send_datagram(flow, datagram(1, 1000, 0, test_head(head)));  // said twice, done once
  net.run(3s);
  const auto& got = net.app.datagrams;
  ASSERT_NEAR(static_cast<double>(got.size()), 100, 2);
  for (std::size_t i = 0; i < got.size(); ++i) {
    ASSERT_EQ(got[i].size(), 500U);
    const auto id = static_cast<std::int32_t>(word(got[i], 0));
    const auto number = static_cast<std::int32_t>(i + 1);
    EXPECT_EQ(id, number == static_cast<std::int32_t>(got.size()) ? -number : number);
    EXPECT_EQ(word(got[i], 3), id < 0 ? UINT32_MAX : 0U);
  }
  EXPECT_EQ(service.free_senders(), 2U);
}

TEST_F(Iperf2, SendsSoManyDatagramsFast) {
  const FlowKey flow = net.open_flow();
  const Head head{
      .flags = 0x6c010098, .upper = kUpperReverse, .amount = 147'000, .rate = UINT32_MAX};
  net.send_datagram(flow, datagram(1, 1000, 0, test_head(head)));
  net.run(1s);
  EXPECT_EQ(net.app.datagrams.size(), 100U);
}

TEST_F(Iperf2, ASenderStopsWhenItsPeerIsNotThere) {
  const FlowKey flow = net.open_flow();
  const Head head{.flags = 0x6c010098, .upper = kUpperReverse, .amount = -1000};
  net.send_datagram(flow, datagram(1, 1000, 0, test_head(head)));
  net.run(500ms);
  EXPECT_GT(net.app.datagrams.size(), 10U);
  net.client.close_datagrams(flow);  // its port is unreachable now
  net.run(100ms);
  EXPECT_EQ(service.free_senders(), 2U);
  const auto sent = net.server_counters.datagrams_sent.get();
  net.run(1s);
  EXPECT_EQ(net.server_counters.datagrams_sent.get(), sent);
}

TEST(Iperf2ByCustom, NobodyIsSentDatagrams) {
  Iperf2Service service{Iperf2Options{}};
  TwoShards net{service};
  for (const std::uint16_t upper : {kUpperReverse, kUpperDuplex}) {
    const Head head{.flags = 0x6c010098, .upper = upper};
    net.send_datagram(net.open_flow(), datagram(1, 1000, 0, test_head(head)));
  }
  net.run(2s);
  EXPECT_EQ(net.server_counters.datagrams_sent.get(), 0U);
}

TEST(Iperf2Wire, AnyOctetsAreATestWithinItsBounds) {
  EXPECT_TRUE(rc::check([](std::vector<std::uint8_t> octets) {
    octets.resize(std::max<std::size_t>(octets.size(), kMinTestHead));
    octets.shrink_to_fit();
    const std::size_t size = test_head_size(octets);
    RC_ASSERT(size >= kMinTestHead);
    RC_ASSERT(size <= kTestHead);
    const iperf2::Test test = parse_test(Bytes(octets).first(std::min(size, octets.size())));
    if (test.time) RC_ASSERT(*test.time > 0s);
    // A bounce-back head is read on from what was read here.
    if (test.kind == iperf2::Test::Kind::bounce) RC_ASSERT(size < kBounceHead);
  }));
}

TEST(Iperf2Wire, DatagramHeadsParseBack) {
  EXPECT_TRUE(rc::check([](std::int64_t id, std::uint32_t s, std::uint32_t us) {
    const DatagramHead h{.id = id, .sent_us = std::int64_t{s} * 1'000'000 + us % 1'000'000};
    std::uint8_t octets[kDatagramHead];
    emit_datagram(h, octets);
    const auto back = parse_datagram(octets, true);
    RC_ASSERT(back->id == h.id);
    RC_ASSERT(back->sent_us == h.sent_us);
  }));
}

TEST(Iperf2Wire, AnySequenceIsCountedWithoutHarm) {
  EXPECT_TRUE(rc::check([](const std::vector<std::pair<std::int64_t, std::int64_t>>& all) {
    Receiver r(Instant{});
    for (const auto& [id, us] : all)
      r.take({.id = id, .sent_us = us & 0xffffffffffffff}, 10, Instant{1s});
    std::uint8_t report[kReport];
    emit_report(r.report(), report);
    RC_ASSERT(r.report().octets <= all.size() * 10);
  }));
}

}  // namespace
}  // namespace pollux
