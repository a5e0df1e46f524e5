// Every segment in every state: 11 states, 256 flag sets, and where SEG.SEQ and SEG.ACK lie.
#include "proto/tcp/conn.h"

#include <gtest/gtest.h>

#include "tests/proto/conn_dsl.h"

namespace pollux::tcp {
namespace {

using namespace dsl;

// --- the whole table

/// A connection in `s`, with data out and a gap where the state allows, and all sent.
Bench reach(State s) {
  Bench t;
  t.options.sack = true;
  if (s == State::syn_sent) {
    t.open();
    t.drain();
    return t;
  }
  t.in(syn(0).mss(1460).sack_ok());
  t.drain();
  if (s == State::syn_received) return t;
  t.in(ack(1).acks(1));
  if (s == State::closed) {
    t.conn->abort();
    t.drain();
    return t;
  }
  const bool peer_first = s == State::close_wait || s == State::last_ack;
  if (peer_first) t.in(fin(1).acks(1));
  t.write(3000);
  t.drain();
  if (s == State::established || s == State::close_wait) return t;
  t.conn->shutdown_write();
  t.drain();
  if (s == State::fin_wait_1 || s == State::last_ack) return t;
  if (s == State::closing) {
    t.in(fin(1).acks(1));
    t.drain();
    return t;
  }
  t.in(ack(1).acks(3002));
  if (s == State::time_wait) t.in(fin(1).acks(3002));
  t.drain();
  return t;
}

struct Cell {
  State state;
  std::uint8_t flags;
  int seq, ack;
  std::uint32_t len;
};

std::ostream& operator<<(std::ostream& o, const Cell& c) {
  return o << to_string(c.state) << ' ' << wire::tcp_flags_to_string(c.flags) << " seq " << c.seq
           << " ack " << c.ack << " len " << c.len;
}

wire::TcpHeader header_of(const Conn& c, const Cell& cell) {
  wire::TcpHeader h;
  h.flags = cell.flags;
  h.window = 1000;
  const Seq nxt = c.state() == State::syn_sent ? kPeerIss : c.rcv_nxt();
  const Seq edge = c.rcv_edge();
  const Seq seqs[] = {nxt - 5, nxt, nxt + 7, (c.state() == State::syn_sent ? nxt : edge) + 3};
  const Seq acks[] = {c.snd_una() - 10, c.snd_una(), c.snd_una() + 1, c.snd_nxt(), c.snd_nxt() + 1};
  h.seq = seqs[cell.seq];
  h.ack = acks[cell.ack];
  return h;
}

void judge_cell(const Bench& before, const Cell& cell) {
  static const std::vector<std::uint8_t> zeros(10);
  Bench t = before;
  Conn& c = *t.conn;
  const Seq edge = c.rcv_edge();
  const bool edged = c.state() != State::syn_sent && c.state() != State::closed;
  const wire::TcpHeader h = header_of(c, cell);
  const auto verdict = c.on_segment(t.now, h, Slice::from_static(Bytes(zeros).first(cell.len)), 0);
  c.check_invariants();
  if (edged && !c.is_closed()) {
    EXPECT_GE(c.rcv_edge(), edge) << cell;
  }
  const bool synchronized = is_synchronized(cell.state);
  if (h.has(flag::rst)) {
    const bool exact = cell.seq == 1;
    const bool may_close = exact && cell.state != State::time_wait;
    if (synchronized) {
      EXPECT_EQ(c.is_closed(), may_close) << cell;
    }
  } else if (synchronized && h.has(flag::syn)) {
    EXPECT_EQ(c.state(), cell.state) << cell;
    EXPECT_EQ(verdict, DropReason::tcp_blind_syn) << cell;
  } else if (synchronized && (!h.has(flag::ack) || cell.ack == 4)) {
    EXPECT_EQ(c.state(), cell.state) << cell;
    EXPECT_EQ(c.readable(), 0U) << cell;
    EXPECT_TRUE(verdict.has_value()) << cell;
  }
  t.drain();
  for (int i = 0; i < 8 && c.deadline() != kNever && !c.is_closed(); ++i) {
    t.next_timer();
    t.drain();
  }
}

class ConnTable : public testing::TestWithParam<std::size_t> {};

TEST_P(ConnTable, every_flag_set_at_every_place) {
  const State s = static_cast<State>(GetParam());
  if (s == State::listen) return;  // a listener is judge_in_listen(), below
  const Bench before = reach(s);
  ASSERT_EQ(to_string(before.state()), to_string(s));
  for (unsigned flags = 0; flags < 256; ++flags) {
    for (int seq = 0; seq < 4; ++seq) {
      for (int a = 0; a < 5; ++a) {
        for (const std::uint32_t len : {0U, 10U}) {
          judge_cell(before, {s, static_cast<std::uint8_t>(flags), seq, a, len});
          if (HasFailure()) return;
        }
      }
    }
  }
}
INSTANTIATE_TEST_SUITE_P(States, ConnTable, testing::Range<std::size_t>(0, kStates),
                         [](const auto& i) {
                           std::string n(to_string(static_cast<State>(i.param)));
                           for (char& c : n) c = c == '-' ? '_' : c;
                           return n;
                         });

TEST(ConnListen, every_flag_set) {
  for (unsigned flags = 0; flags < 256; ++flags) {
    wire::TcpHeader h;
    h.flags = static_cast<std::uint8_t>(flags);
    const auto verdict = judge_in_listen(h);
    if (h.has(flag::rst)) {
      EXPECT_EQ(verdict, ListenVerdict::drop);
    } else if (h.has(flag::ack)) {
      EXPECT_EQ(verdict, ListenVerdict::reset);
    } else {
      EXPECT_EQ(verdict,
                h.has(flag::syn) && !h.has(flag::fin) ? ListenVerdict::open : ListenVerdict::drop);
    }
  }
}

TEST(ConnListen, reset_of_3_10_7_1) {
  wire::TcpHeader h, out;
  h.src_port = 1;
  h.dst_port = 2;
  h.seq = Seq{100};
  h.ack = Seq{700};
  h.flags = flag::rst;
  EXPECT_FALSE(make_reset(h, 0, out));
  h.flags = flag::ack;
  ASSERT_TRUE(make_reset(h, 10, out));
  EXPECT_EQ(out.flags, flag::rst);
  EXPECT_EQ(out.seq, Seq{700});
  EXPECT_EQ(out.src_port, 2);
  h.flags = flag::syn | flag::fin;
  ASSERT_TRUE(make_reset(h, 10, out));
  EXPECT_EQ(out.flags, flag::rst | flag::ack);
  EXPECT_EQ(out.seq, Seq{0});
  EXPECT_EQ(out.ack, Seq{112});
}

}  // namespace
}  // namespace pollux::tcp
