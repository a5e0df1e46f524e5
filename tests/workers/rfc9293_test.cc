// Requirements of RFC 9293 and RFC 3168 that the shard meets: addresses, IP headers, ICMP, what
// services are told. proto/tcp/RFC.md has all of them.
#include "tests/workers/shard_fixture.h"

namespace pollux {
namespace {

/// Does to a Stream what a test says, and notes what it is told.
class Hands final : public Service {
 public:
  std::string_view name() const override { return "hands"; }
  void on_open(Stream& s) override {
    if (at_open) at_open(s);
  }
  void on_readable(Stream& s) override {
    if (at_read) at_read(s);
    if (!keep) s.consume(s.readable());
  }
  void on_urgent(Stream& s) override { urgent.push_back(s.urgent_remaining()); }
  void on_soft_error(Stream&, SoftError e) override { errors.push_back(e); }
  void on_closed(Stream&, CloseReason r) override { reasons.push_back(r); }

  std::function<void(Stream&)> at_open, at_read;
  bool keep = false;
  std::vector<std::uint32_t> urgent;
  std::vector<SoftError> errors;
  std::vector<CloseReason> reasons;
};

constexpr std::uint16_t kHands = 80;

class Rfc9293Test : public ShardTest {
 protected:
  void open_hands(std::uint8_t flags_of_syn = flag::syn) {
    shard().listen({{}, kHands}, true, hands);
    segment(header(flags_of_syn, 100, 0, 1000, kHands));
    iss = port.sent.back().tcp.seq.raw();
    segment(to_hands(flag::ack, 101, iss + 1));
    taken += 2;
  }
  static wire::TcpHeader to_hands(std::uint8_t flags, std::uint32_t seq, std::uint32_t ack) {
    return header(flags, seq, ack, 1000, kHands);
  }
  /// A packet whose IP header says `tos`.
  void marked(const wire::TcpHeader& h, std::size_t data, std::uint8_t tos) {
    auto p = tcp_packet(h, data, kThere, kHere);
    p[1] = tos;
    fix_ip_checksum(p);
    packet(p);
    shard().finish_turn(now);
  }
  static void fix_ip_checksum(std::vector<std::uint8_t>& p) {
    store_be16(p.data() + 10, 0);
    const Bytes head = Bytes(p).first(std::size_t{4} * (p[0] & 15U));
    store_be16(p.data() + 10, static_cast<std::uint16_t>(~wire::checksum_fold(head)));
  }
  /// With IP options in front of the segment.
  static std::vector<std::uint8_t> with_options(std::vector<std::uint8_t> p,
                                                const std::vector<std::uint8_t>& options) {
    p.insert(p.begin() + 20, options.begin(), options.end());
    p[0] = static_cast<std::uint8_t>(0x45 + options.size() / 4);
    store_be16(p.data() + 2, static_cast<std::uint16_t>(p.size()));
    fix_ip_checksum(p);
    return p;
  }
  /// An ICMP error that quotes the last segment sent.
  void icmp_error(std::uint8_t type, std::uint8_t code) {
    const Sent& about = port.sent.back();
    std::vector<std::uint8_t> m(8 + 20 + 8);
    m[0] = type;
    m[1] = code;
    wire::emit_ip(about.ip, about.payload.size(), MutableBytes(m).subspan(8));
    std::copy_n(about.payload.begin(), 8, m.begin() + 28);
    wire::ChecksumSum sum;
    sum.add(m);
    store_be16(m.data() + 2, sum.checksum());
    packet(ip_packet(kThere, kHere, wire::kProtoIcmp, m));
    shard().finish_turn(now);
  }
  const Sent& last() const { return port.sent.back(); }

  Hands hands;
};

void write(Stream& s, std::size_t n) {
  const std::vector<std::uint8_t> data(n, 'x');
  s.write(Bytes(data));
}

// --- segments and checksums

TEST_F(Rfc9293Test, rfc9293_must_02_tx_checksum) {
  // The port of the fixture verifies each; here once more, with data of odd length.
  hands.at_open = [](Stream& s) { write(s, 333); };
  open_hands();
  EXPECT_TRUE(wire::tcp_checksum_ok(last().ip.src, last().ip.dst, last().payload));
}

TEST_F(Rfc9293Test, rfc9293_must_03_rx_checksum) {
  auto p = tcp_packet(header(flag::syn, 100), 0, kThere, kHere);
  p.back() = static_cast<std::uint8_t>(p.back() ^ 1);
  packet(p);
  shard().finish_turn(now);
  EXPECT_TRUE(port.sent.empty()) << "silently";
  EXPECT_EQ(drops(DropReason::tcp_checksum), 1U);
}

TEST_F(Rfc9293Test, rfc9293_must_12_close_vs_abort) {
  open_hands();
  segment(to_hands(flag::fin | flag::ack, 101, iss + 1));
  segment(to_hands(flag::ack, 102, iss + 2));
  hands.at_open = [](Stream&) {};
  segment(header(flag::syn, 100, 0, 1001, kHands));
  segment(header(flag::ack, 101, last().tcp.seq.raw() + 1, 1001, kHands));
  segment(header(flag::rst, 101, 0, 1001, kHands));
  taken += 5;
  EXPECT_EQ(hands.reasons, (std::vector{CloseReason::normal, CloseReason::reset}));
}

TEST_F(Rfc9293Test, rfc9293_must_15_default_mss_of_both_families) {
  shard().listen({{}, kHands}, true, hands);
  hands.at_open = [](Stream& s) { write(s, 3000); };
  segment(to_hands(flag::syn, 100, 0));
  segment(to_hands(flag::ack, 101, last().tcp.seq.raw() + 1));
  EXPECT_EQ(last().payload.size(), 20U + 536);
  packet(tcp_packet(to_hands(flag::syn, 100, 0), 0, kThere6, kHere6));
  shard().finish_turn(now);
  packet(tcp_packet(to_hands(flag::ack, 101, last().tcp.seq.raw() + 1), 0, kThere6, kHere6));
  shard().finish_turn(now);
  EXPECT_EQ(last().payload.size(), 20U + 1220);
  taken += 4;
}

TEST_F(Rfc9293Test, rfc9293_must_67_mss_from_mmsr) {
  port.capabilities.mtu = 1280;
  segment(header(flag::syn, 100));
  EXPECT_EQ(last().tcp.options.mss, 1240);
  packet(tcp_packet(header(flag::syn, 100), 0, kThere6, kHere6));
  shard().finish_turn(now);
  EXPECT_EQ(last().tcp.options.mss, 1220);
  taken += 2;
}

TEST_F(Rfc9293Test, rfc9293_must_58_ack_aggregate) {
  open();
  const std::size_t before = port.sent.size();
  for (std::uint32_t i = 0; i < 10; ++i) {
    packet(tcp_packet(header(flag::ack, 101 + i * 1460, iss + 1), 1460, kThere, kHere));
  }
  shard().finish_turn(now);
  taken += 10;
  EXPECT_EQ(port.sent.size(), before + 1);
  EXPECT_EQ(last().tcp.ack, Seq{101 + 14600});
}

TEST_F(Rfc9293Test, rfc9293_must_59_ack_after_queue) {
  open();
  const std::size_t before = port.sent.size();
  for (const std::uint32_t i : {1U, 2U, 0U}) {  // the hole is filled within the batch
    packet(tcp_packet(header(flag::ack, 101 + i * 1000, iss + 1), 1000, kThere, kHere));
    EXPECT_EQ(port.sent.size(), before) << "nothing before all was looked at";
  }
  shard().finish_turn(now);
  taken += 3;
  EXPECT_EQ(last().tcp.ack, Seq{3101});
}

// --- opening

TEST_F(Rfc9293Test, rfc9293_must_41_listen_isolated) {
  open();
  shard().listen({{}, kPort}, true, hands);
  segment(header(flag::ack, 101, iss + 1), 10);
  taken += 1;
  EXPECT_EQ(service.octets, 10U);
  EXPECT_EQ(shard().connections(), 1U);
}

TEST_F(Rfc9293Test, rfc9293_must_42_listen_concurrent) {
  const ConnEntry* e = shard().connect(now, kHere, {kThere, 80}, service);  // SYN-SENT
  ASSERT_NE(e, nullptr);
  const std::uint16_t same = e->key.local.port;
  segment(header(flag::syn, 100));  // SYN-RECEIVED at kPort
  shard().listen({{}, same}, true, hands);
  shard().listen({kHere6, kPort}, false, hands);
  segment(header(flag::syn, 100, 0, 2000, same));
  EXPECT_EQ(last().tcp.flags, flag::syn | flag::ack);
  EXPECT_EQ(last().tcp.src_port, same);
  packet(tcp_packet(header(flag::syn, 100), 0, kThere6, kHere6));
  shard().finish_turn(now);
  EXPECT_EQ(last().tcp.flags, flag::syn | flag::ack);
  taken += 3;
}

TEST_F(Rfc9293Test, rfc9293_must_43_open_local_ip) {
  options.addresses = {{kHere, 32}, {*IpAddr::parse("198.18.0.9"), 32}, {kHere6, 128}};
  shard().connect(now, *IpAddr::parse("198.18.0.9"), {kThere, 80}, service);
  shard().finish_turn(now);
  EXPECT_EQ(last().ip.src, *IpAddr::parse("198.18.0.9"));
}

TEST_F(Rfc9293Test, rfc9293_must_44_open_src_select) {
  ASSERT_NE(shard().connect(now, {}, {kThere, 80}, service), nullptr);
  shard().finish_turn(now);
  EXPECT_EQ(last().ip.src, kHere);
  ASSERT_NE(shard().connect(now, {}, {kThere6, 80}, service), nullptr);
  shard().finish_turn(now);
  EXPECT_EQ(last().ip.src, kHere6);
}

TEST_F(Rfc9293Test, rfc9293_must_45_open_src_sticky) {
  const IpAddr second = *IpAddr::parse("198.18.0.9");
  options.addresses = {{kHere, 32}, {second, 32}};
  packet(tcp_packet(header(flag::syn, 100), 0, kThere, second));
  shard().finish_turn(now);
  EXPECT_EQ(last().ip.src, second);
  const std::uint32_t next = last().tcp.seq.raw() + 1;
  packet(tcp_packet(header(flag::fin | flag::ack, 101, next), 0, kThere, second));
  shard().finish_turn(now);
  EXPECT_EQ(last().ip.src, second);
  taken += 2;
}

TEST_F(Rfc9293Test, rfc9293_must_57_syn_mcast_drop) {
  // Prefixes that hold them do not make them ours.
  for (const char* p : {"198.18.0.0/16", "224.0.0.0/3", "ff00::/8"}) {
    options.addresses.push_back(*Prefix::parse(p));
  }
  for (const char* to : {"224.0.0.1", "255.255.255.255", "198.18.255.255"}) {
    packet(tcp_packet(header(flag::syn, 100), 0, kThere, *IpAddr::parse(to)));
  }
  packet(tcp_packet(header(flag::syn, 100), 0, kThere6, *IpAddr::parse("ff02::1")));
  shard().finish_turn(now);
  EXPECT_TRUE(port.sent.empty());
  EXPECT_EQ(drops(DropReason::ip_not_ours), 4U);
}

// --- IP

TEST_F(Rfc9293Test, rfc9293_must_50_ip_options_ignored) {
  packet(with_options(tcp_packet(header(flag::syn, 100), 0, kThere, kHere), {0x9e, 4, 0, 0}));
  shard().finish_turn(now);
  taken += 1;
  EXPECT_EQ(last().tcp.flags, flag::syn | flag::ack);
}

TEST_F(Rfc9293Test, source_routed_packets_are_dropped) {
  for (const std::uint8_t kind : {131, 137}) {  // loose, strict
    packet(with_options(tcp_packet(header(flag::syn, 100), 0, kThere, kHere),
                        {kind, 7, 4, 198, 18, 0, 1, 0}));
  }
  shard().finish_turn(now);
  EXPECT_TRUE(port.sent.empty());
  EXPECT_EQ(drops(DropReason::ip_source_route), 2U);
}

TEST_F(Rfc9293Test, rfc9293_must_48_dscp_set) {
  hands.at_open = [](Stream& s) {
    s.set_dscp(46);
    write(s, 100);
  };
  open_hands();
  EXPECT_EQ(last().ip.tos, 46 << 2);
}

TEST_F(Rfc9293Test, rfc9293_shld_21_dscp_change) {
  std::uint8_t dscp = 10;
  hands.at_read = [&](Stream& s) {
    s.set_dscp(dscp);
    write(s, 10);
  };
  open_hands();
  EXPECT_EQ(last().ip.tos, 0);
  segment(to_hands(flag::ack, 101, iss + 1), 1);
  EXPECT_EQ(last().ip.tos, 10 << 2);
  dscp = 63;
  segment(to_hands(flag::ack, 102, iss + 11), 1);
  EXPECT_EQ(last().ip.tos, 63 << 2);
  taken += 2;
}

TEST_F(Rfc9293Test, rfc9293_shld_22_dscp_pass) {
  shard().listen({{}, kHands}, true, hands);
  std::uint8_t dscp = 0;
  hands.at_open = [&](Stream& s) {
    s.set_dscp(dscp);
    write(s, 10);
  };
  for (; dscp < 64; ++dscp) {
    const auto from = static_cast<std::uint16_t>(1000 + dscp);
    segment(header(flag::syn, 100, 0, from, kHands));
    segment(header(flag::ack, 101, last().tcp.seq.raw() + 1, from, kHands));
    ASSERT_EQ(last().ip.tos, dscp << 2);
    taken += 2;
  }
}

TEST_F(Rfc9293Test, rfc9293_may_09_dscp_up) {
  std::vector<int> seen;
  hands.at_read = [&](Stream& s) { seen.push_back(s.received_dscp()); };
  open_hands();
  marked(to_hands(flag::ack, 101, iss + 1), 1, 46 << 2 | 2);
  marked(to_hands(flag::ack, 102, iss + 1), 1, 0);
  taken += 2;
  EXPECT_EQ(seen, (std::vector<int>{46, 0}));
}

TEST_F(Rfc9293Test, rfc9293_must_49_ttl_config) {
  options.hop_limit = 17;
  hands.at_open = [](Stream& s) {
    s.set_hop_limit(255);
    write(s, 1);
  };
  open_hands();
  EXPECT_EQ(port.sent[0].ip.hop_limit, 17) << "the SYN-ACK";
  EXPECT_EQ(last().ip.hop_limit, 255);
  segment(header(flag::syn, 100, 0, 1000, 9));
  EXPECT_EQ(last().ip.hop_limit, 17) << "a RST";
}

// --- what services are told

TEST_F(Rfc9293Test, rfc9293_must_47_soft_error_report) {
  hands.at_open = [](Stream& s) { write(s, 100); };
  open_hands();
  icmp_error(3, 1);
  EXPECT_EQ(hands.errors, std::vector{SoftError::path});
  icmp_error(3, 3);  // hard, but it is open (RFC 5927 5.2)
  icmp_error(11, 0);
  taken += 3;
  EXPECT_EQ(hands.errors.size(), 3U);
  pass(20s);
  EXPECT_EQ(hands.errors.size(), 4U);
  EXPECT_EQ(hands.errors.back(), SoftError::delivery);
  EXPECT_TRUE(hands.reasons.empty());
}

TEST_F(Rfc9293Test, soft_errors_of_an_active_open_are_told_before_it_is_open) {
  ASSERT_NE(shard().connect(now, kHere, {kThere, 80}, hands), nullptr);
  shard().finish_turn(now);
  icmp_error(3, 0);
  taken += 1;
  EXPECT_EQ(hands.errors, std::vector{SoftError::path});
  pass(20s);
  EXPECT_EQ(hands.errors, (std::vector{SoftError::path, SoftError::delivery}));
}

TEST_F(Rfc9293Test, soft_errors_can_be_off) {
  hands.at_open = [](Stream& s) {
    s.set_soft_errors(false);
    write(s, 100);
  };
  open_hands();
  icmp_error(3, 1);
  taken += 1;
  pass(20s);
  EXPECT_TRUE(hands.errors.empty());
}

TEST_F(Rfc9293Test, a_stream_sets_its_user_timeout) {
  hands.at_open = [](Stream& s) {
    s.set_user_timeout(3s);
    write(s, 100);
  };
  open_hands();
  pass(20s);
  EXPECT_EQ(hands.reasons, std::vector{CloseReason::timeout});
}

TEST_F(Rfc9293Test, rfc9293_must_28_keepalive_2h) {
  hands.at_open = [](Stream& s) { s.set_keepalive(); };
  open_hands();
  const std::size_t before = port.sent.size();
  pass(std::chrono::hours(2) - 1s);
  EXPECT_EQ(port.sent.size(), before);
  pass(std::chrono::minutes(20));  // the wheel is late by up to 8/63
  EXPECT_EQ(port.sent[before].tcp.seq, Seq{iss}) << "a keep-alive probe";
}

TEST_F(Rfc9293Test, urgent_data_both_ways) {
  hands.keep = true;
  hands.at_open = [](Stream& s) { s.write_urgent(Bytes(std::vector<std::uint8_t>(5))); };
  open_hands();
  EXPECT_TRUE(last().tcp.has(flag::urg));
  EXPECT_EQ(last().tcp.urgent, 5);
  wire::TcpHeader h = to_hands(flag::ack | flag::urg, 101, iss + 6);
  h.urgent = 3;
  segment(h, 10);
  taken += 1;
  EXPECT_EQ(hands.urgent, std::vector{3U});
}

// --- ECN on its way through the shard

class EcnTest : public Rfc9293Test {
 protected:
  static constexpr std::uint8_t kAsks = flag::syn | flag::ece | flag::cwr;
  static constexpr std::uint8_t kEct0 = 2, kCe = 3;
};

TEST_F(EcnTest, rfc3168_6_1_1_a_half_open_record_remembers) {
  segment(header(kAsks, 100));
  EXPECT_EQ(last().tcp.flags, flag::syn | flag::ack | flag::ece);
  EXPECT_EQ(last().ip.tos, 0) << "not on a SYN-ACK";
  pass(1s);
  EXPECT_EQ(last().tcp.flags, flag::syn | flag::ack | flag::ece) << "and when it is sent again";
  EXPECT_EQ(port.sent.size(), 2U);
  segment(header(kAsks, 100));
  EXPECT_EQ(last().tcp.flags, flag::syn | flag::ack | flag::ece) << "and to a duplicate";
  segment(header(flag::ack, 101, last().tcp.seq.raw() + 1));
  shard().for_each([](ConnEntry& e) { EXPECT_TRUE(e.tcp.info().ecn); });
  taken += 2;
}

TEST_F(EcnTest, rfc3168_6_1_1_a_cookie_remembers_where_timestamps_carry_it) {
  options.syn_cookies = tcp::CookiePolicy::always;
  for (const bool timestamps : {true, false}) {
    const std::uint16_t from = timestamps ? 1000 : 1001;
    wire::TcpHeader h = header(kAsks, 100, 0, from);
    if (timestamps) h.options.timestamps = wire::TcpTimestamps{5000, 0};
    segment(h);
    EXPECT_EQ(last().tcp.has(flag::ece), timestamps);
    wire::TcpHeader a = header(flag::ack, 101, last().tcp.seq.raw() + 1, from);
    if (timestamps) {
      a.options.timestamps = wire::TcpTimestamps{5001, last().tcp.options.timestamps->value};
    }
    segment(a);
    taken += 2;
    shard().for_each([&](ConnEntry& e) {
      if (e.key.remote.port == from) {
        EXPECT_EQ(e.tcp.info().ecn, timestamps);
      }
    });
  }
}

TEST_F(EcnTest, rfc3168_5_data_says_ect0_and_nothing_else_does) {
  hands.at_open = [](Stream& s) {
    s.set_dscp(46);
    write(s, 100);
  };
  open_hands(kAsks);
  EXPECT_EQ(last().ip.tos, 46 << 2 | kEct0);
  segment(to_hands(flag::ack, 101, iss + 101), 3000);
  EXPECT_EQ(last().ip.tos, 46 << 2) << "an ACK";
  segment(to_hands(flag::syn, 101, 0));  // a challenge ACK
  EXPECT_EQ(last().ip.tos, 46 << 2);
  segment(header(flag::ack, 1, 1, 77, 9));
  EXPECT_EQ(last().tcp.flags, flag::rst);
  EXPECT_EQ(last().ip.tos, 0);
  taken += 1;
}

TEST_F(EcnTest, rfc3168_6_1_3_a_mark_in_the_ip_header_is_echoed) {
  open_hands(kAsks);
  marked(to_hands(flag::ack, 101, iss + 1), 10, kEct0);
  pass(1s);
  EXPECT_FALSE(last().tcp.has(flag::ece));
  marked(to_hands(flag::ack, 111, iss + 1), 10, kCe);
  EXPECT_TRUE(last().tcp.has(flag::ece));
  marked(to_hands(flag::ack | flag::cwr, 121, iss + 1), 3000, kEct0);
  EXPECT_FALSE(last().tcp.has(flag::ece));
  taken += 3;
}

TEST_F(EcnTest, rfc9293_shld_08_ecn) {
  hands.at_open = [](Stream& s) { write(s, 100000); };
  open_hands(kAsks);
  const std::size_t flight = port.sent.size() - 1;
  segment(to_hands(flag::ack | flag::ece, 101, iss + 1 + 536));
  const std::size_t before = port.sent.size();
  EXPECT_LT(before - flight, 3U) << "the window was cut";
  for (std::uint32_t i = 2; i <= 8; ++i) {
    segment(to_hands(flag::ack | flag::ece, 101, iss + 1 + i * 536));
  }
  taken += 8;
  std::size_t cwr = 0;
  for (const Sent& s : port.sent) cwr += s.tcp.has(flag::cwr) ? 1 : 0;
  EXPECT_EQ(cwr, 1U);
}

}  // namespace
}  // namespace pollux
