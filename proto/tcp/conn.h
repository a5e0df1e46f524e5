// One TCP connection (RFC 9293) as a sans-I/O object.
//
//   on_segment / on_timer / on_icmp (now, ...)      what happens to it
//   queue, consume, shutdown_write, abort           what the user asks
//   poll_tx / take_events / deadline                what it wants: call until there is nothing
//
// It knows no addresses, buffers' pools or clocks. Input follows RFC 9293 3.10.7.4 step by step
// (input.cc), what ACKs say about loss is recovery.cc, output is output.cc, time is timers.cc, the
// user's calls are conn.cc.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>

#include "proto/base/buffer.h"
#include "proto/base/drop.h"
#include "proto/base/lazy.h"
#include "proto/base/seq.h"
#include "proto/base/time.h"
#include "proto/tcp/assembler.h"
#include "proto/tcp/congestion.h"
#include "proto/tcp/prr.h"
#include "proto/tcp/rack.h"
#include "proto/tcp/rate.h"
#include "proto/tcp/rtt.h"
#include "proto/tcp/scoreboard.h"
#include "proto/tcp/slice_queue.h"
#include "proto/tcp/state.h"
#include "proto/tcp/undo.h"
#include "proto/wire/tcp.h"

namespace pollux::tcp {

/// Settings shared by many connections; must outlive them.
struct Options {
  CcKind congestion_control = CcKind::cubic;
  std::uint32_t receive_buffer = 6U << 20;  ///< octets, bound of the receive window
  std::uint32_t send_buffer = 6U << 20;     ///< octets queued for sending
  Duration delayed_ack = 40ms;              ///< below 500 ms (MUST-40)
  Duration keepalive = Duration::zero();    ///< idle time before the first probe; zero: off
  Duration keepalive_interval = 75s;        ///< between probes
  unsigned keepalive_probes = 9;
  Duration time_wait = 60s;  ///< 2 MSL
  /// Zero: R2 decides. Else it is told to the peer, whose own may lengthen it (RFC 5482).
  Duration user_timeout = Duration::zero();
  bool timestamps = true;
  bool sack = true;
  bool window_scaling = true;
  bool ecn = true;           ///< accept ECN (RFC 3168) from a peer that asks for it
  bool ecn_request = false;  ///< and ask for it in active opens
};

inline constexpr unsigned kR1 = 3;        ///< retransmissions before trouble is told (SHLD-10)
inline constexpr Duration kR2 = 300s;     ///< at least 100 s (SHLD-11)
inline constexpr Duration kR2Syn = 180s;  ///< at least 3 minutes (MUST-23)
inline constexpr Duration kTsRecentLife = std::chrono::hours(24 * 24);  ///< RFC 7323 5.5
/// What a peer's user timeout may be at most (RFC 5482 3.1: U_LIMIT).
inline constexpr Duration kMaxPeerUserTimeout = 1h;
inline constexpr Duration kChallengeInterval =
    500ms;  ///< one challenge ACK per connection (RFC 5961 7)
inline constexpr std::uint32_t kInitialReceiveWindow = 256U << 10;
inline constexpr std::uint32_t kLeastBuffer = 4U << 10;  ///< octets, as the configuration has it
/// What a connection's own bound of its buffers must be at least, with segments of `mss` octets its
/// way: else a peer waits for room for a full segment, or for half the largest window that it saw,
/// which never comes (RFC 9293 3.8.6.2.1). Three, since the window scale rounds down.
constexpr std::uint32_t least_buffer(std::uint32_t mss) { return std::max(kLeastBuffer, 3 * mss); }
inline constexpr Duration kLeastTrip = 2ms;  ///< what hosts' own scheduling adds to a short path
inline constexpr std::uint32_t kInitialSendBuffer = 1U << 20;
inline constexpr std::uint32_t kMinPeerMss = 216;  ///< floor against SACK-panic patterns
/// Octets per second from which on a super-packet takes less than a tick of the timers.
inline constexpr std::uint64_t kPacedMax = 1'000'000'000;
inline constexpr Duration kPacedRttMin = 1ms;  ///< round trips from which on windows are paced
inline constexpr Duration kPaceCredit = 1ms;   ///< what a late timer may catch up
inline constexpr std::size_t kMaxParts = 48;   ///< pieces of payload in one segment

/// What the connection is told about its path and identity when it is made.
struct Setup {
  Seq iss;
  std::uint32_t ts_offset = 0;       ///< added to the timestamp clock (RFC 7323 7.1)
  std::uint16_t mss = 1460;          ///< MMS_R - 20: advertised, and the most we send
  std::uint16_t default_mss = 536;   ///< when the peer gives none: 536 or 1220 (MUST-15)
  std::uint32_t max_payload = 1460;  ///< octets of one super-packet; mss without offload
};

/// A segment to send; ports are the caller's.
struct SegmentOut {
  wire::TcpHeader header;
  std::uint32_t payload_size = 0;
  std::uint16_t segment_size = 0;  ///< nonzero: a super-packet of segments of this size
  bool retransmission = false;
  bool ecn_capable = false;  ///< the IP header says ECT(0)
  std::size_t part_count = 0;
  std::array<Bytes, kMaxParts> parts;
};

/// What the caller must pass on to the application.
namespace event {
inline constexpr std::uint8_t opened = 1, readable = 2, writable = 4, peer_closed = 8, closed = 16,
                              urgent = 32;
/// Soft errors (MUST-47): R1 was reached (3.8.3), an ICMP error came (3.9.2.2).
inline constexpr std::uint8_t trouble = 64, path_error = 128;
}  // namespace event

/// ICMP errors as TCP sees them (RFC 9293 3.9.2.2, RFC 5927).
enum class PathError : std::uint8_t { soft, hard, packet_too_big };

enum class CloseCause : std::uint8_t { normal, reset, timeout, refused, aborted, unreachable };

class Conn {
 public:
  /// Active open: SYN-SENT, the SYN is ready to be polled.
  static Conn active(const Options& o, const Setup& s, Instant now);
  /// Passive open by a SYN that a listener accepted: SYN-RECEIVED, the SYN-ACK is ready.
  static Conn passive(const Options& o, const Setup& s, const wire::TcpHeader& syn, Instant now);

  /// RFC 7413 4.2: the SYN of this passive open had a valid cookie and `data`. It is delivered, and
  /// the connection may send before the handshake is complete.
  void open_fast(Instant now, Slice data);

  // --- events in
  /// A segment of this flow whose checksum is right. `segment_size`: GSO size, 0 for a plain one.
  /// `congested`: the IP header says CE (RFC 3168). Returns why it was dropped, or nullopt when it
  /// was taken.
  std::optional<DropReason> on_segment(Instant now, const wire::TcpHeader& h, Slice payload,
                                       std::uint16_t segment_size, bool congested = false);
  void on_timer(Instant now);
  /// An ICMP error that embeds `seq` of ours; `mss`: what fits the new path MTU (packet_too_big).
  void on_icmp(Instant now, PathError kind, Seq seq, std::uint32_t mss);
  /// True when TIME-WAIT may be ended by this SYN (RFC 6191, RFC 9293 3.10.7.4 MAY-2).
  bool may_reopen(const wire::TcpHeader& syn) const;

  // --- the user's calls
  Slice peek() const { return rcv_queue_.front(); }
  /// The first pieces of it; returns how many of `pieces` are set.
  std::size_t peek(std::span<Bytes> pieces) const {
    std::size_t count = 0;
    rcv_queue_.gather(rcv_queue_.begin(), UINT32_MAX, pieces, count);
    return count;
  }
  std::size_t readable() const { return rcv_queue_.size(); }
  void consume(std::size_t n);
  std::size_t send_room() const;
  /// Octets that may be queued now: four windows' worth, within the bound of the send buffer.
  std::size_t send_limit() const;
  /// Queues what fits of `data`; returns octets taken.
  std::size_t queue(Slice data);
  /// Copies into the tail of the last queued buffer what fits there; returns octets taken.
  std::size_t queue_into_tail(Bytes data);
  void want_writable() { want_writable_ = true; }
  void shutdown_write();
  void abort();
  bool peer_closed() const { return fin_received_; }
  bool write_shut() const {
    return fin_queued_ || !(may_send(state_) || (fast_open_ && state_ == State::syn_received));
  }
  void set_nodelay(bool on) { nodelay_ = on; }
  /// R2 of this connection (MUST-21); zero: kR2.
  void set_user_timeout(Duration d) { user_timeout_ = d; }
  /// Idle time before the first probe, zero: off (MUST-24), and between probes (MUST-27).
  void set_keepalive(Instant now, Duration idle, Duration interval);
  /// False: no event::trouble and no event::path_error (SHLD-20).
  void set_soft_errors(bool reported) { soft_errors_ = reported; }
  /// All that is queued so far is urgent (3.8.5); new applications should not (SHLD-13, RFC 6093).
  void mark_urgent();
  /// Octets from the reader to the end of the peer's urgent data, received or not; 0: there is none
  /// (MUST-33).
  std::uint32_t urgent_remaining() const;
  /// Another algorithm from here on; it begins anew.
  void set_congestion_control(CcKind k) {
    if (k != cc_.kind()) cc_ = CongestionControl(k, mss_);
  }
  /// False: memory is short. The receive window grows no further and nothing new is kept ahead of a
  /// gap; what comes in order up to the offered edge is taken.
  void set_growth(bool allowed) { growth_allowed_ = allowed; }
  /// What the receive window of a peer on this machine may be, in octets: all that it sends lies in
  /// the device's queue at once. Longer paths hold their windows themselves.
  void set_local_window(std::uint32_t octets) { local_window_ = octets; }
  /// A bound of its own for each of the two buffers, below those of Options. What was offered of
  /// the window already stays. Octets, at least least_buffer().
  void set_buffer_limit(std::uint32_t octets);

  // --- outputs
  /// Builds the next segment to send; false when there is nothing to send now. `burst`: more
  /// segments have come and wait to be taken, so an ACK that only their number calls for may wait.
  bool poll_tx(Instant now, SegmentOut& out, bool burst = false);
  /// An ACK waits for the end of a burst.
  bool holds_ack() const { return ack_due_; }
  std::uint8_t take_events() { return std::exchange(events_, std::uint8_t{0}); }
  /// When on_timer() wants to be called; kNever when never.
  Instant deadline() const;

  State state() const { return state_; }
  CloseCause close_cause() const { return cause_; }
  bool is_closed() const { return state_ == State::closed; }
  bool passive_open() const { return passive_; }

  // --- introspection
  /// What Linux's tcp_info tells, in its terms. Octets, unless the name says otherwise.
  struct Info {
    std::uint32_t mss = 0, cwnd = 0, ssthresh = 0, send_window = 0, receive_window = 0;
    std::uint32_t send_bound = 0, receive_bound = 0;  ///< of the buffers
    std::uint32_t own_mss = 0;                        ///< of what the peer sends
    std::uint32_t in_flight = 0, sacked = 0, lost = 0;
    std::uint64_t bytes_sent = 0, bytes_received = 0, bytes_acked = 0, bytes_retransmitted = 0;
    std::uint64_t retransmits = 0;  ///< segments
    std::uint64_t bytes_lost = 0;   ///< ever marked lost
    std::uint32_t timeouts = 0, recoveries = 0, spurious_recoveries = 0, loss_probes = 0;
    std::uint32_t dsacks = 0;           ///< D-SACK blocks received
    std::uint64_t delivery_rate = 0;    ///< octets per second, the latest sample
    std::uint64_t pacing_rate = 0;      ///< octets per second; kUnpaced
    bool delivery_app_limited = false;  ///< of the latest sample
    std::size_t out_of_order_bytes = 0, send_queue = 0, receive_queue = 0;
    std::size_t unsent = 0;
    Duration rto{}, srtt{}, rttvar{}, min_rtt{}, reordering_window{};
    Duration busy{}, window_limited{}, buffer_limited{};
    unsigned back_offs = 0;
    bool sack = false, timestamps = false, ecn = false, reordering_seen = false;
    bool in_recovery = false, in_timeout = false;
  };
  /// As of now: what lasts still counts so far.
  Info info(Instant now) const;
  /// As of the last time that it went from one limit to another.
  Info info() const { return info(stats_.limit_since); }
  std::uint32_t mss() const { return mss_; }
  CcKind congestion_control() const { return cc_.kind(); }
  /// Octets of payload held in all queues.
  std::size_t held() const { return send_queue_.size() + rcv_queue_.size() + assembler_.bytes(); }
  /// Octets that its own lists take.
  std::size_t bookkeeping() const {
    return assembler_.bookkeeping() + board_.bookkeeping() + send_queue_.bookkeeping() +
           rcv_queue_.bookkeeping() + losses_.bookkeeping() + cc_.bookkeeping();
  }
  bool keeps_out_of_order() const { return !assembler_.empty(); }
  /// Sequence variables relative to the initial ones, for logs.
  std::uint32_t snd_una_relative() const { return distance(snd_.iss, snd_.una); }
  std::uint32_t snd_nxt_relative() const { return distance(snd_.iss, snd_.nxt); }
  std::uint32_t rcv_nxt_relative() const { return distance(rcv_.irs, rcv_.nxt); }
  Seq snd_una() const { return snd_.una; }
  Seq snd_nxt() const { return snd_.nxt; }
  Seq rcv_nxt() const { return rcv_.nxt; }
  Seq rcv_edge() const { return rcv_.edge; }
  /// With SND.NXT and RCV.NXT, all that TIME-WAIT needs: TS.Recent and the window as on the wire.
  std::uint32_t ts_recent() const { return ts_recent_; }
  std::uint16_t window_field() const {
    const std::uint32_t window = distance(rcv_.nxt, rcv_.edge) >> rcv_.shift;
    return static_cast<std::uint16_t>(window < 65535U ? window : 65535U);
  }
  /// Asserts what must hold between events; for tests and the simulator.
  void check_invariants() const;

 private:
  Conn(const Options& o, const Setup& s);
  struct Incoming;  // a segment on its way through the steps

  // input.cc: RFC 9293 3.10.7
  using Verdict = std::optional<DropReason>;
  bool predict(Instant now, const Incoming& in);
  Verdict in_syn_sent(Instant now, Incoming& in);
  Verdict in_synchronized(Instant now, Incoming& in);
  Verdict check_sequence(Instant now, Incoming& in);   // first
  Verdict check_rst(Instant now, const Incoming& in);  // second
  Verdict check_syn(Instant now, Incoming& in);        // fourth
  Verdict check_ack(Instant now, const Incoming& in);  // fifth
  void check_urgent(const Incoming& in);               // sixth
  Verdict process_text(Instant now, Incoming& in);     // seventh
  void check_fin(Instant now, const Incoming& in);     // eighth
  void take_syn_options(const wire::TcpHeader& syn);
  void take_congestion_marks(const Incoming& in);
  void update_send_window(const wire::TcpHeader& h);
  void on_window_opened();
  void on_established(Instant now);
  void note_segment_size(const Incoming& in);
  std::uint32_t segments_of(const Incoming& in) const;
  void on_our_fin_acked(Instant now);
  void deliver(Instant now, Slice data);
  void challenge_ack(Instant now);
  void acceptable_timestamp(Instant now, const wire::TcpHeader& h);
  bool is_old(Instant now, const wire::TcpTimestamps& t) const;
  void note_duplicate(Seq begin, Seq end);

  // recovery.cc: what an ACK tells about what is in flight
  void on_ack(Instant now, const Incoming& in);
  std::uint32_t advance(Seq ack, Delivered& d);
  const wire::SackBlock* find_dsack(const wire::TcpHeader& h) const;
  void sample_rtt(const Delivered& d, bool advances);
  void count_duplicate_ack(Instant now, const Incoming& in);
  void judge_recovery(Instant now, const wire::TcpHeader& h, const Delivered& d, bool advances);
  void take_dsack(const wire::SackBlock* dsack);
  void on_late_ack(Instant now, const wire::TcpHeader& h);
  void judge_timeout(const Delivered& d, bool advances);
  void judge_probe(Instant now, const wire::TcpHeader& h, const wire::SackBlock* dsack,
                   bool advances);
  void detect_loss(Instant now);
  void note_lost(std::uint32_t octets);
  std::uint32_t reducible() const;
  void enter_recovery(Instant now);
  void leave_recovery();
  void undo_recovery();
  void on_congestion_echo(Instant now, bool echo);
  void tell_congestion_control(Instant now, const Delivered& d, std::uint32_t in_flight,
                               bool advances);
  std::uint32_t growth(const Delivered& d, bool advances);
  bool is_duplicate_ack(const Incoming& in) const;
  std::uint32_t pipe() const { return board_.pipe() - std::min(board_.pipe(), dup_credit_); }
  /// The congestion window of this moment.
  std::uint32_t window() const {
    return in_recovery_ && !cc_.drives_recovery() ? losses_->prr.window() : cc_.cwnd();
  }

  // output.cc
  bool emit_syn(Instant now, SegmentOut& out);
  bool emit_retransmission(Instant now, SegmentOut& out);
  bool emit_loss_probe(Instant now, SegmentOut& out);
  void emit_again(Instant now, TxRecord& r, SegmentOut& out);
  bool emit_new_data(Instant now, SegmentOut& out);
  void send_new(Instant now, std::uint32_t size, bool fin, SegmentOut& out);
  bool emit_probe(Instant now, SegmentOut& out);
  bool emit_ack(Instant now, SegmentOut& out);
  bool emit_reset(SegmentOut& out);
  std::uint32_t sendable();
  std::uint32_t fill_data(Seq at, std::uint32_t size, SegmentOut& out) const;
  void fill_header(Instant now, Seq seq, std::uint8_t flags, SegmentOut& out);
  bool wants_ack(bool burst) const;
  void after_ack_sent();
  void extend_window();
  std::uint32_t unsent() const;
  std::uint32_t usable_window() const;
  std::uint32_t super_size() const;  ///< octets of the largest super-packet, whole segments
  bool is_paced() const;
  bool paced(Instant now);
  void fill_sack(wire::TcpOptions& options);
  void pace(Instant now, std::uint32_t octets);
  void note_limit(Instant now);
  struct LimitTimes {
    Duration busy{}, window{}, buffer{};
  };
  LimitTimes limit_times(Instant now) const;
  /// Of the first octet in the send queue. Not una == iss: that comes again every 4 GiB.
  Seq data_una() const { return syn_acked_ ? snd_.una : snd_.una + 1; }
  std::uint32_t ts_now(Instant now) const;

  // timers.cc
  void arm_retransmission(Instant now);
  bool may_probe() const;
  void on_retransmission_timeout(Instant now);
  void on_persist(Instant now);
  void on_keepalive(Instant now);
  void touch_keepalive(Instant now);
  bool gave_up(Instant now);
  void tell(std::uint8_t soft_error);
  Duration user_timeout() const;
  void take_user_timeout(const wire::TcpHeader& h);
  void tell_user_timeout(SegmentOut& out);

  // conn.cc
  void move_to(State next);
  void close_with(CloseCause cause);
  void enter_time_wait(Instant now);
  void grow_receive_window(Instant now);
  Seq read_position() const;
  std::uint8_t own_shift() const;
  std::uint32_t receive_bound() const { return std::min(opt_->receive_buffer, buffer_limit_); }
  std::uint32_t send_bound() const { return std::min(opt_->send_buffer, buffer_limit_); }

  // ---- what every segment touches, close together: with many connections each line is a miss
  struct {
    Seq una, nxt, iss;
    std::uint32_t wnd = 0, max_wnd = 0;
    Seq wl1, wl2;
    Seq up;  ///< behind the last urgent octet, while `urgent`
    bool urgent = false;
    std::uint8_t shift = 0;
  } snd_;  // RFC 9293 3.3.1
  struct {
    Seq nxt, irs;
    Seq edge;   ///< right edge offered: never moves left (SHLD-14)
    Seq acked;  ///< RCV.NXT of the last ACK sent (RFC 7323: Last.ACK.sent)
    std::uint32_t limit = kInitialReceiveWindow;  ///< what the window may be now
    Seq trip_mark;                                ///< RCV.NXT when `trip_began`
    Instant trip_began{};                         ///< of the round trip that is measured
    std::uint32_t last_trip = 0;                  ///< octets that came in the one before
    Seq up;                                       ///< behind the last urgent octet, while `urgent`
    bool urgent = false;
    std::uint8_t shift = 0;
  } rcv_;

  /// One timer for all that waits for an ACK (RFC 8985 8).
  enum class Wait : std::uint8_t { retransmit, reorder, probe, persist };
  enum class Limit : std::uint8_t { idle, busy, window, buffer };
  std::uint8_t events_ = 0;
  State state_ = State::closed;
  CloseCause cause_ = CloseCause::normal;
  Wait waits_for_ = Wait::retransmit;
  Frto frto_ = Frto::off;
  Limit limit_ = Limit::idle;
  std::uint8_t dup_acks_ = 0;
  std::uint8_t dup_acks_owed_ = 0;  ///< immediate duplicate ACKs to send (no SACK)
  std::uint8_t keepalive_sent_ = 0;
  std::uint8_t expiries_ = 0;  ///< time-outs since stuck_since_
  bool passive_ = false;
  bool ts_on_ = false, sack_on_ = false;
  bool ack_now_ = false;  ///< at once
  bool ack_due_ = false;  ///< two segments came (SHLD-19)
  bool syn_pending_ = false, rst_pending_ = false, probe_pending_ = false;
  bool fin_queued_ = false, fin_sent_ = false, fin_acked_ = false, fin_received_ = false;
  bool fin_known_ = false, keepalive_probe_ = false, scaling_on_ = false;
  bool first_retransmission_ = false, syn_acked_ = false;
  bool in_recovery_ = false, rto_recovery_ = false;
  bool tail_probe_pending_ = false, pace_blocked_ = false;
  bool ecn_on_ = false, ecn_echo_ = false, ecn_cwr_ = false, ecn_wait_ = false;
  bool user_timeout_told_ = false, fast_open_ = false;
  bool nodelay_ = false, want_writable_ = false, growth_allowed_ = true, soft_errors_ = true;
  bool cwnd_limited_ = false, cwnd_was_limited_ = false;  ///< in this round trip, in the last
  std::uint16_t mss_;
  std::uint16_t own_mss_;
  std::uint32_t max_payload_;
  std::uint32_t ts_recent_ = 0;
  std::uint32_t ts_offset_ = 0;
  std::uint32_t ack_pending_ = 0;        ///< octets received since the last ACK
  std::uint32_t rcv_mss_ = kMinPeerMss;  ///< the largest segment that came
  std::uint32_t local_window_ = UINT32_MAX;
  std::uint32_t buffer_limit_ = UINT32_MAX;
  wire::SackBlock dsack_{};  ///< octets that came twice: to be told (RFC 2883)

  const Options* opt_;
  Instant rtx_at_ = kNever;
  Instant ack_at_ = kNever;        ///< delayed ACK
  Instant keepalive_at_ = kNever;  ///< keep-alive, or end of TIME-WAIT
  Instant ts_recent_at_{};         ///< when ts_recent_ was taken
  Duration keepalive_;
  std::uint64_t bytes_received_ = 0;
  SliceQueue rcv_queue_;  ///< in order, not consumed
  Assembler assembler_;
  SliceQueue send_queue_;  ///< from SND.UNA on (without SYN)
  Scoreboard board_;

  // ---- what only a sender touches
  /// What only a connection that lost something has.
  struct Losses {
    Prr prr;
    Undo undo;
    std::uint64_t bytes_retransmitted = 0, bytes_lost = 0;
    std::uint32_t timeouts = 0, recoveries = 0, spurious = 0, probes = 0, dsacks = 0;
  };
  Lazy<Losses> losses_;
  RttEstimator rtt_;
  CongestionControl cc_;
  RateSampler rate_;
  Rack rack_;
  LossProbe probe_;
  Instant stuck_since_ = kNever;  ///< first time-out without progress (R2)
  Instant last_data_sent_{};
  Instant pace_at_{};  ///< the next paced segment goes out then
  std::uint64_t pacing_rate_ = kUnpaced;
  std::uint64_t bytes_sent_ = 0, retransmits_ = 0;
  Seq recover_;                   ///< recovery ends when this is acknowledged
  std::uint32_t dup_credit_ = 0;  ///< NewReno: octets that duplicate ACKs say have left
  std::uint32_t round_end_raw_ = 0;
  std::uint32_t sacked_unpaid_ = 0;    ///< octets SACKed that cwnd has not grown by yet
  std::uint32_t lost_unreported_ = 0;  ///< octets marked lost since congestion control was told
  Seq ecn_recover_;                    ///< one reaction to ECE until this is acknowledged

  // ---- what is rarely looked at
  Seq fin_at_;                 ///< sequence number of the peer's FIN, once known
  Instant challenge_after_{};  ///< no challenge ACK before
  Duration user_timeout_, keepalive_interval_;
  std::uint16_t default_mss_;
  std::uint16_t peer_timeout_s_ = 0;  ///< what the peer advertised, at most kMaxPeerUserTimeout
  bool rate_app_limited_ = false;     ///< of the latest delivery rate, as stats_
  /// What only info() tells.
  struct {
    std::uint64_t delivery_rate = 0;
    Instant limit_since{};
    LimitTimes limit_times;  ///< until then
  } stats_;
};

/// What a listener does with a segment for which there is no connection (RFC 9293 3.10.7.2).
enum class ListenVerdict : std::uint8_t { open, reset, drop };
ListenVerdict judge_in_listen(const wire::TcpHeader& h);

/// The RST that answers a segment without a connection (3.10.7.1); false when it must be silent.
bool make_reset(const wire::TcpHeader& h, std::uint32_t payload_size, wire::TcpHeader& out);

/// ISN = 4 us clock + PRF (RFC 6528; MUST-8, MUST-9). `prf` is flow_prf() of the flow.
Seq initial_sequence(std::uint64_t prf, Instant now);

}  // namespace pollux::tcp
