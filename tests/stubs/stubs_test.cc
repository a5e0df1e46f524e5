// What the stubs of the benchmarks answer, and how the source keeps to a window.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "bench/load/histogram.h"
#include "bench/stubs/answers.h"
#include "bench/stubs/segment.h"
#include "bench/stubs/source_flow.h"

namespace pollux::stubs {
namespace {
namespace flag = wire::tcp_flag;

const IpAddr kPeer = IpAddr::v4(0xc6120001);
const IpAddr kOwn = IpAddr::v4(0xc6120002);
constexpr std::uint32_t kIsn = 0xffff'fffe;  // the stream wraps at once
constexpr std::uint32_t kPiece = 45 * 1448;  // what fits a super-packet

std::vector<std::uint8_t> octets_of(const TxPacket& packet) {
  std::vector<std::uint8_t> out;
  for (const Bytes part : packet.parts) out.insert(out.end(), part.begin(), part.end());
  return out;
}

Arrived segment(std::uint32_t offset, Bytes payload, std::uint8_t flags = flag::ack) {
  Arrived in;
  in.ip.src = kPeer;
  in.ip.dst = kOwn;
  in.tcp.src_port = 4000;
  in.tcp.dst_port = 9;
  in.tcp.seq = Seq{kIsn} + offset;
  in.tcp.ack = Seq{Self::kIss} + 1;
  in.tcp.flags = flags;
  in.tcp.options.timestamps = wire::TcpTimestamps{77, 5};
  in.payload = payload;
  return in;
}

Arrived syn() {
  Arrived in = segment(0, {}, flag::syn);
  in.tcp.options.mss = 1460;
  in.tcp.options.window_scale = 7;
  in.tcp.options.sack_permitted = true;
  return in;
}

const std::vector<std::uint8_t> kData(1000, 0x5a);

// ---- packets

TEST(Composer, WhatItLaysOutIsParsedAgain) {
  Composer composer({1500, false, false});
  wire::TcpHeader tcp = answer_to(segment(1, kData), {});
  tcp.seq = Seq{7};
  tcp.ack = Seq{8};
  const auto packet = octets_of(composer.compose(kOwn, kPeer, tcp, kData, 1448));
  Arrived back;
  ASSERT_TRUE(parse(packet, back));
  EXPECT_EQ(back.ip.src, kOwn);
  EXPECT_EQ(back.ip.dst, kPeer);
  EXPECT_EQ(back.tcp.src_port, 9);
  EXPECT_EQ(back.tcp.dst_port, 4000);
  EXPECT_EQ(back.tcp.seq, Seq{7});
  EXPECT_EQ(back.tcp.options.timestamps->echo, 77U);
  EXPECT_TRUE(std::equal(kData.begin(), kData.end(), back.payload.begin(), back.payload.end()));
  EXPECT_TRUE(wire::tcp_checksum_ok(kOwn, kPeer, Bytes(packet).subspan(wire::kIpv4HeaderSize)));
}

TEST(Composer, ASuperPacketHasAPartialChecksumAndASegmentSize) {
  Composer composer({1500, true, true});
  const std::vector<std::uint8_t> payload(kPiece);
  const TxPacket& packet = composer.compose(kOwn, kPeer, {}, payload, 1448);
  EXPECT_TRUE(packet.partial_checksum);
  EXPECT_EQ(packet.segment_size, 1448);
  EXPECT_EQ(packet.header_size, 40);
  EXPECT_EQ(composer.compose(kOwn, kPeer, {}, kData, 1448).segment_size, 0);
}

TEST(Parse, WhatIsNoTcpIsRefused) {
  Composer composer({1500, false, false});
  auto packet = octets_of(composer.compose(kOwn, kPeer, {}, kData, 1448));
  Arrived back;
  packet[9] = wire::kProtoUdp;
  EXPECT_FALSE(parse(packet, back));
  packet[9] = wire::kProtoTcp;
  EXPECT_TRUE(parse(packet, back));
  EXPECT_FALSE(parse(Bytes(packet).first(30), back));
}

// ---- answers

TEST(SynAck, OffersWhatWasOffered) {
  const wire::TcpHeader out = syn_ack(syn(), {1460, 6 << 20});
  EXPECT_EQ(out.flags, flag::syn | flag::ack);
  EXPECT_EQ(out.ack, Seq{kIsn} + 1);
  EXPECT_EQ(out.options.mss, 1460);
  EXPECT_EQ(out.options.window_scale, Self::kScale);
  EXPECT_FALSE(out.options.sack_permitted);
  EXPECT_EQ(out.window, 65'535);  // never scaled in a SYN
  Arrived plain = syn();
  plain.tcp.options = {};
  EXPECT_FALSE(syn_ack(plain, {}).options.window_scale);
  EXPECT_FALSE(syn_ack(plain, {}).options.timestamps);
}

class SinkTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(sink.on_segment(syn(), answer)); }
  std::uint32_t acked() const { return distance(Seq{kIsn} + 1, answer.ack); }

  Sink sink{Self{1460, 6 << 20}};
  wire::TcpHeader answer;
};

TEST_F(SinkTest, AcknowledgesWhatIsInOrder) {
  ASSERT_TRUE(sink.on_segment(segment(1, kData), answer));
  EXPECT_EQ(answer.flags, flag::ack);
  EXPECT_EQ(acked(), 1000U);
  EXPECT_EQ(answer.window, (6 << 20) >> Self::kScale);
  ASSERT_TRUE(sink.on_segment(segment(1001, kData), answer));
  EXPECT_EQ(acked(), 2000U);
  EXPECT_EQ(sink.octets(), 2000U);
  EXPECT_EQ(sink.out_of_place(), 0U);
}

TEST_F(SinkTest, AGapIsNotAcknowledged) {
  ASSERT_TRUE(sink.on_segment(segment(1001, kData), answer));
  EXPECT_EQ(acked(), 0U);
  ASSERT_TRUE(sink.on_segment(segment(1, kData), answer));
  EXPECT_EQ(acked(), 1000U);
  EXPECT_EQ(sink.out_of_place(), 1U);
}

TEST_F(SinkTest, OnlyTheNewPartOfAnOverlapCounts) {
  sink.on_segment(segment(1, kData), answer);
  ASSERT_TRUE(sink.on_segment(segment(501, kData), answer));
  EXPECT_EQ(acked(), 1500U);
  ASSERT_TRUE(sink.on_segment(segment(1, kData), answer));
  EXPECT_EQ(acked(), 1500U);
  EXPECT_EQ(sink.octets(), 1500U);
}

TEST_F(SinkTest, AnswersNeitherPureAcksNorResets) {
  EXPECT_FALSE(sink.on_segment(segment(1, {}), answer));
  EXPECT_FALSE(sink.on_segment(segment(1, {}, flag::rst), answer));
}

TEST_F(SinkTest, TheFinIsAnsweredWithAFinEachTime) {
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(sink.on_segment(segment(1, kData, flag::ack | flag::fin), answer));
    EXPECT_EQ(answer.flags, flag::ack | flag::fin);
    EXPECT_EQ(acked(), 1001U);
  }
  EXPECT_EQ(sink.octets(), 1000U);
}

TEST(Echo, GoesOnWhereThePeerExpectsIt) {
  wire::TcpHeader answer;
  Arrived in = segment(1, kData, flag::ack | flag::psh);
  in.tcp.ack = Seq{4711};
  ASSERT_TRUE(echo(in, {}, answer));
  EXPECT_EQ(answer.seq, Seq{4711});
  EXPECT_EQ(answer.ack, Seq{kIsn} + 1001);
  EXPECT_EQ(answer.flags, flag::ack | flag::psh);
  EXPECT_FALSE(echo(segment(1, {}), {}, answer));
  ASSERT_TRUE(echo(segment(1, {}, flag::ack | flag::fin), {}, answer));
  EXPECT_EQ(answer.flags, flag::ack | flag::fin);
}

// ---- the source

class SourceTest : public ::testing::Test {
 protected:
  void ack(std::uint32_t octets, std::uint32_t window) {
    Arrived in = segment(1, {});
    in.tcp.ack = Seq{Self::kIss} + 1 + octets;
    in.tcp.window = static_cast<std::uint16_t>(window >> 7);
    flow.on_segment(in, now);
  }
  /// All that it sends now: offsets of the ends.
  std::vector<std::uint32_t> sent() {
    std::vector<std::uint32_t> out;
    while (const auto piece = flow.next()) {
      out.push_back(distance(Seq{Self::kIss} + 1, piece->seq) + piece->size);
    }
    return out;
  }
  using Ends = std::vector<std::uint32_t>;

  Instant now{};
  SourceFlow flow{syn(), 1460, true, Instant{}};
};

TEST_F(SourceTest, WaitsForTheHandshakeThenFillsTheWindow) {
  EXPECT_EQ(sent(), Ends{});
  ack(0, 3 * 65'536);
  EXPECT_EQ(sent(), (Ends{kPiece, 2 * kPiece, 3 * kPiece}));
}

TEST_F(SourceTest, CrumbsOfTheWindowWait) {
  ack(0, 2 * 65'536);
  EXPECT_EQ(sent(), (Ends{kPiece, 2 * kPiece}));
  ack(kPiece, 65'536 + 1280);  // 1,656 octets of room
  EXPECT_EQ(sent(), Ends{});
  ack(2 * kPiece, 1280);  // nothing is in flight: then also a crumb goes
  EXPECT_EQ(sent(), Ends{2 * kPiece + 1280});
}

TEST_F(SourceTest, ThreeDuplicatesSendItAllAgainOnce) {
  ack(0, 2 * 65'536);
  sent();
  for (int i = 0; i < 3; ++i) ack(0, 2 * 65'536);
  EXPECT_EQ(sent(), (Ends{kPiece, 2 * kPiece}));
  EXPECT_EQ(flow.octets_resent(), 2 * kPiece);
  for (int i = 0; i < 6; ++i) ack(0, 2 * 65'536);
  EXPECT_EQ(sent(), Ends{});
}

TEST_F(SourceTest, SilenceSendsItAgain) {
  ack(0, 65'536);
  sent();
  flow.on_time(now + std::chrono::milliseconds(100));
  EXPECT_EQ(sent(), Ends{});
  flow.on_time(now + std::chrono::milliseconds(300));
  EXPECT_EQ(sent(), Ends{kPiece});
}

TEST_F(SourceTest, AShutWindowIsProbedWithOneOctet) {
  ack(0, 0);
  EXPECT_EQ(sent(), Ends{});
  flow.on_time(now + std::chrono::milliseconds(300));
  EXPECT_EQ(sent(), Ends{1});
  ack(0, 65'536);
  EXPECT_EQ(sent(), Ends{kPiece});
}

TEST_F(SourceTest, AProbeThatWasTakenCounts) {
  ack(0, 0);
  flow.on_time(now + std::chrono::milliseconds(300));
  sent();
  ack(1, 65'536);
  EXPECT_EQ(sent(), Ends{1 + kPiece});
}

TEST_F(SourceTest, EndsWithThePeer) {
  ack(0, 65'536);
  flow.on_segment(segment(1, {}, flag::ack | flag::fin), now);
  EXPECT_TRUE(flow.peer_finished());
  EXPECT_EQ(sent(), Ends{});
  flow.on_segment(segment(2, {}, flag::rst), now);
  EXPECT_TRUE(flow.closed());
}

RC_GTEST_PROP(Source, NeverSendsPastTheWindow, ()) {
  SourceFlow flow(syn(), 1460, true, Instant{});
  std::uint32_t una = 0, right = 0, nxt = 0;
  for (int i = 0; i < 50; ++i) {
    una += *rc::gen::inRange<std::uint32_t>(0, nxt - una + 1);
    // A receiver does not shrink its window (RFC 9293 3.8.6).
    right = std::max(right, una + *rc::gen::inRange<std::uint32_t>(0, 1 << 20) / 128 * 128);
    Arrived in = segment(1, {});
    in.tcp.ack = Seq{Self::kIss} + 1 + una;
    in.tcp.window = static_cast<std::uint16_t>((right - una) >> 7);
    flow.on_segment(in, Instant{});
    const bool again = flow.octets_resent() != 0;
    while (const auto piece = flow.next()) {
      nxt = std::max(nxt, distance(Seq{Self::kIss} + 1, piece->seq) + piece->size);
      RC_ASSERT(nxt <= right);
    }
    RC_ASSERT(again || right - nxt < kPiece || nxt == right);
  }
}

}  // namespace
}  // namespace pollux::stubs

// ---- the client's histogram

namespace pollux::load {
namespace {

RC_GTEST_PROP(Histogram, AQuantileIsCloseToTheValue, ()) {
  const auto ns = *rc::gen::inRange<std::uint64_t>(1, 90'000'000'000);
  Histogram histogram;
  histogram.add(ns);
  const double off = static_cast<double>(histogram.quantile(0.5)) / static_cast<double>(ns) - 1;
  RC_ASSERT(std::abs(off) <= 1.0 / 128);
}

TEST(Histogram, QuantilesCountFromBelow) {
  Histogram histogram;
  for (std::uint64_t ns = 1; ns <= 100; ++ns) histogram.add(ns);
  EXPECT_EQ(histogram.quantile(0.5), 50U);
  EXPECT_EQ(histogram.quantile(0.99), 99U);
  EXPECT_EQ(histogram.quantile(1), 100U);
  EXPECT_EQ(histogram.quantile(0), 1U);
  EXPECT_EQ(Histogram().quantile(0.5), 0U);
}

TEST(Histogram, WhatIsTooLongCountsAsTheLongest) {
  Histogram histogram;
  histogram.add(std::uint64_t{1} << 60);
  EXPECT_EQ(histogram.count(), 1U);
  EXPECT_EQ(histogram.max(), std::uint64_t{1} << 60);
}

}  // namespace
}  // namespace pollux::load
