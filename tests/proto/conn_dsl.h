// A state DSL over a bare tcp::Conn, in the words of packet traces:
//
//   Bench t;                          a connection that is yet to be opened
//   t.in(syn(0).win(1000));           a segment comes
//   t.out(syn_ack(0).acks(1));        the next segment that it sends, and it looks like this
//   t.none();                         it sends nothing
//   t.at(200ms);                      time passes, timers fire on the way
//
// Sequence numbers of the peer count from its ISS, acknowledgements from ours: both SYNs are 0.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "proto/tcp/conn.h"

namespace pollux::tcp::dsl {

namespace flag = wire::tcp_flag;

inline constexpr Seq kOurIss{0xfffffff0};  // both wrap soon
inline constexpr Seq kPeerIss{0xffffff80};
inline constexpr Instant kStart{Duration{1'000'000'000}};

/// A segment to send in, or what is expected to come out: what is not said is not compared.
struct Seg {
  std::uint8_t flags = 0;
  std::uint32_t seq_ = 0;
  std::optional<std::uint32_t> ack_;
  std::optional<std::uint32_t> win_;
  std::uint32_t len_ = 0;
  std::uint16_t urgent_ = 0;
  std::uint16_t gso_ = 0;
  wire::TcpOptions options;
  std::optional<std::uint8_t> sacks_;
  bool ce_ = false;

  Seg seq(std::uint32_t n) const {
    return with([&](Seg& s) { s.seq_ = n; });
  }
  Seg acks(std::uint32_t n) const {
    return with([&](Seg& s) { s.ack_ = n, s.flags = s.flags | flag::ack; });
  }
  Seg win(std::uint32_t n) const {
    return with([&](Seg& s) { s.win_ = n; });
  }
  Seg len(std::uint32_t n) const {
    return with([&](Seg& s) { s.len_ = n; });
  }
  Seg fin() const {
    return with([](Seg& s) { s.flags = s.flags | flag::fin; });
  }
  Seg urg(std::uint16_t n) const {
    return with([&](Seg& s) { s.urgent_ = n, s.flags = s.flags | flag::urg; });
  }
  Seg ece() const {
    return with([](Seg& s) { s.flags = s.flags | flag::ece; });
  }
  Seg cwr() const {
    return with([](Seg& s) { s.flags = s.flags | flag::cwr; });
  }
  /// The IP header says that a router is congested (RFC 3168).
  Seg ce() const {
    return with([](Seg& s) { s.ce_ = true; });
  }
  Seg gso(std::uint16_t n) const {
    return with([&](Seg& s) { s.gso_ = n; });
  }
  Seg mss(std::uint16_t n) const {
    return with([&](Seg& s) { s.options.mss = n; });
  }
  Seg wscale(std::uint8_t n) const {
    return with([&](Seg& s) { s.options.window_scale = n; });
  }
  Seg sack_ok() const {
    return with([](Seg& s) { s.options.sack_permitted = true; });
  }
  Seg ts(std::uint32_t value, std::uint32_t echo = 0) const {
    return with([&](Seg& s) { s.options.timestamps = wire::TcpTimestamps{value, echo}; });
  }
  Seg user_timeout(std::uint32_t seconds) const {
    return with([&](Seg& s) { s.options.user_timeout_s = seconds; });
  }
  /// One more SACK block, in the numbers of the acknowledgement.
  Seg sack(std::uint32_t from, std::uint32_t to, Seq base = kOurIss) const {
    return with([&](Seg& s) {
      s.options.sack[s.options.sack_count++] = {base + from, base + to};
      s.sacks_ = s.options.sack_count;
    });
  }

 private:
  template <class F>
  Seg with(F&& f) const {
    Seg s = *this;
    f(s);
    return s;
  }
};

inline Seg make(std::uint8_t flags, std::uint32_t seq) {
  Seg s;
  s.flags = flags;
  s.seq_ = seq;
  return s;
}
inline Seg syn(std::uint32_t seq) { return make(flag::syn, seq); }
inline Seg syn_ack(std::uint32_t seq) { return make(flag::syn | flag::ack, seq); }
inline Seg ack(std::uint32_t seq) { return make(flag::ack, seq); }
inline Seg rst(std::uint32_t seq) { return make(flag::rst, seq); }
inline Seg fin(std::uint32_t seq) { return make(flag::fin | flag::ack, seq); }

/// What a peer sends and how it is heard.
class Bench {
 public:
  // Connections point to their options: copies of a bench share them.
  std::shared_ptr<Options> shared = std::make_shared<Options>();
  Options& options = *shared;
  Setup setup{.iss = kOurIss};
  std::optional<Conn> conn;
  Instant now = kStart;

  Bench() {
    options.timestamps = options.sack = options.window_scaling = false;
    options.congestion_control = CcKind::reno;
  }

  void open() { conn.emplace(Conn::active(options, setup, now)); }

  std::optional<DropReason> in(const Seg& s) {
    const wire::TcpHeader h = header(s);
    last_.reset();
    if (!conn) {
      EXPECT_EQ(judge_in_listen(h), ListenVerdict::open);
      conn.emplace(Conn::passive(options, setup, h, now));
    } else {
      last_ = conn->on_segment(now, h, payload(s), s.gso_, s.ce_);
    }
    conn->check_invariants();
    return last_;
  }
  void in(const Seg& s, DropReason expected) {
    const auto got = in(s);
    ASSERT_TRUE(got.has_value()) << "taken, and not dropped as " << to_string(expected);
    EXPECT_EQ(to_string(*got), to_string(expected));
  }

  /// The next segment out is `s`.
  void out(const Seg& s) {
    SegmentOut o;
    ASSERT_TRUE(conn->poll_tx(now, o)) << "nothing comes out";
    conn->check_invariants();
    constexpr std::uint8_t kCompared = static_cast<std::uint8_t>(~flag::psh);
    EXPECT_EQ(wire::tcp_flags_to_string(o.header.flags & kCompared),
              wire::tcp_flags_to_string(s.flags & kCompared));
    EXPECT_EQ(distance(kOurIss, o.header.seq), s.seq_) << "seq";
    if (s.ack_) {
      EXPECT_EQ(distance(kPeerIss, o.header.ack), *s.ack_) << "ack";
    }
    if (s.win_) {
      EXPECT_EQ(o.header.window, *s.win_) << "window";
    }
    EXPECT_EQ(o.payload_size, s.len_) << "length";
    if (s.gso_ != 0) {
      EXPECT_EQ(o.segment_size, s.gso_) << "segment size";
    }
    if (s.sacks_) {
      EXPECT_EQ(o.header.options.sack_count, *s.sacks_) << "SACK blocks";
    }
    if (s.options.mss) {
      EXPECT_EQ(o.header.options.mss, s.options.mss);
    }
    if (s.options.window_scale) {
      EXPECT_EQ(o.header.options.window_scale, s.options.window_scale);
    }
    last_out = o.header;
    last_ecn_capable = o.ecn_capable;
  }
  void none() {
    SegmentOut o;
    const bool any = conn->poll_tx(now, o);
    EXPECT_FALSE(any) << wire::tcp_flags_to_string(o.header.flags) << " seq "
                      << distance(kOurIss, o.header.seq) << " length " << o.payload_size;
    conn->check_invariants();
  }
  /// Polls all there is; returns how many.
  std::size_t drain() {
    SegmentOut o;
    std::size_t n = 0;
    while (conn->poll_tx(now, o)) {
      conn->check_invariants();
      last_out = o.header;
      last_ecn_capable = o.ecn_capable;
      if (++n > 10000) {
        ADD_FAILURE() << "poll_tx has no end";
        break;
      }
    }
    return n;
  }

  /// Time since the start; timers fire on the way.
  void at(Duration since_start) {
    const Instant to = kStart + since_start;
    ASSERT_GE(to, now);
    while (conn->deadline() <= to) {
      now = std::max(now, conn->deadline());
      conn->on_timer(now);
      conn->check_invariants();
      if (!quiet_on_the_way) break;
    }
    now = to;
  }
  /// Runs to the next deadline; returns how long that took.
  Duration next_timer() {
    const Instant before = now;
    EXPECT_NE(conn->deadline(), kNever);
    if (conn->deadline() == kNever) return {};
    now = std::max(now, conn->deadline());
    conn->on_timer(now);
    conn->check_invariants();
    return now - before;
  }
  void after(Duration d) { at(now - kStart + d); }

  void write(std::uint32_t n) {
    static const std::vector<std::uint8_t> zeros(1 << 20);
    EXPECT_EQ(conn->queue(Slice::from_static(Bytes(zeros).first(n))), n);
  }
  std::size_t read() {
    std::size_t n = 0;
    while (conn->readable() > 0) {
      const std::size_t piece = conn->peek().size();
      conn->consume(piece);
      n += piece;
    }
    return n;
  }

  State state() const { return conn->state(); }

  /// Passive open up to ESTABLISHED; the peer offers `win` and says what `options_of_syn` says.
  void establish(std::uint32_t win = 65535, const Seg& options_of_syn = syn(0).mss(1460)) {
    Seg s = options_of_syn;
    in(s.win(win));
    out(syn_ack(0).acks(1));
    Seg a = ack(1).acks(1).win(win);
    if (s.options.timestamps) a = a.ts(s.options.timestamps->value);
    in(a);
    ASSERT_EQ(state(), State::established);
    none();
    conn->take_events();
  }
  /// Active open up to ESTABLISHED.
  void connect(std::uint32_t win = 65535) {
    open();
    out(syn(0));
    in(syn_ack(0).acks(1).win(win).mss(1460));
    out(ack(1).acks(1));
    ASSERT_EQ(state(), State::established);
    conn->take_events();
  }

  wire::TcpHeader last_out;
  bool last_ecn_capable = false;
  bool quiet_on_the_way = true;

 private:
  static wire::TcpHeader header(const Seg& s) {
    wire::TcpHeader h;
    h.src_port = 1000;
    h.dst_port = 7;
    h.seq = kPeerIss + s.seq_;
    h.ack = s.ack_ ? kOurIss + *s.ack_ : Seq{};
    h.flags = s.flags;
    h.window = static_cast<std::uint16_t>(s.win_.value_or(65535));
    h.urgent = s.urgent_;
    h.options = s.options;
    return h;
  }
  static Slice payload(const Seg& s) {
    static const std::vector<std::uint8_t> zeros(1 << 17);
    return Slice::from_static(Bytes(zeros).first(s.len_));
  }
  std::optional<DropReason> last_;
};

}  // namespace pollux::tcp::dsl
