// TIME-WAIT as two sequence numbers and a timestamp, and that it agrees with the whole connection.
#include "proto/tcp/time_wait.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include "proto/tcp/conn.h"

namespace pollux::tcp {
namespace {

namespace flag = wire::tcp_flag;
using Answer = TimeWaitVerdict::Answer;

constexpr std::uint32_t kSnd = 5000, kRcv = 9000;

TimeWaitState state_with(bool timestamps) {
  return {.snd_nxt = Seq{kSnd},
          .rcv_nxt = Seq{kRcv},
          .ts_recent = 100,
          .window = 500,
          .timestamps = timestamps};
}

wire::TcpHeader segment(std::uint8_t flags, std::uint32_t seq, std::uint32_t ack = kSnd,
                        std::optional<std::uint32_t> ts = {}) {
  wire::TcpHeader h;
  h.seq = Seq{seq};
  h.ack = Seq{ack};
  h.flags = flags;
  if (ts) h.options.timestamps = wire::TcpTimestamps{*ts, 0};
  return h;
}

TimeWaitVerdict judge(const wire::TcpHeader& h, std::uint32_t payload = 0, bool ts = false) {
  TimeWaitState s = state_with(ts);
  return judge_in_time_wait(s, h, payload);
}

TEST(TimeWait, LateFinIsAcknowledgedAndRestarts) {
  const auto v = judge(segment(flag::fin | flag::ack, kRcv - 1));
  EXPECT_EQ(v.dropped, DropReason::tcp_duplicate);
  EXPECT_EQ(v.answer, Answer::ack);
  EXPECT_TRUE(v.restart);
  const auto with_data = judge(segment(flag::fin | flag::ack, kRcv - 11), 10);
  EXPECT_TRUE(with_data.restart);
}

TEST(TimeWait, LateDataIsAcknowledgedAndRestartsNothing) {
  const auto v = judge(segment(flag::ack, kRcv - 101), 100);
  EXPECT_EQ(v.dropped, DropReason::tcp_duplicate);
  EXPECT_EQ(v.answer, Answer::ack);
  EXPECT_FALSE(v.restart);
}

TEST(TimeWait, DataBehindTheFinIsNonsense) {
  const auto v = judge(segment(flag::ack, kRcv), 1);
  EXPECT_EQ(v.dropped, DropReason::tcp_closed);
  EXPECT_EQ(v.answer, Answer::challenge);
}

TEST(TimeWait, Rfc1337ResetIsIgnored) {
  for (const std::uint32_t seq : {kRcv, kRcv - 1, kRcv + 100, 0U}) {
    const auto v = judge(segment(flag::rst, seq));
    EXPECT_EQ(v.dropped, DropReason::tcp_time_wait);
    EXPECT_EQ(v.answer, Answer::none);
    EXPECT_FALSE(v.reopen || v.restart);
  }
}

TEST(TimeWait, Rfc6191SynReopens) {
  EXPECT_TRUE(judge(segment(flag::syn, kRcv + 1)).reopen);
  EXPECT_FALSE(judge(segment(flag::syn, kRcv)).reopen);
  EXPECT_FALSE(judge(segment(flag::syn, kRcv - 1)).reopen);
  EXPECT_FALSE(judge(segment(flag::syn | flag::ack, kRcv + 1)).reopen);
  // A later timestamp is enough, an older one never.
  EXPECT_TRUE(judge(segment(flag::syn, kRcv - 1, 0, 101), 0, true).reopen);
  EXPECT_FALSE(judge(segment(flag::syn, kRcv + 1, 0, 99), 0, true).reopen);
  EXPECT_TRUE(judge(segment(flag::syn, kRcv + 1, 0, 100), 0, true).reopen);
  EXPECT_FALSE(judge(segment(flag::syn, kRcv, 0, 100), 0, true).reopen);
}

TEST(TimeWait, OldSynIsChallenged) {
  const auto v = judge(segment(flag::syn, kRcv - 5));
  EXPECT_EQ(v.dropped, DropReason::tcp_blind_syn);
  EXPECT_EQ(v.answer, Answer::challenge);
}

TEST(TimeWait, Paws) {
  EXPECT_EQ(judge(segment(flag::ack, kRcv), 0, true).dropped, DropReason::tcp_paws);
  EXPECT_EQ(judge(segment(flag::ack, kRcv, kSnd, 99), 0, true).dropped, DropReason::tcp_paws);
  TimeWaitState s = state_with(true);
  EXPECT_FALSE(judge_in_time_wait(s, segment(flag::ack, kRcv, kSnd, 150), 0).dropped);
  EXPECT_EQ(s.ts_recent, 150U);
  EXPECT_EQ(judge_in_time_wait(s, segment(flag::ack, kRcv, kSnd, 149), 0).dropped,
            DropReason::tcp_paws);
}

TEST(TimeWait, AckOfWhatWasNeverSentIsChallenged) {
  EXPECT_EQ(judge(segment(flag::ack, kRcv, kSnd + 1)).dropped, DropReason::tcp_bad_ack);
  EXPECT_FALSE(judge(segment(flag::ack, kRcv, kSnd)).dropped);
}

TEST(TimeWait, TheAckSaysWhereBothEndsAre) {
  const wire::TcpHeader h = time_wait_ack(state_with(true));
  EXPECT_EQ(h.seq, Seq{kSnd});
  EXPECT_EQ(h.ack, Seq{kRcv});
  EXPECT_EQ(h.flags, flag::ack);
  EXPECT_EQ(h.window, 500);
  EXPECT_EQ(h.options.timestamps->echo, 100U);
}

// --- the record against the connection that it came from

wire::TcpHeader plain(std::uint8_t flags, Seq seq, Seq ack, std::uint32_t ts) {
  wire::TcpHeader h;
  h.seq = seq;
  h.ack = ack;
  h.flags = flags;
  h.window = 1000;
  h.options.timestamps = wire::TcpTimestamps{ts, 0};
  return h;
}

/// A connection that closed first and is in TIME-WAIT.
Conn closed_first(const Options& o, Instant now) {
  wire::TcpHeader syn = plain(flag::syn, Seq{8998}, Seq{}, 90);
  syn.options.mss = 1460;
  Conn c = Conn::passive(o, {.iss = Seq{4998}}, syn, now);
  SegmentOut out;
  c.poll_tx(now, out);
  EXPECT_FALSE(c.on_segment(now, plain(flag::ack, Seq{8999}, Seq{4999}, 95), {}, 0));
  c.shutdown_write();
  while (c.poll_tx(now, out)) continue;
  EXPECT_FALSE(c.on_segment(now, plain(flag::fin | flag::ack, Seq{8999}, Seq{5000}, 100), {}, 0));
  while (c.poll_tx(now, out)) continue;
  EXPECT_EQ(c.state(), State::time_wait);
  return c;
}

/// Two differ: ACKs below the ISS, which the record has forgotten, and a FIN behind the FIN, which
/// the connection takes without a word.
TEST(TimeWait, AnswersWhatTheConnectionWouldAnswer) {
  static const Options options;
  const Instant now{std::chrono::hours{1}};
  static const Conn original = closed_first(options, now);
  EXPECT_TRUE(rc::check("same verdict, same acknowledgement", [now] {
    Conn c = original;
    TimeWaitState s{c.snd_nxt(), c.rcv_nxt(), c.ts_recent(), c.window_field(), true};
    const auto flags = *rc::gen::elementOf(
        std::vector<std::uint8_t>{flag::ack, flag::ack | flag::fin, flag::rst, flag::syn,
                                  flag::syn | flag::ack, flag::rst | flag::ack, 0});
    const auto h = plain(flags, Seq{9000} + static_cast<std::uint32_t>(*rc::gen::inRange(-50, 50)),
                         Seq{5000} + static_cast<std::uint32_t>(*rc::gen::inRange(-1, 3)),
                         static_cast<std::uint32_t>(*rc::gen::inRange(98, 103)));
    if (h.has(flag::fin) && h.seq >= s.rcv_nxt) return;
    const TimeWaitVerdict v = judge_in_time_wait(s, h, 0);
    RC_ASSERT(v.reopen == c.may_reopen(h));
    if (v.reopen) return;
    const Instant before = c.deadline();
    const auto dropped = c.on_segment(now + 1s, h, {}, 0);
    RC_ASSERT(v.dropped.has_value() == dropped.has_value());
    RC_ASSERT(v.restart == (c.deadline() > before));
    SegmentOut out;
    const bool answers = c.poll_tx(now + 1s, out);
    RC_ASSERT(answers == (v.answer != Answer::none));
    if (!answers) return;
    const wire::TcpHeader ours = time_wait_ack(s);
    RC_ASSERT(ours.seq == out.header.seq);
    RC_ASSERT(ours.ack == out.header.ack);
    RC_ASSERT(ours.flags == out.header.flags);
    RC_ASSERT(ours.window == out.header.window);
    RC_ASSERT(ours.options.timestamps->echo == out.header.options.timestamps->echo);
  }));
}

}  // namespace
}  // namespace pollux::tcp
