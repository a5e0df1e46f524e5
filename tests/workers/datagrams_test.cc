// UDP and pings of one shard: who gets a datagram, super-datagrams both ways, errors both ways, and
// every datagram that nobody takes counted in exactly one reason (the fixture looks at the sum).
#include <gtest/gtest.h>

#include <algorithm>

#include "proto/icmp/icmp.h"
#include "proto/wire/udp.h"
#include "tests/workers/shard_fixture.h"

namespace pollux {
namespace {

using Octets = std::vector<std::uint8_t>;

class Taker final : public Service {
 public:
  struct Got {
    FlowKey flow;
    Octets payload;
    std::uint16_t segment_size;
    std::uint8_t tos;
  };
  struct Answer {
    std::uint16_t sequence;
    std::uint8_t hop_limit;
    Octets data;
  };
  std::string_view name() const override { return "taker"; }
  bool takes_datagrams() const override { return true; }
  std::optional<DropReason> on_datagram(const Datagram& d) override {
    const Bytes b = d.payload.bytes();
    got.push_back({d.flow, Octets(b.begin(), b.end()), d.segment_size, d.tos});
    return refuse;
  }
  void on_datagram_error(const FlowKey& flow, bool hard) override {
    errors.emplace_back(flow, hard);
  }
  void on_echo_reply(const icmp::EchoReply& r) override {
    answers.push_back({r.sequence, r.hop_limit, Octets(r.data.begin(), r.data.end())});
  }

  std::optional<DropReason> refuse;
  std::vector<Got> got;
  std::vector<std::pair<FlowKey, bool>> errors;
  std::vector<Answer> answers;
};

constexpr std::uint16_t kUdpPort = 9000;

class DatagramTest : public ShardTest {
 protected:
  void listen() { shard().listen({{}, kUdpPort}, true, taker); }

  static Octets udp_packet(const FlowKey& flow, const Octets& payload) {
    Octets d(wire::kUdpHeaderSize);
    wire::emit_udp({.src_port = flow.remote.port, .dst_port = flow.local.port}, payload.size(), d);
    d.insert(d.end(), payload.begin(), payload.end());
    wire::ChecksumSum sum;
    wire::add_pseudo_header(sum, flow.remote.addr, flow.local.addr, wire::kProtoUdp,
                            static_cast<std::uint32_t>(d.size()));
    sum.add(d);
    const std::uint16_t checksum = sum.checksum();
    store_be16(&d[wire::kUdpChecksumOffset], checksum == 0 ? std::uint16_t{0xffff} : checksum);
    return ip_packet(flow.remote.addr, flow.local.addr, wire::kProtoUdp, d);
  }
  static FlowKey flow(std::uint16_t local = kUdpPort, bool v4 = true) {
    return {.local = {v4 ? kHere : kHere6, local}, .remote = {v4 ? kThere : kThere6, 4000}};
  }
  void datagram(const FlowKey& f, const Octets& payload, std::uint16_t segment_size = 0) {
    packet(udp_packet(f, payload), ChecksumState::unverified, segment_size);
  }
  /// The header of a datagram that was sent; its checksum must be right.
  static wire::UdpHeader sent_udp(const Sent& s) {
    EXPECT_EQ(s.ip.protocol, wire::kProtoUdp);
    const auto parsed = wire::parse_udp(s.ip, s.payload, true);
    EXPECT_NE(load_be16(&s.payload[wire::kUdpChecksumOffset]), 0);
    return std::get<wire::UdpHeader>(parsed);
  }
  static Octets sent_payload(const Sent& s) {
    return Octets(s.payload.begin() + wire::kUdpHeaderSize, s.payload.end());
  }
  static bool icmp_checksum_ok(const Sent& s) {
    wire::ChecksumSum sum;
    if (!s.ip.is_v4()) {
      wire::add_pseudo_header(sum, s.ip.src, s.ip.dst, wire::kProtoIcmpV6,
                              static_cast<std::uint32_t>(s.payload.size()));
    }
    sum.add(s.payload);
    return sum.fold() == 0xffff;
  }
  Octets icmp_packet(bool v4, std::uint8_t type, std::uint8_t code, std::uint32_t word,
                     const Octets& body) {
    const IpAddr& from = v4 ? kThere : kThere6;
    const IpAddr& to = v4 ? kHere : kHere6;
    const std::uint8_t protocol = v4 ? wire::kProtoIcmp : wire::kProtoIcmpV6;
    Octets m{type, code, 0, 0, 0, 0, 0, 0};
    store_be32(&m[4], word);
    m.insert(m.end(), body.begin(), body.end());
    wire::ChecksumSum sum;
    if (!v4) wire::add_pseudo_header(sum, from, to, protocol, static_cast<std::uint32_t>(m.size()));
    sum.add(m);
    store_be16(&m[2], sum.checksum());
    return ip_packet(from, to, protocol, m);
  }
  /// ICMP says about a datagram of ours of `f` that its port is unreachable, or its host.
  void error_about(const FlowKey& f, bool hard) {
    Octets quoted(wire::kIpv4HeaderSize + wire::kUdpHeaderSize);
    wire::IpHeader ip;
    ip.src = f.local.addr;
    ip.dst = f.remote.addr;
    ip.protocol = wire::kProtoUdp;
    wire::emit_ip(ip, wire::kUdpHeaderSize, quoted);
    wire::emit_udp({.src_port = f.local.port, .dst_port = f.remote.port}, 0,
                   MutableBytes(quoted).subspan(wire::kIpv4HeaderSize));
    packet(icmp_packet(true, 3, hard ? 3 : 1, 0, quoted));
  }

  Taker taker;
};

TEST_F(DatagramTest, a_listener_gets_what_comes_to_its_port_in_both_families) {
  listen();
  for (const bool v4 : {true, false}) {
    datagram(flow(kUdpPort, v4), {1, 2, 3});
    ASSERT_EQ(taker.got.size(), 1U);
    EXPECT_EQ(taker.got[0].flow, flow(kUdpPort, v4));
    EXPECT_EQ(taker.got[0].payload, (Octets{1, 2, 3}));
    EXPECT_EQ(taker.got[0].segment_size, 0);
    taker.got.clear();
    ++taken;
  }
  EXPECT_EQ(counters.datagrams_received.get(), 2U);
  EXPECT_TRUE(port.sent.empty());
}

TEST_F(DatagramTest, an_empty_datagram_is_one) {
  listen();
  datagram(flow(), {});
  ++taken;
  ASSERT_EQ(taker.got.size(), 1U);
  EXPECT_TRUE(taker.got[0].payload.empty());
  EXPECT_EQ(counters.datagrams_received.get(), 1U);
}

TEST_F(DatagramTest, a_listener_at_one_address_gets_no_others) {
  shard().listen({kHere, kUdpPort}, false, taker);
  datagram(flow(kUdpPort, true), {1});
  datagram(flow(kUdpPort, false), {1});
  ++taken;
  EXPECT_EQ(taker.got.size(), 1U);
  EXPECT_EQ(drops(DropReason::udp_no_listener), 1U);
  EXPECT_TRUE(shard().takes_datagrams(kUdpPort));
}

TEST_F(DatagramTest, a_service_of_connections_alone_gets_none) {
  datagram(flow(kPort), {1});
  EXPECT_EQ(drops(DropReason::udp_no_listener), 1U);
  EXPECT_FALSE(shard().takes_datagrams(kPort));
}

TEST_F(DatagramTest, what_the_service_refuses_counts_in_its_reason) {
  listen();
  taker.refuse = DropReason::udp_reflection;
  datagram(flow(), {1});
  EXPECT_EQ(drops(DropReason::udp_reflection), 1U);
  EXPECT_EQ(counters.datagrams_received.get(), 1U);
}

TEST_F(DatagramTest, nonsense_counts_once) {
  listen();
  packet(ip_packet(kThere, kHere, wire::kProtoUdp, Octets(7)));
  Octets wrong = udp_packet(flow(), {1, 2, 3});
  wrong.back() ^= 1;
  packet(wrong);
  EXPECT_EQ(drops(DropReason::udp_malformed), 1U);
  EXPECT_EQ(drops(DropReason::udp_checksum), 1U);
  EXPECT_EQ(counters.checksum_errors.get(), 1U);
  packet(wrong, ChecksumState::trusted);  // the kernel has filled in no checksum yet
  ++taken;
  EXPECT_EQ(taker.got.size(), 1U);
  EXPECT_TRUE(port.sent.empty());
}

// --- super-datagrams

TEST_F(DatagramTest, a_super_datagram_counts_as_many) {
  listen();
  datagram(flow(), Octets(950, 'x'), 100);
  ++taken;
  ASSERT_EQ(taker.got.size(), 1U);
  EXPECT_EQ(taker.got[0].segment_size, 100);
  EXPECT_EQ(taker.got[0].payload.size(), 950U);
  EXPECT_EQ(counters.datagrams_received.get(), 10U);
}

TEST_F(DatagramTest, one_segment_is_no_super_datagram) {
  listen();
  datagram(flow(), Octets(100, 'x'), 100);
  ++taken;
  EXPECT_EQ(taker.got[0].segment_size, 0);
  EXPECT_EQ(counters.datagrams_received.get(), 1U);
}

TEST(Datagram, gives_its_datagrams_one_by_one) {
  const Octets octets{1, 2, 3, 4, 5};
  const FlowKey key;
  const auto sizes = [&](std::uint16_t each) {
    const Datagram d{.flow = key, .payload = Slice::from_static(octets), .segment_size = each};
    std::vector<std::size_t> all;
    d.for_each([&](Bytes b) { all.push_back(b.size()); });
    EXPECT_EQ(all.size(), d.count());
    return all;
  };
  EXPECT_EQ(sizes(0), (std::vector<std::size_t>{5}));
  EXPECT_EQ(sizes(2), (std::vector<std::size_t>{2, 2, 1}));
  EXPECT_EQ(sizes(5), (std::vector<std::size_t>{5}));
}

TEST_F(DatagramTest, the_port_segments_where_it_can) {
  port.capabilities.datagram_segmentation = true;
  EXPECT_TRUE(shard().send_datagram(flow(), Octets(2500, 'x'), {.segment_size = 1000, .tos = 8}));
  ASSERT_EQ(port.sent.size(), 1U);
  EXPECT_EQ(port.sent[0].segment_size, 1000);
  EXPECT_EQ(port.sent[0].ip.tos, 8);
  EXPECT_EQ(sent_udp(port.sent[0]).length, 2508);
  EXPECT_EQ(counters.datagrams_sent.get(), 3U);
}

TEST_F(DatagramTest, the_shard_segments_where_the_port_cannot) {
  for (const bool v4 : {true, false}) {
    port.sent.clear();
    Octets payload(2500);
    for (std::size_t i = 0; i < payload.size(); ++i) payload[i] = static_cast<std::uint8_t>(i * 7);
    EXPECT_TRUE(shard().send_datagram(flow(kUdpPort, v4), payload, {.segment_size = 1000}));
    ASSERT_EQ(port.sent.size(), 3U);
    Octets all;
    for (const Sent& s : port.sent) {
      EXPECT_EQ(s.segment_size, 0);
      EXPECT_EQ(sent_udp(s).dst_port, 4000);
      EXPECT_EQ(s.ip.dst, v4 ? kThere : kThere6);
      const Octets part = sent_payload(s);
      all.insert(all.end(), part.begin(), part.end());
    }
    EXPECT_EQ(all, payload);
    EXPECT_EQ(port.sent[2].payload.size(), 508U);
  }
  EXPECT_EQ(counters.datagrams_sent.get(), 6U);
}

TEST_F(DatagramTest, a_super_datagram_has_a_bounded_number_of_datagrams_and_octets) {
  port.capabilities.datagram_segmentation = true;
  EXPECT_TRUE(shard().send_datagram(flow(), Octets(130 * 10, 'x'), {.segment_size = 10}));
  ASSERT_EQ(port.sent.size(), 3U);
  EXPECT_EQ(sent_payload(port.sent[0]).size(), limits::kDatagramSegments * 10);
  EXPECT_EQ(sent_payload(port.sent[2]).size(), 20U);
  port.sent.clear();
  EXPECT_TRUE(shard().send_datagram(flow(), Octets(60 * 1400, 'x'), {.segment_size = 1400}));
  EXPECT_EQ(port.sent.size(), 2U);
  EXPECT_EQ(counters.datagrams_sent.get(), 190U);
  port.sent.clear();
  EXPECT_TRUE(shard().send_datagram(flow(), Octets(65, 'x'), {.segment_size = 1}));
  ASSERT_EQ(port.sent.size(), 2U);
  EXPECT_EQ(port.sent[1].segment_size, 0);  // what is left is one
}

TEST_F(DatagramTest, what_is_longer_than_a_packet_is_refused_and_counted) {
  for (const bool v4 : {true, false}) {
    const std::size_t whole = shard().max_unfragmented(v4);
    EXPECT_EQ(whole, v4 ? 1472U : 1452U);
    port.sent.clear();
    EXPECT_TRUE(shard().send_datagram(flow(kUdpPort, v4), Octets(whole)));
    EXPECT_EQ(port.sent.size(), 1U);
    EXPECT_EQ(port.sent.back().octets.size(), 1500U);
    const std::size_t most = Shard::max_datagram(v4);
    EXPECT_EQ(most, v4 ? 65507U : 65527U);
    EXPECT_FALSE(shard().send_datagram(flow(kUdpPort, v4), Octets(most + 1)));
    EXPECT_EQ(port.sent.size(), 1U);
  }
  EXPECT_EQ(counters.tx_drops.get(), 2U);
  EXPECT_EQ(counters.datagrams_sent.get(), 2U);
}

TEST_F(DatagramTest, a_device_that_refuses_is_counted) {
  port.refuse = true;
  EXPECT_FALSE(shard().send_datagram(flow(), Octets(2000), {.segment_size = 1000}));
  EXPECT_EQ(counters.tx_drops.get(), 2U);
  EXPECT_EQ(drops(DropReason::tx_error), 2U);
  EXPECT_EQ(counters.datagrams_sent.get(), 0U);
}

TEST_F(DatagramTest, a_checksum_of_zero_is_sent_as_its_other_form) {
  EXPECT_TRUE(shard().send_datagram(flow(), Octets{0, 0}));
  const std::uint16_t sum = load_be16(&port.sent[0].payload[wire::kUdpChecksumOffset]);
  Octets cancels(2);
  store_be16(cancels.data(), sum);  // the sum of all is now all ones, its complement zero
  EXPECT_TRUE(shard().send_datagram(flow(), cancels));
  EXPECT_EQ(load_be16(&port.sent[1].payload[wire::kUdpChecksumOffset]), 0xffff);
}

// --- port unreachable

TEST_F(DatagramTest, a_port_that_nobody_has_is_unreachable) {
  for (const bool v4 : {true, false}) {
    const Octets whole = udp_packet(flow(1, v4), {1, 2, 3});
    Octets with_trailer = whole;
    with_trailer.push_back(0xee);  // behind the packet's own length: no part of it
    packet(with_trailer);
    const Sent& s = port.sent.back();
    EXPECT_EQ(s.ip.src, v4 ? kHere : kHere6);
    EXPECT_EQ(s.ip.dst, v4 ? kThere : kThere6);
    EXPECT_EQ(s.ip.protocol, v4 ? wire::kProtoIcmp : wire::kProtoIcmpV6);
    EXPECT_EQ(s.payload[0], v4 ? 3 : 1);
    EXPECT_EQ(s.payload[1], v4 ? 3 : 4);
    EXPECT_TRUE(icmp_checksum_ok(s));
    EXPECT_EQ(load_be32(&s.payload[4]), 0U);
    EXPECT_EQ(Octets(s.payload.begin() + 8, s.payload.end()), whole);
  }
  EXPECT_EQ(drops(DropReason::udp_no_listener), 2U);
}

TEST_F(DatagramTest, an_error_quotes_no_more_than_fits) {
  for (const bool v4 : {true, false}) {
    datagram(flow(1, v4), Octets(1400, 'x'));
    EXPECT_EQ(port.sent.back().octets.size(), v4 ? 576U : 1280U);
    EXPECT_TRUE(icmp_checksum_ok(port.sent.back()));
  }
  datagram(flow(1), Octets(30000, 'x'), 1000);
  EXPECT_EQ(port.sent.size(), 3U);  // one for all of a super-datagram
  EXPECT_EQ(port.sent.back().octets.size(), 576U);
}

TEST_F(DatagramTest, unreachable_is_said_at_a_bounded_rate) {
  constexpr int many = 3000;
  const Octets p = udp_packet(flow(1), {1});
  for (int i = 0; i < many; ++i) packet(p);
  const std::size_t burst = port.sent.size();
  EXPECT_GT(burst, 100U);
  EXPECT_LT(burst, static_cast<std::size_t>(many));
  now += 1ms;
  for (int i = 0; i < many; ++i) packet(p);
  EXPECT_LE(port.sent.size(), burst + 21);
  EXPECT_GT(port.sent.size(), burst);
  EXPECT_EQ(drops(DropReason::udp_no_listener), 2U * many);
}

TEST_F(DatagramTest, a_drain_closes_listeners_but_no_flows) {
  listen();
  const auto f = shard().open_datagrams({}, {kThere, 53}, taker);
  ASSERT_TRUE(f);
  shard().begin_drain(now);
  datagram(flow(), {1});
  EXPECT_EQ(drops(DropReason::udp_no_listener), 1U);
  EXPECT_TRUE(taker.got.empty());
  datagram(*f, {1});
  ++taken;
  EXPECT_EQ(taker.got.size(), 1U);
}

// --- flows that a service opens

TEST_F(DatagramTest, an_open_flow_comes_home_until_it_is_closed) {
  options.worker_of = [](std::uint32_t h) -> std::size_t { return h % 4 == 1 ? 0 : 1; };
  const auto f = shard().open_datagrams({}, {kThere, 53}, taker);
  ASSERT_TRUE(f);
  EXPECT_EQ(f->local.addr, kHere);
  EXPECT_EQ(f->remote, (Endpoint{kThere, 53}));
  EXPECT_EQ(flow_hash(options.secret, *f) % 4, 1U);
  datagram(*f, {1});
  ++taken;
  EXPECT_EQ(taker.got.size(), 1U);
  FlowKey other = *f;
  other.remote.port = 54;
  datagram(other, {1});
  shard().close_datagrams(*f);
  datagram(*f, {1});
  EXPECT_EQ(taker.got.size(), 1U);
  EXPECT_EQ(drops(DropReason::udp_no_listener), 2U);
}

TEST_F(DatagramTest, flows_to_one_end_have_different_ports) {
  const auto a = shard().open_datagrams({}, {kThere, 53}, taker);
  const auto b = shard().open_datagrams({}, {kThere, 53}, taker);
  ASSERT_TRUE(a && b);
  EXPECT_NE(a->local.port, b->local.port);
  const auto six = shard().open_datagrams({}, {kThere6, 53}, taker);
  ASSERT_TRUE(six);
  EXPECT_EQ(six->local.addr, kHere6);
}

TEST_F(DatagramTest, flows_are_bounded_and_never_go_to_nobody) {
  EXPECT_FALSE(shard().open_datagrams({}, {*IpAddr::parse("224.0.0.1"), 53}, taker));
  EXPECT_FALSE(shard().open_datagrams({}, {*IpAddr::parse("0.0.0.0"), 53}, taker));
  std::optional<FlowKey> last;
  for (std::size_t i = 0; i < limits::kDatagramFlows; ++i) {
    last = shard().open_datagrams({}, {kThere, static_cast<std::uint16_t>(1 + i)}, taker);
    ASSERT_TRUE(last);
  }
  EXPECT_FALSE(shard().open_datagrams({}, {kThere, 60000}, taker));
  EXPECT_FALSE(shard().claim_datagrams(flow(), taker));
  shard().close_datagrams(*last);
  EXPECT_TRUE(shard().open_datagrams({}, {kThere, 60000}, taker));
}

TEST_F(DatagramTest, errors_go_to_the_flow_that_they_are_about) {
  const auto f = shard().open_datagrams({}, {kThere, 53}, taker);
  ASSERT_TRUE(f);
  error_about(*f, true);
  error_about(*f, false);
  taken += 2;
  ASSERT_EQ(taker.errors.size(), 2U);
  EXPECT_EQ(taker.errors[0], std::pair(*f, true));
  EXPECT_EQ(taker.errors[1], std::pair(*f, false));
  shard().close_datagrams(*f);
  error_about(*f, true);
  EXPECT_EQ(taker.errors.size(), 2U);
  EXPECT_EQ(drops(DropReason::icmp_ignored), 1U);
}

TEST_F(DatagramTest, a_listener_hears_of_errors_where_it_claimed_the_flow) {
  listen();
  error_about(flow(), true);
  EXPECT_EQ(drops(DropReason::icmp_ignored), 1U);
  EXPECT_TRUE(shard().claim_datagrams(flow(), taker));
  error_about(flow(), true);
  datagram(flow(), {1});
  taken += 2;
  ASSERT_EQ(taker.errors.size(), 1U);
  EXPECT_EQ(taker.errors[0], std::pair(flow(), true));
  EXPECT_EQ(taker.got.size(), 1U);
}

// --- pings

TEST_F(DatagramTest, a_ping_goes_out_and_its_answer_comes_home) {
  for (const bool v4 : {true, false}) {
    const auto f = shard().open_echo(v4 ? kThere : kThere6, taker);
    ASSERT_TRUE(f);
    EXPECT_EQ(f->local, v4 ? kHere : kHere6);
    EXPECT_TRUE(shard().send_echo(*f, 7, Octets{1, 2, 3}));
    const Sent& s = port.sent.back();
    EXPECT_EQ(s.ip.dst, f->remote);
    EXPECT_EQ(s.payload[0], v4 ? 8 : 128);
    EXPECT_TRUE(icmp_checksum_ok(s));
    const std::uint32_t word = load_be32(&s.payload[4]);
    EXPECT_EQ(word, std::uint32_t{f->id} << 16 | 7);
    packet(icmp_packet(v4, v4 ? 0 : 129, 0, word, {1, 2, 3}));
    ++taken;
    ASSERT_EQ(taker.answers.size(), 1U);
    EXPECT_EQ(taker.answers[0].sequence, 7);
    EXPECT_EQ(taker.answers[0].hop_limit, 64);
    EXPECT_EQ(taker.answers[0].data, (Octets{1, 2, 3}));
    taker.answers.clear();
  }
}

TEST_F(DatagramTest, answers_of_others_are_ignored) {
  const auto f = shard().open_echo(kThere, taker);
  ASSERT_TRUE(f);
  const std::uint32_t id = f->id;
  packet(icmp_packet(true, 0, 0, (id ^ 1) << 16, {}));
  packet(icmp_packet(false, 129, 0, id << 16, {}));  // the identifier, from another address
  shard().close_echo(*f);
  packet(icmp_packet(true, 0, 0, id << 16, {}));
  EXPECT_TRUE(taker.answers.empty());
  EXPECT_EQ(drops(DropReason::icmp_ignored), 3U);
}

TEST_F(DatagramTest, pings_are_bounded_and_belong_to_one_shard) {
  EXPECT_FALSE(shard().open_echo(*IpAddr::parse("255.255.255.255"), taker));
  EXPECT_FALSE(shard().open_echo(*IpAddr::parse("ff02::1"), taker));
  EXPECT_FALSE(shard().open_echo(kHere, taker)) << "itself";
  EXPECT_FALSE(shard().open_datagrams({}, {kHere, 9}, taker));
  std::vector<std::uint16_t> ids;
  for (std::size_t i = 0; i < limits::kEchoFlows; ++i) {
    const auto f = shard().open_echo(kThere, taker);
    ASSERT_TRUE(f);
    EXPECT_EQ(std::count(ids.begin(), ids.end(), f->id), 0);
    ids.push_back(f->id);
  }
  EXPECT_FALSE(shard().open_echo(kThere, taker));
}

TEST_F(DatagramTest, a_shard_opens_no_ping_whose_answers_go_elsewhere) {
  options.worker_of = [](std::uint32_t) -> std::size_t { return 1; };
  EXPECT_FALSE(shard().open_echo(kThere, taker));
}

}  // namespace
}  // namespace pollux
