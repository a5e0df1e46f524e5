// What time does to a connection: retransmission (RFC 6298 5), zero-window probes (RFC 9293
// 3.8.6.1), delayed ACK (3.8.6.3), keep-alive (3.8.4), TIME-WAIT, and giving up (R2, 3.8.3).
#include <algorithm>

#include "proto/tcp/conn.h"

namespace pollux::tcp {

Instant Conn::deadline() const {
  return std::min({rtx_at_, ack_at_, keepalive_at_, pace_blocked_ ? pace_at_ : kNever});
}

void Conn::on_timer(Instant now) {
  if (pace_at_ <= now) pace_blocked_ = false;
  if (ack_at_ <= now) {
    ack_at_ = kNever;
    ack_now_ = true;
  }
  if (rtx_at_ <= now) {
    rtx_at_ = kNever;
    switch (waits_for_) {
      case Wait::persist:
        on_persist(now);
        break;
      case Wait::reorder:
        waits_for_ = Wait::retransmit;
        detect_loss(now);
        arm_retransmission(now);
        break;
      case Wait::probe:
        waits_for_ = Wait::retransmit;
        tail_probe_pending_ = true;
        break;
      case Wait::retransmit:
        on_retransmission_timeout(now);
        break;
    }
  }
  if (!is_closed() && keepalive_at_ <= now) on_keepalive(now);
}

/// RFC 8985 7.2: a probe is worth it where SACK would tell of loss and nothing tells of it yet.
bool Conn::may_probe() const {
  return sack_on_ && is_synchronized(state_) && !in_recovery_ && !rto_recovery_ && !probe_.out &&
         board_.sacked() == 0 && board_.lost() == 0 && rtt_.has_sample() && snd_.wnd > 0;
}

/// RFC 6298 (5.1): runs while something is in flight, shortened to a loss probe where one is due
/// first; with nothing in flight and a closed window it becomes the persist timer.
void Conn::arm_retransmission(Instant now) {
  if (state_ == State::closed || state_ == State::time_wait) return;
  if (!board_.empty()) {
    if (waits_for_ == Wait::persist) waits_for_ = Wait::retransmit;
    if (rtx_at_ != kNever || tail_probe_pending_) return;
    waits_for_ = Wait::retransmit;
    rtx_at_ = now + rtt_.rto();
    if (!may_probe()) return;
    const Instant probe = now + Rack::probe_timeout(rtt_.srtt(), board_.pipe() <= mss_);
    // New data moves the probe on, but never beyond the time-out of the oldest.
    rtx_at_ = std::max(now, std::min(rtx_at_, board_.front().sent + rtt_.rto()));
    if (probe >= rtx_at_) return;
    waits_for_ = Wait::probe;
    rtx_at_ = probe;
    return;
  }
  const bool blocked = is_synchronized(state_) && !fin_sent_ && unsent() > 0 &&
                       usable_window() < std::min<std::uint32_t>(mss_, unsent());
  if (!blocked || probe_pending_) {
    if (!probe_pending_) waits_for_ = Wait::retransmit, rtx_at_ = kNever;
    return;
  }
  if (waits_for_ != Wait::persist || rtx_at_ == kNever) {
    waits_for_ = Wait::persist;
    rtx_at_ = now + rtt_.rto();
  }
}

/// RFC 5482 3.1: the longer one of both ends, within limits; its lower limit is what we advertise.
Duration Conn::user_timeout() const {
  if (user_timeout_ != opt_->user_timeout) return user_timeout_;  // the application's choice
  return std::max<Duration>(user_timeout_, std::chrono::seconds(peer_timeout_s_));
}

void Conn::take_user_timeout(const wire::TcpHeader& h) {
  if (user_timeout_ == Duration::zero() || !h.options.user_timeout_s) return;
  constexpr auto kMost = std::chrono::duration_cast<std::chrono::seconds>(kMaxPeerUserTimeout);
  peer_timeout_s_ = static_cast<std::uint16_t>(
      std::min(*h.options.user_timeout_s, static_cast<std::uint32_t>(kMost.count())));
}

/// RFC 5482 3.3: in the SYN, and in the first segment without SYN that has room, since a half-open
/// peer need not remember.
void Conn::tell_user_timeout(SegmentOut& out) {
  if (user_timeout_told_ || user_timeout_ < 1s) return;
  const bool syn = out.header.has(wire::tcp_flag::syn);
  if (!syn && out.payload_size + 4U > mss_) return;
  user_timeout_told_ = !syn;
  const auto s = std::chrono::duration_cast<std::chrono::seconds>(user_timeout_);
  out.header.options.user_timeout_s = static_cast<std::uint32_t>(s.count());
}

bool Conn::gave_up(Instant now) {
  const bool opening = !is_synchronized(state_);
  Duration limit = opening ? kR2Syn : kR2;
  if (user_timeout_ > Duration::zero()) limit = user_timeout();
  if (stuck_since_ == kNever) {
    stuck_since_ = now;
    expiries_ = 0;
  }
  if (expiries_ <= kR1 && ++expiries_ > kR1) tell(event::trouble);  // so many brought nothing
  if (now - stuck_since_ < limit) return false;
  rst_pending_ = is_synchronized(state_);
  close_with(CloseCause::timeout);
  return true;
}

/// Soft errors are told, they end nothing; the application may not want them (SHLD-20).
void Conn::tell(std::uint8_t soft_error) {
  if (soft_errors_) events_ |= soft_error;
}

void Conn::on_retransmission_timeout(Instant now) {
  if (board_.empty() || gave_up(now)) return;
  rtt_.back_off();
  if (!is_synchronized(state_)) {
    syn_pending_ = true;
    return;
  }
  if (snd_.wnd > 0) cc_.on_rto(now, reducible());
  ++losses_.own().timeouts;
  if (!in_recovery_ && !rto_recovery_) losses_.own().undo.begin(snd_.una);
  frto_ = sack_on_ && !in_recovery_ ? Frto::head_sent : Frto::off;
  in_recovery_ = false;
  rto_recovery_ = true;
  first_retransmission_ = true;
  recover_ = snd_.nxt;
  dup_credit_ = 0;
  dup_acks_ = 0;
  probe_.out = tail_probe_pending_ = false;
  // RFC 8985 6.3: what was sent within the last round trip may still be on its way.
  const bool rack = sack_on_ && rack_.known();
  note_lost(board_.mark_timed_out(rack ? now - rack_.rtt() : kNever));
}

void Conn::on_persist(Instant now) {
  if (gave_up(now)) return;
  rtt_.back_off();
  probe_pending_ = true;
}

void Conn::touch_keepalive(Instant now) {
  if (state_ == State::time_wait) return;
  keepalive_sent_ = 0;
  const bool on = keepalive_ > Duration::zero() && is_synchronized(state_);
  keepalive_at_ = on ? now + keepalive_ : kNever;
}

void Conn::set_keepalive(Instant now, Duration idle, Duration interval) {
  keepalive_ = idle;
  keepalive_interval_ = interval;
  if (!is_closed()) touch_keepalive(now);
}

void Conn::on_keepalive(Instant now) {
  if (state_ == State::time_wait) return close_with(CloseCause::normal);
  if (!board_.empty() || unsent() > 0) return touch_keepalive(now);  // MUST-26
  if (keepalive_sent_ >= opt_->keepalive_probes) {
    rst_pending_ = true;
    return close_with(CloseCause::timeout);
  }
  ++keepalive_sent_;
  keepalive_probe_ = true;
  keepalive_at_ = now + keepalive_interval_;
}

}  // namespace pollux::tcp
