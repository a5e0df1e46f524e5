// Loss recovery, rule by rule: RACK-TLP (RFC 8985), PRR (6937), undoing (3522, 3708, 5682), D-SACK
// (2883), limited transmit (3042), ECN (3168).
#include <gtest/gtest.h>

#include "tests/proto/conn_dsl.h"

namespace pollux::tcp {
namespace {

using namespace dsl;

constexpr std::uint32_t kMss = 1460;
std::uint32_t nth(std::uint32_t n) { return 1 + n * kMss; }

/// Open, with a round trip of 20 ms measured over one segment, which was octets 1 to 1460.
Bench measured(bool sack = true, bool timestamps = false) {
  Bench t;
  t.options.sack = sack;
  t.options.timestamps = timestamps;
  Seg s = syn(0).mss(kMss);
  if (sack) s = s.sack_ok();
  if (timestamps) s = syn(0).mss(kMss + 12).sack_ok().ts(1);
  if (timestamps) t.setup.mss = t.setup.max_payload = kMss + 12;
  t.establish(65535, s);
  t.write(kMss);
  EXPECT_EQ(t.drain(), 1U);
  t.after(20ms);
  Seg a = ack(1).acks(nth(1));
  t.in(timestamps ? a.ts(1, 1000) : a);
  t.none();
  return t;
}

/// Segments 1 to `n` are out, `queued` more wait for the window.
Bench in_flight(std::uint32_t n, std::uint32_t queued = 0, bool sack = true,
                bool timestamps = false) {
  Bench t = measured(sack, timestamps);
  t.write((n + queued) * kMss);
  EXPECT_EQ(t.drain(), n);
  return t;
}
/// The initial window, which the first round trip did not fill.
constexpr std::uint32_t kWindow = 10;

// --- RACK

TEST(ConnRack, rfc8985_6_2_one_sacked_segment_waits_for_the_reordering_window) {
  Bench t = in_flight(5);
  t.after(20ms);
  t.in(ack(1).acks(nth(1)).sack(nth(2), nth(3)));
  t.none();
  EXPECT_EQ(t.conn->info().reordering_window, 5ms);  // a quarter of the round trip
  EXPECT_EQ(t.next_timer(), 5ms);
  t.out(ack(nth(1)).len(kMss));
  EXPECT_EQ(t.conn->info().recoveries, 1U);
}

TEST(ConnRack, rfc8985_6_2_an_ack_that_advances_keeps_the_reordering_window) {
  Bench t = in_flight(5);
  t.after(20ms);
  t.in(ack(1).acks(nth(2)).sack(nth(3), nth(4)));  // and no further ACK tells of segment 2
  t.none();
  EXPECT_EQ(t.next_timer(), 5ms) << "not a time-out";
  t.out(ack(nth(2)).len(kMss));
  EXPECT_EQ(t.conn->info().timeouts, 0U);
}

TEST(ConnRack, rfc8985_6_2_three_sacked_segments_wait_for_nothing) {
  Bench t = in_flight(5);
  t.after(20ms);
  t.in(ack(1).acks(nth(1)).sack(nth(2), nth(5)));
  t.out(ack(nth(1)).len(kMss));
}

TEST(ConnRack, rfc8985_6_2_where_reordering_was_seen_three_wait_too) {
  Bench t = in_flight(5);
  t.after(20ms);
  t.in(ack(1).acks(nth(1)).sack(nth(2), nth(3)));
  t.in(ack(1).acks(nth(3)));  // it came, only late
  EXPECT_TRUE(t.conn->info().reordering_seen);
  t.in(ack(1).acks(nth(3)).sack(nth(4), nth(6)));
  t.in(ack(1).acks(nth(6)));
  t.write(5 * kMss);
  EXPECT_EQ(t.drain(), 5U);
  t.after(20ms);
  t.in(ack(1).acks(nth(6)).sack(nth(7), nth(11)));
  t.none();
  EXPECT_EQ(t.next_timer(), 5ms);
  t.out(ack(nth(6)).len(kMss));
}

TEST(ConnRack, rfc8985_6_2_a_late_segment_within_the_window_is_not_sent_again) {
  Bench t = in_flight(5);
  t.after(20ms);
  t.in(ack(1).acks(nth(1)).sack(nth(2), nth(3)));
  t.after(4ms);
  t.in(ack(1).acks(nth(3)).sack(nth(4), nth(5)));
  t.in(ack(1).acks(nth(6)));
  t.none();
  EXPECT_EQ(t.conn->info().retransmits, 0U);
}

TEST(ConnRack, rfc8985_6_2_a_lost_retransmission_is_found) {
  Bench t = in_flight(8);
  t.after(20ms);
  t.in(ack(1).acks(nth(1)).sack(nth(2), nth(6)));
  t.out(ack(nth(1)).len(kMss));
  t.drain();
  t.write(4 * kMss);
  t.after(1ms);
  t.in(ack(1).acks(nth(1)).sack(nth(2), nth(9)));
  const std::uint32_t more = static_cast<std::uint32_t>(t.drain());
  ASSERT_GE(more, 1U);
  t.after(25ms);  // what was sent after the retransmission comes, the retransmission does not
  t.in(ack(1).acks(nth(1)).sack(nth(2), nth(9 + more)));
  t.out(ack(nth(1)).len(kMss));
}

TEST(ConnRack, rfc8985_6_2_step_4_a_dsack_widens_the_window_once_a_round_trip) {
  Bench t = in_flight(5);
  t.after(20ms);
  t.in(ack(1).acks(nth(1)).sack(nth(2), nth(5)));
  t.out(ack(nth(1)).len(kMss));
  t.in(ack(1).acks(nth(6)));
  t.write(5 * kMss);
  t.drain();
  for (int i = 0; i < 3; ++i) t.in(ack(1).acks(nth(6)).sack(nth(1), nth(2)));
  EXPECT_EQ(t.conn->info().dsacks, 3U);
  EXPECT_EQ(t.conn->info().reordering_window, 10ms) << "twice a quarter, not four times";
}

TEST(ConnRack, rfc8985_6_2_step_4_sixteen_recoveries_narrow_it_again) {
  Rack r;
  r.on_dsack(Seq{100});
  EXPECT_EQ(r.window(20ms, 100ms, false, 0), 10ms);
  for (int i = 0; i < 15; ++i) r.on_recovered();
  EXPECT_EQ(r.multiplier(), 2);
  r.on_recovered();
  EXPECT_EQ(r.multiplier(), 1);
}

TEST(ConnRack, rfc8985_6_2_step_4_the_window_is_never_above_srtt) {
  Rack r;
  for (std::uint32_t i = 1; i <= 100; ++i) {
    r.on_ack(Seq{i * 100});
    r.on_dsack(Seq{i * 100 + 50});
  }
  EXPECT_EQ(r.window(20ms, 30ms, false, 0), 30ms);
}

// --- TLP

TEST(ConnTlp, rfc8985_7_2_probe_timeout) {
  EXPECT_EQ(Rack::probe_timeout(100ms, false), 200ms);
  EXPECT_EQ(Rack::probe_timeout(100ms, true), 400ms);  // the peer may delay the ACK of one
  EXPECT_EQ(Rack::probe_timeout(1us, false), Rack::kMinProbe);
}

TEST(ConnTlp, rfc8985_7_3_the_last_segment_is_sent_again) {
  Bench t = in_flight(3);
  EXPECT_EQ(t.next_timer(), 40ms);
  t.out(ack(nth(3)).len(kMss));
  t.none();
  EXPECT_EQ(t.conn->info().loss_probes, 1U);
  EXPECT_EQ(t.conn->info().timeouts, 0U);
  EXPECT_GE(t.next_timer(), 100ms) << "one probe, then the time-out";
  EXPECT_EQ(t.conn->info().timeouts, 1U);
}

TEST(ConnTlp, rfc8985_7_3_new_data_goes_first_whatever_cwnd_says) {
  Bench t = in_flight(kWindow, 3);
  t.next_timer();
  t.out(ack(nth(kWindow + 1)).len(kMss));
  EXPECT_EQ(t.conn->info().retransmits, 0U);
  t.none();
}

TEST(ConnTlp, rfc8985_7_3_never_beyond_the_peers_window) {
  Bench t = measured();
  t.in(ack(1).acks(nth(1)).win(3 * kMss));
  t.write(5 * kMss);
  EXPECT_EQ(t.drain(), 3U);
  t.next_timer();
  t.out(ack(nth(3)).len(kMss));
}

TEST(ConnTlp, rfc8985_7_4_what_the_probe_finds_is_repaired_at_once) {
  Bench t = in_flight(3);
  t.next_timer();
  t.out(ack(nth(3)).len(kMss));
  t.after(20ms);
  t.in(ack(1).acks(nth(1)).sack(nth(3), nth(4)));  // 1 and 2 are lost, 3 came by the probe
  t.out(ack(nth(1)).len(kMss));
  t.in(ack(1).acks(nth(2)).sack(nth(3), nth(4)));
  t.out(ack(nth(2)).len(kMss));
  EXPECT_EQ(t.conn->info().timeouts, 0U);
}

TEST(ConnTlp, rfc8985_7_4_2_a_loss_that_the_probe_repaired_is_congestion) {
  Bench t = in_flight(3);
  t.next_timer();
  t.out(ack(nth(3)).len(kMss));
  t.after(20ms);
  const std::uint32_t cwnd = t.conn->info().cwnd;
  t.in(ack(1).acks(nth(4)));  // all of it, and the last segment came once
  t.write(kMss);
  t.drain();
  t.after(20ms);
  t.in(ack(1).acks(nth(5)));
  EXPECT_LT(t.conn->info().cwnd, cwnd);
}

TEST(ConnTlp, rfc8985_7_4_2_a_probe_that_came_twice_is_none) {
  Bench t = in_flight(3);
  t.next_timer();
  t.out(ack(nth(3)).len(kMss));
  const std::uint32_t cwnd = t.conn->info().cwnd;
  t.in(ack(1).acks(nth(4)));
  t.in(ack(1).acks(nth(4)).sack(nth(3), nth(4)));  // nothing is in flight any more
  EXPECT_EQ(t.conn->info().dsacks, 1U);
  t.write(kMss);
  t.drain();
  t.after(20ms);
  t.in(ack(1).acks(nth(5)));
  EXPECT_GE(t.conn->info().cwnd, cwnd);
}

TEST(ConnTlp, rfc8985_7_2_no_probe_without_sack) {
  Bench t = in_flight(3, 0, false);
  EXPECT_EQ(t.next_timer(), 220ms);
  EXPECT_EQ(t.conn->info().loss_probes, 0U);
  EXPECT_EQ(t.conn->info().timeouts, 1U);
}

TEST(ConnTlp, rfc8985_6_3_a_time_out_spares_what_was_just_sent) {
  Bench t = in_flight(3);
  t.next_timer();
  t.out(ack(nth(3)).len(kMss));
  t.at(20ms + 250ms);  // the time-out runs from the probe on: 40 + 220 ms
  t.write(2 * kMss);
  EXPECT_EQ(t.drain(), 2U);
  EXPECT_EQ(t.next_timer(), 10ms);
  EXPECT_EQ(t.conn->info().timeouts, 1U);
  EXPECT_EQ(t.conn->info().lost, 3 * kMss);
  EXPECT_EQ(t.conn->info().in_flight, 2 * kMss);
  t.out(ack(nth(1)).len(kMss));
}

// --- PRR

TEST(PrrTest, rfc6937_3_sends_in_proportion_to_what_is_delivered) {
  Prr p;
  p.begin(20 * kMss, 10 * kMss);
  std::uint32_t pipe = 19 * kMss, sent = 0;
  for (int i = 0; i < 18; ++i) {
    p.on_ack(kMss, pipe, kMss, false);
    const std::uint32_t before = sent;
    while (p.window() >= pipe + kMss) {
      p.on_sent(kMss);
      pipe += kMss;
      sent += 1;
      p.on_ack(0, pipe, kMss, false);
    }
    EXPECT_LE(sent - before, 1U) << "never a burst";
    pipe -= kMss;
  }
  EXPECT_NEAR(sent, 9, 1) << "one for every two";
}

TEST(PrrTest, rfc6937_3_below_ssthresh_it_grows_by_one_segment_more_only_where_that_is_safe) {
  for (const bool safe : {false, true}) {
    Prr p;
    p.begin(20 * kMss, 10 * kMss);
    p.on_sent(kMss);
    p.on_ack(2 * kMss, 4 * kMss, kMss, safe);
    EXPECT_EQ(p.window(), (safe ? 7U : 6U) * kMss) << safe;
  }
}

TEST(PrrTest, rfc6937_3_never_beyond_ssthresh) {
  Prr p;
  p.begin(20 * kMss, 10 * kMss);
  p.on_sent(kMss);
  p.on_ack(15 * kMss, 9 * kMss, kMss, true);
  EXPECT_EQ(p.window(), 10 * kMss);
}

TEST(ConnPrr, rfc6937_the_first_retransmission_waits_for_nothing_and_a_recovery_ends_at_ssthresh) {
  Bench t = in_flight(kWindow, 20);
  t.after(20ms);
  t.in(ack(1).acks(nth(1)).sack(nth(2), nth(5)));
  t.out(ack(nth(1)).len(kMss));
  std::size_t sent = 0;
  for (std::uint32_t i = 6; i <= kWindow + 1; ++i) {
    t.in(ack(1).acks(nth(1)).sack(nth(2), nth(i)));
    const std::size_t n = t.drain();
    EXPECT_LE(n, 2U);
    sent += n;
  }
  EXPECT_GE(sent, 2U) << "no silence of half a round trip";
  t.after(20ms);
  t.in(ack(1).acks(nth(kWindow + 1)));
  EXPECT_FALSE(t.conn->info().in_recovery);
  EXPECT_EQ(t.conn->info().cwnd, t.conn->info().ssthresh);
}

// --- taking it back

TEST(ConnUndo, rfc5682_original_acks_after_a_time_out_show_that_it_was_for_nothing) {
  Bench t = in_flight(kWindow, 20);
  const std::uint32_t cwnd = t.conn->info().cwnd;
  t.next_timer();
  t.drain();  // the probe
  t.next_timer();
  t.out(ack(nth(1)).len(kMss));
  EXPECT_EQ(t.conn->info().cwnd, kMss);
  t.in(ack(1).acks(nth(4)));  // 2 and 3 were never sent again
  EXPECT_EQ(t.conn->info().spurious_recoveries, 1U);
  EXPECT_GE(t.conn->info().cwnd, cwnd);
  t.drain();
  EXPECT_EQ(t.conn->info().retransmits, 1U);
}

TEST(ConnUndo, rfc5682_new_data_goes_out_while_it_is_not_known) {
  Bench t = in_flight(kWindow, 20);
  t.next_timer();
  t.drain();
  t.next_timer();
  t.out(ack(nth(1)).len(kMss));
  t.in(ack(1).acks(nth(2)));  // may be the retransmission's
  t.out(ack(nth(kWindow + 2)).len(kMss));
  t.in(ack(1).acks(nth(2)).sack(nth(kWindow + 2), nth(kWindow + 3)));
  t.out(ack(nth(2)).len(kMss));  // the loss is real
  EXPECT_EQ(t.conn->info().spurious_recoveries, 0U);
}

TEST(ConnUndo, rfc3522_an_echo_older_than_the_retransmission) {
  Bench t = in_flight(3, 0, true, true);
  t.next_timer();
  t.drain();
  t.next_timer();
  t.out(ack(nth(1)).len(kMss));
  t.after(1ms);
  t.in(ack(1).acks(nth(2)).ts(2, 1020));  // what was sent at 20 ms
  EXPECT_EQ(t.conn->info().spurious_recoveries, 1U);
  EXPECT_GT(t.conn->info().cwnd, kMss);
}

TEST(ConnUndo, rfc3522_an_echo_of_the_retransmission_is_no_witness) {
  Bench t = in_flight(3, 0, true, true);
  t.next_timer();
  t.drain();
  t.next_timer();
  t.out(ack(nth(1)).len(kMss));
  const std::uint32_t sent_at = t.last_out.options.timestamps->value;
  t.after(20ms);
  t.in(ack(1).acks(nth(2)).ts(2, sent_at));
  EXPECT_EQ(t.conn->info().spurious_recoveries, 0U);
}

TEST(ConnUndo, rfc3708_a_dsack_for_all_that_was_sent_again) {
  Bench t = in_flight(kWindow, 20);
  t.after(20ms);
  const std::uint32_t cwnd = t.conn->info().cwnd;
  t.in(ack(1).acks(nth(1)).sack(nth(2), nth(5)));
  t.out(ack(nth(1)).len(kMss));
  t.drain();
  t.in(ack(1).acks(nth(5)));
  EXPECT_LT(t.conn->info().cwnd, cwnd);
  t.in(ack(1).acks(nth(5)).sack(nth(1), nth(2)));
  EXPECT_EQ(t.conn->info().spurious_recoveries, 1U);
  EXPECT_GE(t.conn->info().cwnd, cwnd);
}

TEST(ConnUndo, rfc3708_a_dsack_that_comes_when_nothing_is_in_flight) {
  Bench t = in_flight(5);
  t.after(20ms);
  const std::uint32_t cwnd = t.conn->info().cwnd;
  t.in(ack(1).acks(nth(1)).sack(nth(2), nth(5)));
  t.out(ack(nth(1)).len(kMss));
  t.in(ack(1).acks(nth(6)));
  EXPECT_LT(t.conn->info().ssthresh, cwnd);
  t.in(ack(1).acks(nth(6)).sack(nth(1), nth(2)));
  EXPECT_EQ(t.conn->info().spurious_recoveries, 1U);
  EXPECT_GE(t.conn->info().cwnd, cwnd);
}

TEST(ConnUndo, rfc3708_a_dsack_for_a_part_is_not_enough) {
  Bench t = in_flight(8);
  t.after(20ms);
  t.in(ack(1).acks(nth(1)).sack(nth(3), nth(9)));
  t.out(ack(nth(1)).len(kMss));
  t.out(ack(nth(2)).len(kMss));
  t.in(ack(1).acks(nth(9)));
  t.in(ack(1).acks(nth(9)).sack(nth(1), nth(2)));
  EXPECT_EQ(t.conn->info().spurious_recoveries, 0U);
}

TEST(ConnUndo, rfc9438_4_9_the_window_is_what_it_was) {
  for (const CcKind kind : {CcKind::reno, CcKind::cubic}) {
    for (const bool timeout : {false, true}) {
      CongestionControl cc(kind, kMss);
      const std::uint32_t cwnd = cc.cwnd(), ssthresh = cc.ssthresh();
      timeout ? cc.on_rto(kStart, cwnd) : cc.on_loss(kStart, cwnd);
      EXPECT_LT(cc.cwnd(), cwnd);
      cc.undo();
      EXPECT_EQ(cc.cwnd(), cwnd);
      EXPECT_EQ(cc.ssthresh(), ssthresh);
    }
  }
}

// --- D-SACK as the receiver sends it

Bench receiver() {
  Bench t;
  t.options.sack = true;
  t.establish(65535, syn(0).mss(kMss).sack_ok());
  return t;
}

void expect_block(const Bench& t, std::size_t i, std::uint32_t begin, std::uint32_t end) {
  EXPECT_EQ(distance(kPeerIss, t.last_out.options.sack[i].begin), begin);
  EXPECT_EQ(distance(kPeerIss, t.last_out.options.sack[i].end), end);
}

TEST(ConnDsack, rfc2883_4_1_below_the_cumulative_ack) {
  Bench t = receiver();
  t.in(ack(1).acks(1).len(100));
  t.in(ack(1).acks(1).len(100), DropReason::tcp_duplicate);
  t.out(ack(1).acks(101).sack(1, 101, kPeerIss));
  expect_block(t, 0, 1, 101);
  t.in(ack(101).acks(1).len(2 * kMss));  // told once (4)
  t.drain();
  EXPECT_EQ(t.last_out.options.sack_count, 0);
}

TEST(ConnDsack, rfc2883_4_2_only_the_part_that_came_twice) {
  Bench t = receiver();
  t.in(ack(1).acks(1).len(100));
  t.in(ack(51).acks(1).len(100));
  t.out(ack(1).acks(151).sack(51, 101, kPeerIss));
  expect_block(t, 0, 51, 101);
}

TEST(ConnDsack, rfc2883_4_1_within_what_is_out_of_order) {
  Bench t = receiver();
  t.in(ack(201).acks(1).len(100));
  t.drain();
  t.in(ack(201).acks(1).len(100), DropReason::tcp_duplicate);
  t.out(ack(1).acks(1).sack(201, 301, kPeerIss).sack(201, 301, kPeerIss));
  expect_block(t, 0, 201, 301);
  expect_block(t, 1, 201, 301);  // the second block holds the first
}

TEST(ConnDsack, rfc2018_4_the_first_block_is_of_the_latest_segment) {
  Bench t = receiver();
  t.in(ack(201).acks(1).len(100));
  t.drain();
  t.in(ack(401).acks(1).len(100));
  t.out(ack(1).acks(1).sack(401, 501, kPeerIss).sack(201, 301, kPeerIss));
  expect_block(t, 0, 401, 501);
  expect_block(t, 1, 201, 301);
}

TEST(ConnDsack, rfc2018_2_no_sack_without_the_peers_permission) {
  Bench t;
  t.options.sack = true;
  t.establish(65535, syn(0).mss(kMss));
  t.in(ack(201).acks(1).len(100));
  t.out(ack(1).acks(1));
  EXPECT_EQ(t.last_out.options.sack_count, 0);
}

TEST(ConnDsack, rfc2018_8_what_was_sacked_is_kept_until_it_is_acknowledged) {
  Bench t = in_flight(5);
  t.after(20ms);
  t.in(ack(1).acks(nth(1)).sack(nth(2), nth(6)));
  EXPECT_EQ(t.conn->info().send_queue, 5 * kMss);
  t.in(ack(1).acks(nth(6)));
  EXPECT_EQ(t.conn->info().send_queue, 0U);
}

// --- limited transmit

TEST(ConnLimitedTransmit, rfc3042_two_duplicate_acks_send_new_data_each) {
  for (const bool sack : {false, true}) {
    Bench t = in_flight(kWindow, 20, sack);
    t.after(1ms);
    for (std::uint32_t i = 0; i < 2; ++i) {
      const Seg dup = ack(1).acks(nth(1));
      t.in(sack ? dup.sack(nth(2), nth(3 + i)) : dup);
      t.out(ack(nth(kWindow + 1 + i)).len(kMss));
      t.none();
    }
    EXPECT_EQ(t.conn->info().retransmits, 0U);
  }
}

// --- ECN

/// Open, and both want ECN.
Bench marked() {
  Bench t;
  t.options.sack = true;
  t.in(syn(0).mss(kMss).sack_ok().ece().cwr());
  t.out(syn_ack(0).acks(1).ece());
  t.in(ack(1).acks(1));
  EXPECT_TRUE(t.conn->info().ecn);
  return t;
}

TEST(ConnEcn, rfc3168_6_1_1_a_listener_agrees) {
  Bench t = marked();
  t.write(100);
  t.out(ack(1).len(100));
  EXPECT_TRUE(t.last_ecn_capable);
}

TEST(ConnEcn, rfc3168_6_1_1_every_syn_ack_says_the_same) {
  Bench t;
  t.in(syn(0).ece().cwr());
  t.out(syn_ack(0).acks(1).ece());
  t.next_timer();
  t.out(syn_ack(0).acks(1).ece());
  t.in(syn(0).ece().cwr(), DropReason::tcp_duplicate);
  t.out(syn_ack(0).acks(1).ece());
}

TEST(ConnEcn, rfc3168_6_1_1_half_a_request_is_none_and_it_can_be_off) {
  for (const Seg& s : {syn(0), syn(0).ece(), syn(0).cwr()}) {
    Bench t;
    t.in(s);
    t.out(syn_ack(0).acks(1));
    EXPECT_FALSE(t.conn->info().ecn);
  }
  Bench off;
  off.options.ecn = false;
  off.in(syn(0).ece().cwr());
  off.out(syn_ack(0).acks(1));
}

TEST(ConnEcn, rfc3168_6_1_1_an_active_open_asks_once) {
  Bench t;
  t.options.ecn_request = true;
  t.open();
  t.out(syn(0).ece().cwr());
  t.in(syn_ack(0).acks(1).ece());
  EXPECT_TRUE(t.conn->info().ecn);
  Bench refused;
  refused.options.ecn_request = true;
  refused.open();
  refused.out(syn(0).ece().cwr());
  refused.in(syn_ack(0).acks(1).ece().cwr());  // a peer that only reflects the flags
  EXPECT_FALSE(refused.conn->info().ecn);
  Bench again;
  again.options.ecn_request = true;
  again.open();
  again.out(syn(0).ece().cwr());
  again.next_timer();
  again.out(syn(0));
  again.in(syn_ack(0).acks(1).ece());
  EXPECT_FALSE(again.conn->info().ecn);
}

TEST(ConnEcn, rfc3168_6_1_4_5_acks_retransmissions_and_probes_are_not_capable) {
  Bench t = marked();
  t.in(ack(1).acks(1).len(2 * kMss));
  t.out(ack(1).acks(nth(2)));
  EXPECT_FALSE(t.last_ecn_capable);
  t.write(kMss);
  t.out(ack(1).len(kMss));
  t.next_timer();
  t.out(ack(1).len(kMss));
  EXPECT_FALSE(t.last_ecn_capable);
  t.in(ack(nth(2)).acks(nth(1)).win(0));
  t.write(10);
  t.none();
  t.next_timer();
  t.out(ack(nth(1)).len(1));
  EXPECT_FALSE(t.last_ecn_capable);
}

TEST(ConnEcn, rfc3168_6_1_3_a_mark_is_echoed_until_cwr_comes) {
  Bench t = marked();
  t.in(ack(1).acks(1).len(100).ce());
  t.out(ack(1).acks(101).ece());  // at once
  t.in(ack(101).acks(1).len(2 * kMss));
  t.out(ack(1).acks(101 + 2 * kMss).ece());
  t.write(10);
  t.out(ack(1).len(10).ece());
  t.in(ack(101 + 2 * kMss).acks(11).len(2 * kMss).cwr());
  t.out(ack(11).acks(101 + 4 * kMss));
  t.in(ack(101 + 4 * kMss).acks(11).len(100).cwr().ce());  // and a new one with it
  t.out(ack(11).acks(201 + 4 * kMss).ece());
}

TEST(ConnEcn, without_agreement_marks_mean_nothing) {
  Bench t;
  t.establish();
  t.in(ack(1).acks(1).len(2 * kMss).ce());
  t.out(ack(1).acks(nth(2)));
  t.write(3 * kMss);
  t.drain();
  EXPECT_FALSE(t.last_ecn_capable);
  const std::uint32_t cwnd = t.conn->info().cwnd;
  t.in(ack(nth(2)).acks(nth(1)).ece());
  EXPECT_GE(t.conn->info().cwnd, cwnd);
}

TEST(ConnEcn, rfc3168_6_1_2_one_reaction_a_window_and_cwr_once) {
  Bench t = marked();
  t.write(30 * kMss);
  EXPECT_EQ(t.drain(), 10U);
  const std::uint32_t cwnd = t.conn->info().cwnd;
  t.in(ack(1).acks(nth(2)).ece());
  const std::uint32_t reduced = t.conn->info().cwnd;
  EXPECT_LE(reduced, cwnd * 6 / 10);
  // The echo goes on for all that was in flight: the peer has no CWR yet.
  for (std::uint32_t i = 3; i <= 5; ++i) t.in(ack(1).acks(nth(i)).ece());
  EXPECT_GE(t.conn->info().cwnd, reduced);
  t.in(ack(1).acks(nth(6)).ece());
  t.out(ack(nth(10)).len(kMss).cwr());
  EXPECT_EQ(t.conn->info().retransmits, 0U);
  for (std::uint32_t i = 7; i <= 10; ++i) t.in(ack(1).acks(nth(i)).ece());
  EXPECT_GE(t.conn->info().cwnd, reduced) << "the ACK before the CWR's still has the echo";
  t.drain();
  EXPECT_FALSE(t.last_out.has(flag::cwr));
  t.in(ack(1).acks(nth(12)).ece());
  EXPECT_LT(t.conn->info().cwnd, reduced) << "a new window, a new reaction";
}

TEST(ConnEcn, cwr_goes_in_a_segment_that_offload_does_not_multiply) {
  Bench u;
  u.setup.max_payload = 65000;
  u.in(syn(0).mss(kMss).ece().cwr());
  u.out(syn_ack(0).acks(1).ece());
  u.in(ack(1).acks(1));
  u.write(60 * kMss);
  u.drain();
  u.in(ack(1).acks(nth(10)).ece());
  u.out(ack(nth(10)).len(kMss).cwr());
  u.out(ack(nth(11)).len(5 * kMss).gso(kMss));
}

}  // namespace
}  // namespace pollux::tcp
