// The scoreboard against a model that knows every octet, under what peers may say.
#include "proto/tcp/scoreboard.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <vector>

namespace pollux::tcp {
namespace {

constexpr Seq kFirst{0xffffe000};
constexpr std::uint32_t kMss = 100;

Instant at(std::int64_t ms) { return Instant{Duration{ms * 1'000'000}}; }
Seq seq(std::uint32_t n) { return kFirst + n; }

/// `n` segments of one MSS, sent a millisecond apart from 1 ms on.
Scoreboard with(std::uint32_t n) {
  Scoreboard b;
  for (std::uint32_t i = 0; i < n; ++i) b.on_sent(seq(i * kMss), kMss, at(1 + i));
  return b;
}

Delivered sack(Scoreboard& b, std::uint32_t from, std::uint32_t to, Instant now) {
  Delivered d{.now = now};
  const wire::SackBlock block{seq(from * kMss), seq(to * kMss)};
  b.on_sack({&block, 1}, kMss, d);
  return d;
}

TEST(Scoreboard, delivered_tells_the_newest_and_the_sample) {
  Scoreboard b = with(5);
  const Delivered d = sack(b, 2, 4, at(50));
  EXPECT_EQ(d.octets, 2 * kMss);
  EXPECT_EQ(d.newest.time, at(4));
  EXPECT_EQ(d.newest.end, seq(4 * kMss));
  EXPECT_EQ(d.rtt, 46ms);
  EXPECT_FALSE(d.reordered);
  EXPECT_EQ(b.pipe(), 3 * kMss);
  EXPECT_TRUE(sack(b, 1, 2, at(60)).reordered) << "what lies below came later";
}

TEST(Scoreboard, older_blocks_of_the_same_ack_are_no_reordering) {
  Scoreboard b = with(10);
  Delivered d{.now = at(50)};
  const wire::SackBlock blocks[] = {{seq(700), seq(800)}, {seq(200), seq(300)}};
  b.on_sack(blocks, kMss, d);
  EXPECT_EQ(d.octets, 2 * kMss);
  EXPECT_FALSE(d.reordered);
}

TEST(Scoreboard, rack_marks_what_was_sent_before_by_more_than_the_window) {
  Scoreboard b = with(5);
  const Delivered d = sack(b, 4, 5, at(15));  // sent at 5, round trip 10 ms
  const auto loss = b.mark_lost_before(d.newest, 12ms, at(15));
  EXPECT_EQ(loss.octets, 3 * kMss) << "sent at 1, 2, 3 and due at 13, 14, 15";
  EXPECT_EQ(loss.next, at(16)) << "the one sent at 4";
  EXPECT_EQ(b.mark_lost_before(d.newest, 12ms, at(16)).octets, kMss);
  EXPECT_EQ(b.pipe(), 0U);
}

TEST(Scoreboard, a_retransmission_is_judged_by_its_own_time) {
  Scoreboard b = with(3);
  Delivered d = sack(b, 2, 3, at(13));
  b.mark_lost_before(d.newest, 10ms, at(13));
  TxRecord* r = b.next_lost(kMss, kMss);
  ASSERT_NE(r, nullptr);
  EXPECT_EQ(r->begin, seq(0));
  b.on_retransmitted(*r, at(13));
  EXPECT_EQ(b.mark_lost_before(d.newest, 0ms, at(14)).octets, 0U) << "sent after the newest";
  b.on_sent(seq(300), kMss, at(14));
  d = sack(b, 3, 4, at(24));
  EXPECT_EQ(b.mark_lost_before(d.newest, 10ms, at(24)).octets, kMss) << "lost again";
}

TEST(Scoreboard, an_ack_that_comes_too_early_was_for_the_first_transmission) {
  Scoreboard b = with(2);
  b.mark_all_lost();
  b.on_retransmitted(*b.next_lost(kMss, kMss), at(100));
  Delivered early{.now = at(101), .min_rtt = 10ms};
  b.on_ack(seq(kMss), early);
  EXPECT_FALSE(early.any);
  EXPECT_TRUE(early.retransmitted);
  b.on_retransmitted(*b.next_lost(kMss, kMss), at(120));
  Delivered echo{.now = at(150), .min_rtt = 10ms, .echoes = true, .echo_ms = 2};
  b.on_ack(seq(2 * kMss), echo);
  EXPECT_FALSE(echo.any) << "it echoes what was sent before";
}

TEST(Scoreboard, a_time_out_spares_what_was_just_sent) {
  Scoreboard b = with(3);
  b.on_sent(seq(300), kMss, at(200));
  EXPECT_EQ(b.mark_timed_out(at(150)), 3 * kMss);
  EXPECT_EQ(b.pipe(), kMss);
  b.unmark_lost();
  EXPECT_EQ(b.pipe(), 4 * kMss);
  EXPECT_EQ(b.lost(), 0U);
}

TEST(Scoreboard, the_tail_is_one_segment) {
  Scoreboard b;
  b.on_sent(seq(0), 250, at(1));
  EXPECT_EQ(b.tail(kMss)->begin, seq(200));
  EXPECT_EQ(b.tail(kMss)->size, 50U);
  sack(b, 0, 2, at(2));
  b.on_sent(seq(250), kMss, at(2));
  Delivered d{.now = at(3)};
  const wire::SackBlock block{seq(250), seq(350)};
  b.on_sack({&block, 1}, kMss, d);
  EXPECT_EQ(b.tail(kMss), nullptr) << "the last one has arrived";
}

class Model {
 public:
  Scoreboard board;
  std::uint32_t una = 0, nxt = 0;
  Instant now = at(1);

  void send(std::uint32_t size) {
    board.on_sent(seq(nxt), size, now);
    nxt += size;
  }
  void ack(std::uint32_t to) {
    Delivered d{.now = now};
    const std::uint32_t sacked = board.sacked();
    board.on_ack(seq(to), d);
    RC_ASSERT(d.octets + (sacked - board.sacked()) == to - una);
    una = to;
  }
  /// In whole segments of what was sent: the model asks the board what it took.
  void sack(std::uint32_t from, std::uint32_t to) {
    Delivered d{.now = now};
    const wire::SackBlock b{seq(from), seq(to)};
    const std::uint32_t before = board.sacked();
    board.on_sack({&b, 1}, kMss, d);
    RC_ASSERT(board.sacked() - before == d.octets);
    RC_ASSERT(d.octets <= (to > from ? to - from : 0));
  }
  void check() {
    RC_ASSERT(board.pipe() + board.sacked() + board.lost() == nxt - una);
    RC_ASSERT(board.empty() == (una == nxt));
    if (!board.empty()) RC_ASSERT(board.front().begin == seq(una));
  }
};

RC_GTEST_PROP(ScoreboardProperty, counts_agree_and_records_stay_bounded, ()) {
  Model m;
  const auto steps = *rc::gen::inRange(1, 400);
  for (int i = 0; i < steps; ++i) {
    m.now += Duration(*rc::gen::inRange(0, 3) * 1'000'000);
    const std::uint32_t out = m.nxt - m.una;
    switch (*rc::gen::inRange(0, 8)) {
      case 0:
      case 1:
        if (out < 200'000) m.send(*rc::gen::inRange<std::uint32_t>(1, 3000));
        break;
      case 2:
        m.ack(m.una + *rc::gen::inRange<std::uint32_t>(0, out + 1));
        break;
      case 3:
      case 4: {
        const auto from = m.una + *rc::gen::inRange<std::uint32_t>(0, out + 1);
        m.sack(from, from + *rc::gen::inRange<std::uint32_t>(0, 500));
        break;
      }
      case 5:
        if (TxRecord* r = m.board.next_lost(*rc::gen::inRange<std::uint32_t>(1, 1000), kMss)) {
          RC_ASSERT(r->lost);
          m.board.on_retransmitted(*r, m.now);
          RC_ASSERT(!r->lost);
        }
        break;
      case 6:
        m.board.mark_lost_before({m.now, seq(m.nxt)}, Duration(*rc::gen::inRange(0, 5) * 1'000'000),
                                 m.now);
        break;
      default:
        switch (*rc::gen::inRange(0, 5)) {
          case 0:
            m.board.mark_all_lost();
            break;
          case 1:
            m.board.mark_head_lost(kMss);
            break;
          case 2:
            m.board.unmark_lost();
            break;
          case 3:
            m.board.tail(kMss);
            break;
          default:
            m.ack(m.nxt);
        }
    }
    m.check();
  }
  RC_ASSERT(m.board.size() <= static_cast<std::size_t>(m.nxt - m.una) / kMss + 2 * 400U);
}

RC_GTEST_PROP(ScoreboardProperty, rack_marks_exactly_what_a_walk_over_all_would, ()) {
  Scoreboard b;
  struct Sent {
    std::uint32_t begin;
    Instant at;
    bool sacked;
  };
  std::vector<Sent> all;
  Instant now = at(1);
  const auto n = *rc::gen::inRange<std::uint32_t>(1, 500);
  for (std::uint32_t i = 0; i < n; ++i) {
    now += Duration(*rc::gen::inRange(0, 2) * 1'000'000);
    b.on_sent(seq(i * kMss), kMss, now);
    all.push_back({i * kMss, now, false});
  }
  now += 20ms;
  SentAt newest{};
  const auto blocks = *rc::gen::inRange(1, 20);
  for (int i = 0; i < blocks; ++i) {
    const auto from = *rc::gen::inRange<std::uint32_t>(0, n);
    const auto to = from + *rc::gen::inRange<std::uint32_t>(1, 10);
    if (to > n) continue;
    const Delivered d = sack(b, from, to, now);
    if (d.any && d.newest.after(newest)) newest = d.newest;
    for (auto k = from; k < to; ++k) all[k].sacked = true;
  }
  const Duration window = Duration(*rc::gen::inRange(0, 40) * 1'000'000);
  std::uint32_t expected = 0;
  Instant next = kNever;
  for (const Sent& s : all) {
    if (s.sacked || !newest.after({s.at, seq(s.begin + kMss)})) continue;
    if (s.at + window <= now) {
      expected += kMss;
    } else {
      next = std::min(next, s.at + window);
    }
  }
  const auto loss = b.mark_lost_before(newest, window, now);
  RC_ASSERT(loss.octets == expected);
  RC_ASSERT(loss.next == next);
}

}  // namespace
}  // namespace pollux::tcp
