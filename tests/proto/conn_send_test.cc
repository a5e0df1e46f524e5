// What the connection sends and when: loss, acknowledgements, Nagle, windows, probes.
#include "proto/tcp/conn.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/proto/conn_dsl.h"

namespace pollux::tcp {
namespace {

using namespace dsl;

// --- retransmission

TEST(ConnLoss, time_outs_back_off_until_r2) {
  Bench t;
  t.establish();
  t.write(100);
  t.out(ack(1).len(100));
  Duration last{};
  while (!t.conn->is_closed()) {
    const Duration d = t.next_timer();
    EXPECT_TRUE(d >= last * 2 || d == 60s || t.conn->is_closed());
    last = d;
    if (!t.conn->is_closed()) t.out(ack(1).len(100));
  }
  EXPECT_EQ(t.conn->close_cause(), CloseCause::timeout);
  EXPECT_GE(t.now - kStart, 100s);  // SHLD-11
  t.out(make(flag::rst | flag::ack, 101).acks(1));
}

TEST(ConnLoss, karn_no_sample_of_what_was_sent_twice) {
  Bench t;
  t.establish();
  t.write(100);
  t.out(ack(1).len(100));
  t.next_timer();
  t.out(ack(1).len(100));
  const auto before = t.conn->info();
  t.after(5ms);
  t.in(ack(1).acks(101));
  EXPECT_EQ(t.conn->info().srtt, before.srtt);
  EXPECT_EQ(t.conn->info().rto, before.rto);  // the back-off stays (RFC 6298 5.7, Karn)
  t.write(100);
  t.drain();
  t.after(20ms);
  t.in(ack(1).acks(201));
  EXPECT_LT(t.conn->info().rto, before.rto);
}

TEST(ConnLoss, what_a_reset_throws_away_was_not_acknowledged) {
  Bench t;
  t.establish();
  t.write(1'000'000);
  t.drain();
  t.in(ack(1).acks(501));
  t.drain();
  EXPECT_EQ(t.conn->info().bytes_acked, 500U);
  t.in(make(flag::rst, 1));
  EXPECT_TRUE(t.conn->is_closed());
  EXPECT_EQ(t.conn->info().bytes_acked, 500U);
  EXPECT_EQ(t.conn->info().send_queue, 0U);
}

/// Ten segments of 1460 octets are out.
Bench with_ten_out(bool sack = false) {
  Bench t;
  t.options.sack = sack;
  t.setup.max_payload = 1460;
  const Seg s = syn(0).mss(1460);
  t.establish(65535, sack ? s.sack_ok() : s);
  t.write(14600);
  EXPECT_EQ(t.drain(), 10U);
  return t;
}
std::uint32_t nth(std::uint32_t n) { return 1 + n * 1460; }

TEST(ConnLoss, newreno_third_duplicate_ack_then_partial_acks) {
  Bench t = with_ten_out();
  t.in(ack(1).acks(1));
  t.in(ack(1).acks(1));
  t.none();
  t.in(ack(1).acks(1));
  t.out(ack(nth(0)).len(1460));
  t.none();
  // Segments 4 and 7 are lost as well: each partial ACK sends the next hole at once.
  for (int i = 0; i < 4; ++i) t.in(ack(1).acks(1));
  t.drain();
  t.in(ack(1).acks(nth(4)));
  t.out(ack(nth(4)).len(1460));
  t.in(ack(1).acks(nth(7)));
  t.out(ack(nth(7)).len(1460));
  t.in(ack(1).acks(nth(10)));
  EXPECT_EQ(t.conn->info().in_flight, 0U);
  EXPECT_EQ(t.conn->info().retransmits, 3U);
}

TEST(ConnLoss, newreno_inflation_lets_new_data_out) {
  Bench t;
  t.establish();
  t.write(30000);
  EXPECT_EQ(t.drain(), 10U);
  for (int i = 0; i < 3; ++i) t.in(ack(1).acks(1));
  t.out(ack(1).len(1460));
  t.none();
  for (int i = 0; i < 6; ++i) t.in(ack(1).acks(1));
  EXPECT_GT(t.drain(), 1U);  // nine left the network, cwnd is five
}

TEST(ConnLoss, window_updates_and_data_are_no_duplicate_acks) {
  Bench t = with_ten_out();
  for (std::uint32_t i = 0; i < 5; ++i) t.in(ack(1).acks(1).win(60000 - i));
  for (std::uint32_t i = 0; i < 5; ++i) t.in(ack(1 + i).acks(1).win(59996).len(1));
  EXPECT_EQ(t.conn->info().retransmits, 0U);
}

TEST(ConnLoss, sack_sends_all_holes_and_nothing_else) {
  Bench t = with_ten_out(true);
  t.after(20ms);
  // 0 and 3 are lost.
  t.in(ack(1).acks(1).sack(nth(1), nth(2)));
  t.in(ack(1).acks(1).sack(nth(1), nth(3)));
  t.none();
  t.in(ack(1).acks(1).sack(nth(4), nth(5)).sack(nth(1), nth(3)));
  t.out(ack(nth(0)).len(1460));
  for (std::uint32_t i = 6; i <= 10; ++i) {
    t.in(ack(1).acks(1).sack(nth(4), nth(i)).sack(nth(1), nth(3)));
  }
  t.out(ack(nth(3)).len(1460));
  t.none();
  t.in(ack(1).acks(nth(10)));
  EXPECT_EQ(t.conn->info().retransmits, 2U);
  EXPECT_EQ(t.conn->info().in_flight, 0U);
}

TEST(ConnLoss, lying_sack_blocks_change_nothing) {
  Bench t = with_ten_out(true);
  const std::uint32_t m = static_cast<std::uint32_t>(-1000);
  for (int i = 0; i < 5; ++i) {
    t.in(ack(1).acks(1).sack(nth(10), nth(12)).sack(m, nth(3)).sack(nth(5), nth(4)));
  }
  EXPECT_EQ(t.conn->info().in_flight, 14600U);
  t.none();
}

TEST(ConnLoss, reneged_sacks_are_forgotten_by_the_time_out) {
  Bench t = with_ten_out(true);
  t.in(ack(1).acks(1).sack(nth(1), nth(10)));
  t.out(ack(nth(0)).len(1460));
  t.in(ack(1).acks(nth(1)));  // and the rest is gone
  t.next_timer();
  EXPECT_EQ(t.conn->info().in_flight, 0U);
  t.out(ack(nth(1)).len(1460));
}

TEST(ConnLoss, time_out_sends_the_first_segment_and_slow_starts) {
  Bench t = with_ten_out();
  t.next_timer();
  EXPECT_EQ(t.conn->info().cwnd, 1460U);
  t.out(ack(nth(0)).len(1460));
  t.none();
  t.in(ack(1).acks(nth(1)));
  EXPECT_EQ(t.drain(), 2U);
}

TEST(ConnLoss, rfc6298_5_3_an_ack_of_new_data_restarts_the_timer) {
  Bench t = with_ten_out();
  t.after(150ms);
  t.in(ack(1).acks(nth(5)));
  const Duration rto = t.conn->info().rto;
  EXPECT_EQ(t.next_timer(), rto);
  EXPECT_EQ(t.conn->info().timeouts, 1U);
}

TEST(ConnLoss, acknowledgement_of_everything_stops_the_timer) {
  Bench t = with_ten_out();
  t.in(ack(1).acks(nth(10)));
  EXPECT_EQ(t.conn->deadline(), kNever);
}

// --- acknowledging

TEST(ConnAck, delayed_and_every_second_segment) {
  Bench t;
  t.establish();
  t.in(ack(1).acks(1).len(1460));
  t.none();
  t.in(ack(1461).acks(1).len(1460));
  t.out(ack(1).acks(2921));
  t.in(ack(2921).acks(1).len(100));
  t.none();
  EXPECT_EQ(t.next_timer(), 40ms);
  t.out(ack(1).acks(3021));
  t.none();
}

TEST(ConnAck, every_second_segment_of_the_peers_own_size) {
  Bench t;
  t.establish();
  t.in(ack(1).acks(1).len(536));
  t.none();
  t.in(ack(537).acks(1).len(536));
  t.out(ack(1).acks(1073));
}

TEST(ConnAck, gap_is_acknowledged_at_once_and_so_is_its_filling) {
  Bench t;
  t.establish();
  t.in(ack(101).acks(1).len(100));
  t.out(ack(1).acks(1));
  t.in(ack(201).acks(1).len(100));
  t.out(ack(1).acks(1));
  t.in(ack(1).acks(1).len(50));
  t.out(ack(1).acks(51));
  t.in(ack(51).acks(1).len(50));
  t.out(ack(1).acks(301));
  t.none();
}

TEST(ConnAck, super_packet_behind_a_gap_gives_three_duplicates) {
  Bench t;
  t.establish();
  t.in(ack(1461).acks(1).len(14600).gso(1460));
  for (int i = 0; i < 3; ++i) t.out(ack(1).acks(1));
  t.none();
}

TEST(ConnAck, sack_blocks_latest_first) {
  Bench t;
  t.options.sack = true;
  t.establish(65535, syn(0).mss(1460).sack_ok());
  t.in(ack(101).acks(1).len(100));
  t.out(ack(1).acks(1).sack(101, 201, kPeerIss));
  t.in(ack(301).acks(1).len(100));
  t.out(ack(1).acks(1).sack(301, 401, kPeerIss).sack(101, 201, kPeerIss));
  EXPECT_EQ(t.last_out.options.sack[0].begin, kPeerIss + 301);
}

TEST(ConnAck, every_new_sack_block_of_a_batch_is_told) {
  Bench t;
  t.options.sack = true;
  t.establish(65535, syn(0).mss(1460).sack_ok());
  for (std::uint32_t i = 0; i < 10; ++i) t.in(ack(101 + i * 200).acks(1).len(100));
  std::vector<std::uint32_t> told;
  SegmentOut o;
  while (t.conn->poll_tx(t.now, o)) {
    ASSERT_LT(told.size(), 20U) << "no end of ACKs";
    for (std::uint8_t i = 0; i < o.header.options.sack_count; ++i) {
      told.push_back(distance(kPeerIss, o.header.options.sack[i].begin));
    }
  }
  EXPECT_EQ(told.back(), 1301U);
  EXPECT_EQ(told[told.size() - 4], 1901U) << "the newest first in the last ACK";
  for (std::uint32_t i = 0; i < 10; ++i) {
    EXPECT_GE(std::count(told.begin(), told.end(), 101 + i * 200), 1) << i;
  }
}

TEST(ConnAck, duplicate_data_is_acknowledged_and_not_delivered) {
  Bench t;
  t.establish();
  t.in(ack(1).acks(1).len(100));
  t.in(ack(1).acks(1).len(100), DropReason::tcp_duplicate);
  t.out(ack(1).acks(101));
  t.in(ack(51).acks(1).len(100));  // half old
  EXPECT_EQ(t.read(), 150U);
}

TEST(ConnAck, data_carries_the_acknowledgement) {
  Bench t;
  t.establish();
  t.in(ack(1).acks(1).len(100));
  t.write(10);
  t.out(ack(1).acks(101).len(10));
  t.none();
}

// --- sending: Nagle, silly windows, probes

TEST(ConnSend, nagle_holds_the_second_small_segment) {
  Bench t;
  t.establish();
  t.write(10);
  t.out(ack(1).len(10));
  t.write(10);
  t.write(10);
  t.none();
  t.in(ack(1).acks(11));
  t.out(ack(11).len(20));
}

TEST(ConnSend, rfc9293_must_17_nagle_can_be_off) {
  Bench t;
  t.establish();
  t.conn->set_nodelay(true);
  t.write(10);
  t.out(ack(1).len(10));
  t.write(10);
  t.out(ack(11).len(10));
}

TEST(ConnSend, rfc9293_must_38_no_silly_segments) {
  Bench t;
  t.establish(4000);
  t.write(10000);
  t.out(ack(1).len(1460));
  t.out(ack(1461).len(1460));
  t.none();  // 1080 of the window are left, a crumb
  t.in(ack(1).acks(2921).win(500));
  t.none();
  t.in(ack(1).acks(2921).win(2500));
  t.out(ack(2921).len(1460));
}

TEST(ConnSend, window_below_half_and_mss_is_used_after_the_override) {
  Bench t;
  t.establish(4000);
  t.write(10000);
  t.drain();
  t.in(ack(1).acks(2921).win(500));
  t.none();
  t.next_timer();
  t.out(ack(2921).len(500));
}

TEST(ConnSend, rfc9293_must_39_receiver_opens_by_worthwhile_steps) {
  Bench t;
  t.options.receive_buffer = 4000;
  t.establish();
  t.in(ack(1).acks(1).len(1460));
  t.in(ack(1461).acks(1).len(1460));
  t.in(ack(2921).acks(1).len(1080));
  t.out(ack(1).acks(4001).win(0));
  t.conn->consume(100);
  t.none();
  t.conn->consume(1360);
  t.out(ack(1).acks(4001).win(1460));
}

TEST(ConnSend, rfc9293_must_36_zero_window_is_probed_with_back_off) {
  Bench t;
  t.establish(1000);
  t.write(5000);
  t.out(ack(1).len(1000));
  t.in(ack(1).acks(1001).win(0));
  t.none();
  const Duration first = t.next_timer();
  t.out(ack(1001).len(1));
  t.none();
  t.in(ack(1).acks(1001).win(0));
  const Duration second = t.next_timer();
  EXPECT_GE(second, first * 3 / 2);
  t.out(ack(1001).len(1));
  t.none();
  t.in(ack(1).acks(1001).win(2000));
  t.out(ack(1001).len(1));
  t.out(ack(1002).len(1460));
}

TEST(ConnSend, rfc9293_must_37_answered_probes_keep_it_open) {
  Bench t;
  t.establish(1000);
  t.write(5000);
  t.drain();
  t.in(ack(1).acks(1001).win(0));
  t.drain();
  while (t.now - kStart < 3600s) {
    t.next_timer();
    ASSERT_FALSE(t.conn->is_closed());
    t.drain();
    t.in(ack(1).acks(1001).win(0));
    t.drain();
  }
}

TEST(ConnSend, the_time_that_a_peer_does_not_read_counts_while_it_lasts) {
  Bench t;
  t.establish(1000);
  const Instant idle_until = t.now;
  EXPECT_EQ(t.conn->info(t.now + 5s).busy, Duration::zero());
  t.write(5000);
  t.drain();
  t.in(ack(1).acks(1001).win(0));
  t.drain();
  const Instant shut = t.now;
  auto i = t.conn->info(shut + 3s);
  EXPECT_EQ(i.window_limited, 3s + (shut - idle_until));  // 1,000 octets did not take all either
  EXPECT_EQ(i.busy, i.window_limited);
  EXPECT_EQ(i.buffer_limited, Duration::zero());
  EXPECT_EQ(t.conn->info(shut + 4s).window_limited - i.window_limited, 1s);
  t.now += 10s;
  t.in(ack(1).acks(1001).win(60000));
  t.drain();
  while (t.conn->info().send_queue > 0) {
    t.in(ack(1).acks(5001 - t.conn->info().unsent).win(60000));
    t.drain();
  }
  i = t.conn->info(t.now + 7s);
  EXPECT_GE(i.window_limited, 10s);
  EXPECT_LT(i.window_limited, 11s) << "it is over";
  EXPECT_EQ(i.busy, t.conn->info(t.now + 9s).busy) << "nothing is left to send";
}

TEST(ConnSend, lost_window_update_is_found_by_a_probe) {
  Bench t;
  t.establish(1000);
  t.write(1001 + 2920);
  t.drain();
  t.in(ack(1).acks(1001).win(0));
  t.drain();
  t.next_timer();
  t.out(ack(1001).len(1));
  t.in(ack(1).acks(1002).win(3000));
  EXPECT_EQ(t.drain(), 2U);
  EXPECT_LE(t.conn->info().rto, 2s);
}

TEST(ConnSend, rfc9293_must_34_shrunken_window) {
  Bench t;
  t.establish(10000);
  t.write(20000);
  t.drain();
  t.in(ack(1).acks(1461).win(2000));
  t.none();  // usable window is negative: nothing new, no crash
  t.next_timer();
  t.drain();
  t.in(ack(1).acks(nth(6)).win(10000));
  EXPECT_GT(t.drain(), 0U);
}

TEST(ConnSend, an_ack_does_not_lie_past_a_closed_window) {
  Bench t;
  t.establish(1000);
  t.write(5000);
  t.drain();
  t.in(ack(1).acks(1001).win(0));
  t.next_timer();
  t.out(ack(1001).len(1));  // the probe, which the peer does not take
  t.in(ack(1).acks(1001).win(0).len(1460));
  t.in(ack(1461).acks(1001).win(0).len(1460));
  t.out(ack(1001).acks(2921));
}

TEST(ConnSend, an_ack_does_not_lie_past_a_shrunken_window) {
  Bench t;
  t.establish(10000);
  t.write(20000);
  t.drain();
  t.in(ack(1).acks(1461).win(2000).len(1460));
  t.in(ack(1461).acks(1461).win(2000).len(1460));
  t.out(ack(3461).acks(2921));
}

TEST(ConnSend, window_that_shrinks_to_zero_sees_single_segments) {
  Bench t;
  t.establish(14600);
  t.write(20000);
  t.drain();
  t.in(ack(1).acks(1461).win(0));
  t.none();
  t.next_timer();
  t.out(ack(1461).len(1460));
  t.none();
  t.in(ack(1).acks(1461).win(14600));
  t.out(ack(1461).len(1460));
  EXPECT_GT(t.drain(), 3U);
}

/// Linux refuses the whole of a segment that reaches beyond its window.
TEST(ConnSend, retransmissions_are_cut_to_a_window_that_shrank) {
  Bench t;
  t.establish(14600);
  t.write(14600);
  t.drain();
  t.in(ack(1).acks(1461).win(700));
  t.none();
  t.next_timer();
  t.out(ack(1461).len(700));
  t.none();
  t.in(ack(1).acks(2161).win(1000));
  t.out(ack(2161).len(760));  // the rest of the segment
  t.none();
  t.in(ack(1).acks(2921).win(14600));
  t.out(ack(2921).len(1460));
  std::uint32_t una = 2921;
  for (int i = 0; i < 100 && t.conn->info().in_flight + t.conn->info().lost > 0; ++i) {
    una = std::min(una + 1460, 14601U);
    t.in(ack(1).acks(una).win(14600));
    t.drain();
  }
  EXPECT_EQ(t.conn->info().bytes_acked, 14600U);
}

TEST(ConnSend, old_segments_do_not_move_the_window) {
  Bench t;
  t.establish(10000);
  t.write(100);
  t.drain();
  t.in(ack(1).acks(101).win(5000).len(10));
  t.in(ack(1).acks(101).win(9000).len(5), DropReason::tcp_duplicate);
  EXPECT_EQ(t.conn->info().send_window, 5000U);
}

TEST(ConnSend, pieces_beyond_one_segments_parts_leave_nothing_behind) {
  Bench t;
  t.establish();
  t.conn->set_nodelay(true);
  for (int i = 0; i < 200; ++i) t.write(5);
  t.conn->shutdown_write();
  std::uint32_t sent = 0;
  SegmentOut o;
  bool fin = false;
  while (t.conn->poll_tx(t.now, o)) {
    EXPECT_FALSE(fin);
    fin = o.header.has(flag::fin);
    sent += o.payload_size;
  }
  EXPECT_EQ(sent, 1000U);
  EXPECT_TRUE(fin);
  // And once more, all of it.
  t.next_timer();
  std::uint32_t una = 1;
  while (t.conn->poll_tx(t.now, o)) {
    una += o.payload_size;
    fin = o.header.has(flag::fin);
    t.in(ack(1).acks(una + (fin ? 1 : 0)));
  }
  EXPECT_EQ(una, 1001U);
  EXPECT_EQ(t.state(), State::fin_wait_2);
}

TEST(ConnSend, super_packets_are_whole_segments) {
  Bench t;
  t.setup.max_payload = 65000;
  t.establish();
  t.write(20000);
  t.out(ack(1).len(14600).gso(1460));
  t.in(ack(1).acks(14601));
  t.out(ack(14601).len(5400).gso(1460));
}

}  // namespace
}  // namespace pollux::tcp
