// Passive opens through the shard: half-open records, SYN cookies, TIME-WAIT records.
#include <rapidcheck.h>

#include "tests/workers/shard_fixture.h"

namespace pollux {
namespace {

namespace flag = wire::tcp_flag;

class HandshakeTest : public ShardTest {
 protected:
  wire::TcpHeader syn(std::uint16_t from = 1000, bool options = true) const {
    wire::TcpHeader h = header(flag::syn, 100, 0, from);
    h.options.mss = 1400;
    if (!options) return h;
    h.options.window_scale = std::uint8_t{7};
    h.options.sack_permitted = true;
    h.options.timestamps = wire::TcpTimestamps{5000, 0};
    return h;
  }
  /// The ACK of the last SYN-ACK sent.
  wire::TcpHeader ack_of_last(std::uint16_t from = 1000) const {
    const wire::TcpHeader& sa = port.sent.back().tcp;
    wire::TcpHeader h = header(flag::ack, 101, (sa.seq + 1).raw(), from);
    if (sa.options.timestamps) {
      h.options.timestamps = wire::TcpTimestamps{5001, sa.options.timestamps->value};
    }
    return h;
  }
  std::size_t half_open() {
    std::size_t n = 0;
    shard().for_each_half_open([&](const HalfOpen&, Instant) { ++n; });
    return n;
  }
  std::size_t time_waits() {
    std::size_t n = 0;
    shard().for_each_time_wait([&](const TimeWait&, Instant) { ++n; });
    return n;
  }
  const tcp::Conn& only_connection() {
    const tcp::Conn* found = nullptr;
    shard().for_each([&](ConnEntry& e) { found = &e.tcp; });
    EXPECT_NE(found, nullptr);
    return *found;
  }
  /// Opens and closes from our side: TIME-WAIT, our next octet is iss + 2, the peer's 102.
  void open_and_close(std::uint16_t from = 1000) {
    open(from);
    shard().for_each([&](ConnEntry& e) {
      if (e.key.remote.port == from) e.tcp.shutdown_write(), shard().mark_dirty(e);
    });
    shard().finish_turn(now);
    segment(header(flag::fin | flag::ack, 101, iss + 2, from));
    taken += 1;
  }
  std::size_t sent() const { return port.sent.size(); }
  const wire::TcpHeader& last() const { return port.sent.back().tcp; }
};

// --- half-open records

TEST_F(HandshakeTest, syn_costs_a_record_and_no_connection) {
  segment(syn());
  taken += 1;
  EXPECT_EQ(half_open(), 1U);
  EXPECT_EQ(counters.memory_bytes.get(), sizeof(HalfOpen));
  shard().for_each([](ConnEntry&) { ADD_FAILURE() << "a connection"; });
}

TEST_F(HandshakeTest, syn_ack_is_that_of_the_connection) {
  segment(syn());
  EXPECT_EQ(last().flags, flag::syn | flag::ack);
  EXPECT_EQ(last().ack, Seq{101});
  EXPECT_EQ(last().window, 65535);
  EXPECT_EQ(last().options.mss, 1460);
  EXPECT_EQ(last().options.window_scale, 7);  // 6 MiB
  EXPECT_TRUE(last().options.sack_permitted);
  EXPECT_EQ(last().options.timestamps->echo, 5000U);
  now += 20ms;
  segment(ack_of_last());
  taken += 2;
  const auto i = only_connection().info();
  EXPECT_EQ(i.mss, 1388U);
  EXPECT_TRUE(i.sack && i.timestamps);
  EXPECT_EQ(i.send_window, 65535U << 7);
  EXPECT_EQ(i.srtt, Duration{20ms});
  EXPECT_EQ(half_open(), 0U);
}

TEST_F(HandshakeTest, data_and_fin_with_the_ack_are_delivered) {
  segment(syn());
  wire::TcpHeader h = ack_of_last();
  h.flags |= flag::fin;
  segment(h, 500);
  taken += 2;
  EXPECT_EQ(service.opened, 1);
  EXPECT_EQ(service.octets, 500U);
  EXPECT_EQ(last().ack, Seq{602});
  EXPECT_EQ(last().flags & flag::fin, flag::fin);
}

TEST_F(HandshakeTest, rfc6298_retransmission_and_karn) {
  segment(syn());
  iss = last().seq.raw();
  pass(8s);
  ASSERT_EQ(sent(), 4U);  // 0, 1, 3, 7 s
  EXPECT_EQ(counters.retransmitted_segments.get(), 3U);
  for (const Sent& s : port.sent) {
    EXPECT_EQ(s.tcp.flags, flag::syn | flag::ack);
    EXPECT_EQ(s.tcp.seq, Seq{iss});
  }
  EXPECT_GT(last().options.timestamps->value, port.sent[0].tcp.options.timestamps->value);
  segment(ack_of_last());
  taken += 2;
  EXPECT_EQ(only_connection().info().srtt, Duration::zero()) << "which one was acknowledged?";
  EXPECT_EQ(only_connection().info().rto, Duration{3s});  // RFC 6298 (5.7)
}

TEST_F(HandshakeTest, rfc9293_must_23_syn_ack_is_tried_for_three_minutes) {
  segment(syn());
  taken += 1;
  pass(180s);
  EXPECT_EQ(half_open(), 1U);
  pass(10s);
  EXPECT_EQ(half_open(), 0U);
  EXPECT_EQ(sent(), 8U);
  EXPECT_EQ(counters.memory_bytes.get(), 0U);
  EXPECT_EQ(shard().next_deadline(), kNever);
}

TEST_F(HandshakeTest, duplicate_syn_is_answered_once_an_attempt) {
  segment(syn());
  taken += 1;
  for (int i = 0; i < 10; ++i) segment(syn());
  EXPECT_EQ(drops(DropReason::tcp_duplicate), 10U);
  EXPECT_EQ(sent(), 2U);
  EXPECT_EQ(last().flags, flag::syn | flag::ack);
  EXPECT_EQ(last().seq, port.sent[0].tcp.seq);
  pass(1s);  // our own retransmission, and a new attempt
  EXPECT_EQ(sent(), 3U);
  segment(syn());
  EXPECT_EQ(sent(), 4U);
  now += 5ms;
  segment(ack_of_last());
  taken += 1;
  EXPECT_EQ(only_connection().info().srtt, Duration::zero());
}

TEST_F(HandshakeTest, answered_duplicate_gives_no_round_trip) {
  segment(syn());
  segment(syn());
  now += 5ms;
  segment(ack_of_last());
  taken += 2;
  EXPECT_EQ(only_connection().info().srtt, Duration::zero());
}

TEST_F(HandshakeTest, blind_segments_leave_the_record) {
  segment(syn());
  iss = last().seq.raw();
  taken += 1;
  const auto with_ts = [&](std::uint8_t flags, std::uint32_t seq, std::uint32_t ack) {
    wire::TcpHeader h = header(flags, seq, ack);
    if ((flags & flag::rst) == 0) h.options.timestamps = wire::TcpTimestamps{5001, 0};
    return h;
  };
  segment(with_ts(flag::rst, 102, 0));
  segment(with_ts(flag::rst, 99, 0));
  segment(with_ts(flag::syn, 300, 0));
  segment(with_ts(flag::ack, 101 + 300000, iss + 1));
  EXPECT_EQ(half_open(), 1U);
  EXPECT_EQ(drops(DropReason::tcp_blind_rst), 1U);
  EXPECT_EQ(drops(DropReason::tcp_out_of_window), 2U);
  EXPECT_EQ(drops(DropReason::tcp_blind_syn), 1U);
  EXPECT_EQ(sent(), 2U) << "one challenge for all of them";
  EXPECT_EQ(last().flags, flag::ack);
  segment(with_ts(flag::ack, 101, iss));
  EXPECT_EQ(last().flags, flag::rst);
  EXPECT_EQ(drops(DropReason::tcp_bad_ack), 1U);
  segment(with_ts(flag::rst, 101, 0));
  taken += 1;
  EXPECT_EQ(half_open(), 0U);
}

TEST_F(HandshakeTest, paws_while_half_open) {
  segment(syn());
  wire::TcpHeader h = ack_of_last();
  h.options.timestamps->value = 4999;
  segment(h);
  taken += 1;
  EXPECT_EQ(drops(DropReason::tcp_paws), 1U);
  EXPECT_EQ(half_open(), 1U);
}

TEST_F(HandshakeTest, hard_icmp_error_removes_the_record) {
  segment(syn());
  taken += 1;
  const std::uint32_t ours = last().seq.raw();
  port_unreachable(kPort, 1000, ours + 1);
  EXPECT_EQ(half_open(), 1U) << "not about what is in flight";
  port_unreachable(kPort, 1000, ours);
  taken += 2;
  EXPECT_EQ(half_open(), 0U);
}

TEST_F(HandshakeTest, abort_all_resets_half_open_ones) {
  segment(syn());
  iss = last().seq.raw();
  taken += 1;
  shard().abort_all(now);
  shard().finish_turn(now);
  EXPECT_EQ(last().flags, flag::rst | flag::ack);
  EXPECT_EQ(last().seq, Seq{iss + 1});
  EXPECT_EQ(shard().connections(), 0U);
  EXPECT_EQ(counters.memory_bytes.get(), 0U);
}

// --- cookies

TEST_F(HandshakeTest, overflow_is_answered_by_cookies_that_open) {
  options.syn_backlog = 8;
  for (std::uint16_t i = 0; i < 20; ++i) segment(syn(static_cast<std::uint16_t>(2000 + i)));
  EXPECT_EQ(half_open(), 6U) << "three quarters";
  EXPECT_EQ(counters.syn_cookies_sent.get(), 14U);
  const auto before = counters.memory_bytes.get();
  segment(syn());
  EXPECT_EQ(counters.memory_bytes.get(), before);
  EXPECT_EQ(last().flags, flag::syn | flag::ack);
  const std::uint32_t stamp = last().options.timestamps->value;
  now += 30ms;
  segment(ack_of_last(), 100);
  taken += 22;
  EXPECT_EQ(counters.syn_cookies_validated.get(), 1U);
  EXPECT_EQ(service.opened, 1);
  EXPECT_EQ(service.octets, 100U);
  const auto i = only_connection().info();
  EXPECT_EQ(i.mss, 1388U);
  EXPECT_TRUE(i.sack && i.timestamps);
  EXPECT_EQ(i.send_window, 65535U << 7);
  EXPECT_GE(i.srtt, Duration{30ms});
  EXPECT_LE(i.srtt, Duration{94ms});
  pass(50ms);  // the delayed ACK
  EXPECT_EQ(last().ack, Seq{201});
  EXPECT_LT(last().options.timestamps->value - stamp, 1000U) << "the timestamps went back";
}

TEST_F(HandshakeTest, cookie_without_timestamps_has_no_scaling_and_no_sack) {
  options.syn_cookies = tcp::CookiePolicy::always;
  wire::TcpHeader s = syn();
  s.options.timestamps.reset();
  segment(s);
  EXPECT_FALSE(last().options.window_scale);
  EXPECT_FALSE(last().options.sack_permitted);
  EXPECT_EQ(counters.syn_cookies_sent.get(), 1U);
  EXPECT_EQ(shard().connections(), 0U);
  now += 1s;
  segment(ack_of_last());
  taken += 2;
  const auto i = only_connection().info();
  EXPECT_EQ(i.mss, 1400U);
  EXPECT_FALSE(i.sack || i.timestamps);
  EXPECT_EQ(i.send_window, 65535U);
  EXPECT_EQ(i.srtt, Duration::zero());
}

TEST_F(HandshakeTest, cookie_over_ipv6) {
  options.syn_cookies = tcp::CookiePolicy::always;
  packet(tcp_packet(syn(), 0, kThere6, kHere6));
  packet(tcp_packet(ack_of_last(), 10, kThere6, kHere6));
  shard().finish_turn(now);
  taken += 2;
  EXPECT_EQ(service.octets, 10U);
}

TEST_F(HandshakeTest, cookies_are_never_sent_again_and_expire) {
  options.syn_cookies = tcp::CookiePolicy::always;
  segment(syn());
  const wire::TcpHeader ack = ack_of_last();
  EXPECT_EQ(shard().next_deadline(), kNever);
  pass(129s);
  EXPECT_EQ(sent(), 1U);
  segment(syn(3000));  // another cookie was sent a moment ago: the window is open
  segment(ack);
  taken += 2;
  EXPECT_EQ(last().flags, flag::rst);
  EXPECT_EQ(drops(DropReason::tcp_no_listener), 1U);
  EXPECT_EQ(shard().connections(), 0U);
}

TEST_F(HandshakeTest, forged_cookies_are_reset_and_allocate_nothing) {
  options.syn_cookies = tcp::CookiePolicy::always;
  segment(syn());
  taken += 1;
  const wire::TcpHeader good = ack_of_last();
  for (std::uint32_t i = 0; i < 1000; ++i) {
    wire::TcpHeader h = good;
    h.ack = good.ack + 16 * (i + 1);
    segment(h, 100);
    ASSERT_EQ(last().flags, flag::rst);
  }
  EXPECT_EQ(drops(DropReason::tcp_no_listener), 1000U);
  EXPECT_EQ(shard().connections(), 0U);
  EXPECT_EQ(counters.memory_bytes.get(), 0U);
  EXPECT_EQ(counters.syn_cookies_validated.get(), 0U);
}

TEST_F(HandshakeTest, cookies_are_accepted_only_after_cookies_were_sent) {
  options.syn_cookies = tcp::CookiePolicy::always;
  segment(syn());
  taken += 1;
  wire::TcpHeader ack = ack_of_last();
  // The same secret, but a shard that is in no need: the ACK is not even looked at.
  options.syn_cookies = tcp::CookiePolicy::when_needed;
  BufferPool pool({.slot_size = 65536, .max_slots = 4, .chunk_slots = 4});
  RecordingPort other_port;
  WorkerCounters other_counters;
  Shard other(options, other_port, other_counters, now);
  Recorder other_service;
  other.listen({{}, kPort}, true, other_service);
  const auto octets = tcp_packet(ack, 0, kThere, kHere);
  Buffer* b = pool.alloc();
  b->refs = 1;
  std::memcpy(b->data, octets.data(), octets.size());
  other.on_packet(now, {.buffer = b, .length = static_cast<std::uint32_t>(octets.size())});
  EXPECT_EQ(other_counters.syn_cookies_validated.get(), 0U);
  ASSERT_EQ(other_port.sent.size(), 1U);
  EXPECT_EQ(other_port.sent[0].tcp.flags, flag::rst);
}

TEST_F(HandshakeTest, cookie_beyond_the_connection_limit_is_dropped) {
  options.syn_cookies = tcp::CookiePolicy::always;
  options.max_connections = 1;
  segment(syn(1001));
  const wire::TcpHeader late = ack_of_last(1001);
  segment(syn(1000));
  segment(ack_of_last(1000));
  segment(late);
  taken += 3;
  EXPECT_EQ(drops(DropReason::tcp_connection_limit), 1U);
  EXPECT_EQ(shard().connections(), 1U);
}

/// RFC 4987: a flood that never answers leaves no trace, and who does answer gets through.
TEST_F(HandshakeTest, flood_holds_no_more_than_the_backlog) {
  options.syn_backlog = 64;
  for (std::uint32_t i = 0; i < 20000; ++i) {
    packet(tcp_packet(syn(static_cast<std::uint16_t>(i)), 0, IpAddr::v4(0x0a000000 + i), kHere));
    port.sent.erase(port.sent.begin(), port.sent.end() - 1);
    taken += 1;
    if (i % 1000 != 0) continue;
    segment(syn(7));
    segment(ack_of_last(7), 10);
    taken += 2;
    shard().for_each([&](ConnEntry& e) { e.tcp.abort(), shard().mark_dirty(e); });
    shard().finish_turn(now);
  }
  EXPECT_EQ(service.opened, 20);
  EXPECT_EQ(service.octets, 200U);
  EXPECT_LE(counters.memory_bytes.get(), 64 * sizeof(HalfOpen));
}

// --- TIME-WAIT records

TEST_F(HandshakeTest, time_wait_costs_a_record_and_ends) {
  open_and_close();
  EXPECT_EQ(time_waits(), 1U);
  EXPECT_EQ(counters.memory_bytes.get(), sizeof(TimeWait));
  EXPECT_EQ(counters.connections_open.get(), 0U);
  EXPECT_EQ(counters.connections_closed.get(), 1U);
  EXPECT_EQ(service.reasons, std::vector{CloseReason::normal});
  pass(59s);
  EXPECT_EQ(shard().connections(), 1U);
  pass(2s);
  EXPECT_EQ(shard().connections(), 0U);
  EXPECT_EQ(counters.memory_bytes.get(), 0U);
}

TEST_F(HandshakeTest, late_fin_is_acknowledged_and_restarts_two_msl) {
  open_and_close();
  pass(50s);
  const std::size_t before = sent();
  segment(header(flag::fin | flag::ack, 101, iss + 2));
  EXPECT_EQ(drops(DropReason::tcp_duplicate), 1U);
  ASSERT_EQ(sent(), before + 1);
  EXPECT_EQ(last().flags, flag::ack);
  EXPECT_EQ(last().seq, Seq{iss + 2});
  EXPECT_EQ(last().ack, Seq{102});
  pass(59s);
  EXPECT_EQ(time_waits(), 1U);
  pass(2s);
  EXPECT_EQ(time_waits(), 0U);
}

TEST_F(HandshakeTest, rfc1337_reset_does_not_end_time_wait) {
  open_and_close();
  const std::size_t before = sent();
  segment(header(flag::rst, 102));
  EXPECT_EQ(drops(DropReason::tcp_time_wait), 1U);
  EXPECT_EQ(time_waits(), 1U);
  EXPECT_EQ(sent(), before);
}

TEST_F(HandshakeTest, challenges_in_time_wait_are_limited) {
  open_and_close();
  const std::size_t before = sent();
  for (int i = 0; i < 100; ++i) segment(header(flag::syn, 50));
  EXPECT_EQ(drops(DropReason::tcp_blind_syn), 100U);
  EXPECT_EQ(sent(), before + 1);
  pass(1s);
  segment(header(flag::syn, 50));
  EXPECT_EQ(sent(), before + 2);
}

TEST_F(HandshakeTest, reopened_flow_never_gets_a_cookie) {
  options.syn_cookies = tcp::CookiePolicy::always;
  open_and_close();
  segment(header(flag::syn, 5000));
  taken += 1;
  EXPECT_EQ(counters.syn_cookies_sent.get(), 1U) << "that of the first open";
  EXPECT_GT(last().seq, Seq{iss} + 2);
  EXPECT_EQ(time_waits(), 0U);
  EXPECT_EQ(half_open(), 1U);
}

TEST_F(HandshakeTest, refused_reopening_keeps_time_wait) {
  options.syn_backlog = 1;
  open_and_close();
  segment(header(flag::syn, 100, 0, 3000));
  segment(header(flag::syn, 5000));
  taken += 1;
  EXPECT_EQ(drops(DropReason::tcp_backlog_full), 1U);
  EXPECT_EQ(time_waits(), 1U);
}

TEST_F(HandshakeTest, oldest_time_wait_goes_when_the_store_is_full) {
  options.max_time_wait = 3;
  for (std::uint16_t i = 0; i < 5; ++i) open_and_close(static_cast<std::uint16_t>(1000 + i));
  EXPECT_EQ(time_waits(), 3U);
  shard().for_each_time_wait(
      [](const TimeWait& r, Instant) { EXPECT_GE(r.key.remote.port, 1002); });
}

TEST_F(HandshakeTest, unread_data_keeps_the_whole_connection) {
  service.keep = true;
  open();
  segment(header(flag::ack, 101, iss + 1), 10);
  shard().for_each([&](ConnEntry& e) { e.tcp.shutdown_write(), shard().mark_dirty(e); });
  shard().finish_turn(now);
  segment(header(flag::fin | flag::ack, 111, iss + 2));
  taken += 2;
  EXPECT_EQ(time_waits(), 0U);
  EXPECT_EQ(shard().connections(), 1U);
  shard().for_each([&](ConnEntry& e) { e.tcp.consume(10), shard().mark_dirty(e); });
  shard().finish_turn(now);
  EXPECT_EQ(time_waits(), 1U);
  EXPECT_EQ(service.reasons, std::vector{CloseReason::normal});
}

TEST_F(HandshakeTest, active_open_avoids_ports_in_time_wait) {
  ASSERT_NE(shard().connect(now, kHere, {kThere, 80}, service), nullptr);
  shard().finish_turn(now);
  const std::uint16_t ours = last().src_port;
  segment(header(flag::syn | flag::ack, 100, last().seq.raw() + 1, 80, ours));
  iss = last().seq.raw() - 1;
  shard().for_each([&](ConnEntry& e) { e.tcp.shutdown_write(), shard().mark_dirty(e); });
  shard().finish_turn(now);
  segment(header(flag::fin | flag::ack, 101, iss + 2, 80, ours));
  taken += 2;
  ASSERT_EQ(time_waits(), 1U);
  for (int i = 0; i < 100; ++i) {
    const ConnEntry* e = shard().connect(now, kHere, {kThere, 80}, service);
    ASSERT_NE(e, nullptr);
    EXPECT_NE(e->key.local.port, ours);
  }
}

TEST_F(HandshakeTest, active_open_from_a_given_port) {
  ConnEntry* const e =
      shard().connect(now, {}, {kThere, 80}, service, {.local_port = 5555, .buffer_limit = 8192});
  ASSERT_NE(e, nullptr);
  EXPECT_EQ(e->key.local, (Endpoint{kHere, 5555}));
  EXPECT_EQ(e->tcp.info().receive_bound, 8192U);
  shard().finish_turn(now);
  EXPECT_EQ(last().window, 8192U);
  EXPECT_EQ(shard().connect(now, {}, {kThere, 80}, service, {.local_port = 5555}), nullptr)
      << "taken";
  EXPECT_NE(shard().connect(now, {}, {kThere, 81}, service, {.local_port = 5555}), nullptr)
      << "to another one it is another flow";
  EXPECT_EQ(shard().connect(now, kThere, {*IpAddr::parse("198.18.0.9"), 80}, service), nullptr)
      << "from an address that is another's";
  EXPECT_EQ(shard().open_datagrams({}, {kThere, 80}, service, 5555)->local.port, 5555);
  EXPECT_FALSE(shard().open_datagrams({}, {kThere, 80}, service, 5555));
}

TEST_F(HandshakeTest, timestamps_in_time_wait_go_on) {
  segment(syn());
  segment(ack_of_last());
  taken += 2;
  const wire::TcpHeader sa = port.sent[0].tcp;
  shard().for_each([&](ConnEntry& e) { e.tcp.shutdown_write(), shard().mark_dirty(e); });
  shard().finish_turn(now);
  wire::TcpHeader fin = header(flag::fin | flag::ack, 101, (sa.seq + 2).raw());
  fin.options.timestamps = wire::TcpTimestamps{5002, 0};
  segment(fin);
  taken += 1;
  ASSERT_EQ(time_waits(), 1U);
  now += 100ms;
  segment(fin);
  EXPECT_EQ(last().options.timestamps->value, sa.options.timestamps->value + 100);
  EXPECT_EQ(last().options.timestamps->echo, 5002U);
  segment(header(flag::ack, 102, (sa.seq + 2).raw()));
  EXPECT_EQ(drops(DropReason::tcp_paws), 1U);
}

}  // namespace
}  // namespace pollux
