// Pings of a service: requests, answers, duplicates and losses, and every way in which one ends.
#include "engine/services/ping.h"

#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/engine/two_shards.h"

namespace pollux {
namespace {

using nlohmann::json;

class PingTest : public testing::Test {
 protected:
  /// Pings the server, from the client's shard.
  PingService::Opened start(PingRequest r) {
    r.link = link;
    if (r.remote == IpAddr{}) r.remote = TwoShards::kServer;
    return pings.open(net.client, 1, r, net.now);
  }
  std::vector<json> lines(const char* kind) {
    std::istringstream taken(link->take().text);
    for (std::string line; std::getline(taken, line);) all.push_back(json::parse(line));
    std::vector<json> out;
    for (const json& line : all) {
      if (line.contains(kind)) out.push_back(line[kind]);
    }
    return out;
  }
  PingService unused, pings;
  TwoShards net{unused};
  std::shared_ptr<engine::ControlLink> link =
      std::make_shared<engine::ControlLink>(std::make_shared<engine::ControlBell>());
  std::vector<json> all;
};

TEST_F(PingTest, SendsAsManyAsAskedAndEndsWithTheLastAnswer) {
  EXPECT_EQ(start({.count = 3, .interval = 100ms, .size = 100}), PingService::Opened::yes);
  net.run(150ms);
  EXPECT_EQ(lines("answer").size(), 2U);
  EXPECT_FALSE(link->is_finished());
  net.run(200ms);
  ASSERT_EQ(lines("answer").size(), 3U);
  for (std::size_t i = 0; i < 3; ++i) {
    const json answer = lines("answer")[i];
    EXPECT_EQ(answer["number"], i + 1);
    EXPECT_EQ(answer["octets"], 108);
    EXPECT_EQ(answer["ttl"], 64);
    EXPECT_FALSE(answer["duplicate"]);
  }
  EXPECT_EQ(lines("sent").size(), 3U);
  EXPECT_EQ(lines("start")[0]["remote"], TwoShards::kServer.to_string());
  EXPECT_TRUE(link->is_finished());
}

TEST_F(PingTest, WaitsForTheLastAnswerAndNoLonger) {
  start({.remote = IpAddr::v4(0xc6120009), .count = 2, .interval = 100ms, .wait = 500ms});
  net.run(550ms);
  EXPECT_FALSE(link->is_finished());
  net.run(100ms);
  EXPECT_TRUE(link->is_finished());
  EXPECT_TRUE(lines("answer").empty());
  EXPECT_EQ(lines("sent").size(), 2U);
}

TEST_F(PingTest, GoesOnUntilTheClientGoes) {
  start({.interval = 100ms});
  net.run(1s);
  EXPECT_GE(lines("answer").size(), 10U);
  pings.abandon(1);
  const auto requests = net.client_counters.tx_packets.get();
  net.run(1s);
  EXPECT_EQ(net.client_counters.tx_packets.get(), requests);
  EXPECT_EQ(net.client.next_deadline(), kNever);
}

TEST_F(PingTest, EndsWhenNobodyListens) {
  start({.interval = 100ms});
  link->close();
  net.run(1s);
  EXPECT_EQ(net.client.next_deadline(), kNever);
}

TEST_F(PingTest, ADrainEndsIt) {
  start({.interval = 100ms});
  pings.on_drain();
  EXPECT_TRUE(link->is_finished());
}

TEST_F(PingTest, TellsOnceOfEachThatFailsAndEndsWithTheLast) {
  const IpAddr nobody = IpAddr::v4(0xc6120009);
  start({.remote = nobody, .count = 2, .interval = 100ms});
  net.run(150ms);
  const auto sent = wire::parse_ip(net.last_of_client(), true);
  icmp::EchoError e{
      .local = TwoShards::kClient,
      .remote = nobody,
      .from = TwoShards::kServer,
      .id = load_be16(&net.last_of_client()[std::get<wire::IpHeader>(sent).header_size + 4]),
      .sequence = 1,
      .type = 3,
      .code = 1};
  pings.on_echo_error(e);
  pings.on_echo_error(e);  // a liar, or a network that doubles
  e.sequence = 77;
  pings.on_echo_error(e);
  ++e.id;
  e.sequence = 2;
  pings.on_echo_error(e);
  ASSERT_EQ(lines("failure").size(), 1U);
  const json failure = lines("failure")[0];
  EXPECT_EQ(failure["number"], 1);
  EXPECT_EQ(failure["from"], TwoShards::kServer.to_string());
  EXPECT_EQ(failure["type"], 3);
  EXPECT_EQ(failure["code"], 1);
  EXPECT_FALSE(link->is_finished());
  --e.id;
  pings.on_echo_error(e);
  EXPECT_EQ(lines("failure").size(), 2U);
  EXPECT_TRUE(link->is_finished());
}

TEST_F(PingTest, AnAnswerCountsMoreThanAnError) {
  start({.count = 2, .interval = 100ms});
  const auto fail = [&](std::uint16_t sequence) {
    const Bytes request = net.last_of_client();
    pings.on_echo_error({.local = TwoShards::kClient,
                         .remote = TwoShards::kServer,
                         .from = TwoShards::kServer,
                         .id = load_be16(&request[24]),
                         .sequence = sequence,
                         .type = 3});
  };
  fail(1);
  net.run(50ms);  // and yet it is answered
  EXPECT_EQ(lines("answer").size(), 1U);
  net.run(60ms);
  fail(1);
  EXPECT_EQ(lines("failure").size(), 1U);
  EXPECT_EQ(lines("answer").size(), 2U);
  EXPECT_TRUE(link->is_finished());
}

TEST_F(PingTest, DoesNotPingItself) {
  EXPECT_EQ(start({.remote = TwoShards::kClient}), PingService::Opened::failed);
  ASSERT_EQ(lines("error").size(), 1U);
  EXPECT_NE(lines("error")[0].get<std::string>().find("itself"), std::string::npos);
}

TEST_F(PingTest, RefusesWhatFitsIntoNoPacket) {
  EXPECT_EQ(start({.size = 65508}), PingService::Opened::failed);
  EXPECT_EQ(lines("error").size(), 1U);
  EXPECT_TRUE(link->is_finished());
}

TEST_F(PingTest, SaysWhereNoAddressOfTheFamilyIs) {
  EXPECT_EQ(start({.remote = *IpAddr::parse("2001:2::2")}), PingService::Opened::failed);
  EXPECT_EQ(lines("error").size(), 1U);
}

TEST(PingRequestText, IsCheckedKeyByKey) {
  const PingRequest r = parse_ping_request(
      R"({"address": "198.18.0.1", "count": 3, "interval_us": 1000, "wait_us": 5, "size": 7})");
  EXPECT_EQ(r.remote, TwoShards::kClient);
  EXPECT_EQ(r.count, 3U);
  EXPECT_EQ(r.interval, 1ms);
  EXPECT_EQ(r.wait, 5us);
  EXPECT_EQ(r.size, 7U);
  for (const char* wrong :
       {"", "3", "{}", R"({"address": 3})", R"({"address": "localhost"})",
        R"({"address": "::1", "count": -1})", R"({"address": "::1", "interval_us": 999})",
        R"({"address": "::1", "size": 65508})", R"({"address": "::1", "size": "7"})",
        R"({"address": "::1", "wait_us": 18446744073709551615})"}) {
    EXPECT_THROW(parse_ping_request(wrong), std::runtime_error) << wrong;
  }
}

}  // namespace
}  // namespace pollux
