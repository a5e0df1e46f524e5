// Segment output: one segment a call, most urgent first: RST, SYN, what was lost, a loss probe, new
// data, FIN, a window probe, a bare ACK. What leaves acknowledges all that came (MUST-58).
#include <algorithm>
#include <cassert>

#include "proto/tcp/conn.h"

namespace pollux::tcp {

namespace flag = wire::tcp_flag;

/// A receiver that finds many segments at once acknowledges them as one, as LRO does; a fourth of
/// the window that the peer knows of stays unacknowledged at most, so that the sender always has
/// something to send.
bool Conn::wants_ack(bool burst) const {
  if (ack_now_ || !ack_due_ || !burst) return ack_now_ || ack_due_;
  // Before the first ACK of data the peer knows the window of our SYN, which is not scaled.
  const std::uint32_t known = bytes_received_ == ack_pending_ ? 65535U : rcv_.limit;
  return ack_pending_ >= std::min(known, rcv_.limit) / 4;
}

bool Conn::poll_tx(Instant now, SegmentOut& out, bool burst) {
  out.header = {};
  out.payload_size = 0;
  out.segment_size = 0;
  out.retransmission = out.ecn_capable = false;
  out.part_count = 0;
  if (rst_pending_) return emit_reset(out);
  if (state_ == State::closed || state_ == State::listen) return false;
  if (state_ == State::syn_sent || state_ == State::syn_received) {
    if (syn_pending_) return emit_syn(now, out);
    if (fast_open_ && emit_new_data(now, out)) return true;
    return wants_ack(burst) && state_ == State::syn_received && emit_ack(now, out);
  }
  // With a gap the ACK goes alone: its SACK blocks would not fit beside full segments.
  const bool blocks = !assembler_.empty() || dsack_.begin != dsack_.end;
  if (dup_acks_owed_ > 0 || ((ack_now_ || ack_due_) && blocks)) return emit_ack(now, out);
  pace_blocked_ = false;
  if (emit_retransmission(now, out) || emit_loss_probe(now, out) || emit_new_data(now, out) ||
      emit_probe(now, out)) {
    return true;
  }
  if (wants_ack(burst) || keepalive_probe_) return emit_ack(now, out);
  arm_retransmission(now);
  note_limit(now);
  return false;
}

std::uint32_t Conn::ts_now(Instant now) const {
  return static_cast<std::uint32_t>(to_ms(now.time_since_epoch())) + ts_offset_;
}

void Conn::fill_header(Instant now, Seq seq, std::uint8_t flags, SegmentOut& out) {
  wire::TcpHeader& h = out.header;
  h.seq = seq;
  h.flags = flags;
  if ((flags & flag::ack) != 0) {
    h.ack = rcv_.nxt;
    extend_window();
    const std::uint32_t window = distance(rcv_.nxt, rcv_.edge);
    const bool syn = (flags & flag::syn) != 0;
    h.window = static_cast<std::uint16_t>(std::min(syn ? window : window >> rcv_.shift, 65535U));
  }
  if (ecn_echo_ && (flags & (flag::ack | flag::syn)) == flag::ack) h.flags |= flag::ece;
  if (snd_.urgent && seq < snd_.up && (flags & (flag::ack | flag::syn)) == flag::ack) {
    h.flags |= flag::urg;  // MUST-62: the pointer is to the octet behind
    h.urgent = static_cast<std::uint16_t>(std::min(distance(seq, snd_.up), 65535U));
  }
  if (ts_on_ || ((flags & flag::syn) != 0 && state_ == State::syn_sent && opt_->timestamps)) {
    h.options.timestamps = wire::TcpTimestamps{ts_now(now), ts_recent_};
  }
  tell_user_timeout(out);
}

/// MUST-39: the right edge moves only by a worthwhile step, and never back (SHLD-14).
void Conn::extend_window() {
  const auto queued = static_cast<std::uint32_t>(rcv_queue_.size());
  if (queued >= rcv_.limit) return;
  const Seq edge = rcv_.nxt + (rcv_.limit - queued);
  if (edge <= rcv_.edge) return;
  if (distance(rcv_.edge, edge) >= std::min<std::uint32_t>(own_mss_, rcv_.limit / 2)) {
    rcv_.edge = edge;
  }
}

void Conn::after_ack_sent() {
  rcv_.acked = rcv_.nxt;
  ack_pending_ = 0;
  ack_now_ = ack_due_ = false;
  ack_at_ = kNever;
}

bool Conn::emit_reset(SegmentOut& out) {
  rst_pending_ = false;
  // What lies beyond a closed window was not taken: a RST there would be ignored.
  out.header.seq = min(snd_.nxt, snd_.una + snd_.wnd);
  out.header.ack = rcv_.nxt;
  out.header.flags = flag::rst | flag::ack;
  return true;
}

bool Conn::emit_syn(Instant now, SegmentOut& out) {
  syn_pending_ = false;
  const bool acks = state_ == State::syn_received;
  if (acks) {  // the window of a SYN is not scaled
    rcv_.edge = max(rcv_.edge, rcv_.nxt + std::min(rcv_.limit, 65535U));
  }
  fill_header(now, snd_.iss, acks ? flag::syn | flag::ack : flag::syn, out);
  wire::TcpHeader& h = out.header;
  if (!acks) h.window = static_cast<std::uint16_t>(std::min(rcv_.limit, 65535U));
  if (acks) h.window = static_cast<std::uint16_t>(std::min(distance(rcv_.nxt, rcv_.edge), 65535U));
  h.options.mss = own_mss_;
  const bool offer = state_ == State::syn_sent || !passive_;
  if (offer ? opt_->window_scaling : scaling_on_) {
    h.options.window_scale = own_shift();
  }
  h.options.sack_permitted = offer ? opt_->sack : sack_on_;
  if (board_.empty()) {
    board_.on_sent(snd_.iss, 1, now, rate_.stamp(now, 0, 1));
    snd_.nxt = snd_.iss + 1;
    if (ecn_on_ && !acks) h.flags |= flag::ece | flag::cwr;  // RFC 3168 6.1.1
  } else {
    board_.mark_all_lost();
    if (TxRecord* r = board_.next_lost(1, 1)) board_.on_retransmitted(*r, now);
    out.retransmission = true;
    ++retransmits_;
    // A SYN that is sent again asks no more: a middlebox may have eaten it (RFC 3168 6.1.1.1).
    ecn_on_ = ecn_on_ && acks;
  }
  // Every SYN-ACK says the same: whoever sent one without ECE must not set ECT (6.1.1).
  if (ecn_on_ && acks) h.flags |= flag::ece;
  if (acks) after_ack_sent();
  arm_retransmission(now);
  return true;
}

/// Without offload a packet is one segment, also when the peer's segments are much smaller. A paced
/// super-packet is what leaves in about a millisecond, as TSO autosizing does. Offload would copy
/// an urgent pointer into every segment.
std::uint32_t Conn::super_size() const {
  if (max_payload_ <= own_mss_ || snd_.urgent) return mss_;
  std::uint64_t most = max_payload_;
  if (is_paced()) most = std::clamp<std::uint64_t>(pacing_rate_ / 1024, 2U * mss_, max_payload_);
  return std::max<std::uint32_t>(static_cast<std::uint32_t>(most) / mss_, 1U) * mss_;
}

/// Pacing matters where the gaps between super-packets are longer than the timers are coarse, and
/// for windows that no short round trip spreads; BBR is nothing without it.
bool Conn::is_paced() const {
  return pacing_rate_ < kPacedMax && (cc_.drives_recovery() || rtt_.srtt() >= kPacedRttMin);
}

/// True when the next segment must wait for its time.
bool Conn::paced(Instant now) {
  pace_blocked_ = is_paced() && pace_at_ > now;
  return pace_blocked_;
}

/// A segment went out. A late timer may catch up by a quantum; a window controlled by loss may also
/// burst as an initial window does, since waiting for less only stretches the round trip.
void Conn::pace(Instant now, std::uint32_t octets) {
  if (!is_paced()) return;
  const auto time_of = [&](std::uint64_t n) {
    return Duration(
        static_cast<std::int64_t>(n * 1'000'000'000 / std::max<std::uint64_t>(pacing_rate_, 1)));
  };
  Duration credit = kPaceCredit;
  if (!cc_.drives_recovery()) credit = std::max(credit, time_of(initial_window(mss_)));
  pace_at_ = std::max(pace_at_, now - credit) + time_of(octets);
}

/// What keeps the connection from sending more, for info(); and the rate sampler must know when it
/// is the application.
void Conn::note_limit(Instant now) {
  const std::uint32_t left = is_synchronized(state_) ? unsent() : 0;
  if (limit_ == Limit::idle && board_.empty() && left == 0) return;
  Limit limit = Limit::busy;
  if (board_.empty() && left == 0) {
    limit = Limit::idle;
  } else if (left > 0 && usable_window() < std::min<std::uint32_t>(left, mss_)) {
    limit = Limit::window;
  } else if (left == 0 && send_room() == 0) {
    limit = Limit::buffer;
  }
  if (left < mss_ && board_.lost() == 0 && pipe() < window()) rate_.on_app_limited(board_.pipe());
  if (limit == limit_) return;
  stats_.limit_times = limit_times(now);
  stats_.limit_since = now;
  limit_ = limit;
}

Conn::LimitTimes Conn::limit_times(Instant now) const {
  const Duration spent = now - stats_.limit_since;
  LimitTimes t = stats_.limit_times;
  if (limit_ != Limit::idle) t.busy += spent;
  if (limit_ == Limit::window) t.window += spent;
  if (limit_ == Limit::buffer) t.buffer += spent;
  return t;
}

std::uint32_t Conn::fill_data(Seq at, std::uint32_t size, SegmentOut& out) const {
  const std::uint64_t position = send_queue_.begin() + distance(data_una(), at);
  out.payload_size = send_queue_.gather(position, size, out.parts, out.part_count);
  if (out.payload_size > mss_) out.segment_size = mss_;
  return out.payload_size;
}

bool Conn::emit_retransmission(Instant now, SegmentOut& out) {
  if (board_.lost() == 0 || frto_ == Frto::new_sent) return false;
  const std::uint32_t cwnd = window();
  // The first retransmission of a recovery goes out whatever cwnd says (RFC 6675 5 (4.3)), and one
  // segment is all that a closed window is asked with.
  const std::uint32_t room = cwnd > pipe() && snd_.wnd > 0 ? cwnd - pipe() : 0;
  if (!first_retransmission_ && (room < mss_ || paced(now))) return false;
  first_retransmission_ = false;
  TxRecord* r = board_.next_lost(std::min(std::max<std::uint32_t>(room, mss_), super_size()), mss_);
  if (r == nullptr) return false;
  if (snd_.wnd > 0 && r->begin >= snd_.una + snd_.wnd) return false;
  emit_again(now, *r, out);
  return true;
}

void Conn::emit_again(Instant now, TxRecord& record, SegmentOut& out) {
  TxRecord* r = &record;
  const bool fin = fin_sent_ && r->end() == snd_.nxt;
  const std::uint32_t data = r->size - (fin ? 1U : 0U);
  // A window that shrank takes its part only: some receivers refuse the whole of what goes beyond.
  const Seq edge = max(r->begin, snd_.una + snd_.wnd);
  const std::uint32_t fits = edge == r->begin ? data : std::min(data, distance(r->begin, edge));
  const std::uint32_t got = fill_data(r->begin, fits, out);
  const bool with_fin = fin && got == data;
  if (got < data) r = &board_.shorten(*r, got);
  fill_header(now, r->begin,
              static_cast<std::uint8_t>(flag::ack | flag::psh | (with_fin ? flag::fin : 0)), out);
  if (got == 0) out.header.flags = static_cast<std::uint8_t>(out.header.flags & ~flag::psh);
  out.retransmission = true;
  retransmits_ += got == 0 ? 1U : (got + mss_ - 1U) / mss_;
  losses_.own().bytes_retransmitted += got;
  losses_.own().undo.on_retransmitted(r->size, ts_now(now));
  if (in_recovery_) losses_.own().prr.on_sent(r->size);
  board_.on_retransmitted(*r, now, rate_.stamp(now, board_.pipe(), r->size));
  pace(now, got);
  after_ack_sent();
  arm_retransmission(now);
}

/// RFC 8985 7.3: one segment of new data, or the last one again, whatever cwnd says, so that its
/// ACK tells what became of the tail.
bool Conn::emit_loss_probe(Instant now, SegmentOut& out) {
  if (!tail_probe_pending_) return false;
  tail_probe_pending_ = false;
  if (board_.empty() || board_.lost() > 0) return false;
  const std::uint32_t fresh = std::min({unsent(), usable_window(), std::uint32_t{mss_}});
  TxRecord* tail = fresh == 0 || fin_sent_ ? board_.tail(mss_) : nullptr;
  if (tail != nullptr) {
    emit_again(now, *tail, out);
  } else if (fresh > 0 && !fin_sent_) {
    send_new(now, fresh, fin_queued_ && fresh == unsent(), out);
  } else {
    return false;
  }
  ++losses_.own().probes;
  probe_ = {.end = snd_.nxt, .out = true, .retransmission = out.retransmission};
  rtx_at_ = kNever;
  arm_retransmission(now);  // probe_.out: the next is the time-out
  return true;
}

std::uint32_t Conn::unsent() const {
  const std::uint32_t flight =
      distance(data_una(), snd_.nxt) - (fin_sent_ && !fin_acked_ ? 1U : 0U);
  return static_cast<std::uint32_t>(send_queue_.size()) - flight;
}

/// Never negative, also when the peer shrank its window (MUST-34, SHLD-15).
std::uint32_t Conn::usable_window() const {
  const std::uint32_t out = distance(snd_.una, snd_.nxt);
  return snd_.wnd > out ? snd_.wnd - out : 0;
}

/// Octets of new data that may go now as one super-packet: window, cwnd, Nagle (SHLD-7), sender
/// silly-window avoidance (MUST-38), and no crumbs while ACKs are on their way.
std::uint32_t Conn::sendable() {
  const std::uint32_t left = unsent();
  if (left == 0) return 0;
  const std::uint32_t cwnd = window();
  const std::uint32_t room = cwnd > pipe() ? cwnd - pipe() : 0;
  const std::uint32_t usable = usable_window();
  if (room < std::min(left, usable)) cwnd_limited_ = true;
  const std::uint32_t allowed = std::min(room, usable);
  if (left <= std::min(allowed, super_size())) {
    const bool idle = board_.empty() || !syn_acked_;  // a SYN is no small segment
    const bool nagle = left < mss_ && !nodelay_ && !idle && !fin_queued_;
    return nagle ? 0 : left;
  }
  const std::uint32_t n = std::min(allowed, super_size()) / mss_ * mss_;
  if (n == 0) {
    const bool big_enough = allowed > 0 && allowed >= snd_.max_wnd / 2;
    return board_.empty() && big_enough ? allowed : 0;
  }
  // Better one larger super-packet with the next ACK than a small one now. PRR says itself when.
  const bool crumb = n < super_size() && n < std::min(cwnd, snd_.wnd) / 8;
  return crumb && pipe() > 0 && !in_recovery_ ? 0 : n;
}

bool Conn::emit_new_data(Instant now, SegmentOut& out) {
  if (fin_sent_ || (board_.lost() > 0 && frto_ != Frto::new_sent)) return false;
  std::uint32_t n = sendable();
  const bool fin_only = fin_queued_ && unsent() == 0;
  if (n == 0 && !fin_only) return false;
  if (n > 0 && paced(now)) return false;
  if (board_.empty() && n > 0 && last_data_sent_ != Instant{}) {
    cc_.on_idle(now - last_data_sent_, rtt_.rto());
  }
  // Who reacted to ECE says so once, in a segment that no offload multiplies (RFC 3168 6.1.2).
  if (ecn_cwr_) n = std::min<std::uint32_t>(n, mss_);
  send_new(now, n, fin_queued_, out);
  return true;
}

/// Up to `n` octets of new data; with `fin` the FIN too, when that is all there is.
void Conn::send_new(Instant now, std::uint32_t n, bool fin, SegmentOut& out) {
  const std::uint32_t got = n == 0 ? 0 : fill_data(snd_.nxt, n, out);
  const bool last = got == unsent();
  fin = fin && last;
  std::uint8_t flags = flag::ack;
  if (got > 0 && last) flags |= flag::psh;  // MUST-61
  if (fin) flags |= flag::fin;
  if (ecn_cwr_ && got > 0) flags |= flag::cwr;
  ecn_cwr_ = ecn_cwr_ && got == 0;
  out.ecn_capable = ecn_on_ && got > 0;
  fill_header(now, snd_.nxt, flags, out);
  const std::uint32_t size = got + (fin ? 1U : 0U);
  board_.on_sent(snd_.nxt, size, now, rate_.stamp(now, board_.pipe(), size));
  if (in_recovery_) losses_.own().prr.on_sent(size);
  snd_.nxt += size;
  bytes_sent_ += got;
  fin_sent_ |= fin;
  last_data_sent_ = now;
  pace(now, got);
  after_ack_sent();
  // RFC 8985 7.2: new data moves the probe on, and makes one of what was a lone segment's time-out.
  const bool probes = waits_for_ == Wait::retransmit && may_probe();
  if (waits_for_ == Wait::probe || probes) rtx_at_ = kNever;
  arm_retransmission(now);
}

/// MUST-36: one octet beyond a closed window, whose answer tells the window. Through one that is
/// open by less than the silly-window rule wants goes what fits (the override of 3.8.6.2.1).
bool Conn::emit_probe(Instant now, SegmentOut& out) {
  if (!probe_pending_) return false;
  probe_pending_ = false;
  if (unsent() == 0) return false;
  const std::uint32_t fits = std::min({usable_window(), unsent(), std::uint32_t{mss_}});
  const std::uint32_t got = fill_data(snd_.nxt, std::max(fits, 1U), out);
  fill_header(now, snd_.nxt, flag::ack | flag::psh, out);
  board_.on_sent(snd_.nxt, got, now, rate_.stamp(now, board_.pipe(), got));
  snd_.nxt += got;
  bytes_sent_ += got;
  after_ack_sent();
  rtx_at_ = kNever;
  arm_retransmission(now);
  return true;
}

/// RFC 2018 4, with a D-SACK in front (RFC 2883 4).
void Conn::fill_sack(wire::TcpOptions& options) {
  std::span<wire::SackBlock> room = std::span(options.sack).first(ts_on_ ? 3 : 4);
  std::size_t n = 0;
  if (dsack_.begin != dsack_.end) room[n++] = std::exchange(dsack_, {});
  if (!assembler_.empty()) n += assembler_.sack_blocks(room.subspan(n));
  options.sack_count = static_cast<std::uint8_t>(n);
}

bool Conn::emit_ack(Instant now, SegmentOut& out) {
  // Past a window that has closed or shrunk, a receiver takes neither the segment nor its ACK, and
  // what it sends itself comes to a halt (RFC 9293 3.10.7.4, first step).
  const Seq acceptable = min(snd_.nxt, snd_.una + snd_.wnd);
  const Seq seq = keepalive_probe_ && !ack_now_ ? snd_.nxt - 1 : acceptable;
  keepalive_probe_ = false;
  fill_header(now, seq, flag::ack, out);
  if (sack_on_) fill_sack(out.header.options);
  if (dup_acks_owed_ > 0) --dup_acks_owed_;
  after_ack_sent();
  ack_now_ = sack_on_ && assembler_.has_news();
  return true;
}

}  // namespace pollux::tcp
