// The parts of iperf3 that need no network: messages, numbers, rates, counting, the registry.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <nlohmann/json.hpp>

#include "engine/iperf3/registry.h"
#include "engine/iperf3/report.h"
#include "engine/iperf3/traffic.h"
#include "tests/engine/two_shards.h"

namespace pollux::iperf3 {
namespace {

using nlohmann::json;
using testing::HasSubstr;

Bytes octets(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

Cookie cookie(char letter) {
  return *Cookie::parse(octets(std::string(36, letter) + std::string(1, '\0')));
}

Parameters parsed(const json& j, std::uint32_t mss = 1448) {
  const auto result = parse_parameters(j.dump(), mss);
  EXPECT_TRUE(std::holds_alternative<Parameters>(result)) << j;
  return std::get<Parameters>(result);
}

ErrorCode refused(const std::string& text) {
  const auto result = parse_parameters(text, 1448);
  if (!std::holds_alternative<Refusal>(result)) {
    ADD_FAILURE() << "taken: " << text;
    return {};
  }
  return std::get<Refusal>(result).code;
}

TEST(Iperf3Cookie, HasItsAlphabetAndItsEnd) {
  EXPECT_TRUE(Cookie::parse(octets(std::string("abcdefghijklmnopqrstuvwxyz234567abcd") + '\0')));
  EXPECT_FALSE(Cookie::parse(octets(std::string(36, 'A') + '\0')));
  EXPECT_FALSE(Cookie::parse(octets(std::string(36, '1') + '\0')));
  EXPECT_FALSE(Cookie::parse(octets(std::string(37, 'a'))));
}

RC_GTEST_PROP(Iperf3Cookie, WhatIsMadeIsOne, (std::array<std::uint8_t, 36> entropy)) {
  const Cookie made = Cookie::make(entropy);
  RC_ASSERT(Cookie::parse(made.octets()) == made);
}

TEST(Iperf3Parameters, AsAClientSendsThem) {
  const Parameters p = parsed(json::parse(
      R"({"tcp":true,"omit":0,"time":1,"num":0,"blockcount":0,"parallel":1,"len":131072,
          "bandwidth":4000000,"pacing_timer":1000,"client_version":"3.12"})"));
  EXPECT_FALSE(p.udp);
  EXPECT_EQ(p.time_s, 1U);
  EXPECT_EQ(p.block, 131072U);
  EXPECT_EQ(p.rate, 4'000'000U);
  EXPECT_EQ(p.pacing_timer, 1ms);
  EXPECT_EQ(p.client_version, "3.12");
  EXPECT_EQ(p.streams(), 1U);
}

TEST(Iperf3Parameters, WhatIsLeftOut) {
  const Parameters tcp = parsed({{"tcp", true}});
  EXPECT_EQ(tcp.block, kDefaultBlock);
  EXPECT_EQ(tcp.rate, 0U);
  EXPECT_EQ(tcp.time_s, 86400U) << "no end was given";
  const Parameters udp = parsed({{"udp", true}}, 1448);
  EXPECT_EQ(udp.block, 1448U);
  EXPECT_EQ(udp.rate, 0U) << "-b 0: a client that wants its default says so";
  EXPECT_EQ(parsed({{"tcp", true}, {"bidirectional", true}, {"parallel", 3}}).streams(), 6U);
}

TEST(Iperf3Parameters, TheLowerRateHolds) {
  EXPECT_EQ(parsed({{"tcp", true}, {"bandwidth", 100}, {"fqrate", 50}}).rate, 50U);
  EXPECT_EQ(parsed({{"tcp", true}, {"fqrate", 50}}).rate, 50U);
  EXPECT_EQ(parsed({{"tcp", true}, {"bandwidth", 20}, {"fqrate", 50}}).rate, 20U);
}

TEST(Iperf3Parameters, Refusals) {
  EXPECT_EQ(refused(""), ErrorCode::receive_parameters);
  EXPECT_EQ(refused("[]"), ErrorCode::receive_parameters);
  EXPECT_EQ(refused(std::string(8000, '[')), ErrorCode::receive_parameters);
  EXPECT_EQ(refused(R"({"parallel":129})"), ErrorCode::streams);
  EXPECT_EQ(refused(R"({"parallel":18446744073709551615})"), ErrorCode::streams) << "-1";
  EXPECT_EQ(refused(R"({"len":1048577})"), ErrorCode::block_size);
  EXPECT_EQ(refused(R"({"udp":true,"len":65508})"), ErrorCode::udp_block_size);
  EXPECT_EQ(refused(R"({"udp":true,"len":15})"), ErrorCode::udp_block_size);
  EXPECT_EQ(refused(R"({"time":86401})"), ErrorCode::duration);
  EXPECT_EQ(refused(R"({"time":"1"})"), ErrorCode::duration);
  EXPECT_EQ(refused(R"({"sctp":true})"), ErrorCode::no_sctp);
  EXPECT_EQ(refused(R"({"burst":1001})"), ErrorCode::burst);
}

RC_GTEST_PROP(Iperf3Parameters, AnyTextIsTakenOrRefused, (const std::string& text)) {
  (void)parse_parameters(text, 1448);
  (void)parse_results(text);
}

TEST(Iperf3Parameters, WhatAClientSendsAServerReads) {
  Parameters p;
  p.udp = true;
  p.time_s = 7;
  p.omit_s = 2;
  p.parallel = 5;
  p.reverse = true;
  p.block = 1200;
  p.rate = 12'345'678;
  p.tos = 0x20;
  p.congestion = "bbr";
  p.wide_counters = p.get_server_output = p.nodelay = true;
  const Parameters back = std::get<Parameters>(parse_parameters(to_text(p), 1448));
  EXPECT_EQ(to_text(back), to_text(p));
  EXPECT_EQ(back.congestion, "bbr");
  EXPECT_EQ(back.tos, 0x20);
}

TEST(Iperf3Results, MinusOneAsIperf3WritesIt) {
  const auto r = parse_results(
      R"({"cpu_util_total":1.5,"cpu_util_user":1,"cpu_util_system":0.5,
          "sender_has_retransmits":18446744073709551615,
          "streams":[{"id":1,"bytes":4711,"retransmits":18446744073709551615,"jitter":0.001,
                      "errors":2,"packets":10}]})");
  ASSERT_TRUE(r);
  EXPECT_EQ(r->sender_has_retransmits, -1);
  ASSERT_EQ(r->streams.size(), 1U);
  EXPECT_EQ(r->streams[0].retransmits, -1);
  EXPECT_EQ(r->streams[0].bytes, 4711U);
  EXPECT_DOUBLE_EQ(r->streams[0].jitter_s, 0.001);
}

TEST(Iperf3Results, GoThroughTextAndBack) {
  Results r;
  r.cpu_total = 12;
  r.sender_has_retransmits = 1;
  r.congestion_used = "cubic";
  r.server_output_text = "lines\n";
  r.streams = {{.id = 3,
                .bytes = 1ULL << 50U,
                .retransmits = 9,
                .jitter_s = 0.25,
                .lost = 5,
                .packets = 70,
                .omitted_lost = 1,
                .omitted_packets = 2,
                .seconds = 1.5}};
  const auto back = parse_results(to_text(r));
  ASSERT_TRUE(back);
  EXPECT_EQ(to_text(*back), to_text(r));
}

TEST(Iperf3Results, Nonsense) {
  for (const char* text : {"", "[]", "{}", R"({"streams":5})", R"({"streams":[5]})"}) {
    EXPECT_FALSE(parse_results(text)) << text;
  }
  EXPECT_FALSE(parse_results(R"({"streams":[],"server_output_json":)" + std::string(5000, '[') +
                             std::string(5000, ']') + "}"))
      << "nested too deep to be walked";
  const auto with_members = [](int n) {
    json j{{"streams", json::array()}, {"server_output_json", json::object()}};
    for (int i = 0; i < n; ++i) j["server_output_json"]["member " + std::to_string(i)] = i;
    return j.dump();
  };
  EXPECT_TRUE(parse_results(with_members(64)));
  EXPECT_FALSE(parse_results(with_members(65))) << "each is looked for among all of them";
  json long_list{{"streams", json::array()}, {"server_output_json", json::array()}};
  for (int i = 0; i < 1000; ++i) long_list["server_output_json"].push_back(i);
  EXPECT_TRUE(parse_results(long_list.dump()));
  json many{{"streams", json::array()}};
  for (int i = 0; i < 300; ++i) many["streams"].push_back({{"id", i}});
  EXPECT_FALSE(parse_results(many.dump()));
}

TEST(Iperf3Results, KeepTheOrderOfTheServersReport) {
  const std::string text =
      R"({"streams":[],"server_output_json":{"start":1,"intervals":2,"end":3}})";
  EXPECT_EQ(parse_results(text)->server_output_json, R"({"start":1,"intervals":2,"end":3})");
}

TEST(Iperf3Results, ANameOfACongestionControlIsAPlainWord) {
  const auto used = [](const std::string& name) {
    return parse_results(json{{"streams", json::array()}, {"congestion_used", name}}.dump())
        ->congestion_used;
  };
  EXPECT_EQ(used("bbr"), "bbr");
  EXPECT_EQ(used("\x1b[31m"), "") << "it goes to a terminal";
  EXPECT_EQ(used("x" + std::string(2000, 'y')), "");
  EXPECT_EQ(used("caf\xc3\xa9"), "");
  EXPECT_EQ(parse_results(R"({"streams":[],"congestion_used":5})")->congestion_used, "");
}

RC_GTEST_PROP(Iperf3Message, ComesInAnyPieces, (const std::string& text)) {
  const std::string whole = framed(text) + "rest";
  MessageReader reader(1 << 16);
  std::size_t at = 0;
  while (!reader.complete()) {
    const auto n = std::min<std::size_t>(*rc::gen::inRange(1, 9), whole.size() - at);
    at += reader.feed(octets(std::string_view(whole).substr(at, n)));
  }
  RC_ASSERT(reader.text() == text);
  RC_ASSERT(whole.substr(at) == "rest");
}

TEST(Iperf3Message, FailsAtItsLength) {
  MessageReader reader(100);
  reader.feed(octets(std::string_view("\0\0\0\x65", 4)));
  EXPECT_TRUE(reader.failed());
  EXPECT_FALSE(reader.complete());
}

TEST(Iperf3Datagram, HeadsOfBothWidths) {
  std::array<std::uint8_t, 16> buffer{};
  for (const bool wide : {false, true}) {
    const DatagramHead head{.seconds = 7, .microseconds = 8, .number = 0x1'0000'0009};
    head.emit(wide, buffer);
    const auto back = DatagramHead::parse(buffer, wide);
    ASSERT_TRUE(back);
    EXPECT_EQ(back->seconds, 7U);
    EXPECT_EQ(back->microseconds, 8U);
    EXPECT_EQ(back->number, wide ? 0x1'0000'0009U : 9U);
    EXPECT_FALSE(DatagramHead::parse(Bytes(buffer).first(DatagramHead::size(wide) - 1), wide));
  }
}

// --- rates

TEST(Iperf3Pacer, KeepsTheAverage) {
  Pacer pacer(8'000'000, 1000, 0, 0);  // a block a millisecond
  const Instant start{5s};
  pacer.start(start);
  std::uint64_t sent = 0;
  for (Duration t = 0ms; t < 1s; t += 3ms) {
    const std::uint64_t due = pacer.due(start + t);
    EXPECT_EQ(due % 1000, 0U) << "whole blocks";
    pacer.sent(due);
    sent += due;
  }
  EXPECT_NEAR(static_cast<double>(sent), 1e6, 4000);
  EXPECT_EQ(pacer.due(start + 998ms), 0U);
  EXPECT_GT(pacer.next(), start + 998ms);
  EXPECT_GT(pacer.due(pacer.next()), 0U);
}

TEST(Iperf3Pacer, EndsAtTheQuota) {
  Pacer pacer(0, 1000, 0, 2500);
  pacer.start(Instant{});
  EXPECT_EQ(pacer.due(Instant{}), 2500U);
  pacer.sent(2000);
  EXPECT_EQ(pacer.due(Instant{}), 500U);
  EXPECT_FALSE(pacer.over());
  pacer.sent(500);
  EXPECT_TRUE(pacer.over());
}

TEST(Iperf3Pacer, QuotaIsSharedByTheStreams) {
  Parameters p;
  p.parallel = 3;
  EXPECT_EQ(share_of(p), 0U);
  p.bytes = 10;
  EXPECT_EQ(share_of(p), 4U);
  p.bytes = 0;
  p.blocks = 6;
  p.block = 100;
  EXPECT_EQ(share_of(p), 200U);
}

TEST(Iperf3Pacer, AQuotaMayComeLater) {
  Pacer pacer(0, 1000, 0, 0);
  pacer.start(Instant{});
  pacer.sent(10'000);
  EXPECT_FALSE(pacer.over());
  pacer.set_quota(10'500);
  EXPECT_EQ(pacer.due(Instant{}), 500U);
  pacer.set_quota(9000);
  EXPECT_TRUE(pacer.over());
}

/// The service's end of a stream whose home begins the test before its worker is told.
class EarlyService final : public Service {
 public:
  explicit EarlyService(TestPtr test) : test_(std::move(test)) {}
  std::string_view name() const override { return "early"; }
  void on_open(Stream& s) override {
    stream.emplace(shard(), s, test_, *test_->slots[0], 0);
    test_->enter(Phase::running);
  }
  void on_writable(Stream&) override { stream->on_writable(); }
  void on_closed(Stream&, CloseReason) override { stream.reset(); }
  std::optional<TcpStream> stream;

 private:
  TestPtr test_;
};

TEST(Iperf3Traffic, NothingGoesBeforeTheStart) {
  const auto test =
      std::make_shared<pollux::iperf3::Test>(cookie('a'), 0, *IpAddr::parse("198.18.0.1"), true);
  test->parameters.rate = 8'000'000;
  test->parameters.block = 1000;
  test->slots.push_back(std::make_unique<Slot>());
  test->slots[0]->sends = true;
  EarlyService service(test);
  TwoShards net(service);
  const auto s = net.connect();
  ASSERT_TRUE(service.stream);
  service.stream->on_writable();  // as it comes with every new connection
  net.run(1s);
  EXPECT_EQ(net.app.sides[s.port].received.size(), 0U);
  service.stream->start();
  net.run(1s);
  EXPECT_NEAR(static_cast<double>(net.app.sides[s.port].received.size()), 1e6, 1e5);
  service.stream->abort();
  net.run(1s);
}

// --- the registry

FlowKey flow(std::uint16_t port, const char* address = "198.18.0.1") {
  return {.local = {*IpAddr::parse("198.18.0.2"), 5201}, .remote = {*IpAddr::parse(address), port}};
}

const IpAddr kPeer = *IpAddr::parse("198.18.0.1");

TEST(Iperf3Registry, TellsAStreamFromAControlConnection) {
  Registry r({});
  EXPECT_EQ(r.meaning(cookie('a')), Registry::Meaning::control);
  const TestPtr test = r.begin(cookie('a'), 0, kPeer).test;
  ASSERT_TRUE(test);
  EXPECT_EQ(r.begin(cookie('a'), 0, kPeer).test, nullptr) << "the cookie is taken";
  EXPECT_EQ(r.meaning(cookie('a')), Registry::Meaning::refused) << "it waits for no streams yet";
  test->parameters.parallel = 2;
  EXPECT_TRUE(r.open(test));
  EXPECT_EQ(r.meaning(cookie('a')), Registry::Meaning::stream);
  EXPECT_EQ(r.meaning(cookie('b')), Registry::Meaning::control);
  EXPECT_EQ(r.join(cookie('a'), flow(1, "198.18.0.9"), 0, Instant{}).slot, nullptr)
      << "from another host";
  EXPECT_FALSE(r.join(cookie('a'), flow(1), 0, Instant{1s}).complete);
  EXPECT_TRUE(r.join(cookie('a'), flow(2), 1, Instant{2s}).complete);
  EXPECT_EQ(r.join(cookie('a'), flow(3), 1, Instant{3s}).slot, nullptr) << "one too many";
  r.end(test);
  EXPECT_EQ(r.tests(), 0U);
}

TEST(Iperf3Registry, HasALimit) {
  Registry r({.max_tests = 2});
  EXPECT_TRUE(r.begin(cookie('a'), 0, kPeer).test);
  EXPECT_TRUE(r.begin(cookie('b'), 0, kPeer).test);
  const auto third = r.begin(cookie('c'), 0, kPeer);
  EXPECT_FALSE(third.test);
  EXPECT_EQ(third.refused, "2 tests are running");
}

TEST(Iperf3Registry, AClientHasAShare) {
  Registry r({.max_tests = 6, .max_tests_per_client = 2});
  const auto begin = [&](char c, const char* peer) {
    return r.begin(cookie(c), 0, *IpAddr::parse(peer)).test != nullptr;
  };
  EXPECT_TRUE(begin('a', "198.18.0.1"));
  const TestPtr second = r.begin(cookie('b'), 0, kPeer).test;
  EXPECT_FALSE(begin('c', "198.18.0.1"));
  EXPECT_TRUE(begin('c', "198.18.0.3"));
  EXPECT_TRUE(begin('d', "2001:2::1"));
  EXPECT_TRUE(begin('e', "2001:2::2"));
  EXPECT_FALSE(begin('f', "2001:2::3")) << "of the same network";
  EXPECT_TRUE(begin('f', "2001:2:0:1::3"));
  EXPECT_FALSE(begin('g', "198.18.0.4")) << "all are taken";
  Registry local({.max_tests_per_client = 1});
  EXPECT_TRUE(local.begin(cookie('a'), 0, *IpAddr::parse("fe80::1")).test);
  EXPECT_TRUE(local.begin(cookie('b'), 0, *IpAddr::parse("fe80::2")).test);
  r.end(second);
  EXPECT_TRUE(begin('g', "198.18.0.1"));
}

TEST(Iperf3Registry, DatagramsOfAPeerBelongToOneTestAtATime) {
  Registry r({});
  const TestPtr first = r.begin(cookie('a'), 0, kPeer).test;
  const TestPtr second = r.begin(cookie('b'), 0, kPeer).test;
  first->parameters.udp = second->parameters.udp = true;
  EXPECT_EQ(r.join_datagrams(flow(1), 0).slot, nullptr);
  EXPECT_TRUE(r.open(first));
  EXPECT_FALSE(r.open(second));
  EXPECT_EQ(r.join_datagrams(flow(1, "198.18.0.9"), 0).slot, nullptr);
  EXPECT_EQ(r.join_datagrams(flow(1), 0).test, first);
  EXPECT_TRUE(r.open(second)) << "the first one has its stream";
  EXPECT_EQ(r.join_datagrams(flow(2), 0).test, second);
}

TEST(Iperf3Test, NumbersStreamsInTheOrderOfTheirSyns) {
  for (const bool server : {true, false}) {
    pollux::iperf3::Test test(cookie('a'), 0, kPeer, server);
    test.parameters.bidirectional = true;
    test.parameters.parallel = 2;
    for (const int at : {3, 1, 2, 0}) {
      test.slots.push_back(std::make_unique<Slot>());
      test.slots.back()->opened_at = Instant{std::chrono::milliseconds(at)};
    }
    test.settle();
    std::vector<int> ids;
    std::vector<bool> sends;
    for (std::size_t i = 0; i < 4; ++i) {
      EXPECT_EQ(test.slots[i]->opened_at, Instant{std::chrono::milliseconds(i)});
      ids.push_back(test.slots[i]->id);
      sends.push_back(test.slots[i]->sends);
    }
    EXPECT_EQ(ids, (std::vector<int>{1, 3, 4, 5})) << "2 is never used";
    // Those that send to the server come first.
    EXPECT_EQ(sends, (std::vector<bool>{!server, !server, server, server}));
  }
}

// --- reports

TEST(Iperf3Report, NumbersAsIperf3RoundsThem) {
  EXPECT_EQ(format_octets(0), "0.00 Bytes");
  EXPECT_EQ(format_octets(1024), "1.00 KBytes");
  EXPECT_EQ(format_octets(131072), " 128 KBytes");
  EXPECT_EQ(format_octets(1.31 * 1024 * 1024 * 1024), "1.31 GBytes");
  EXPECT_EQ(format_rate(47.5e9), "47.5 Gbits/sec");
  EXPECT_EQ(format_rate(999.6e6), "1000 Mbits/sec");
  EXPECT_EQ(format_rate(20.969e6, 'k'), "20969 Kbits/sec");
  EXPECT_EQ(format_rate(20.97152e6, 'K'), "2560 KBytes/sec");
  EXPECT_EQ(format_rate(20.97152e6, 'M'), "2.50 MBytes/sec");
  EXPECT_EQ(format_rate(20.969e6, 'g'), "0.02 Gbits/sec");
  EXPECT_TRUE(is_rate_unit('T'));
  EXPECT_FALSE(is_rate_unit('a') || is_rate_unit('B'));
}

class Reports : public testing::Test {
 protected:
  Reports() : test_(cookie('a'), 0, kPeer, true), recorder_(test_) {
    for (const bool sends : {false, true}) {
      test_.slots.push_back(std::make_unique<Slot>());
      Slot& slot = *test_.slots.back();
      slot.id = sends ? 3 : 1;
      slot.sends = sends;
      slot.flow = flow(static_cast<std::uint16_t>(40000 + slot.id));
    }
    test_.parameters.bidirectional = true;
  }
  StreamCounters& counters(std::size_t i) { return test_.slots[i]->counters; }
  pollux::iperf3::Test test_;
  Recorder recorder_;
};

TEST_F(Reports, OmittedTimeDoesNotCount) {
  counters(0).bytes.set(1000);
  counters(0).lost.set(3);
  counters(0).packets.set(10);
  recorder_.interval(1, true);
  recorder_.end_omission();
  counters(0).bytes.set(5000);
  counters(0).lost.set(4);
  counters(0).packets.set(30);
  const IntervalRow row = recorder_.interval(1, false);
  EXPECT_EQ(row.start_s, 0);
  EXPECT_EQ(row.streams[0].delta.bytes, 4000U);
  const StreamResult r = recorder_.results(1).at(0);
  EXPECT_EQ(r.bytes, 4000U);
  EXPECT_EQ(r.packets, 30U) << "with what was omitted, which is told beside";
  EXPECT_EQ(r.omitted_packets, 10U);
  EXPECT_EQ(r.retransmits, -1) << "it receives";
  const Summary s = recorder_.summary(1);
  EXPECT_EQ(s.streams[0].received->lost, 1U);
  EXPECT_EQ(s.streams[0].received->packets, 20U);
}

TEST_F(Reports, TextOfBothDirections) {
  counters(0).bytes.set(1 << 20);
  counters(1).bytes.set(2 << 20);
  counters(1).retransmits.set(7);
  counters(1).cwnd.set(64 << 10);
  const std::string lines = text::interval(test_, recorder_.interval(1, false));
  EXPECT_THAT(lines, HasSubstr("[  1][RX-S]   0.00-1.00   sec  1.00 MBytes  8.39 Mbits/sec"));
  EXPECT_THAT(lines, HasSubstr("[  3][TX-S]   0.00-1.00   sec  2.00 MBytes  16.8 Mbits/sec    7"));
  EXPECT_THAT(text::header(test_), HasSubstr("[ ID][Role] Interval"));
  const std::string end = text::summary(test_, recorder_.summary(1));
  EXPECT_THAT(end, HasSubstr("receiver\n"));
  EXPECT_THAT(end, HasSubstr("sender\n"));
}

TEST_F(Reports, JsonOfBothDirections) {
  counters(0).bytes.set(1000);
  counters(1).bytes.set(2000);
  counters(1).rtt_us.set(50);
  const auto row = interval_json(test_, recorder_.interval(2, false));
  EXPECT_EQ(row["sum"]["bytes"], 1000) << "of a server what it receives";
  EXPECT_EQ(row["sum_bidir_reverse"]["bytes"], 2000);
  EXPECT_EQ(row["sum"]["bits_per_second"], 4000.0);
  const auto end = end_json(test_, recorder_.summary(2));
  EXPECT_EQ(end["sum_received"]["bytes"], 1000);
  EXPECT_EQ(end["sum_received"]["sender"], false);
  EXPECT_EQ(end["sum_sent_bidir_reverse"]["bytes"], 2000);
  EXPECT_EQ(end["sum_sent_bidir_reverse"]["sender"], true);
  EXPECT_EQ(end["streams"].size(), 2U);
  EXPECT_EQ(end["streams"][1]["sender"]["mean_rtt"], 50);
  EXPECT_EQ(end["sum_sent"]["bytes"], 0) << "the client's count is not known";
  EXPECT_EQ(end["sum_sent"]["seconds"], 2.0);
  EXPECT_FALSE(end["sum_sent"].contains("retransmits"));
  EXPECT_EQ(end["streams"][0]["sender"]["bytes"], 0);
  EXPECT_EQ(start_json(test_)["connected"].size(), 0U) << "streams may still be coming";
  test_.enter(Phase::running);
  EXPECT_EQ(start_json(test_)["connected"].size(), 2U);
}

TEST_F(Reports, OfEachEndsCongestionControl) {
  test_.circumstances.congestion = "bbr";
  Summary s = recorder_.summary(1);
  EXPECT_EQ(end_json(test_, s)["sender_tcp_congestion"], "bbr");
  EXPECT_FALSE(end_json(test_, s).contains("receiver_tcp_congestion")) << "not known";
  s.remote_congestion = "cubic";
  EXPECT_EQ(end_json(test_, s)["receiver_tcp_congestion"], "cubic");
  test_.parameters.bidirectional = false;
  EXPECT_EQ(end_json(test_, s)["sender_tcp_congestion"], "cubic") << "the client sends";
  EXPECT_EQ(end_json(test_, s)["receiver_tcp_congestion"], "bbr");
}

TEST_F(Reports, VerboseText) {
  test_.circumstances.control_mss = 1448;
  EXPECT_THAT(text::opening(test_), Not(HasSubstr("MSS")));
  EXPECT_THAT(text::summary(test_, recorder_.summary(1)), Not(HasSubstr("CPU")));
  test_.verbose = true;
  EXPECT_THAT(text::opening(test_), HasSubstr("\nTime: Thu, 01 Jan 1970 00:00:00 GMT\n"));
  EXPECT_THAT(text::opening(test_), HasSubstr("      TCP MSS: 1448 (default)\n"));
  test_.parameters.blocks = 20;
  EXPECT_THAT(text::header(test_), HasSubstr(", 20 blocks to send, tos 0\n"));
  Summary s = recorder_.summary(1);
  s.local_cpu = {.total = 12.34, .user = 2, .system = 10.34};
  EXPECT_THAT(text::summary(test_, s),
              HasSubstr("CPU Utilization: local/sender 12.3% (2.0%u/10.3%s), remote/receiver "));
}

TEST_F(Reports, DatagramsAreThoseOfTheSenderAndLossesThoseOfTheReceiver) {
  pollux::iperf3::Test test(cookie('b'), 0, kPeer, false);
  test.parameters.udp = true;
  Summary s;
  s.streams.push_back({});
  StreamSummary& one = s.streams.back();
  one.id = 5;
  one.sender = true;
  one.sent = StreamResult{.bytes = 1000, .packets = 10, .seconds = 1};
  one.received =
      StreamResult{.bytes = 700, .jitter_s = 0.002, .lost = 3, .packets = 9, .seconds = 1};
  const auto end = end_json(test, s);
  for (const auto& j : {end["sum"], end["streams"][0]["udp"]}) {
    EXPECT_EQ(j["bytes"], 1000);
    EXPECT_EQ(j["packets"], 10);
    EXPECT_EQ(j["lost_packets"], 3);
    EXPECT_EQ(j["lost_percent"], 30.0);
    EXPECT_EQ(j["jitter_ms"], 2.0);
  }
  EXPECT_EQ(end["sum_received"]["sender"], false);
}

TEST_F(Reports, EarlyIntervalsMakeRoom) {
  using Json = nlohmann::ordered_json;
  Json report{{"start", Json::object()}, {"intervals", Json::array()}, {"end", Json::object()}};
  report["error"] = "with a fourth member \xff";  // not UTF-8
  for (int i = 0; i < 1000; ++i) report["intervals"].push_back({{"number", i}});
  keep_latest_intervals(report, 2000);
  EXPECT_LT(report["intervals"].size(), 150U);
  EXPECT_GT(report["intervals"].size(), 10U);
  EXPECT_EQ(report["intervals"].back()["number"], 999);
  EXPECT_EQ(report["intervals_left_out"], 1000 - report["intervals"].size());
  EXPECT_EQ(report["error"], "with a fourth member \xff");
  keep_latest_intervals(report, 10);  // more than is possible
  EXPECT_EQ(report["intervals"].size(), 0U);
}

TEST_F(Reports, OfATestWithoutAConnection) {
  std::vector<std::string> members;
  const auto start = start_json(test_);
  for (const auto& [name, value] : start.items()) members.push_back(name);
  EXPECT_EQ(members, (std::vector<std::string>{"connected", "version", "system_info"}));
  test_.circumstances.began_at = 1;
  EXPECT_EQ(start_json(test_)["timestamp"]["time"], "Thu, 01 Jan 1970 00:00:01 GMT");
}

TEST_F(Reports, AreBounded) {
  for (std::size_t i = 0; i < Recorder::kMaxRows; ++i) {
    recorder_.interval(static_cast<double>(i), false);
  }
  EXPECT_EQ(recorder_.intervals().size(), Recorder::kMaxRows / 2);
  EXPECT_EQ(recorder_.intervals().back().end_s, static_cast<double>(Recorder::kMaxRows - 1));
}

}  // namespace
}  // namespace pollux::iperf3
