// Fragments of one shard, in and out: what is longer than a packet arrives whole and leaves in
// pieces, each piece counts once, and what belongs to another worker goes there.
#include <gtest/gtest.h>

#include <set>

#include "proto/ip/reassembly.h"
#include "proto/wire/udp.h"
#include "tests/workers/shard_fixture.h"
#include "workers/crew.h"

namespace pollux {
namespace {

using Octets = std::vector<std::uint8_t>;

constexpr std::uint16_t kUdpPort = 9000;

class Taker final : public Service {
 public:
  std::string_view name() const override { return "taker"; }
  bool takes_datagrams() const override { return true; }
  std::optional<DropReason> on_datagram(const Datagram& d) override {
    got.emplace_back(d.payload.bytes().begin(), d.payload.bytes().end());
    kept.push_back(d.payload);
    return {};
  }
  std::vector<Octets> got;
  std::vector<Slice> kept;
};

/// Errands wait until the test lets them run.
class WaitingCrew final : public Crew {
 public:
  void post(std::size_t i, Mailbox::Errand errand) override {
    errands.emplace_back(i, std::move(errand));
  }
  std::vector<std::pair<std::size_t, Mailbox::Errand>> errands;
};

Octets pattern(std::size_t n) {
  Octets o(n);
  for (std::size_t i = 0; i < n; ++i) o[i] = static_cast<std::uint8_t>(i * 7 + i / 251);
  return o;
}

class FragmentsTest : public ShardTest {
 protected:
  FragmentsTest() { options.hop_limit = 33; }
  void SetUp() override { shard().listen({{}, kUdpPort}, true, taker); }
  void TearDown() override { taker.kept.clear(); }

  static Octets udp(bool v4, const Octets& payload, std::uint16_t from = 4000) {
    Octets d(wire::kUdpHeaderSize);
    wire::emit_udp({.src_port = from, .dst_port = kUdpPort}, payload.size(), d);
    d.insert(d.end(), payload.begin(), payload.end());
    wire::ChecksumSum sum;
    wire::add_pseudo_header(sum, v4 ? kThere : kThere6, v4 ? kHere : kHere6, wire::kProtoUdp,
                            static_cast<std::uint32_t>(d.size()));
    sum.add(d);
    store_be16(&d[wire::kUdpChecksumOffset], sum.checksum());
    return d;
  }
  static wire::IpHeader header(bool v4, std::uint8_t protocol, std::uint32_t id = 1) {
    wire::IpHeader h;
    h.src = v4 ? kThere : kThere6;
    h.dst = v4 ? kHere : kHere6;
    h.protocol = protocol;
    h.id = id;
    return h;
  }
  void fragment(wire::IpHeader h, Bytes all, std::size_t begin, std::size_t end) {
    h.fragment_offset = static_cast<std::uint16_t>(begin);
    h.more_fragments = end != all.size();
    Octets p(wire::fragment_header_size(h.is_v4()) + end - begin);
    const std::size_t n = wire::emit_ip(h, end - begin, p);
    std::copy(all.begin() + static_cast<std::ptrdiff_t>(begin),
              all.begin() + static_cast<std::ptrdiff_t>(end),
              p.begin() + static_cast<std::ptrdiff_t>(n));
    packet(p);
  }
  /// All of `l4` in pieces of 1,480 octets at most.
  void fragments(const wire::IpHeader& h, const Octets& l4) {
    for (std::size_t at = 0; at < l4.size(); at += 1448) {
      fragment(h, l4, at, std::min(at + 1448, l4.size()));
      ++taken;
    }
  }
  /// An echo request with `n` octets of data.
  static Octets ping(bool v4, std::size_t n) {
    Octets echo{static_cast<std::uint8_t>(v4 ? 8 : 128), 0, 0, 0, 0, 1, 0, 2};
    const Octets data = pattern(n);
    echo.insert(echo.end(), data.begin(), data.end());
    wire::ChecksumSum sum;
    if (!v4) {
      wire::add_pseudo_header(sum, kThere6, kHere6, wire::kProtoIcmpV6,
                              static_cast<std::uint32_t>(echo.size()));
    }
    sum.add(echo);
    store_be16(&echo[2], sum.checksum());
    return echo;
  }
  /// What was sent, put together: the whole packet. Every piece fits the MTU.
  Octets sent_whole() {
    ip::Reassembler r({3, 4});
    Octets whole;
    for (const Sent& s : port.sent) {
      EXPECT_TRUE(whole.empty());
      EXPECT_LE(s.octets.size(), 1500U);
      EXPECT_TRUE(s.ip.is_fragment());
      EXPECT_EQ(s.ip.hop_limit, 33);
      EXPECT_EQ(s.segment_size, 0);
      whole = r.add(now, s.ip, s.payload);
    }
    port.sent.clear();
    EXPECT_EQ(r.bytes(), 0U);
    return whole;
  }

  Taker taker;
};

TEST_F(FragmentsTest, a_datagram_arrives_whole) {
  for (const bool v4 : {true, false}) {
    for (const std::size_t size : {2000U, 9000U, 65507U}) {
      const Octets payload = pattern(size);
      fragments(header(v4, wire::kProtoUdp), udp(v4, payload));
      ASSERT_FALSE(taker.got.empty());
      EXPECT_EQ(taker.got.back(), payload);
    }
  }
  EXPECT_EQ(taker.got.size(), 6U);
  EXPECT_EQ(counters.datagrams_received.get(), 6U);
  EXPECT_EQ(taker.kept.size(), 6U);  // a service may keep it for longer
}

TEST_F(FragmentsTest, its_checksum_is_verified) {
  Octets d = udp(true, pattern(3000));
  d[2000] ^= 1;
  fragments(header(true, wire::kProtoUdp), d);
  EXPECT_TRUE(taker.got.empty());
  EXPECT_EQ(drops(DropReason::udp_checksum), 1U);
  --taken;
}

TEST_F(FragmentsTest, a_bad_piece_is_counted) {
  const Octets d = udp(true, pattern(3000));
  fragment(header(true, wire::kProtoUdp), d, 0, 1480);
  fragment(header(true, wire::kProtoUdp), d, 8, 1480);
  EXPECT_EQ(drops(DropReason::ip_fragment), 2U);
}

TEST_F(FragmentsTest, a_segment_arrives_whole) {
  open();
  const wire::TcpHeader h = ShardTest::header(flag::ack, 101, iss + 1);
  const Octets packet = tcp_packet(h, 3000, kThere, kHere);
  fragments(header(true, wire::kProtoTcp), Octets(packet.begin() + 20, packet.end()));
  shard().finish_turn(now);
  EXPECT_EQ(service.octets, 3000U);
}

TEST_F(FragmentsTest, a_long_ping_is_answered) {
  for (const bool v4 : {true, false}) {
    const Octets echo = ping(v4, 8000);
    const std::uint8_t protocol = v4 ? wire::kProtoIcmp : wire::kProtoIcmpV6;
    wire::IpHeader h = header(v4, protocol);
    h.tos = 0xb9;  // DSCP 46, ECT(1)
    fragments(h, echo);
    ASSERT_EQ(port.sent.size(), 6U);
    for (const Sent& s : port.sent) EXPECT_EQ(s.ip.tos, 0xb8);
    const Octets answer = sent_whole();
    ASSERT_EQ(answer.size(), wire::ip_header_size(v4) + echo.size());
    const Bytes message = Bytes{answer}.subspan(wire::ip_header_size(v4));
    EXPECT_EQ(message[0], v4 ? 0 : 129);
    EXPECT_TRUE(std::ranges::equal(message.subspan(8), Bytes{echo}.subspan(8)));
    wire::ChecksumSum check;
    if (!v4)
      wire::add_pseudo_header(check, kHere6, kThere6, protocol,
                              static_cast<std::uint32_t>(message.size()));
    check.add(message);
    EXPECT_EQ(check.fold(), 0xffff);
  }
}

TEST_F(FragmentsTest, a_ping_is_answered_with_its_dscp) {
  for (const bool v4 : {true, false}) {
    const Octets echo = ping(v4, 56);
    wire::IpHeader h = header(v4, v4 ? wire::kProtoIcmp : wire::kProtoIcmpV6);
    h.tos = 0xb9;
    Octets p(wire::ip_header_size(v4));
    wire::emit_ip(h, echo.size(), p);
    p.insert(p.end(), echo.begin(), echo.end());
    packet(p);
    ++taken;
    ASSERT_EQ(port.sent.size(), 1U);
    EXPECT_EQ(port.sent[0].ip.tos, 0xb8);
    EXPECT_EQ(port.sent[0].ip.hop_limit, 33);
    port.sent.clear();
  }
}

TEST_F(FragmentsTest, what_is_limited_of_pings_are_the_pieces) {
  const Octets echo = ping(true, 60'000);
  std::size_t answered = 0;
  for (std::uint32_t id = 0; drops(DropReason::icmp_rate_limited) == 0; ++id) {
    fragments(header(true, wire::kProtoIcmp, id), echo);
    ASSERT_LT(++answered, 100U);
  }
  EXPECT_EQ(port.sent.size() % 41, 0U) << "an answer goes whole or not at all";
  EXPECT_LE(port.sent.size(), 2001U);
  EXPECT_GT(port.sent.size(), 1800U);
  --taken;  // the last one was dropped
}

TEST_F(FragmentsTest, a_long_datagram_leaves_in_pieces) {
  port.capabilities.checksum = port.capabilities.datagram_segmentation = true;
  std::uint32_t last_id = 0;
  for (const bool v4 : {true, false}) {
    const FlowKey flow{.local = {v4 ? kHere : kHere6, 5}, .remote = {v4 ? kThere : kThere6, 4000}};
    for (const std::size_t size :
         {shard().max_unfragmented(v4) + 1, std::size_t{9000}, Shard::max_datagram(v4)}) {
      const Octets payload = pattern(size);
      EXPECT_TRUE(shard().send_datagram(flow, payload, {.tos = 0xb8}));
      EXPECT_NE(port.sent.front().ip.id, last_id);
      last_id = port.sent.front().ip.id;
      EXPECT_EQ(port.sent.front().ip.tos, 0xb8);
      const Octets whole = sent_whole();
      const auto parsed = wire::parse_ip(whole, true);
      const auto& ip = std::get<wire::IpHeader>(parsed);
      const Bytes datagram = Bytes{whole}.subspan(ip.header_size);
      const auto h = wire::parse_udp(ip, datagram, true);
      ASSERT_TRUE(std::holds_alternative<wire::UdpHeader>(h)) << size;
      EXPECT_TRUE(std::ranges::equal(datagram.subspan(8), payload));
    }
  }
  EXPECT_EQ(counters.datagrams_sent.get(), 6U);
  EXPECT_EQ(counters.packets_fragmented.get(), 6U);
}

constexpr std::uint8_t kDontFragment = 0x40;  // in octet 6 of an IPv4 header

TEST_F(FragmentsTest, a_device_that_cuts_gets_a_long_datagram_whole) {
  port.capabilities.checksum = port.capabilities.datagram_fragmentation = true;
  for (const bool v4 : {true, false}) {
    port.sent.clear();
    const FlowKey flow{.local = {v4 ? kHere : kHere6, 5}, .remote = {v4 ? kThere : kThere6, 4000}};
    EXPECT_TRUE(shard().send_datagram(flow, pattern(Shard::max_datagram(v4)), {.tos = 0xb8}));
    ASSERT_EQ(port.sent.size(), 1U);
    const auto& s = port.sent[0];
    EXPECT_EQ(s.segment_size, v4 ? 1480 : 1448) << "behind the headers of a fragment";
    EXPECT_TRUE(s.fragments);
    EXPECT_TRUE(s.partial_checksum);
    EXPECT_EQ(s.ip.tos, 0xb8);
    EXPECT_FALSE(s.ip.is_fragment());
    EXPECT_EQ(s.payload.size(), wire::kUdpHeaderSize + Shard::max_datagram(v4));
    if (!v4) continue;
    EXPECT_EQ(s.octets[6] & kDontFragment, 0) << "who sends it on may cut it";
    EXPECT_NE(s.ip.id, 0U);
  }
  EXPECT_EQ(counters.packets_fragmented.get(), 2U);
  EXPECT_TRUE(
      shard().send_datagram({.local = {kHere, 5}, .remote = {kThere, 4000}}, pattern(1000)));
  EXPECT_FALSE(port.sent.back().fragments);
  EXPECT_NE(port.sent.back().octets[6] & kDontFragment, 0) << "one that fits is never cut";
}

TEST_F(FragmentsTest, a_long_ping_is_cut_here_all_the_same) {
  port.capabilities.checksum = port.capabilities.datagram_fragmentation = true;
  fragments(header(true, wire::kProtoIcmp), ping(true, 4000));
  EXPECT_GT(port.sent.size(), 2U);
  for (const auto& s : port.sent) EXPECT_TRUE(s.ip.is_fragment());
}

TEST_F(FragmentsTest, numbers_are_never_those_of_another_worker) {
  options.workers = 3;
  std::set<std::uint32_t> seen;
  for (std::size_t worker = 0; worker < 3; ++worker) {
    options.worker = worker;
    Shard one(options, port, counters, now);
    for (std::size_t i = 0; i < 100; ++i) {
      port.sent.clear();
      ASSERT_TRUE(
          one.send_datagram({.local = {kHere, 5}, .remote = {kThere, 4000}}, pattern(2000)));
      EXPECT_TRUE(seen.insert(port.sent[0].ip.id).second);
    }
  }
}

TEST_F(FragmentsTest, numbers_do_not_tell_how_many_go_elsewhere) {
  const auto id_of_one_to = [this](const IpAddr& there) {
    port.sent.clear();
    EXPECT_TRUE(shard().send_datagram({.local = {kHere, 5}, .remote = {there, 4}}, pattern(2000)));
    return port.sent[0].ip.id;
  };
  const std::uint32_t first = id_of_one_to(kThere);
  for (int i = 0; i < 10; ++i) id_of_one_to(*IpAddr::parse("198.18.0.9"));
  const std::uint32_t second = id_of_one_to(kThere);
  EXPECT_EQ((second - first) & 0xffff, 1U);
}

TEST_F(FragmentsTest, several_long_datagrams_go_each_for_itself) {
  port.capabilities.checksum = port.capabilities.datagram_segmentation = true;
  const FlowKey flow{.local = {kHere, 5}, .remote = {kThere, 4000}};
  EXPECT_TRUE(shard().send_datagram(flow, pattern(2 * 4000 + 100), {.segment_size = 4000}));
  ASSERT_EQ(port.sent.size(), 3U + 3U + 1U);
  EXPECT_NE(port.sent[0].ip.id, port.sent[3].ip.id);
  EXPECT_FALSE(port.sent[6].ip.is_fragment());
  EXPECT_EQ(counters.datagrams_sent.get(), 3U);
}

TEST_F(FragmentsTest, a_device_that_refuses_a_piece_gets_no_more) {
  port.refuse = true;
  const FlowKey flow{.local = {kHere, 5}, .remote = {kThere, 4000}};
  EXPECT_FALSE(shard().send_datagram(flow, pattern(8000)));
  EXPECT_EQ(drops(DropReason::tx_error), 1U);
  EXPECT_EQ(counters.datagrams_sent.get(), 0U);
  port.refuse = false;
  port.room = 3;
  EXPECT_FALSE(shard().send_datagram(flow, pattern(8000)));
  EXPECT_EQ(port.sent.size(), 3U);
  EXPECT_EQ(drops(DropReason::tx_error), 2U);
  EXPECT_EQ(counters.datagrams_sent.get(), 0U);
  EXPECT_EQ(counters.packets_fragmented.get(), 0U);
}

TEST_F(FragmentsTest, the_sender_is_told_when_the_time_is_over) {
  const Octets d4 = udp(true, pattern(3000)), d6 = udp(false, pattern(3000));
  fragment(header(true, wire::kProtoUdp, 1), d4, 0, 1480);
  fragment(header(true, wire::kProtoUdp, 2), d4, 1480, 2960);
  fragment(header(false, wire::kProtoUdp, 3), d6, 0, 1448);
  pass(29s);
  EXPECT_TRUE(port.sent.empty());
  pass(2s);
  ASSERT_EQ(port.sent.size(), 1U) << "only of the one whose first fragment came";
  EXPECT_EQ(port.sent[0].ip.protocol, wire::kProtoIcmp);
  EXPECT_EQ(port.sent[0].ip.dst, kThere);
  EXPECT_EQ(port.sent[0].payload[0], 11);
  EXPECT_EQ(port.sent[0].payload[1], 1);
  EXPECT_LE(port.sent[0].octets.size(), 576U);
  EXPECT_EQ(drops(DropReason::ip_incomplete), 2U);
  pass(30s);
  ASSERT_EQ(port.sent.size(), 2U);
  EXPECT_EQ(port.sent[1].ip.protocol, wire::kProtoIcmpV6);
  EXPECT_EQ(port.sent[1].payload[0], 3);
  EXPECT_EQ(port.sent[1].payload[1], 1);
  EXPECT_EQ(port.sent[1].payload[8 + 6], 44) << "what is quoted is the fragment";
  EXPECT_EQ(drops(DropReason::ip_incomplete), 3U);
}

TEST_F(FragmentsTest, many_that_are_given_up_take_several_turns) {
  const Octets d = udp(true, pattern(3000));
  for (std::uint32_t i = 0; i < limits::kTimersPerTurn + 3; ++i) {
    fragment(header(true, wire::kProtoUdp, i), d, 1480, 2960);
  }
  now += 30s;
  shard().on_timers(now);
  EXPECT_EQ(drops(DropReason::ip_incomplete), limits::kTimersPerTurn);
  EXPECT_LE(shard().next_deadline(), now);
  shard().on_timers(now);
  EXPECT_EQ(drops(DropReason::ip_incomplete), limits::kTimersPerTurn + 3);
}

TEST_F(FragmentsTest, of_errors_nobody_is_told) {
  Octets error(3000);
  error[0] = 3;
  fragment(header(true, wire::kProtoIcmp), error, 0, 1480);
  error[0] = 1;
  fragment(header(false, wire::kProtoIcmpV6), error, 0, 1448);
  error[0] = wire::kProtoIcmpV6;  // behind destination options
  fragment(header(false, 60, 2), error, 0, 1448);
  std::uint32_t id = 3;
  for (const std::uint8_t type : {130, 133, 134, 137}) {  // redirect is the last
    error[0] = type;
    fragment(header(false, wire::kProtoIcmpV6, id++), error, 0, 1448);
  }
  pass(61s);
  EXPECT_TRUE(port.sent.empty());
  EXPECT_EQ(drops(DropReason::ip_incomplete), 7U);
}

TEST_F(FragmentsTest, who_pings_is_told) {
  for (const bool v4 : {true, false}) {
    fragment(header(v4, v4 ? wire::kProtoIcmp : wire::kProtoIcmpV6), ping(v4, 3000), 0, 1448);
  }
  pass(61s);
  EXPECT_EQ(port.sent.size(), 2U);
}

TEST_F(FragmentsTest, incomplete_ones_count_as_memory) {
  fragment(header(true, wire::kProtoUdp), udp(true, pattern(3000)), 0, 1480);
  ++taken;
  EXPECT_GT(counters.memory_bytes.get(), 1480U);
}

class FragmentsOfOthersTest : public FragmentsTest {
 protected:
  FragmentsOfOthersTest() {
    options.crew = &crew;
    options.worker_of = [this](std::uint32_t hash) { return owner_of(hash); };
  }
  WaitingCrew crew;
  std::function<std::size_t(std::uint32_t)> owner_of = [](std::uint32_t) { return 3; };
};

TEST_F(FragmentsOfOthersTest, the_whole_goes_to_its_worker) {
  fragments(header(true, wire::kProtoUdp), udp(true, pattern(3000)));
  EXPECT_TRUE(taker.got.empty());
  ASSERT_EQ(crew.errands.size(), 1U);
  EXPECT_EQ(crew.errands[0].first, 3U);
  crew.errands[0].second(shard());
  ASSERT_EQ(taker.got.size(), 1U);
  EXPECT_EQ(taker.got[0], pattern(3000));
  owner_of = [](std::uint32_t) { return 0; };
  fragments(header(true, wire::kProtoUdp), udp(true, pattern(3000)));
  EXPECT_EQ(taker.got.size(), 2U);
}

TEST_F(FragmentsOfOthersTest, an_error_goes_where_the_flow_is_that_it_quotes) {
  const FlowKey flow{.local = {kHere, 80}, .remote = {kThere, 1000}};
  const std::uint32_t home = flow_hash(options.secret, flow);
  owner_of = [home](std::uint32_t hash) { return hash == home ? 3U : 0U; };
  Octets error(2000);
  error[0] = 3;
  error[1] = 3;
  wire::IpHeader quoted = header(true, wire::kProtoTcp);
  std::swap(quoted.src, quoted.dst);
  wire::emit_ip(quoted, error.size() - 28, MutableBytes{error}.subspan(8));
  store_be16(&error[28], 80);
  store_be16(&error[30], 1000);
  wire::IpHeader h = header(true, wire::kProtoIcmp);
  fragments(h, error);
  ASSERT_EQ(crew.errands.size(), 1U);
  EXPECT_EQ(crew.errands[0].first, 3U);
  fragments(h, ping(true, 2000));
  EXPECT_EQ(crew.errands.size(), 1U) << "what has no ports is at home here";
}

TEST_F(FragmentsOfOthersTest, the_number_of_those_under_way_is_bounded) {
  for (std::uint32_t i = 0; i < limits::kRingSlots + 5; ++i) {
    const Octets d = udp(true, pattern(16));
    fragment(header(true, wire::kProtoUdp, i), d, 0, 16);
    fragment(header(true, wire::kProtoUdp, i), d, 16, 24);
    taken += 2;
  }
  EXPECT_EQ(crew.errands.size(), limits::kRingSlots);
  EXPECT_EQ(drops(DropReason::ring_full), 5U);
  taken -= 5;
}

TEST_F(FragmentsOfOthersTest, those_under_way_are_bounded) {
  const std::size_t most = limits::kHandOvers / 60'028;
  for (std::size_t i = 0; i < most + 2; ++i) {
    fragments(header(true, wire::kProtoUdp, static_cast<std::uint32_t>(i)),
              udp(true, pattern(60'000)));
  }
  EXPECT_EQ(crew.errands.size(), most);
  EXPECT_EQ(drops(DropReason::ring_full), 2U);
  taken -= 2;
  crew.errands.front().second(shard());
  crew.errands.erase(crew.errands.begin());  // one has arrived
  fragments(header(true, wire::kProtoUdp, 5000), udp(true, pattern(60'000)));
  EXPECT_EQ(crew.errands.size(), most);
  EXPECT_EQ(drops(DropReason::ring_full), 2U);
}

class FragmentsInLittleMemoryTest : public FragmentsTest {
 protected:
  FragmentsInLittleMemoryTest() { options.memory_limit = 1 << 20; }
};

TEST_F(FragmentsInLittleMemoryTest, a_flood_of_them_leaves_connections_alone) {
  const Octets d = udp(true, pattern(3000));
  for (std::uint32_t i = 0; i < 2000; ++i) fragment(header(true, wire::kProtoUdp, i), d, 0, 1480);
  EXPECT_LE(counters.memory_bytes.get(), (1U << 20) / 2);
  open();
  EXPECT_EQ(service.opened, 1);
  taken += 2000 - drops(DropReason::ip_incomplete);
}

}  // namespace
}  // namespace pollux
