#include "bench/hop/script.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <stdexcept>

#include "tests/hop/packets.h"

namespace pollux::hop {
namespace {

using test::data;
constexpr Instant kNow{1s};

std::string error_of(std::string_view line) {
  try {
    parse_rule(line);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "";
}

TEST(ScriptParse, ADropOfOnePacket) {
  const Rule rule = parse_rule("a>b drop packet 12");
  EXPECT_TRUE(rule.a_to_b);
  EXPECT_FALSE(rule.b_to_a);
  EXPECT_EQ(rule.action, Rule::Action::drop);
  EXPECT_EQ(rule.match, Rule::Match::packet);
  EXPECT_EQ(rule.which, (Numbers{12, 12}));
  EXPECT_EQ(rule.nth, (Numbers{1, 1}));
}

TEST(ScriptParse, TheOtherWords) {
  const Rule seq = parse_rule("both delay 2.5ms seq 100..300 nth 2..4");
  EXPECT_TRUE(seq.a_to_b && seq.b_to_a);
  EXPECT_EQ(seq.delay, 2500us);
  EXPECT_EQ(seq.range, (Range{100, 300}));
  EXPECT_EQ(seq.nth, (Numbers{2, 4}));
  EXPECT_EQ(parse_rule("b>a duplicate ack 3..5").which, (Numbers{3, 5}));
  EXPECT_EQ(parse_rule("a>b strip timestamps").option, kOptionTimestamps);
  EXPECT_TRUE(parse_rule("a>b drop fin nth all").nth.contains(1'000'000));
}

TEST(ScriptParse, MistakesAreNamed) {
  for (const auto& [line, word] :
       std::vector<std::pair<const char*, const char*>>{{"", "direction"},
                                                        {"a>c drop syn", "a>c"},
                                                        {"a>b lose syn", "lose"},
                                                        {"a>b drop", "match"},
                                                        {"a>b drop packet", "number"},
                                                        {"a>b drop packet x", "x"},
                                                        {"a>b drop packet 0", "0"},
                                                        {"a>b drop packet 5..2", "5..2"},
                                                        {"a>b drop seq 5", "5"},
                                                        {"a>b drop ack 5 nth 2", "nth"},
                                                        {"a>b delay syn", "syn"},
                                                        {"a>b delay 5 syn", "5"},
                                                        {"a>b strip mss", "mss"},
                                                        {"a>b strip timestamps syn", "syn"},
                                                        {"a>b drop syn nth 1 more", "more"}}) {
    EXPECT_NE(error_of(line).find(word), std::string::npos) << line << ": " << error_of(line);
  }
}

TEST(ScriptParse, AFileWithCommentsAndALineNumber) {
  EXPECT_EQ(parse_script("# nothing\n\na>b drop syn # one\nb>a drop fin").size(), 2u);
  try {
    parse_script("a>b drop syn\n\nnonsense");
    FAIL();
  } catch (const std::invalid_argument& error) {
    EXPECT_NE(std::string(error.what()).find("line 3"), std::string::npos);
  }
}

TEST(ScriptParse, Durations) {
  EXPECT_EQ(parse_duration("250us"), 250us);
  EXPECT_EQ(parse_duration("1.5s"), 1500ms);
  EXPECT_EQ(parse_duration("0"), Duration{0});
  for (const char* wrong : {"", "5", "-1ms", "ms", "3h", "1e99s"}) {
    EXPECT_THROW(parse_duration(wrong), std::invalid_argument) << wrong;
  }
}

/// A flow and the rules for it.
class ScriptMatch : public testing::Test {
 protected:
  void use(std::string_view text) {
    rules_ = parse_script(text);
    script_.emplace(rules_);
    flow_.on_syn(Seq(test::kIsn));
  }
  Verdict pass(const test::Packet& packet) {
    const TcpView tcp = *view_tcp(packet);
    const auto sent = tcp.payload > 0 ? flow_.on_data(kNow, tcp.seq, tcp.payload) : std::nullopt;
    return script_->on_packet(tcp, sent, flow_);
  }
  bool dropped(const test::Packet& packet) { return pass(packet).drop; }

  std::vector<Rule> rules_;
  DataFlow flow_;
  std::optional<FlowScript> script_;
};

TEST_F(ScriptMatch, ThePacketByNumberAndNotItsRetransmission) {
  use("a>b drop packet 2");
  EXPECT_FALSE(dropped(data(0, 100)));
  EXPECT_TRUE(dropped(data(100, 100)));
  EXPECT_FALSE(dropped(data(200, 100)));
  EXPECT_FALSE(dropped(data(100, 100)));
}

TEST_F(ScriptMatch, TheRetransmissionToo) {
  use("a>b drop packet 2 nth 1..2");
  EXPECT_FALSE(dropped(data(0, 100)));
  EXPECT_TRUE(dropped(data(100, 100)));
  EXPECT_FALSE(dropped(data(0, 100)));
  EXPECT_TRUE(dropped(data(100, 100)));
  EXPECT_FALSE(dropped(data(100, 100)));
}

TEST_F(ScriptMatch, ARetransmissionOnlyWhateverItsSize) {
  use("a>b drop packet 2 nth 2");
  EXPECT_FALSE(dropped(data(0, 100)));
  EXPECT_FALSE(dropped(data(100, 100)));
  EXPECT_TRUE(dropped(data(0, 200)));
}

TEST_F(ScriptMatch, ARangeOfPackets) {
  use("a>b drop packet 2..3");
  EXPECT_FALSE(dropped(data(0, 100)));
  EXPECT_TRUE(dropped(data(100, 100)));
  EXPECT_TRUE(dropped(data(200, 100)));
  EXPECT_FALSE(dropped(data(300, 100)));
}

TEST_F(ScriptMatch, OctetsOfTheStream) {
  use("a>b drop seq 150..250");
  EXPECT_FALSE(dropped(data(0, 100)));
  EXPECT_TRUE(dropped(data(100, 100)));
  EXPECT_TRUE(dropped(data(200, 100)));
  EXPECT_FALSE(dropped(data(250, 100)));
}

TEST_F(ScriptMatch, PacketsWithoutData) {
  use("a>b drop ack 2\na>b drop fin");
  EXPECT_FALSE(dropped(data(0, 0)));
  EXPECT_FALSE(dropped(data(0, 10)));
  EXPECT_TRUE(dropped(data(10, 0)));
  EXPECT_FALSE(dropped(data(10, 0)));
  EXPECT_TRUE(dropped(data(10, 0, wire::tcp_flag::fin)));
  EXPECT_FALSE(dropped(data(10, 0, wire::tcp_flag::fin)));
}

TEST_F(ScriptMatch, DelayAndDuplicateTogether) {
  use("a>b delay 3ms packet 1\na>b duplicate packet 1");
  const Verdict verdict = pass(data(0, 10));
  EXPECT_EQ(verdict.delay, 3ms);
  EXPECT_TRUE(verdict.duplicate);
  EXPECT_FALSE(verdict.drop);
}

TEST(ScriptStrip, TakesTheOptionAndKeepsTheChecksumRight) {
  for (const bool sack : {true, false}) {
    test::Packet packet = test::syn();
    const std::vector<Rule> rules = {
        parse_rule(sack ? "a>b strip sack-permitted" : "a>b strip timestamps")};
    ASSERT_TRUE(strip_options(rules, *view_tcp(packet), packet));
    wire::TcpHeader tcp;
    const Bytes segment = Bytes(packet).subspan(wire::kIpv4HeaderSize);
    ASSERT_NE(wire::parse_tcp(segment, tcp), 0u);
    EXPECT_EQ(tcp.options.sack_permitted, !sack);
    EXPECT_EQ(tcp.options.timestamps.has_value(), sack);
    EXPECT_EQ(tcp.options.mss, 1460);
    EXPECT_EQ(tcp.options.window_scale, 7);
    EXPECT_TRUE(wire::tcp_checksum_ok(test::kSender.addr, test::kReceiver.addr, segment));
  }
}

TEST(ScriptStrip, FindsAnOptionBehindOddPadding) {
  test::Packet packet = test::syn();
  const TcpView tcp = *view_tcp(packet);
  const MutableBytes options = MutableBytes(packet).subspan(tcp.tcp_offset + wire::kTcpHeaderSize,
                                                            tcp.tcp_size - wire::kTcpHeaderSize);
  std::fill(options.begin(), options.end(), 1);  // NOP
  options[1] = kOptionSackPermitted;
  options[2] = 2;
  EXPECT_TRUE(strip_options({parse_rule("a>b strip sack-permitted")}, tcp, packet));
  EXPECT_TRUE(std::all_of(options.begin(), options.end(), [](auto o) { return o == 1; }));
}

TEST(ScriptStrip, LeavesOtherPacketsAlone) {
  test::Packet packet = data(0, 10);
  const test::Packet before = packet;
  EXPECT_FALSE(strip_options({parse_rule("a>b strip timestamps")}, *view_tcp(packet), packet));
  EXPECT_EQ(packet, before);
}

}  // namespace
}  // namespace pollux::hop
