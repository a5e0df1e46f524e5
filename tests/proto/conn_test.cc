// The connection, rule by rule, in the words of conn_dsl.h.
#include "proto/tcp/conn.h"

#include <gtest/gtest.h>

#include "tests/proto/conn_dsl.h"

namespace pollux::tcp {
namespace {

using namespace dsl;

// --- opening

TEST(ConnOpen, passive) {
  Bench t;
  t.in(syn(0).mss(1460));
  EXPECT_EQ(t.state(), State::syn_received);
  t.out(syn_ack(0).acks(1).mss(1460));
  t.none();
  t.in(ack(1).acks(1));
  EXPECT_EQ(t.state(), State::established);
  EXPECT_EQ(t.conn->take_events(), event::opened | event::writable);
  t.none();
}

TEST(ConnOpen, active) {
  Bench t;
  t.open();
  t.out(syn(0).mss(1460));
  t.none();
  t.in(syn_ack(0).acks(1));
  EXPECT_EQ(t.state(), State::established);
  t.out(ack(1).acks(1));
  t.none();
}

TEST(ConnOpen, rfc9293_must_10_simultaneous_open) {
  Bench t;
  t.open();
  t.out(syn(0));
  t.in(syn(0).mss(1460));
  EXPECT_EQ(t.state(), State::syn_received);
  t.out(syn_ack(0).acks(1));
  t.in(syn_ack(0).acks(1));
  EXPECT_EQ(t.state(), State::established);
  t.write(100);
  t.out(ack(1).acks(1).len(100));
}

TEST(ConnOpen, simultaneous_open_by_a_plain_ack) {
  Bench t;
  t.open();
  t.out(syn(0));
  t.in(syn(0));
  t.out(syn_ack(0).acks(1));
  t.in(ack(1).acks(1).len(10));
  EXPECT_EQ(t.state(), State::established);
  EXPECT_EQ(t.conn->readable(), 10U);
}

TEST(ConnOpen, text_beside_the_second_syn_of_a_simultaneous_open_is_not_misplaced) {
  Bench t;
  t.open();
  t.out(syn(0));
  t.in(syn(0));
  t.out(syn_ack(0).acks(1));
  t.in(syn_ack(0).acks(1).len(10));
  EXPECT_EQ(t.state(), State::established);
  EXPECT_FALSE(t.conn->keeps_out_of_order());
  t.in(ack(1).acks(1).len(10));
  EXPECT_EQ(t.conn->readable(), 10U);
}

TEST(ConnOpen, text_and_fin_beside_a_syn_ack) {
  Bench t;
  t.open();
  t.out(syn(0));
  t.in(syn_ack(0).acks(1).len(5).fin());
  EXPECT_EQ(t.state(), State::close_wait);
  EXPECT_EQ(t.conn->readable(), 5U);
  t.out(ack(1).acks(7));
}

TEST(ConnOpen, text_beside_a_syn_ack_is_cut_to_the_window_of_the_syn) {
  Bench t;
  t.options.receive_buffer = 100;
  t.open();
  t.out(syn(0).win(100));
  t.in(syn_ack(0).acks(1).len(200).fin());
  EXPECT_EQ(t.state(), State::established);
  EXPECT_EQ(t.conn->readable(), 100U);
}

TEST(ConnOpen, bad_ack_in_syn_sent_leaves_it_open) {
  Bench t;
  t.open();
  t.out(syn(0));
  t.in(syn_ack(0).acks(0), DropReason::tcp_bad_ack);
  t.in(syn_ack(0).acks(2), DropReason::tcp_bad_ack);
  t.in(rst(0).acks(2), DropReason::tcp_bad_ack);
  EXPECT_EQ(t.state(), State::syn_sent);
}

TEST(ConnOpen, refused) {
  Bench t;
  t.open();
  t.out(syn(0));
  t.in(rst(0), DropReason::tcp_blind_rst);  // without an ACK it proves nothing
  t.in(rst(0).acks(1));
  EXPECT_TRUE(t.conn->is_closed());
  EXPECT_EQ(t.conn->close_cause(), CloseCause::refused);
  t.none();
}

TEST(ConnOpen, syn_is_repeated_with_back_off_until_r2) {
  Bench t;
  t.open();
  t.out(syn(0));
  Duration waits[] = {1s, 2s, 4s, 8s, 16s, 32s};
  for (const Duration w : waits) {
    EXPECT_EQ(t.next_timer(), w);
    t.out(syn(0));
    t.none();
  }
  while (!t.conn->is_closed()) {
    t.next_timer();
    t.drain();
  }
  EXPECT_EQ(t.conn->close_cause(), CloseCause::timeout);
  EXPECT_GE(t.now - kStart, 180s);  // MUST-23
}

TEST(ConnOpen, rfc6298_5_7_rto_is_3_s_after_a_lost_syn) {
  Bench t;
  t.open();
  t.out(syn(0));
  t.next_timer();
  t.out(syn(0));
  t.in(syn_ack(0).acks(1));
  t.out(ack(1));
  EXPECT_EQ(t.conn->info().rto, 3s);
}

TEST(ConnOpen, syn_ack_is_repeated) {
  Bench t;
  t.in(syn(0));
  t.out(syn_ack(0).acks(1));
  t.in(syn(0), DropReason::tcp_duplicate);
  t.out(syn_ack(0).acks(1));
  EXPECT_EQ(t.next_timer(), 1s);
  t.out(syn_ack(0).acks(1));
  t.none();
}

TEST(ConnOpen, bad_ack_in_syn_received_is_refused) {
  Bench t;
  t.in(syn(0));
  t.out(syn_ack(0));
  t.in(ack(1).acks(0), DropReason::tcp_bad_ack);
  t.in(ack(1).acks(2), DropReason::tcp_bad_ack);
  EXPECT_EQ(t.state(), State::syn_received);
}

TEST(ConnOpen, rst_in_syn_received_ends_it) {
  Bench t;
  t.in(syn(0));
  t.out(syn_ack(0));
  t.in(rst(1));
  EXPECT_TRUE(t.conn->is_closed());
  t.none();
}

TEST(ConnOpen, shutdown_in_syn_received_sends_fin_once_established) {
  Bench t;
  t.in(syn(0));
  t.out(syn_ack(0));
  t.conn->shutdown_write();
  t.none();
  t.in(ack(1).acks(1));
  EXPECT_EQ(t.state(), State::fin_wait_1);
  t.out(fin(1).acks(1));
  t.in(ack(1).acks(2));
  EXPECT_EQ(t.state(), State::fin_wait_2);
}

TEST(ConnOpen, shutdown_in_syn_sent_closes) {
  Bench t;
  t.open();
  t.out(syn(0));
  t.conn->shutdown_write();
  EXPECT_TRUE(t.conn->is_closed());
  t.none();
}

// --- options

TEST(ConnOptions, rfc9293_must_15_mss_defaults_to_536) {
  Bench t;
  t.establish(65535, syn(0));
  EXPECT_EQ(t.conn->mss(), 536U);
  t.write(1000);
  t.out(ack(1).len(536));
}

TEST(ConnOptions, mss_has_a_floor_and_ours_is_the_ceiling) {
  Bench tiny;
  tiny.establish(65535, syn(0).mss(1));
  EXPECT_EQ(tiny.conn->mss(), kMinPeerMss);
  Bench large;
  large.establish(65535, syn(0).mss(9000));
  EXPECT_EQ(large.conn->mss(), 1460U);
}

TEST(ConnOptions, rfc9293_must_16_mss_counts_options) {
  Bench t;
  t.options.timestamps = true;
  t.establish(65535, syn(0).mss(1460).ts(1));
  EXPECT_EQ(t.conn->mss(), 1448U);
}

TEST(ConnOptions, a_packet_without_offload_is_one_segment_of_the_peers_size) {
  Bench t;
  t.establish(65535, syn(0).mss(500));
  t.write(1400);
  t.out(ack(1).len(500));
  t.out(ack(501).len(500));
}

TEST(ConnOptions, rfc7323_2_3_window_scale_above_14_means_14) {
  Bench t;
  t.options.window_scaling = true;
  t.establish(1, syn(0).mss(1460).wscale(15));
  EXPECT_EQ(t.conn->info().send_window, 1U << 14);
}

TEST(ConnOptions, windows_of_syns_are_never_scaled) {
  Bench t;
  t.options.window_scaling = true;
  t.in(syn(0).mss(1460).wscale(7).win(1000));
  EXPECT_EQ(t.conn->info().send_window, 1000U);
  t.out(syn_ack(0).win(65535).wscale(7));
  t.in(ack(1).acks(1).win(1000));
  EXPECT_EQ(t.conn->info().send_window, 128000U);
}

TEST(ConnOptions, without_scaling_by_the_peer_the_window_stays_below_64k) {
  Bench t;
  t.options.window_scaling = true;
  t.establish();
  EXPECT_LE(t.conn->info().receive_window, 65535U);
}

/// What the receive window has become after 40 ms of data as fast as it allows, read at once.
std::uint32_t grown_window(std::uint32_t local_window, Duration round_trip) {
  Bench t;
  t.options.window_scaling = true;
  t.in(syn(0).mss(1460).wscale(7));
  t.out(syn_ack(0).acks(1));
  t.after(round_trip);
  t.in(ack(1).acks(1));
  t.conn->set_local_window(local_window);
  std::uint32_t seq = 1;
  for (int i = 0; i < 40; ++i) {
    for (int j = 0; j < 4; ++j) {
      t.in(ack(seq).acks(1).len(60000));
      seq += 60000;
      t.read();
    }
    t.drain();
    t.after(1ms);
  }
  return t.conn->info().receive_window;
}

TEST(ConnOptions, a_local_peer_has_no_more_window_than_its_share_of_the_queue) {
  EXPECT_GT(grown_window(UINT32_MAX, 100us), 512U << 10);
  EXPECT_LE(grown_window(384U << 10, 100us), 384U << 10);
  EXPECT_LE(grown_window(128U << 10, 100us), 128U << 10);  // less than the initial one
  EXPECT_GT(grown_window(384U << 10, 3ms), 512U << 10);    // a path has room of its own
}

TEST(ConnOptions, a_connection_may_have_less_buffer_than_the_others) {
  Bench t;
  t.options.window_scaling = true;
  t.establish(65535, syn(0).mss(1460).wscale(7));
  const std::uint32_t offered = t.conn->info().receive_window;
  t.conn->set_buffer_limit(16 << 10);
  EXPECT_EQ(t.conn->info().receive_window, offered) << "an edge never moves left";
  EXPECT_EQ(t.conn->send_limit(), 16U << 10);
  std::uint32_t seq = 1;
  for (int i = 0; i < 40; ++i) {
    t.in(ack(seq).acks(1).len(10000));
    seq += 10000;
    t.read();
    t.drain();
    t.after(5ms);
  }
  EXPECT_LE(t.conn->info().receive_window, 16U << 10);
  EXPECT_GT(t.conn->info().receive_window, 8U << 10);
  t.conn->set_buffer_limit(1);
  EXPECT_EQ(t.conn->info().receive_bound, least_buffer(t.conn->info().own_mss));
  EXPECT_GE(t.conn->info().receive_bound, kLeastBuffer);
  t.conn->set_buffer_limit(UINT32_MAX);
  EXPECT_EQ(t.conn->info().receive_bound, t.options.receive_buffer);
}

/// A peer sends a full segment or half the largest window that it saw (RFC 9293 3.8.6.2.1).
TEST(ConnOptions, the_least_buffer_leaves_room_for_a_full_segment) {
  Bench t;
  t.options.window_scaling = true;
  t.setup.mss = 8960;
  t.establish(65535, syn(0).mss(8960).wscale(7));
  t.conn->set_buffer_limit(1);
  std::uint32_t seq = 1;
  for (int i = 0; i < 20; ++i) {  // past what was offered before
    t.in(ack(seq).acks(1).len(8960));
    seq += 8960;
    t.read();
    t.drain();
    t.after(5ms);
    EXPECT_GE(t.conn->info().receive_window, 8960U) << i;
  }
  t.in(ack(seq).acks(1).len(8960));  // not read yet
  t.drain();
  EXPECT_GE(t.conn->info().receive_window, 8960U);
}

TEST(ConnOptions, a_burst_leaves_a_quarter_of_the_window_unacknowledged_at_most) {
  for (const bool scaled : {false, true}) {
    Bench t;
    t.options.window_scaling = scaled;
    t.establish(65535, scaled ? syn(0).mss(1460).wscale(7) : syn(0).mss(1460));
    std::uint32_t seq = 1;
    SegmentOut o;
    for (; seq < 65000 && !t.conn->poll_tx(t.now, o, true); seq += 1000) {
      EXPECT_EQ(t.conn->holds_ack(), seq > 1001) << "two segments";
      t.in(ack(seq).acks(1).len(1000));  // nobody reads
    }
    EXPECT_GT(seq, 10000U);
    EXPECT_LE(seq, 1 + 65535 / 4 + 1000) << scaled;
  }
}

// --- closing

TEST(ConnClose, peer_first) {
  Bench t;
  t.establish();
  t.in(fin(1).acks(1));
  EXPECT_EQ(t.state(), State::close_wait);
  t.out(ack(1).acks(2));
  t.conn->shutdown_write();
  EXPECT_EQ(t.state(), State::last_ack);
  t.out(fin(1).acks(2));
  t.in(ack(2).acks(2));
  EXPECT_TRUE(t.conn->is_closed());
  EXPECT_EQ(t.conn->close_cause(), CloseCause::normal);
}

TEST(ConnClose, we_first_then_time_wait) {
  Bench t;
  t.establish();
  t.conn->shutdown_write();
  t.out(fin(1).acks(1));
  t.in(ack(1).acks(2));
  EXPECT_EQ(t.state(), State::fin_wait_2);
  t.in(fin(1).acks(2));
  EXPECT_EQ(t.state(), State::time_wait);
  t.out(ack(2).acks(2));
  EXPECT_EQ(t.next_timer(), 60s);
  EXPECT_TRUE(t.conn->is_closed());
}

TEST(ConnClose, fin_that_acknowledges_our_fin) {
  Bench t;
  t.establish();
  t.conn->shutdown_write();
  t.out(fin(1).acks(1));
  t.in(fin(1).acks(2));
  EXPECT_EQ(t.state(), State::time_wait);
  t.out(ack(2).acks(2));
}

TEST(ConnClose, simultaneous) {
  Bench t;
  t.establish();
  t.conn->shutdown_write();
  t.out(fin(1).acks(1));
  t.in(fin(1).acks(1));
  EXPECT_EQ(t.state(), State::closing);
  t.out(ack(2).acks(2));
  t.in(ack(2).acks(2));
  EXPECT_EQ(t.state(), State::time_wait);
}

TEST(ConnClose, half_close_goes_on_receiving) {
  Bench t;
  t.establish();
  t.conn->shutdown_write();
  t.out(fin(1).acks(1));
  t.in(ack(1).acks(2).len(100));
  EXPECT_EQ(t.state(), State::fin_wait_2);
  EXPECT_EQ(t.read(), 100U);
  t.in(ack(101).acks(2).len(100));
  EXPECT_EQ(t.read(), 100U);
}

TEST(ConnClose, half_close_goes_on_sending) {
  Bench t;
  t.establish();
  t.in(fin(1).acks(1));
  t.out(ack(1).acks(2));
  t.write(500);
  t.out(ack(1).acks(2).len(500));
  t.in(ack(2).acks(501));
  t.write(10);
  t.conn->shutdown_write();
  t.out(fin(501).acks(2).len(10));
}

TEST(ConnClose, fin_goes_behind_all_that_is_queued) {
  Bench t;
  t.establish(3000);
  t.write(5000);
  t.conn->shutdown_write();
  t.out(ack(1).len(1460));
  t.out(ack(1461).len(1460));
  t.none();
  t.in(ack(1).acks(2921).win(3000));
  t.out(ack(2921).len(1460));
  t.out(fin(4381).len(620));
  t.none();
  t.in(ack(1).acks(5002));
  EXPECT_EQ(t.state(), State::fin_wait_2);
}

TEST(ConnClose, lost_fin_is_sent_again_alone_or_with_its_data) {
  Bench t;
  t.establish();
  t.write(1460);
  t.conn->shutdown_write();
  t.out(fin(1).len(1460));
  t.next_timer();
  t.out(ack(1).len(1460));
  t.in(ack(1).acks(1461));
  t.out(fin(1461));
  t.in(ack(1).acks(1462));
  EXPECT_EQ(t.state(), State::fin_wait_2);
}

TEST(ConnClose, out_of_order_fin_waits_for_the_gap) {
  Bench t;
  t.establish();
  t.in(fin(101).acks(1).len(50));
  EXPECT_EQ(t.state(), State::established);
  EXPECT_FALSE(t.conn->peer_closed());
  t.out(ack(1).acks(1));
  t.in(ack(1).acks(1).len(100));
  EXPECT_EQ(t.state(), State::close_wait);
  EXPECT_EQ(t.read(), 150U);
  t.out(ack(1).acks(152));
}

TEST(ConnClose, bare_fin_before_its_data) {
  Bench t;
  t.establish();
  t.in(fin(101).acks(1));
  EXPECT_EQ(t.state(), State::established);
  t.drain();
  t.in(ack(1).acks(1).len(100));
  EXPECT_EQ(t.state(), State::close_wait);
  EXPECT_EQ(t.read(), 100U);
  t.out(ack(1).acks(102));
}

TEST(ConnClose, repeated_fin_is_acknowledged_again) {
  Bench t;
  t.establish();
  t.in(fin(1).acks(1));
  t.out(ack(1).acks(2));
  t.in(fin(1).acks(1), DropReason::tcp_duplicate);
  t.out(ack(1).acks(2));
  EXPECT_EQ(t.conn->take_events() & event::peer_closed, event::peer_closed);
}

TEST(ConnClose, data_behind_the_fin_is_not_delivered) {
  Bench t;
  t.establish();
  t.in(fin(1).acks(1));
  t.out(ack(1).acks(2));
  t.in(ack(2).acks(1).len(10), DropReason::tcp_closed);
  EXPECT_EQ(t.conn->readable(), 0U);
}

TEST(ConnClose, fin_is_taken_with_a_closed_window) {
  Bench t;
  t.options.receive_buffer = 1000;
  t.establish();
  t.in(ack(1).acks(1).len(1000));
  t.drain();
  EXPECT_EQ(t.conn->info().receive_window, 0U);
  t.in(fin(1001).acks(1));
  EXPECT_EQ(t.state(), State::close_wait);
  t.out(ack(1).acks(1002).win(0));
  EXPECT_EQ(t.read(), 1000U);
}

TEST(ConnClose, data_and_fin_beyond_the_window_are_cut) {
  Bench t;
  t.options.receive_buffer = 1000;
  t.establish();
  t.in(fin(1).acks(1).len(1200));
  EXPECT_EQ(t.state(), State::established);
  EXPECT_EQ(t.conn->readable(), 1000U);
  EXPECT_FALSE(t.conn->peer_closed());
}

TEST(ConnClose, abort_sends_rst) {
  Bench t;
  t.establish();
  t.write(100);
  t.conn->abort();
  t.out(make(flag::rst | flag::ack, 1));
  t.none();
  EXPECT_EQ(t.conn->close_cause(), CloseCause::aborted);
  EXPECT_EQ(t.conn->held(), 0U);
}

// --- TIME-WAIT

Bench in_time_wait(bool timestamps = false) {
  Bench t;
  t.options.timestamps = timestamps;
  const Seg s = syn(0).mss(1460);
  t.establish(65535, timestamps ? s.ts(100) : s);
  t.conn->shutdown_write();
  t.out(fin(1).acks(1));
  const Seg f = fin(1).acks(2);
  t.in(timestamps ? f.ts(100) : f);
  t.out(ack(2).acks(2));
  EXPECT_EQ(t.state(), State::time_wait);
  return t;
}

wire::TcpHeader syn_header(std::uint32_t seq, std::optional<std::uint32_t> ts = {}) {
  wire::TcpHeader h;
  h.flags = flag::syn;
  h.seq = kPeerIss + seq;
  if (ts) h.options.timestamps = wire::TcpTimestamps{*ts, 0};
  return h;
}

TEST(ConnTimeWait, rfc1337_rst_does_not_end_it) {
  Bench t = in_time_wait();
  t.in(rst(2), DropReason::tcp_time_wait);
  EXPECT_EQ(t.state(), State::time_wait);
}

TEST(ConnTimeWait, repeated_fin_is_acknowledged_and_starts_it_again) {
  Bench t = in_time_wait();
  t.after(30s);
  t.in(fin(1).acks(2), DropReason::tcp_duplicate);
  t.out(ack(2).acks(2));
  t.after(40s);
  EXPECT_EQ(t.state(), State::time_wait);
  t.after(21s);
  EXPECT_TRUE(t.conn->is_closed());
}

TEST(ConnTimeWait, rfc6191_reopen_by_sequence_number) {
  Bench t = in_time_wait();
  EXPECT_FALSE(t.conn->may_reopen(syn_header(1)));
  EXPECT_FALSE(t.conn->may_reopen(syn_header(2)));
  EXPECT_TRUE(t.conn->may_reopen(syn_header(3)));
}

TEST(ConnTimeWait, rfc6191_reopen_by_timestamp) {
  Bench t = in_time_wait(true);
  EXPECT_TRUE(t.conn->may_reopen(syn_header(0, 101)));
  EXPECT_FALSE(t.conn->may_reopen(syn_header(1000, 99)));
  EXPECT_TRUE(t.conn->may_reopen(syn_header(1000, 100)));
  EXPECT_FALSE(t.conn->may_reopen(syn_header(1, 100)));
  EXPECT_TRUE(t.conn->may_reopen(syn_header(1000)));
}

TEST(ConnTimeWait, only_time_wait_is_reopened) {
  Bench t;
  t.establish();
  EXPECT_FALSE(t.conn->may_reopen(syn_header(1000)));
}

// --- RFC 5961

TEST(ConnAttack, exact_rst_resets) {
  Bench t;
  t.establish();
  t.in(rst(1));
  EXPECT_TRUE(t.conn->is_closed());
  EXPECT_EQ(t.conn->close_cause(), CloseCause::reset);
  t.none();
}

TEST(ConnAttack, rst_inside_the_window_is_challenged) {
  Bench t;
  t.establish();
  t.in(rst(2), DropReason::tcp_blind_rst);
  EXPECT_EQ(t.state(), State::established);
  t.out(ack(1).acks(1));
  t.none();
}

TEST(ConnAttack, rst_outside_the_window_is_silent) {
  Bench t;
  t.establish();
  t.in(rst(0), DropReason::tcp_out_of_window);
  t.in(rst(70000), DropReason::tcp_out_of_window);
  t.none();
}

TEST(ConnAttack, syn_is_challenged_at_a_limited_rate) {
  Bench t;
  t.establish();
  for (const std::uint32_t seq : {0U, 1U, 500U, 1U << 30}) {
    t.in(syn(seq), DropReason::tcp_blind_syn);
  }
  t.out(ack(1).acks(1));
  t.none();
  t.in(syn(1), DropReason::tcp_blind_syn);
  t.none();
  t.after(500ms);
  t.in(syn(1), DropReason::tcp_blind_syn);
  t.out(ack(1).acks(1));
  EXPECT_EQ(t.state(), State::established);
}

TEST(ConnAttack, data_with_an_impossible_ack_is_not_taken) {
  Bench t;
  t.establish(1000);
  t.in(ack(1).acks(2).len(10), DropReason::tcp_bad_ack);
  t.in(make(flag::ack, 1).acks(0).len(10), DropReason::tcp_bad_ack);  // ghost
  t.in(make(flag::ack, 1).acks(static_cast<std::uint32_t>(-2000)).len(10),
       DropReason::tcp_bad_ack);  // below SND.UNA - MAX.SND.WND
  EXPECT_EQ(t.conn->readable(), 0U);
  t.in(make(0, 1).len(10), DropReason::tcp_bad_flags);
  EXPECT_EQ(t.conn->readable(), 0U);
}

TEST(ConnAttack, paws_refuses_old_timestamps_but_not_rst) {
  Bench t;
  t.options.timestamps = true;
  t.establish(65535, syn(0).mss(1460).ts(100));
  t.in(ack(1).acks(1).len(10).ts(99), DropReason::tcp_paws);
  t.out(ack(1).acks(1));
  t.in(ack(1).acks(1).len(10), DropReason::tcp_paws);  // RFC 7323 3.2: must carry one
  EXPECT_EQ(t.conn->readable(), 0U);
  t.in(ack(1).acks(1).len(10).ts(101));
  EXPECT_EQ(t.conn->readable(), 10U);
  t.in(rst(11));
  EXPECT_TRUE(t.conn->is_closed());
}

TEST(ConnAttack, a_future_segment_does_not_move_ts_recent) {
  Bench t;
  t.options.timestamps = true;
  t.establish(65535, syn(0).mss(1460).ts(100));
  t.in(ack(1000).acks(1).len(10).ts(5000));  // a gap: not to be trusted (RFC 7323 4.3)
  t.drain();
  t.in(ack(1).acks(1).len(10).ts(100));
  EXPECT_EQ(t.conn->readable(), 10U);
}

TEST(ConnAttack, packet_too_big_about_nothing_in_flight_is_ignored) {
  Bench t;
  t.establish();
  t.write(1460);
  t.out(ack(1).len(1460));
  t.conn->on_icmp(t.now, PathError::packet_too_big, kOurIss + 5000, 500);
  EXPECT_EQ(t.conn->mss(), 1460U);
  t.conn->on_icmp(t.now, PathError::packet_too_big, kOurIss + 1, 100);
  EXPECT_EQ(t.conn->mss(), 1460U);
  t.conn->on_icmp(t.now, PathError::hard, kOurIss + 1, 0);  // never kills what is established
  EXPECT_EQ(t.state(), State::established);
}

TEST(ConnPath, packet_too_big_sends_again_in_smaller_segments) {
  Bench t;
  t.establish();
  t.conn->set_nodelay(true);
  t.write(4000);
  t.out(ack(1).len(1460));
  t.out(ack(1461).len(1460));
  t.out(ack(2921).len(1080));
  t.conn->on_icmp(t.now, PathError::packet_too_big, kOurIss + 1, 1000);
  t.out(ack(1).len(1000));
  t.out(ack(1001).len(460));
  t.out(ack(1461).len(1000));
  t.drain();
  t.in(ack(1).acks(4001));
  t.none();
  t.write(2500);
  t.out(ack(4001).len(1000));
}

TEST(ConnPath, packet_too_big_leaves_room_for_timestamps) {
  Bench t;
  t.options.timestamps = true;
  t.establish(65535, syn(0).mss(1460).ts(1));
  t.write(2000);
  t.drain();
  t.conn->on_icmp(t.now, PathError::packet_too_big, kOurIss + 1, 1000);
  EXPECT_EQ(t.conn->mss(), 988U);
}

// --- keep-alive, urgent, events

TEST(ConnIdle, keep_alive_probes_and_gives_up) {
  Bench t;
  t.options.keepalive = 100s;
  t.options.keepalive_probes = 2;
  t.establish();
  EXPECT_EQ(t.next_timer(), 100s);
  t.out(ack(0).acks(1));  // one below SND.NXT
  t.in(ack(1).acks(1));
  EXPECT_EQ(t.next_timer(), 100s);
  t.out(ack(0).acks(1));
  EXPECT_EQ(t.next_timer(), 75s);
  t.out(ack(0).acks(1));
  EXPECT_EQ(t.next_timer(), 75s);
  EXPECT_EQ(t.conn->close_cause(), CloseCause::timeout);
}

TEST(ConnIdle, keep_alive_is_armed_by_an_active_open_too) {
  Bench t;
  t.options.keepalive = 100s;
  t.connect();
  EXPECT_EQ(t.conn->deadline(), kStart + 100s);
}

TEST(ConnIdle, keep_alive_probe_of_the_peer_is_answered) {
  Bench t;
  t.establish();
  t.in(ack(0).acks(1), DropReason::tcp_out_of_window);
  t.out(ack(1).acks(1));
}

TEST(ConnUrgent, pointer_never_moves_data) {
  for (const std::uint16_t up : {0, 1, 5, 10, 11, 1000, 65535}) {
    for (const std::uint32_t seq : {1U, 6U, 50U}) {
      for (const std::uint32_t len : {0U, 10U}) {
        Bench t;
        t.establish();
        t.in(ack(seq).acks(1).len(len).urg(up));
        t.drain();
        t.in(ack(1).acks(1).len(60));
        EXPECT_EQ(t.read(), 60U) << up << ' ' << seq << ' ' << len;
      }
    }
  }
}

TEST(ConnEvents, writable_after_a_good_part_is_free) {
  Bench t;
  t.options.send_buffer = 4000;
  t.establish(65535);
  t.write(4000);
  t.drain();
  EXPECT_EQ(t.conn->send_room(), 0U);
  t.conn->want_writable();
  t.in(ack(1).acks(501));
  EXPECT_EQ(t.conn->take_events() & event::writable, 0);
  t.in(ack(1).acks(1461));
  EXPECT_EQ(t.conn->take_events() & event::writable, event::writable);
}

}  // namespace
}  // namespace pollux::tcp
