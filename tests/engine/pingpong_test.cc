// sockperf's server side: which messages are answered, in what pieces they may come, and what ends
// a connection.
#include "engine/services/pingpong.h"

#include "tests/engine/two_shards.h"

namespace pollux {
namespace {

using namespace sockperf;

std::string message(std::size_t size, std::uint16_t flags = kClient | kPongRequest) {
  std::string m(size, '\0');
  auto* const p = reinterpret_cast<std::uint8_t*>(m.data());
  p[7] = 42;
  store_be16(p + 8, flags);
  store_be32(p + 10, static_cast<std::uint32_t>(size));
  for (std::size_t i = kHeaderSize; i < size; ++i) m[i] = static_cast<char>(i * 31);
  return m;
}
std::string answer(std::string m) {
  m[9] = static_cast<char>(m[9] & ~kClient);
  return m;
}
std::string lying(std::uint32_t length) {
  std::string m = message(kHeaderSize);
  store_be32(reinterpret_cast<std::uint8_t*>(m.data()) + 10, length);
  return m;
}

class PingPong : public testing::Test {
 protected:
  Collector::Side& side(const TwoShards::Opened& s) { return net.app.sides[s.port]; }
  PingPongService service;
  TwoShards net{service};
};

TEST_F(PingPong, MessagesComeBackWithoutTheMarkOfTheClient) {
  auto s = net.connect();
  std::string all, back;
  for (const std::size_t size : {14, 15, 64, 1448, 1500, 60000}) {
    all += message(size);
    back += answer(message(size));
  }
  net.send(s, all);
  EXPECT_EQ(side(s).received, back);
  EXPECT_FALSE(side(s).peer_closed);
  s.shutdown_write();
  net.run(1s);
  EXPECT_TRUE(side(s).peer_closed);
}

TEST_F(PingPong, InAnyPieces) {
  auto s = net.connect();
  const std::string m = message(40) + message(14);
  for (const char c : m) net.send(s, {&c, 1});
  EXPECT_EQ(side(s).received, answer(message(40)) + answer(message(14)));
}

TEST_F(PingPong, TheLargestIsLargerThanTheWindow) {
  auto s = net.connect();
  const std::string m = message(kMaxMessage);
  net.send(s, m);
  net.run(5s);
  EXPECT_EQ(side(s).received, answer(m));
}

TEST_F(PingPong, OnlyAClientsRequestIsAnswered) {
  auto s = net.connect();
  for (const int flags : {0, 1, 2, 4, 5, 6, 7}) {
    net.send(s, message(100, static_cast<std::uint16_t>(flags)));
  }
  EXPECT_TRUE(side(s).received.empty());
  net.send(s, message(20, 3));
  EXPECT_EQ(side(s).received, answer(message(20)));
}

TEST_F(PingPong, LengthsThatCannotBeEndTheConnection) {
  for (const std::uint32_t length : {0U, 13U, kMaxMessage + 1, 0xffffffffU}) {
    auto s = net.connect();
    net.send(s, message(30) + lying(length));
    EXPECT_TRUE(side(s).closed) << length;
    EXPECT_EQ(side(s).reason, CloseReason::reset);
  }
  EXPECT_EQ(net.server.connections(), 0U);
}

TEST_F(PingPong, AFinWithinAMessageEndsIt) {
  auto s = net.connect();
  net.send(s, message(100).substr(0, 50));
  s.shutdown_write();
  net.run(1s);
  EXPECT_EQ(side(s).received, answer(message(100)).substr(0, 50));
  EXPECT_TRUE(side(s).peer_closed);
}

TEST_F(PingPong, AClientThatNeverReadsStopsItself) {
  net.app.reading = false;
  auto s = net.connect();
  std::string all;
  while (all.size() < 2'000'000) all += message(10'000);
  std::size_t sent = 0;
  for (int i = 0; i < 200; ++i) {
    sent += s.write(bytes_of(std::string_view(all).substr(sent)));
    net.run(10ms);
  }
  EXPECT_LT(sent, all.size());
  EXPECT_LE(net.server_counters.memory_bytes.get(), 2U << 20);
  net.app.reading = true;
  Stream again = s;
  net.app.on_readable(again);
  net.send(s, std::string_view(all).substr(sent));
  net.run(5s);
  EXPECT_EQ(side(s).received.size(), all.size());
}

TEST_F(PingPong, DatagramsAreMessages) {
  const FlowKey flow = net.open_flow();
  net.send_datagram(flow, message(100));
  net.send_datagram(flow, message(100, kClient));
  net.send_datagram(flow, message(14));
  EXPECT_EQ(net.app.datagrams, (std::vector{answer(message(100)), answer(message(14))}));
}

TEST_F(PingPong, OnlyTheAskingOnesOfASuperDatagramAreAnswered) {
  const FlowKey flow{{TwoShards::kServer, TwoShards::kPort}, {TwoShards::kClient, 4000}};
  net.client.listen({TwoShards::kClient, 4000}, true, net.app);
  const std::string whole =
      message(50) + message(50, kClient) + lying(0) + std::string(36, 'x') + message(30);
  service.on_datagram(
      {.flow = flow, .payload = Slice::from_static(bytes_of(whole)), .segment_size = 50});
  net.run(0ms);
  // The client takes datagrams at that port itself: an answer could be answered.
  EXPECT_EQ(net.app.datagrams, (std::vector{answer(message(50)), answer(message(30))}));
}

TEST_F(PingPong, DatagramsThatAreNoMessagesAreIgnored) {
  const FlowKey flow = net.open_flow();
  const std::string wrong[] = {"",       message(30).substr(0, 13), lying(15),
                               lying(0), message(30).substr(0, 29), message(30) + "x"};
  for (const std::string& m : wrong) net.send_datagram(flow, m);
  EXPECT_TRUE(net.app.datagrams.empty());
  EXPECT_EQ(net.drops(DropReason::udp_ignored), std::size(wrong));
}

TEST_F(PingPong, NoAnswerToPortsOfServices) {
  for (const std::uint16_t port : {std::uint16_t{53}, TwoShards::kPort}) {
    net.send_datagram({{TwoShards::kClient, port}, {TwoShards::kServer, TwoShards::kPort}},
                      message(14));
  }
  EXPECT_EQ(net.drops(DropReason::udp_reflection), 2U);
  EXPECT_EQ(net.server_counters.datagrams_sent.get(), 0U);
}

}  // namespace
}  // namespace pollux
