// Requirements of RFC 9293 that no other test of the connection covers, each under its own label.
// proto/tcp/RFC.md has all of them.
#include <gtest/gtest.h>

#include "proto/base/siphash.h"
#include "tests/proto/conn_dsl.h"

namespace pollux::tcp {
namespace {

using namespace dsl;

constexpr std::uint8_t kSoft = event::trouble | event::path_error;

TEST(Rfc9293, rfc9293_must_01_win_unsigned) {
  Bench t;
  t.establish(65535);
  EXPECT_EQ(t.conn->info().send_window, 65535U);
  t.write(40000);
  EXPECT_GT(t.drain(), 1U);
}

TEST(Rfc9293, rfc9293_must_08_isn_clock) {
  EXPECT_EQ(initial_sequence(7, kStart + 4us), initial_sequence(7, kStart) + 1);
  EXPECT_EQ(initial_sequence(7, kStart + 1s), initial_sequence(7, kStart) + 250000);
}

TEST(Rfc9293, rfc9293_must_09_isn_secret) {
  const FlowKey flow{.local = {*IpAddr::parse("198.18.0.2"), 7},
                     .remote = {*IpAddr::parse("198.18.0.1"), 1000}};
  FlowKey other = flow;
  other.remote.port = 1001;
  const auto isn = [](const HashKey& secret, const FlowKey& f) {
    return initial_sequence(flow_prf(secret, f, 1), kStart);
  };
  EXPECT_EQ(isn({1, 2}, flow), isn({1, 2}, flow));
  EXPECT_NE(isn({1, 2}, flow), isn({1, 3}, flow)) << "who has not the secret cannot know";
  EXPECT_NE(isn({1, 2}, flow), isn({1, 2}, other)) << "one flow does not tell another";
}

TEST(Rfc9293, isn_is_clock_plus_prf) {
  EXPECT_EQ(initial_sequence(0, Instant{}), Seq{0});
  EXPECT_EQ(initial_sequence(12345, Instant{} + 40us), Seq{12355});
}

TEST(Rfc9293, rfc9293_must_11_synrcvd_origin) {
  Bench passive;
  passive.in(syn(0));
  passive.out(syn_ack(0));
  EXPECT_TRUE(passive.conn->passive_open());
  passive.in(rst(1));
  EXPECT_EQ(passive.conn->close_cause(), CloseCause::reset);
  Bench active;
  active.open();
  active.out(syn(0));
  active.in(syn(0));
  active.out(syn_ack(0));
  EXPECT_FALSE(active.conn->passive_open());
  active.in(rst(1));
  EXPECT_EQ(active.conn->close_cause(), CloseCause::refused);
}

TEST(Rfc9293, rfc7323_5_5_a_timestamp_of_24_days_ago_is_not_recent) {
  for (const bool long_ago : {false, true}) {
    Bench t;
    t.options.timestamps = true;
    t.establish(65535, syn(0).mss(1460).ts(100));
    t.after(std::chrono::hours(24) * (long_ago ? 25 : 23));
    t.in(ack(1).acks(1).len(10).ts(100U - (1U << 31) + 5000));
    EXPECT_EQ(t.conn->readable(), long_ago ? 10U : 0U);
  }
}

// --- R1, R2, user timeout

TEST(Rfc9293, rfc9293_must_20_r1_r2) {
  Bench t;
  t.establish();
  t.write(100);
  t.out(ack(1).len(100));
  for (unsigned i = 0; i < kR1; ++i) {
    t.next_timer();
    t.out(ack(1).len(100));
    EXPECT_EQ(t.conn->take_events() & kSoft, 0) << i;
  }
  t.next_timer();
  EXPECT_EQ(t.conn->take_events() & kSoft, event::trouble);
  t.drain();
  while (!t.conn->is_closed()) {
    EXPECT_EQ(t.conn->take_events() & kSoft, 0) << "told once";
    t.next_timer();
    t.drain();
  }
  EXPECT_EQ(t.conn->close_cause(), CloseCause::timeout);
}

TEST(Rfc9293, rfc9293_shld_09_r1_report) {
  Bench t;
  t.establish();
  for (std::uint32_t round = 0; round < 2; ++round) {
    t.write(100);
    t.drain();
    for (unsigned i = 0; i <= kR1; ++i) t.next_timer(), t.drain();
    EXPECT_EQ(t.conn->take_events() & kSoft, event::trouble) << "again after progress";
    t.in(ack(1).acks(101 + 100 * round));
  }
}

TEST(Rfc9293, rfc9293_shld_10_r1_value) {
  EXPECT_GE(kR1, 3U);
  EXPECT_GE(kR2, 100s);  // SHLD-11
}

TEST(Rfc9293, rfc9293_shld_20_soft_error_off) {
  Bench t;
  t.establish();
  t.conn->set_soft_errors(false);
  t.write(100);
  t.drain();
  t.conn->on_icmp(t.now, PathError::soft, kOurIss + 1, 0);
  for (unsigned i = 0; i < 8; ++i) t.next_timer(), t.drain();
  EXPECT_EQ(t.conn->take_events() & kSoft, 0);
}

TEST(Rfc9293, rfc9293_must_21_user_timeout) {
  Bench t;
  t.establish();
  t.conn->set_user_timeout(5s);
  t.write(100);
  t.drain();
  while (!t.conn->is_closed()) t.next_timer(), t.drain();
  EXPECT_EQ(t.conn->close_cause(), CloseCause::timeout);
  EXPECT_GE(t.now - kStart, 5s);
  EXPECT_LE(t.now - kStart, 15s);
}

TEST(Rfc9293, rfc9293_must_22_syn_r1_r2) {
  Bench t;
  t.open();
  t.out(syn(0));
  for (unsigned i = 0; i < kR1; ++i) t.next_timer(), t.drain();
  EXPECT_EQ(t.conn->take_events() & kSoft, 0);
  t.next_timer();
  EXPECT_EQ(t.conn->take_events() & kSoft, event::trouble);
  Bench short_one;
  short_one.open();
  short_one.conn->set_user_timeout(2s);
  short_one.drain();
  while (!short_one.conn->is_closed()) short_one.next_timer(), short_one.drain();
  EXPECT_EQ(short_one.conn->close_cause(), CloseCause::timeout);
  EXPECT_LE(short_one.now - kStart, 10s);
}

// --- keep-alive

TEST(Rfc9293, rfc9293_must_24_keepalive_switch) {
  Bench t;
  t.establish();
  t.conn->set_keepalive(t.now, 10s, 1s);
  EXPECT_EQ(t.next_timer(), 10s);
  t.out(ack(0).acks(1));
  t.conn->set_keepalive(t.now, Duration::zero(), 1s);
  EXPECT_EQ(t.conn->deadline(), kNever);
}

TEST(Rfc9293, rfc9293_must_25_keepalive_default_off) {
  Bench t;
  t.establish();
  EXPECT_EQ(t.conn->deadline(), kNever);
}

TEST(Rfc9293, rfc9293_must_26_keepalive_only_idle) {
  Bench t;
  t.options.keepalive = 1s;
  t.establish();
  t.write(100);
  t.out(ack(1).len(100));
  for (int i = 0; i < 8; ++i) {  // whatever timer it is, only data goes out
    t.next_timer();
    SegmentOut o;
    while (t.conn->poll_tx(t.now, o)) EXPECT_EQ(o.payload_size, 100U);
  }
  t.in(ack(1).acks(101));
  EXPECT_EQ(t.next_timer(), 1s);
  t.out(ack(100).acks(1));
}

TEST(Rfc9293, rfc9293_must_27_keepalive_interval) {
  Bench t;
  t.establish();
  t.conn->set_keepalive(t.now, 100s, 7s);
  EXPECT_EQ(t.next_timer(), 100s);
  t.out(ack(0).acks(1));
  EXPECT_EQ(t.next_timer(), 7s);
  t.out(ack(0).acks(1));
  t.in(ack(1).acks(1));
  EXPECT_EQ(t.next_timer(), 100s);
}

TEST(Rfc9293, rfc9293_must_29_keepalive_lost_probe) {
  Bench t;
  t.options.keepalive = 100s;
  t.establish();
  for (int i = 0; i < 3; ++i) {
    t.next_timer();
    t.out(ack(0).acks(1));
  }
  t.in(ack(1).acks(1));
  EXPECT_EQ(t.state(), State::established);
}

// --- urgent data

TEST(Rfc9293, rfc9293_must_30_urgent_supported) {
  Bench t;
  t.establish();
  t.write(100);
  t.conn->mark_urgent();
  t.out(ack(1).len(100).urg(0));
  EXPECT_EQ(t.last_out.urgent, 100);
  t.in(ack(1).acks(101));
  t.write(50);
  t.out(ack(101).len(50));  // and no longer
}

TEST(Rfc9293, rfc9293_must_62_urgent_pointer_value) {
  Bench t;
  t.setup.max_payload = 65000;
  t.establish();
  t.write(2000);
  t.conn->mark_urgent();
  t.write(3000);
  t.out(ack(1).len(1460).urg(0));  // one segment: offload would copy the pointer
  EXPECT_EQ(t.last_out.urgent, 2000) << "of the octet behind the urgent data";
  t.out(ack(1461).len(1460).urg(0));
  EXPECT_EQ(t.last_out.urgent, 540);
  t.out(ack(2921).len(1460));
}

TEST(Rfc9293, rfc9293_must_31_urgent_any_length) {
  Bench t;
  t.establish();
  t.write(200000);
  t.conn->mark_urgent();
  std::uint32_t una = 1;
  while (una < 200001) {
    SegmentOut o;
    ASSERT_TRUE(t.conn->poll_tx(t.now, o));
    ASSERT_TRUE(o.header.has(flag::urg));
    ASSERT_EQ(o.header.urgent, std::min(200001 - una, 65535U));
    una += o.payload_size;
    t.in(ack(1).acks(una));
  }
  Bench r;
  r.establish();
  std::uint32_t seq = 1;
  for (; seq < 200001; seq += 1000) {  // the same, received
    const auto up = static_cast<std::uint16_t>(std::min(200001 - seq, 65535U));
    r.in(ack(seq).acks(1).len(1000).urg(up));
    EXPECT_GE(r.conn->urgent_remaining(), 1000U);
    EXPECT_EQ(r.read(), 1000U);
    r.drain();
  }
  EXPECT_EQ(r.conn->urgent_remaining(), 0U);
}

TEST(Rfc9293, rfc9293_must_32_urgent_notify) {
  Bench t;
  t.establish();
  const auto told = [&] { return (t.conn->take_events() & event::urgent) != 0; };
  t.in(ack(1).acks(1).len(10).urg(20));
  EXPECT_TRUE(told());
  t.in(ack(11).acks(1).len(10).urg(10));
  EXPECT_FALSE(told()) << "the same place";
  t.in(ack(21).acks(1).len(10).urg(30));
  EXPECT_TRUE(told()) << "it advanced";
  t.read();
  t.in(ack(31).acks(1).len(10).urg(5));
  EXPECT_FALSE(told()) << "behind what was said before";
  t.in(ack(41).acks(1).urg(20));
  EXPECT_TRUE(told()) << "without any data";
}

TEST(Rfc9293, rfc9293_must_33_urgent_remaining) {
  Bench t;
  t.establish();
  EXPECT_EQ(t.conn->urgent_remaining(), 0U);
  t.in(ack(1).acks(1).len(10).urg(30));
  EXPECT_EQ(t.conn->urgent_remaining(), 30U);
  t.conn->consume(4);
  EXPECT_EQ(t.conn->urgent_remaining(), 26U);
  t.in(ack(11).acks(1).len(40));
  t.conn->consume(26);
  EXPECT_EQ(t.conn->urgent_remaining(), 0U);
  t.in(fin(51).acks(1).len(10).urg(500));  // beyond the FIN there is nothing
  EXPECT_EQ(t.conn->urgent_remaining(), 30U);
  t.read();
  EXPECT_EQ(t.conn->urgent_remaining(), 0U);
}

TEST(Rfc9293, rfc9293_must_66_zero_win_rst_urg) {
  Bench t;
  t.options.receive_buffer = 1000;
  t.establish();
  t.in(ack(1).acks(1).len(1000));
  t.drain();
  EXPECT_EQ(t.conn->info().receive_window, 0U);
  t.conn->take_events();
  t.in(ack(1001).acks(1).len(1).urg(10));
  EXPECT_EQ(t.conn->take_events() & event::urgent, event::urgent);
  EXPECT_EQ(t.conn->readable(), 1000U) << "but not the octet";
  t.in(rst(1001));
  EXPECT_TRUE(t.conn->is_closed());
}

// --- windows

TEST(Rfc9293, rfc9293_shld_14_no_shrink) {
  Bench t;
  t.options.receive_buffer = 4000;
  t.establish();
  Seq edge = t.conn->rcv_edge();
  for (std::uint32_t at = 1; at < 4001; at += 500) {  // nothing is read
    t.in(ack(at).acks(1).len(500));
    t.drain();
    EXPECT_GE(t.conn->rcv_edge(), edge);
    edge = t.conn->rcv_edge();
  }
  EXPECT_EQ(t.last_out.window, 0);
}

TEST(Rfc9293, rfc9293_shld_16_shrink_retransmit) {
  Bench t;
  t.establish(10000);
  t.write(20000);
  t.drain();
  t.in(ack(1).acks(1461).win(1460));
  t.next_timer();
  t.out(ack(1461).len(1460));
}

TEST(Rfc9293, rfc9293_shld_17_shrink_no_timeout) {
  Bench t;
  t.establish(10000);
  t.write(9000);
  t.drain();
  t.in(ack(1).acks(1461).win(0));  // the rest lies beyond the edge now
  while (t.now - kStart < 3600s) {
    t.next_timer();
    ASSERT_FALSE(t.conn->is_closed());
    t.drain();
    t.in(ack(1).acks(1461).win(0));
  }
}

TEST(Rfc9293, rfc9293_may_08_window_closed) {
  Bench t;
  t.options.receive_buffer = 1000;
  t.establish();
  t.in(ack(1).acks(1).len(1000));
  t.drain();
  for (int i = 0; i < 1000; ++i) {  // probes are answered, for ever
    t.after(60s);
    t.in(ack(1001).acks(1).len(1));
    t.out(ack(1).acks(1001).win(0));
  }
  EXPECT_EQ(t.state(), State::established);
}

TEST(Rfc9293, rfc9293_shld_29_zwp_first) {
  for (const Duration rtt : {Duration{1s}, Duration{3s}}) {
    Bench t;
    t.establish(1000);
    t.write(3000);
    t.out(ack(1).len(1000));
    t.after(rtt / 4);
    t.in(ack(1).acks(1001).win(0));
    EXPECT_EQ(t.conn->deadline() - t.now, t.conn->info().rto);
    t.next_timer();
    t.out(ack(1001).len(1));
  }
}

TEST(Rfc9293, rfc9293_shld_30_zwp_backoff) {
  Bench t;
  t.establish(1000);
  t.write(3000);
  t.drain();
  t.in(ack(1).acks(1001).win(0));
  Duration last = t.next_timer();
  for (int i = 0; i < 4; ++i) {
    t.drain();
    t.in(ack(1).acks(1001).win(0));
    const Duration d = t.next_timer();
    EXPECT_EQ(d, 2 * last);
    last = d;
  }
}

// --- RFC 7323

TEST(Rfc9293, rfc7323_2_4_a_window_that_shrinks_by_rounding) {
  Bench t;
  t.options.window_scaling = true;
  t.establish(100, syn(0).mss(1460).wscale(7));
  t.write(20000);
  t.drain();
  t.in(ack(1).acks(1461).win(88));  // 100 less 1460 / 128, rounded down: the edge moved left
  t.drain();
  t.in(ack(1).acks(7301).win(100));
  EXPECT_EQ(t.conn->info().retransmits, 0U);
}

TEST(Rfc9293, rfc7323_2_2_scaling_only_where_both_asked) {
  Bench t;
  t.options.window_scaling = true;
  t.in(syn(0).mss(1460));
  t.out(syn_ack(0).acks(1));
  EXPECT_FALSE(t.last_out.options.window_scale.has_value()) << "no answer without a question";
  Bench off;
  off.in(syn(0).mss(1460).wscale(7));
  off.out(syn_ack(0).acks(1));
  EXPECT_FALSE(off.last_out.options.window_scale.has_value());
  off.in(ack(1).acks(1).win(1000));
  EXPECT_EQ(off.conn->info().send_window, 1000U);
}

TEST(Rfc9293, rfc7323_3_2_timestamps_in_all_segments_or_in_none) {
  for (const bool theirs : {false, true}) {
    Bench t;
    t.options.timestamps = true;
    t.establish(65535, theirs ? syn(0).mss(1460).ts(7) : syn(0).mss(1460));
    const Seg a = ack(1).acks(1).len(3000);
    t.in(theirs ? a.ts(8) : a);
    t.out(ack(1).acks(3001));
    EXPECT_EQ(t.last_out.options.timestamps.has_value(), theirs);
    if (theirs) {
      EXPECT_EQ(t.last_out.options.timestamps->echo, 8U);
    }
    t.write(10);
    t.out(ack(1).len(10));
    EXPECT_EQ(t.last_out.options.timestamps.has_value(), theirs);
    t.next_timer();
    t.out(ack(1).len(10));
    EXPECT_EQ(t.last_out.options.timestamps.has_value(), theirs);
  }
}

TEST(Rfc9293, rfc7323_3_2_a_syn_echoes_nothing) {
  Bench t;
  t.options.timestamps = true;
  t.open();
  t.out(syn(0));
  ASSERT_TRUE(t.last_out.options.timestamps.has_value());
  EXPECT_EQ(t.last_out.options.timestamps->echo, 0U);
}

TEST(Rfc9293, rfc7323_4_1_a_duplicate_gives_no_sample) {
  Bench t;
  t.options.timestamps = true;
  t.establish(65535, syn(0).mss(1460).ts(1));
  t.write(100);
  t.drain();
  t.after(500ms);
  t.in(ack(1).acks(1).ts(2, 1000));
  EXPECT_EQ(t.conn->info().srtt, Duration::zero());
  t.in(ack(1).acks(101).ts(2, 1000));
  EXPECT_EQ(t.conn->info().srtt, 500ms);
}

// --- ICMP, RST, PSH

TEST(Rfc9293, rfc9293_must_56_icmp_soft) {
  for (const bool open : {false, true}) {
    Bench t;
    if (open) {
      t.establish();
      t.write(100);
    } else {
      t.open();
    }
    t.drain();
    t.conn->on_icmp(t.now, PathError::soft, kOurIss + (open ? 1 : 0), 0);
    EXPECT_FALSE(t.conn->is_closed());
    EXPECT_EQ(t.conn->take_events() & kSoft, event::path_error);
    t.conn->on_icmp(t.now, PathError::soft, kOurIss + 5000, 0);  // about nothing of ours
    EXPECT_EQ(t.conn->take_events() & kSoft, 0);
  }
}

TEST(Rfc9293, rfc9293_shld_25_icmp_soft_info) {
  Bench t;
  t.establish();
  t.write(100);
  t.drain();
  t.conn->on_icmp(t.now, PathError::hard, kOurIss + 1, 0);  // RFC 5927 5.2: soft once open
  EXPECT_EQ(t.state(), State::established);
  EXPECT_EQ(t.conn->take_events() & kSoft, event::path_error);
}

TEST(Rfc9293, rfc9293_shld_02_rst_with_data) {
  Bench t;
  t.establish();
  t.in(rst(1).len(20));
  EXPECT_EQ(t.conn->close_cause(), CloseCause::reset);
}

TEST(Rfc9293, rfc9293_must_60_push_no_hold) {
  Bench t;
  t.establish();
  t.write(1);
  t.out(ack(1).len(1));  // nobody pushed it, and it waits for nothing
}

TEST(Rfc9293, rfc9293_must_61_push_last) {
  Bench t;
  t.establish();
  t.write(1000);
  t.write(2000);
  t.write(10);
  t.conn->set_nodelay(true);
  SegmentOut o;
  std::vector<bool> pushed;
  while (t.conn->poll_tx(t.now, o)) pushed.push_back(o.header.has(flag::psh));
  EXPECT_EQ(pushed, (std::vector<bool>{false, false, true}));
}

TEST(Rfc9293, rfc9293_shld_27_psh_collapse) {
  Bench t;
  t.establish();
  t.write(400);
  t.write(400);  // two calls, one segment, one PSH
  SegmentOut o;
  ASSERT_TRUE(t.conn->poll_tx(t.now, o));
  EXPECT_EQ(o.payload_size, 800U);
  EXPECT_TRUE(o.header.has(flag::psh));
  EXPECT_FALSE(t.conn->poll_tx(t.now, o));
}

}  // namespace
}  // namespace pollux::tcp
