// Segment input, RFC 9293 3.10.7: one function per step, in the order of the RFC, behind a
// header-prediction fast path.
#include <algorithm>
#include <cassert>

#include "proto/tcp/incoming.h"

namespace pollux::tcp {

namespace flag = wire::tcp_flag;

std::optional<DropReason> Conn::on_segment(Instant now, const wire::TcpHeader& h, Slice payload,
                                           std::uint16_t segment_size, bool congested) {
  Incoming in{.h = h,
              .data = std::move(payload),
              .segment_size = segment_size,
              .seq = h.seq,
              .fin = h.has(flag::fin),
              .congested = congested};
  touch_keepalive(now);
  if (state_ == State::established && predict(now, in)) return std::nullopt;
  if (state_ == State::syn_sent) return in_syn_sent(now, in);
  if (state_ == State::closed) return DropReason::tcp_closed;
  return in_synchronized(now, in);
}

// --- header prediction: the next segment in order, or a plain advancing ACK

bool Conn::predict(Instant now, const Incoming& in) {
  const wire::TcpHeader& h = in.h;
  constexpr std::uint8_t kPlain = flag::ack | flag::psh;
  if ((h.flags & ~flag::psh) != flag::ack || (h.flags & ~kPlain) != 0) return false;
  if (h.seq != rcv_.nxt || in_recovery_ || rto_recovery_ || fin_known_) return false;
  if (waits_for_ == Wait::persist) return false;
  if (h.options.sack_count != 0 || !assembler_.empty() || h.options.user_timeout_s) return false;
  if (ts_on_) {
    if (!h.options.timestamps) return false;
    if (is_old(now, *h.options.timestamps)) return false;
  }
  if (h.ack < snd_.una || h.ack > snd_.nxt || fin_queued_) return false;
  if (in.data.size() > distance(rcv_.nxt, rcv_.edge)) return false;
  if (h.ack == snd_.una && in.data.empty()) return false;
  acceptable_timestamp(now, h);
  if (ecn_on_) take_congestion_marks(in);
  if (h.ack > snd_.una) on_ack(now, in);
  update_send_window(h);
  dup_acks_ = 0;
  if (in.data.empty()) return true;
  note_segment_size(in);
  deliver(now, in.data);
  return true;
}

/// PAWS. What was taken 24 days ago says nothing any more: the peer's clock may have gone half
/// around (RFC 7323 5.5).
bool Conn::is_old(Instant now, const wire::TcpTimestamps& t) const {
  return static_cast<std::int32_t>(t.value - ts_recent_) < 0 && now - ts_recent_at_ < kTsRecentLife;
}

/// RFC 7323 4.3 (2): TS.Recent moves only by a segment that covers the last ACK sent.
void Conn::acceptable_timestamp(Instant now, const wire::TcpHeader& h) {
  if (ts_on_ && h.options.timestamps && h.seq <= rcv_.acked) {
    ts_recent_ = h.options.timestamps->value;
    ts_recent_at_ = now;
  }
}

// --- 3.10.7.3 SYN-SENT

Conn::Verdict Conn::in_syn_sent(Instant now, Incoming& in) {
  const wire::TcpHeader& h = in.h;
  const bool acks = h.has(flag::ack);
  if (acks && (h.ack <= snd_.iss || h.ack > snd_.nxt)) return DropReason::tcp_bad_ack;
  if (h.has(flag::rst)) {
    if (acks) close_with(CloseCause::refused);
    return acks ? Verdict{} : Verdict{DropReason::tcp_blind_rst};
  }
  if (!h.has(flag::syn)) return DropReason::tcp_bad_flags;
  rcv_.irs = h.seq;
  rcv_.nxt = rcv_.acked = rcv_.edge = rcv_.trip_mark = h.seq + 1;
  take_syn_options(h);
  ts_recent_at_ = now;
  rcv_.edge = rcv_.nxt + std::min(rcv_.limit, 65535U);  // what our SYN offered
  if (!acks) {                                          // simultaneous open (MUST-10)
    move_to(State::syn_received);
    snd_.wnd = snd_.max_wnd = h.window;
    snd_.wl1 = h.seq;
    syn_pending_ = true;
    return std::nullopt;
  }
  Delivered acked{.now = now};
  board_.on_ack(h.ack, acked);
  if (acked.rtt > Duration::zero() && !acked.retransmitted) rtt_.sample(acked.rtt);
  if (acked.retransmitted) rtt_.syn_timed_out();
  const std::uint8_t ecn = h.flags & (flag::ece | flag::cwr);
  ecn_on_ = ecn_on_ && ecn == flag::ece && !acked.retransmitted;
  snd_.una = h.ack;
  syn_acked_ = true;
  snd_.wnd = snd_.max_wnd = h.window;  // of a SYN: never scaled
  snd_.wl1 = h.seq;
  snd_.wl2 = h.ack;
  stuck_since_ = rtx_at_ = kNever;
  take_user_timeout(h);
  on_established(now);
  ack_now_ = true;
  // Data or FIN behind the SYN go through the steps like any other text.
  in.seq = h.seq + 1;
  if (in.data.size() > distance(rcv_.nxt, rcv_.edge)) {
    in.data.truncate(distance(rcv_.nxt, rcv_.edge));
    in.fin = false;
  }
  if (in.data.empty() && !in.fin) return std::nullopt;
  if (auto v = process_text(now, in)) return v;
  check_fin(now, in);
  return std::nullopt;
}

void Conn::on_established(Instant now) {
  move_to(State::established);
  events_ |= event::writable;
  if (!fast_open_) events_ |= event::opened;  // else the application was told with the SYN
  touch_keepalive(now);
}

// --- 3.10.7.4 all other states

Conn::Verdict Conn::in_synchronized(Instant now, Incoming& in) {
  if (auto v = check_sequence(now, in)) return v;
  if (auto v = check_rst(now, in)) return v;
  if (is_closed()) return std::nullopt;
  if (auto v = check_syn(now, in)) return v;
  if (auto v = check_ack(now, in)) return v;
  if (is_closed()) return std::nullopt;
  take_user_timeout(in.h);
  if (ecn_on_) take_congestion_marks(in);
  check_urgent(in);
  if (auto v = process_text(now, in)) return v;
  check_fin(now, in);
  return std::nullopt;
}

/// RFC 3168 6.1.3: a CE mark is echoed in every ACK until the peer says CWR.
void Conn::take_congestion_marks(const Incoming& in) {
  if (in.h.has(flag::cwr)) ecn_echo_ = false;
  if (!in.congested) return;
  ecn_echo_ = ack_now_ = true;
}

/// RFC 2883 4: the next ACK tells which octets came twice.
void Conn::note_duplicate(Seq begin, Seq end) {
  if (sack_on_ && begin < end) dsack_ = {begin, end};
}

/// First: Table 6, PAWS in front of it (RFC 7323 5.3), and trimming to the window.
Conn::Verdict Conn::check_sequence(Instant now, Incoming& in) {
  const wire::TcpHeader& h = in.h;
  const bool rst = h.has(flag::rst);
  if (ts_on_ && !rst) {
    if (!h.options.timestamps) {
      if (state_ != State::syn_received) return DropReason::tcp_paws;
    } else if (is_old(now, *h.options.timestamps)) {
      challenge_ack(now);
      return DropReason::tcp_paws;
    }
  }
  // The original length counts SYN too; a SYN is judged by its own step (RFC 5961 4).
  if (h.has(flag::syn)) return std::nullopt;
  const std::uint32_t window = distance(rcv_.nxt, rcv_.edge);
  const std::uint32_t length = in.length();
  const Seq end = in.seq + length;
  const bool acceptable =
      length == 0 ? (window == 0 ? in.seq == rcv_.nxt : rcv_.nxt <= in.seq && in.seq <= rcv_.edge)
                  : (rcv_.nxt < end && in.seq < rcv_.edge);
  if (!acceptable) {
    // A zero-window probe or an old duplicate is answered at once, RSTs never (3.10.7.4).
    if (rst) return DropReason::tcp_out_of_window;
    // A full window still takes valid ACKs, and RST and URG (MUST-66).
    if (window == 0 && in.seq == rcv_.nxt && h.has(flag::ack)) {
      // A bare FIN takes no room: refusing it would keep the peer until it gives up.
      in.fin = in.fin && in.data.empty();
      in.data = {};
      ack_now_ = true;
      return std::nullopt;
    }
    const bool old = end <= rcv_.nxt && length > 0;
    if (old) note_duplicate(in.seq, in.seq + in.data.size());
    // Two ends that disagree must not storm each other with empty ACKs.
    if (length > 0) {
      ack_now_ = true;
    } else {
      challenge_ack(now);
    }
    if (state_ == State::time_wait && old && in.fin) keepalive_at_ = now + opt_->time_wait;
    return old ? DropReason::tcp_duplicate : DropReason::tcp_out_of_window;
  }
  acceptable_timestamp(now, h);
  if (in.seq < rcv_.nxt) {  // what was received before is cut off
    const std::uint32_t old = distance(in.seq, rcv_.nxt);
    note_duplicate(in.seq, in.seq + std::min(old, in.data.size()));
    in.data.remove_prefix(std::min(old, in.data.size()));
    in.seq = rcv_.nxt;
    if (old > 0) ack_now_ = true;
  }
  if (in.seq + in.data.size() > rcv_.edge) {  // and what lies beyond the window
    in.data.truncate(distance(in.seq, rcv_.edge));
    in.fin = false;
    ack_now_ = true;
  }
  return std::nullopt;
}

/// Second: RFC 5961 3: only an exact RST resets, others are challenged.
Conn::Verdict Conn::check_rst(Instant now, const Incoming& in) {
  if (!in.h.has(flag::rst)) return std::nullopt;
  if (state_ == State::time_wait) return DropReason::tcp_time_wait;  // RFC 1337 F1
  if (in.h.seq != rcv_.nxt) {
    challenge_ack(now);
    return DropReason::tcp_blind_rst;
  }
  close_with(state_ == State::syn_received && !passive_ ? CloseCause::refused : CloseCause::reset);
  return std::nullopt;
}

/// Fourth: RFC 5961 4: a SYN here is challenged whatever its sequence number.
Conn::Verdict Conn::check_syn(Instant now, Incoming& in) {
  if (!in.h.has(flag::syn)) return std::nullopt;
  if (state_ == State::syn_received) {
    if (in.h.seq == rcv_.irs && !in.h.has(flag::ack)) {  // our SYN-ACK was lost
      syn_pending_ = passive_;
      if (!passive_) ack_now_ = true;
      return DropReason::tcp_duplicate;
    }
    // The SYN-ACK of a simultaneous open carries the acknowledgement that opens it.
    if (in.h.seq == rcv_.irs && !passive_) {
      in.seq = in.h.seq + 1;
      in.data = {};  // not trimmed to the window; the peer sends it again
      in.fin = false;
      return std::nullopt;
    }
  }
  challenge_ack(now);
  return DropReason::tcp_blind_syn;
}

/// Fifth: RFC 5961 5: SND.UNA - MAX.SND.WND <= SEG.ACK <= SND.NXT.
Conn::Verdict Conn::check_ack(Instant now, const Incoming& in) {
  const wire::TcpHeader& h = in.h;
  if (!h.has(flag::ack)) return DropReason::tcp_bad_flags;
  if (state_ == State::syn_received) {
    if (h.ack <= snd_.una || h.ack > snd_.nxt) {
      return DropReason::tcp_bad_ack;  // the shard answers with RST
    }
    snd_.wl1 = h.seq - 1;
    on_established(now);
    if (fin_queued_) move_to(State::fin_wait_1);
  }
  // "Ghost ACKs" below the ISS; once much was sent that number is an ordinary one again.
  const bool ghost = bytes_sent_ < (1U << 30) && h.ack <= snd_.iss;
  if (h.ack > snd_.nxt || h.ack < snd_.una - snd_.max_wnd || ghost) {
    challenge_ack(now);
    return DropReason::tcp_bad_ack;
  }
  if (h.ack == snd_.una && snd_.wnd == 0) {
    stuck_since_ = kNever;  // probes are answered: stay open (MUST-37)
  }
  if (h.ack >= snd_.una) on_ack(now, in);
  if (h.ack >= snd_.una) update_send_window(h);
  arm_retransmission(now);
  if (fin_sent_ && !fin_acked_ && snd_.una == snd_.nxt) on_our_fin_acked(now);
  return std::nullopt;
}

void Conn::update_send_window(const wire::TcpHeader& h) {
  // 3.10.7.4: only by a segment that is not older than the last one that did. A retransmission
  // whose ACK is new is not old: without it the edge would move right with SND.UNA, beyond what was
  // offered.
  const bool new_ack = h.ack > snd_.wl2;
  if (!new_ack && (snd_.wl1 > h.seq || (snd_.wl1 == h.seq && snd_.wl2 > h.ack))) return;
  const std::uint32_t before = snd_.wnd;
  snd_.wnd = std::uint32_t{h.window} << (h.has(flag::syn) ? 0 : snd_.shift);
  snd_.max_wnd = std::max(snd_.max_wnd, snd_.wnd);
  snd_.wl1 = h.seq;
  snd_.wl2 = h.ack;
  const bool persist = waits_for_ == Wait::persist;
  if (snd_.wnd > before && (persist || before == 0)) on_window_opened();
}

/// Probing ends. What is in flight went into a closed window (a probe, or the window shrank): it
/// was not taken, and is sent again now and not after a time-out that had backed off.
void Conn::on_window_opened() {
  probe_pending_ = false;
  waits_for_ = Wait::retransmit;
  rtx_at_ = stuck_since_ = kNever;
  rtt_.reset_back_off();
  if (!board_.empty()) {
    note_lost(board_.mark_all_lost());
    first_retransmission_ = true;
  }
}

void Conn::on_our_fin_acked(Instant now) {
  fin_acked_ = true;
  switch (state_) {
    case State::fin_wait_1:
      move_to(State::fin_wait_2);
      break;
    case State::closing:
      enter_time_wait(now);
      break;
    case State::last_ack:
      close_with(CloseCause::normal);
      break;
    default:
      break;
  }
}

/// Sixth: the urgent pointer marks octets that are delivered in line (RFC 6093). It never moves
/// data, so a lying pointer can do nothing. The application learns of each advance (MUST-32) and
/// may ask how much lies ahead (MUST-33).
void Conn::check_urgent(const Incoming& in) {
  if (!in.h.has(flag::urg) || !may_receive(state_) || fin_received_) return;
  const Seq up = in.h.seq + in.h.urgent;
  if (up <= read_position() || (rcv_.urgent && up <= rcv_.up)) return;
  rcv_.up = up;
  rcv_.urgent = true;
  events_ |= event::urgent;
}

/// Seventh: text in order goes to the receive queue, what is ahead of a gap to the assembler.
Conn::Verdict Conn::process_text(Instant now, Incoming& in) {
  if (in.data.empty()) return std::nullopt;
  note_segment_size(in);
  if (!may_receive(state_) || fin_received_) {
    ack_now_ = true;
    return DropReason::tcp_closed;
  }
  if (in.seq == rcv_.nxt) {
    in.seq += in.data.size();
    deliver(now, std::exchange(in.data, {}));  // alone in its slot, it takes the pieces behind it
    return std::nullopt;
  }
  ack_now_ = true;  // a gap: the peer must learn of it at once (RFC 5681 4.2)
  if (!sack_on_) {  // the peer counts one for each segment that left; three is all it needs
    const std::uint32_t owed = dup_acks_owed_ + std::min(segments_of(in), 3U);
    dup_acks_owed_ = static_cast<std::uint8_t>(std::min(owed, 255U));
  }
  if (!growth_allowed_) return DropReason::tcp_ooo_limit;
  const auto stored = assembler_.insert(in.seq, in.data);
  if (stored == Assembler::Insert::no_room) return DropReason::tcp_ooo_limit;
  if (stored == Assembler::Insert::duplicate) {
    note_duplicate(in.seq, in.seq + in.data.size());
    if (!in.fin) return DropReason::tcp_duplicate;
  }
  return std::nullopt;
}

/// What the peer calls full-sized: its MSS may be far below ours, and options take their part.
void Conn::note_segment_size(const Incoming& in) {
  const std::uint32_t one = in.segment_size != 0 ? in.segment_size : in.data.size();
  rcv_mss_ = std::max(rcv_mss_, std::min<std::uint32_t>(one, own_mss_));
}

std::uint32_t Conn::segments_of(const Incoming& in) const {
  if (in.segment_size == 0) return 1;
  return (in.data.size() + in.segment_size - 1U) / in.segment_size;
}

void Conn::deliver(Instant now, Slice data) {
  grow_receive_window(now);
  const auto push = [&](Slice s) {
    rcv_.nxt += s.size();
    bytes_received_ += s.size();
    ack_pending_ += s.size();
    // Pieces that would pin a slot each share the tail's (bounded memory for tiny segments).
    if (s.size() <= 1500) {
      const std::size_t n = rcv_queue_.append_copy(s.bytes());
      s.remove_prefix(static_cast<std::uint32_t>(n));
    }
    rcv_queue_.push(std::move(s));
  };
  push(std::move(data));
  if (!assembler_.empty()) {
    ack_now_ = true;  // filling a gap is acknowledged at once (RFC 5681 4.2)
    for (Slice s = assembler_.take(rcv_.nxt); !s.empty(); s = assembler_.take(rcv_.nxt)) {
      push(std::move(s));
    }
  }
  events_ |= event::readable;
  // At least every second full-sized segment (SHLD-19), the others after the delay (SHLD-18).
  if (ack_pending_ >= 2U * rcv_mss_) ack_due_ = true;
  if (!ack_now_ && !ack_due_ && ack_at_ == kNever) ack_at_ = now + opt_->delayed_ack;
}

/// Eighth: the FIN takes its place in the sequence; it counts when all text before it is there.
void Conn::check_fin(Instant now, const Incoming& in) {
  if (in.fin && !fin_received_) {
    fin_known_ = true;
    fin_at_ = in.seq + in.data.size();
  }
  if (!fin_known_ || fin_received_ || rcv_.nxt != fin_at_) return;
  fin_received_ = true;
  rcv_.nxt += 1;
  rcv_.edge = max(rcv_.edge, rcv_.nxt);
  assembler_.clear();
  ack_now_ = true;
  events_ |= event::readable | event::peer_closed;
  switch (state_) {
    case State::established:
      move_to(State::close_wait);
      break;
    case State::fin_wait_1:
      move_to(State::closing);
      break;
    case State::fin_wait_2:
      enter_time_wait(now);
      break;
    default:
      break;
  }
}

/// RFC 5961 7, per connection so that one flow tells nothing about another.
void Conn::challenge_ack(Instant now) {
  if (now < challenge_after_) return;
  challenge_after_ = now + kChallengeInterval;
  ack_now_ = true;
}

bool Conn::may_reopen(const wire::TcpHeader& syn) const {
  if (state_ != State::time_wait || !syn.has(flag::syn) || syn.has(flag::ack) ||
      syn.has(flag::rst)) {
    return false;
  }
  if (ts_on_ && syn.options.timestamps) {
    const auto d = static_cast<std::int32_t>(syn.options.timestamps->value - ts_recent_);
    if (d != 0) return d > 0;
  }
  return syn.seq > rcv_.nxt;
}

void Conn::on_icmp(Instant now, PathError kind, Seq seq, std::uint32_t mss) {
  if (seq < snd_.una || seq >= snd_.nxt) return;  // RFC 5927 4.1: not about what is in flight
  const std::uint32_t options = ts_on_ ? std::uint32_t{wire::kTcpTimestampsSize} : 0U;
  if (kind == PathError::hard && !is_synchronized(state_)) {
    close_with(CloseCause::unreachable);
  } else if (kind != PathError::packet_too_big) {
    tell(event::path_error);  // MUST-56, SHLD-25; once open, hard ones are soft (RFC 5927 5.2)
  } else if (kind == PathError::packet_too_big && is_synchronized(state_) && mss >= kMinPeerMss &&
             mss - options < mss_) {
    mss_ = static_cast<std::uint16_t>(mss - options);
    cc_.set_mss(mss_);
    note_lost(board_.mark_all_lost());
    rto_recovery_ = true;
    recover_ = snd_.nxt;
    (void)now;
  }
}

// --- 3.10.7.2 and 3.10.7.1: segments without a connection

ListenVerdict judge_in_listen(const wire::TcpHeader& h) {
  if (h.has(flag::rst)) return ListenVerdict::drop;
  if (h.has(flag::ack)) return ListenVerdict::reset;
  // SYN with FIN is no honest open; anything without SYN is dropped.
  if (!h.has(flag::syn) || h.has(flag::fin)) return ListenVerdict::drop;
  return ListenVerdict::open;
}

bool make_reset(const wire::TcpHeader& h, std::uint32_t payload_size, wire::TcpHeader& out) {
  if (h.has(flag::rst)) return false;
  out = {};
  out.src_port = h.dst_port;
  out.dst_port = h.src_port;
  if (h.has(flag::ack)) {
    out.seq = h.ack;
    out.flags = flag::rst;
    return true;
  }
  out.ack = h.seq + payload_size + (h.has(flag::syn) ? 1U : 0U) + (h.has(flag::fin) ? 1U : 0U);
  out.flags = flag::rst | flag::ack;
  return true;
}

Seq initial_sequence(std::uint64_t prf, Instant now) {
  const auto ticks = static_cast<std::uint64_t>(now.time_since_epoch() / 4us);
  return Seq{static_cast<std::uint32_t>(ticks + prf)};
}

}  // namespace pollux::tcp
