// The shard alone, packet by packet: what listeners decide, what is answered, what is counted.
#include "tests/workers/shard_fixture.h"

namespace pollux {
namespace {

TEST_F(ShardTest, opens_and_closes) {
  open();
  EXPECT_EQ(service.opened, 1);
  EXPECT_EQ(counters.connections_open.get(), 1U);
  segment(header(flag::ack, 101, iss + 1), 50);
  EXPECT_EQ(service.octets, 50U);
  segment(header(flag::fin | flag::ack, 151, iss + 1));
  EXPECT_EQ(port.sent.back().tcp.flags & flag::fin, flag::fin);
  segment(header(flag::ack, 152, iss + 2));
  taken += 3;
  EXPECT_EQ(shard().connections(), 0U);
  EXPECT_EQ(counters.connections_open.get(), 0U);
  EXPECT_EQ(service.reasons, std::vector{CloseReason::normal});
  EXPECT_EQ(counters.memory_bytes.get(), 0U);
}

TEST_F(ShardTest, a_service_chooses_the_congestion_control_of_its_connections) {
  using tcp::CcKind;
  struct Chooser final : Service {
    std::string_view name() const override { return "chooser"; }
    void on_readable(Stream& s) override { s.set_congestion_control(CcKind::bbr); }
  } chooser;
  chooser.set_congestion_control(CcKind::reno);
  shard().listen({{}, 80}, true, chooser);
  const auto in_use = [this] {
    std::vector<CcKind> kinds;
    shard().for_each([&](const ConnEntry& e) { kinds.push_back(e.tcp.congestion_control()); });
    return kinds;
  };
  open();
  EXPECT_EQ(in_use(), std::vector{CcKind::cubic}) << "what the options say";
  segment(header(flag::rst, 101, 0));
  segment(header(flag::syn, 100, 0, 1000, 80));
  iss = port.sent.back().tcp.seq.raw();
  segment(header(flag::ack, 101, iss + 1, 1000, 80));
  EXPECT_EQ(in_use(), std::vector{CcKind::reno});
  segment(header(flag::ack, 101, iss + 1, 1000, 80), 50);
  EXPECT_EQ(in_use(), std::vector{CcKind::bbr}) << "chosen by the connection";
  taken += 4;
}

TEST_F(ShardTest, timers_after_a_long_silence_are_as_exact_as_ever) {
  open();
  pass(100s);
  segment(header(flag::ack, 101, iss + 1), 50);  // to be acknowledged after 40 ms
  const Duration wait = shard().next_deadline() - now;
  EXPECT_GE(wait, 40ms);
  EXPECT_LE(wait, 40ms + 40ms / 7 + 200us) << "counted from before the silence";
  taken += 1;
}

TEST_F(ShardTest, unknown_port_is_answered_by_rst) {
  segment(header(flag::syn, 100, 0, 1000, 9));
  ASSERT_EQ(port.sent.size(), 1U);
  const wire::TcpHeader& h = port.sent[0].tcp;
  EXPECT_EQ(h.flags, flag::rst | flag::ack);
  EXPECT_EQ(h.ack, Seq{101});
  EXPECT_EQ(h.src_port, 9);
  EXPECT_EQ(h.dst_port, 1000);
  EXPECT_EQ(drops(DropReason::tcp_no_listener), 1U);
  EXPECT_EQ(counters.resets_sent.get(), 1U);
  segment(header(flag::rst, 100, 0, 1000, 9));  // never an answer to RST
  EXPECT_EQ(port.sent.size(), 1U);
}

TEST_F(ShardTest, listener_refuses_what_is_no_syn) {
  segment(header(flag::ack, 100, 77));
  ASSERT_EQ(port.sent.size(), 1U);
  EXPECT_EQ(port.sent[0].tcp.flags, flag::rst);
  EXPECT_EQ(port.sent[0].tcp.seq, Seq{77});
  segment(header(flag::rst, 100));
  segment(header(flag::syn | flag::fin, 100));
  segment(header(0, 100));
  EXPECT_EQ(port.sent.size(), 1U);
  EXPECT_EQ(drops(DropReason::tcp_bad_flags), 3U);
  EXPECT_EQ(shard().connections(), 0U);
}

TEST_F(ShardTest, listener_on_one_address_serves_that_one) {
  Recorder other;
  shard().listen({kHere6, 80}, false, other);
  segment(header(flag::syn, 100, 0, 1000, 80));
  EXPECT_EQ(drops(DropReason::tcp_no_listener), 1U);
  packet(tcp_packet(header(flag::syn, 100, 0, 1000, 80), 0, kThere6, kHere6));
  shard().finish_turn(now);
  taken += 1;
  EXPECT_EQ(port.sent.back().tcp.flags, flag::syn | flag::ack);
}

TEST_F(ShardTest, backlog_is_bounded_and_freed_by_time) {
  options.syn_backlog = 3;
  options.syn_cookies = tcp::CookiePolicy::never;
  for (std::uint16_t i = 0; i < 5; ++i) {
    segment(header(flag::syn, 100, 0, static_cast<std::uint16_t>(1000 + i)));
  }
  taken += 3;
  EXPECT_EQ(shard().connections(), 3U);
  EXPECT_EQ(drops(DropReason::tcp_backlog_full), 2U);
  pass(400s);
  EXPECT_EQ(shard().connections(), 0U);
  segment(header(flag::syn, 100, 0, 2000));
  taken += 1;
  EXPECT_EQ(shard().connections(), 1U);
}

TEST_F(ShardTest, opened_and_reset_connections_leave_the_backlog) {
  options.syn_backlog = 1;
  open(1000);
  segment(header(flag::syn, 100, 0, 1001));
  segment(header(flag::rst, 101, 0, 1001));
  taken += 2;
  open(1002);
  EXPECT_EQ(service.opened, 2);
  EXPECT_TRUE(service.reasons.empty()) << "a half-open connection is not the application's";
}

TEST_F(ShardTest, connection_limit) {
  options.max_connections = 2;
  open(1000);
  open(1001);
  segment(header(flag::syn, 100, 0, 1002));
  EXPECT_EQ(drops(DropReason::tcp_connection_limit), 1U);
}

TEST_F(ShardTest, memory_limit_refuses_new_connections_and_serves_old_ones) {
  options.memory_limit = 20000;
  service.keep = true;
  open();
  for (std::uint32_t i = 0; i < 16; ++i) {
    segment(header(flag::ack, 101 + i * 1400, iss + 1), 1400);
    taken += 1;
  }
  EXPECT_GT(counters.memory_bytes.get(), 20000U);
  segment(header(flag::syn, 100, 0, 1001));
  EXPECT_EQ(drops(DropReason::tcp_connection_limit), 1U);
  service.keep = false;
  segment(header(flag::ack, 101 + 16 * 1400, iss + 1), 100);
  taken += 1;
  EXPECT_EQ(service.octets, 16U * 1400 + 100);
  open(1002);
}

TEST_F(ShardTest, a_comb_of_single_octets_shares_slots) {
  service.keep = true;
  open();
  for (std::uint32_t i = 0; i < 1000; ++i) {
    segment(header(flag::ack, 102 + 2 * i, iss + 1), 1);
    // What brings nothing new takes no room beside it.
    segment(header(flag::ack, 102 + 2 * i, iss + 1), 1);
    taken += 1;
  }
  EXPECT_EQ(drops(DropReason::tcp_duplicate), 1000U);
  EXPECT_LE(counters.memory_bytes.get(), 50000U);
  service.keep = false;
  segment(header(flag::ack, 101, iss + 1), 2000);
  taken += 1;
  EXPECT_EQ(service.octets, 2000U);
  EXPECT_EQ(counters.memory_bytes.get(), sizeof(ConnEntry));
}

/// Each tooth comes with its gap: what was in order is read late, and lies in few pieces.
TEST_F(ShardTest, a_filled_comb_is_kept_in_few_pieces) {
  service.keep = true;
  open();
  for (std::uint32_t i = 0; i < 10000; i += 2) {
    segment(header(flag::ack, 102 + i, iss + 1), 1);
    segment(header(flag::ack, 101 + i, iss + 1), 1);
    taken += 2;
  }
  EXPECT_LE(counters.memory_bytes.get(), 10000U * 2);
  service.keep = false;
  segment(header(flag::ack, 10101, iss + 1), 1);
  taken += 1;
  EXPECT_EQ(service.octets, 10001U);
}

TEST_F(ShardTest, past_the_memory_limit_nothing_is_kept_ahead_of_a_gap) {
  options.memory_limit = 100000;
  service.keep = true;
  std::uint32_t ours[4];
  for (std::uint16_t i = 0; i < 4; ++i) {
    open(static_cast<std::uint16_t>(1000 + i));
    ours[i] = iss + 1;
  }
  for (std::uint32_t i = 0; i < 120; ++i) {
    segment(header(flag::ack, 102 + 1001 * (i / 4), ours[i % 4],
                   static_cast<std::uint16_t>(1000 + i % 4)),
            1000);
  }
  EXPECT_LE(counters.memory_bytes.get(), options.memory_limit + 3000);
  EXPECT_GT(drops(DropReason::tcp_ooo_limit), 0U);
  taken += 120 - drops(DropReason::tcp_ooo_limit);
  // What comes in order is taken up to the edge that was offered.
  const std::uint32_t edge = 101 + 65535;
  for (std::uint32_t at = 101; at < edge; at += 1400) {
    segment(header(flag::ack, at, ours[3], 1003), std::min(1400U, edge - at));
    taken += 1;
  }
  pass(40ms + 20ms);  // the delayed ACK
  EXPECT_EQ(port.sent.back().tcp.ack.raw(), edge);
  segment(header(flag::rst, edge, 0, 1003));
  for (std::uint16_t from = 1000; from < 1003; ++from) segment(header(flag::rst, 101, 0, from));
  taken += 4;
  EXPECT_EQ(counters.memory_bytes.get(), 0U);
}

TEST_F(ShardTest, records_that_went_are_work) {
  segment(header(flag::syn, 100));
  taken += 1;
  EXPECT_FALSE(shard().has_work());
  shard().abort_all(now);
  EXPECT_TRUE(shard().has_work());
  EXPECT_TRUE(shard().finish_turn(now));
  EXPECT_FALSE(shard().has_work());
  EXPECT_EQ(counters.memory_bytes.get(), 0U);
}

TEST_F(ShardTest, large_packets_that_are_kept_count_as_memory) {
  service.keep = true;
  open();
  segment(header(flag::ack, 101, iss + 1), 40000);
  taken += 1;
  EXPECT_GE(counters.memory_bytes.get(), 40000U);
  service.keep = false;
  segment(header(flag::ack, 40101, iss + 1), 1);
  taken += 1;
  EXPECT_EQ(service.octets, 40001U);
  EXPECT_LT(counters.memory_bytes.get(), 10000U);
}

TEST_F(ShardTest, what_came_with_a_reset_is_told_first) {
  for (const bool keep : {false, true}) {  // also by a service that does not take it
    service = {};
    service.keep = keep;
    open();
    port.sent.clear();
    packet(tcp_packet(header(flag::ack | flag::psh, 101, iss + 1), 50, kThere, kHere));
    packet(tcp_packet(header(flag::rst, 151), 0, kThere, kHere));
    taken += 2;
    shard().finish_turn(now);
    EXPECT_EQ(service.called, 1);
    EXPECT_EQ(service.octets, keep ? 0U : 50U);
    EXPECT_EQ(service.reasons, std::vector{CloseReason::reset});
    EXPECT_TRUE(port.sent.empty()) << "nothing goes to who is gone";
    EXPECT_EQ(shard().connections(), 0U);
  }
}

TEST_F(ShardTest, acks_of_a_burst_wait_for_its_end) {
  open();
  port.sent.clear();
  const auto data = [&](std::uint32_t n) {
    packet(tcp_packet(header(flag::ack | flag::psh, 101 + 1000 * n, iss + 1), 1000, kThere, kHere));
    ++taken;
  };
  for (std::uint32_t n = 0; n < 4; ++n) {
    data(n);
    EXPECT_TRUE(shard().finish_turn(now, true));
    EXPECT_EQ(shard().has_work(), n > 0);  // two segments make an ACK due
  }
  EXPECT_EQ(port.sent.size(), 0U);
  shard().finish_turn(now, false);
  ASSERT_EQ(port.sent.size(), 1U);
  EXPECT_EQ(port.sent[0].tcp.ack, Seq{4101});
  EXPECT_FALSE(shard().has_work());
}

TEST_F(ShardTest, a_burst_without_end_is_acknowledged_in_time) {
  open();
  port.sent.clear();
  const Instant began = now;
  std::uint32_t seq = 101;
  while (port.sent.empty() && now < began + 10ms) {
    packet(tcp_packet(header(flag::ack, seq, iss + 1), 100, kThere, kHere));
    ++taken;
    seq += 100;
    shard().finish_turn(now, true);
    now += 100us;
  }
  ASSERT_EQ(port.sent.size(), 1U);
  EXPECT_LE(now - began, limits::kAckHold + 300us);
}

TEST_F(ShardTest, a_gap_in_a_burst_is_told_at_once) {
  open();
  port.sent.clear();
  packet(tcp_packet(header(flag::ack, 1101, iss + 1), 1000, kThere, kHere));
  ++taken;
  shard().finish_turn(now, true);
  ASSERT_EQ(port.sent.size(), 1U);
  EXPECT_EQ(port.sent[0].tcp.ack, Seq{101});
}

TEST_F(ShardTest, a_burst_leaves_a_quarter_of_the_window_unacknowledged_at_most) {
  open();
  port.sent.clear();
  std::uint32_t seq = 101;
  while (port.sent.empty() && seq < 101 + tcp::kInitialReceiveWindow) {
    packet(tcp_packet(header(flag::ack, seq, iss + 1), 1000, kThere, kHere));
    ++taken;
    seq += 1000;
    shard().finish_turn(now, true);
  }
  EXPECT_GT(seq, 101 + 4000U);
  EXPECT_LE(seq, 101 + tcp::kInitialReceiveWindow / 4 + 1000);
}

TEST_F(ShardTest, drain_sends_fin_and_refuses_new_ones) {
  open();
  shard().begin_drain(now);
  shard().finish_turn(now);
  EXPECT_EQ(port.sent.back().tcp.flags & flag::fin, flag::fin);
  segment(header(flag::syn, 100, 0, 1001));
  EXPECT_EQ(port.sent.back().tcp.flags, flag::rst | flag::ack);
  segment(header(flag::fin | flag::ack, 101, iss + 2));
  taken += 1;
  EXPECT_EQ(service.reasons, std::vector{CloseReason::normal});
  EXPECT_EQ(shard().open_connections(), 0U);
}

TEST_F(ShardTest, drain_while_half_open) {
  segment(header(flag::syn, 100));
  iss = port.sent.back().tcp.seq.raw();
  shard().begin_drain(now);
  shard().finish_turn(now);
  segment(header(flag::ack, 101, iss + 1));
  taken += 2;
  EXPECT_EQ(port.sent.back().tcp.flags & flag::fin, flag::fin);
}

TEST_F(ShardTest, abort_all_sends_rst_and_leaves_nothing) {
  open(1000);
  open(1001);
  shard().abort_all(now);
  shard().finish_turn(now);
  EXPECT_EQ(shard().connections(), 0U);
  EXPECT_EQ(counters.resets_sent.get(), 2U);
  EXPECT_EQ(service.reasons, std::vector(2, CloseReason::aborted));
}

TEST_F(ShardTest, abort_in_a_callback_is_followed_by_on_closed_only) {
  for (const std::uint8_t last : {flag::fin, flag::rst}) {  // whichever end broke it first
    service = {};
    service.abort_on_open = true;
    segment(header(flag::syn, 100));
    iss = port.sent.back().tcp.seq.raw();
    port.sent.clear();
    packet(tcp_packet(header(flag::ack, 101, iss + 1), 10, kThere, kHere));
    packet(tcp_packet(header(last | flag::ack, 111, iss + 1), 0, kThere, kHere));
    shard().finish_turn(now);
    taken += 3;
    EXPECT_EQ(service.opened, 1);
    EXPECT_EQ(service.called, 0);
    const bool reset = last == flag::rst;
    EXPECT_EQ(service.reasons, std::vector{reset ? CloseReason::reset : CloseReason::aborted});
    EXPECT_EQ(port.sent.size(), reset ? 0U : 1U);
    if (!reset) {
      EXPECT_EQ(port.sent.back().tcp.flags & flag::rst, flag::rst);
    }
  }
}

TEST_F(ShardTest, land_and_impossible_sources_are_dropped) {
  packet(tcp_packet(header(flag::syn, 1, 0, kPort, kPort), 0, kHere, kHere));
  for (const char* bad : {"127.0.0.1", "224.0.0.1", "255.255.255.255", "0.0.0.0"}) {
    packet(tcp_packet(header(flag::syn, 1), 0, *IpAddr::parse(bad), kHere));
  }
  for (const char* bad : {"::1", "ff02::1", "::"}) {
    packet(tcp_packet(header(flag::syn, 1), 0, *IpAddr::parse(bad), kHere6));
  }
  packet(tcp_packet(header(flag::syn, 1), 0, kThere, *IpAddr::parse("198.18.0.3")));
  shard().finish_turn(now);
  EXPECT_TRUE(port.sent.empty());
  EXPECT_EQ(drops(DropReason::ip_bad_source), 8U);
  EXPECT_EQ(drops(DropReason::ip_not_ours), 1U);
}

TEST_F(ShardTest, wrong_checksums_are_counted_unless_trusted) {
  auto p = tcp_packet(header(flag::syn, 100), 0, kThere, kHere);
  p.back() = static_cast<std::uint8_t>(p.back() ^ 1);
  packet(p);
  EXPECT_EQ(drops(DropReason::tcp_checksum), 1U);
  EXPECT_EQ(counters.checksum_errors.get(), 1U);
  packet(p, ChecksumState::trusted);
  taken += 1;
  EXPECT_EQ(shard().connections(), 1U);
  shard().finish_turn(now);
}

TEST_F(ShardTest, always_verify_trusts_nobody) {
  options.verify_checksums_always = true;
  auto p = tcp_packet(header(flag::syn, 100), 0, kThere, kHere);
  p.back() = static_cast<std::uint8_t>(p.back() ^ 1);
  packet(p, ChecksumState::trusted);
  EXPECT_EQ(drops(DropReason::tcp_checksum), 1U);
}

TEST_F(ShardTest, rfc1122_echo_is_answered) {
  std::vector<std::uint8_t> m{8, 0, 0, 0, 0x12, 0x34, 0, 1, 'h', 'e', 'l', 'l', 'o'};
  wire::ChecksumSum sum;
  sum.add(m);
  store_be16(m.data() + 2, sum.checksum());
  packet(ip_packet(kThere, kHere, wire::kProtoIcmp, m));
  taken += 1;
  ASSERT_EQ(port.sent.size(), 1U);
  const Sent& s = port.sent[0];
  EXPECT_EQ(s.ip.src, kHere);
  EXPECT_EQ(s.ip.dst, kThere);
  EXPECT_EQ(s.payload[0], 0);
  EXPECT_TRUE(std::equal(m.begin() + 4, m.end(), s.payload.begin() + 4));
  EXPECT_EQ(wire::checksum_fold(s.payload), 0xffff);
  m.back() ^= 1;
  packet(ip_packet(kThere, kHere, wire::kProtoIcmp, m));
  EXPECT_EQ(drops(DropReason::icmp_malformed), 1U);
}

TEST_F(ShardTest, rfc4443_echo_is_answered) {
  std::vector<std::uint8_t> m{128, 0, 0, 0, 0x12, 0x34, 0, 1, 'h', 'e', 'l', 'l', 'o', '!'};
  const auto pseudo = [&](Bytes message, const IpAddr& src, const IpAddr& dst) {
    wire::ChecksumSum sum;
    wire::add_pseudo_header(sum, src, dst, wire::kProtoIcmpV6,
                            static_cast<std::uint32_t>(message.size()));
    sum.add(message);
    return sum;
  };
  store_be16(m.data() + 2, pseudo(m, kThere6, kHere6).checksum());
  packet(ip_packet(kThere6, kHere6, wire::kProtoIcmpV6, m));
  taken += 1;
  ASSERT_EQ(port.sent.size(), 1U);
  EXPECT_EQ(port.sent[0].payload[0], 129);
  EXPECT_EQ(pseudo(port.sent[0].payload, kHere6, kThere6).fold(), 0xffff);
}

TEST_F(ShardTest, echo_that_the_device_refuses_is_a_transmit_error_only) {
  std::vector<std::uint8_t> m{8, 0, 0, 0, 0x12, 0x34, 0, 1};
  wire::ChecksumSum sum;
  sum.add(m);
  store_be16(m.data() + 2, sum.checksum());
  port.refuse = true;
  packet(ip_packet(kThere, kHere, wire::kProtoIcmp, m));
  taken += 1;
  EXPECT_EQ(counters.tx_drops.get(), 1U);
  EXPECT_EQ(drops(DropReason::tx_error), 1U);
}

TEST_F(ShardTest, every_nonsense_counts_once) {
  packet(std::vector<std::uint8_t>{0});
  packet(std::vector<std::uint8_t>(19, 0x45));
  packet(
      ip_packet(kThere, kHere, wire::kProtoUdp, std::vector<std::uint8_t>{0, 1, 0, 2, 0, 8, 0, 0}));
  packet(ip_packet(kThere, kHere, 99, std::vector<std::uint8_t>(8)));
  packet(ip_packet(kThere, kHere, wire::kProtoTcp, std::vector<std::uint8_t>(10)));
  packet(ip_packet(kThere, kHere, wire::kProtoIcmp, std::vector<std::uint8_t>(3)));
  open();
  segment(header(flag::syn, 101, 0));
  segment(header(flag::rst, 102));
  segment(header(flag::ack, 101, iss + 5), 10);
  segment(header(flag::ack, 90, iss + 1), 5);
  EXPECT_EQ(drops(DropReason::udp_no_listener), 1U);
  EXPECT_EQ(drops(DropReason::ip_protocol), 1U);
  EXPECT_EQ(drops(DropReason::tcp_blind_syn), 1U);
}

TEST_F(ShardTest, icmp_error_about_an_opening_connection_ends_it) {
  ASSERT_NE(shard().connect(now, kHere, {kThere, 80}, service), nullptr);
  shard().finish_turn(now);
  ASSERT_EQ(port.sent.size(), 1U);
  const wire::TcpHeader syn = port.sent[0].tcp;
  port_unreachable(syn.src_port, 80, syn.seq.raw());
  taken += 1;
  EXPECT_EQ(service.reasons, std::vector{CloseReason::unreachable});
  EXPECT_EQ(shard().connections(), 0U);
  port_unreachable(syn.src_port, 80, syn.seq.raw());
  EXPECT_EQ(drops(DropReason::icmp_ignored), 1U);
}

TEST_F(ShardTest, active_open_chooses_a_port_whose_hash_it_owns) {
  options.worker_of = [](std::uint32_t h) -> std::size_t { return h % 4 == 3 ? 0 : 1; };
  std::vector<std::uint16_t> ports;
  for (int i = 0; i < 50; ++i) {
    const ConnEntry* e = shard().connect(now, kHere, {kThere, 80}, service);
    ASSERT_NE(e, nullptr);
    EXPECT_EQ(flow_hash(options.secret, e->key) % 4, 3U);
    EXPECT_EQ(e->hash, flow_hash(options.secret, e->key));
    EXPECT_EQ(std::count(ports.begin(), ports.end(), e->key.local.port), 0);
    ports.push_back(e->key.local.port);
  }
}

TEST_F(ShardTest, rfc9293_must_46_no_open_to_an_impossible_address) {
  for (const char* bad : {"224.0.0.1", "255.255.255.255", "0.0.0.0", "ff02::1", "::"}) {
    EXPECT_EQ(shard().connect(now, kHere, {*IpAddr::parse(bad), 80}, service), nullptr) << bad;
  }
}

TEST_F(ShardTest, refused_active_open_is_told) {
  shard().connect(now, kHere, {kThere, 80}, service);
  shard().finish_turn(now);
  const wire::TcpHeader syn = port.sent[0].tcp;
  segment(header(flag::rst | flag::ack, 0, syn.seq.raw() + 1, 80, syn.src_port));
  taken += 1;
  EXPECT_EQ(service.reasons, std::vector{CloseReason::refused});
}

TEST_F(ShardTest, bad_ack_while_opening_is_answered_by_rst) {
  segment(header(flag::syn, 100));
  taken += 1;
  segment(header(flag::ack, 101, 12345));
  EXPECT_EQ(port.sent.back().tcp.flags, flag::rst);
  EXPECT_EQ(port.sent.back().tcp.seq, Seq{12345});
  EXPECT_EQ(shard().connections(), 1U);
}

TEST_F(ShardTest, rfc6191_syn_reopens_time_wait_with_a_higher_iss) {
  open();
  shard().begin_drain(now);  // our FIN
  shard().finish_turn(now);
  segment(header(flag::fin | flag::ack, 101, iss + 2));
  taken += 1;
  EXPECT_EQ(shard().connections(), 1U);
  shard().listen({{}, kPort}, true, service);
  segment(header(flag::syn, 5000));
  taken += 1;
  EXPECT_EQ(port.sent.back().tcp.flags, flag::syn | flag::ack);
  EXPECT_GT(port.sent.back().tcp.seq, Seq{iss} + 2);
  EXPECT_EQ(port.sent.back().tcp.ack, Seq{5001});
  EXPECT_EQ(shard().connections(), 1U);
}

TEST_F(ShardTest, timers_that_come_due_at_once_are_spread_over_turns) {
  constexpr std::size_t kMore = 100;
  constexpr auto kAll = static_cast<int>(limits::kTimersPerTurn + kMore);
  for (int i = 0; i < kAll; ++i) open(static_cast<std::uint16_t>(1000 + i));
  shard().for_each([&](ConnEntry& e) { shard().set_user_timer(e, now + 10ms); });
  shard().finish_turn(now);
  now += 20ms;
  shard().on_timers(now);
  EXPECT_EQ(service.timers, kAll - static_cast<int>(kMore));
  EXPECT_LE(shard().next_deadline(), now);
  shard().finish_turn(now);
  shard().on_timers(now);
  EXPECT_EQ(service.timers, kAll);
}

TEST_F(ShardTest, user_timer_fires_once) {
  open();
  shard().for_each([&](ConnEntry& e) { shard().set_user_timer(e, now + 10ms); });
  shard().finish_turn(now);
  pass(9ms);
  EXPECT_EQ(service.timers, 0);
  pass(10ms);
  pass(1s);
  EXPECT_EQ(service.timers, 1);
}

TEST_F(ShardTest, device_that_refuses_is_no_loss_of_state) {
  open();
  port.refuse = true;
  segment(header(flag::ack, 101, iss + 1), 3000);
  pass(1s);
  EXPECT_GT(counters.tx_drops.get(), 0U);
  EXPECT_EQ(counters.tx_drops.get(), drops(DropReason::tx_error));
  port.refuse = false;
  segment(header(flag::ack, 3101, iss + 1), 3000);
  taken += 2;
  EXPECT_EQ(port.sent.back().tcp.ack, Seq{6101});
}

}  // namespace
}  // namespace pollux
