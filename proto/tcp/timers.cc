// What time does to a connection: retransmission (RFC 6298 5), zero-window probes (RFC 9293
// 3.8.6.1), delayed ACK (3.8.6.3), keep-alive (3.8.4), TIME-WAIT, and giving up (R2, 3.8.3).
#include <algorithm>

#include "proto/tcp/conn.h"

namespace pollux::tcp {

Instant Conn::deadline() const { return std::min({rtx_at_, ack_at_, keepalive_at_}); }

void Conn::on_timer(Instant now) {
  if (ack_at_ <= now) {
    ack_at_ = kNever;
    ack_now_ = true;
  }
  if (rtx_at_ <= now) {
    rtx_at_ = kNever;
    if (persist_) {
      on_persist(now);
    } else {
      on_retransmission_timeout(now);
    }
  }
  if (!is_closed() && keepalive_at_ <= now) on_keepalive(now);
}

/// RFC 6298 (5.1): runs while something is in flight; with nothing in flight and a closed window it
/// becomes the persist timer.
void Conn::arm_retransmission(Instant now) {
  if (state_ == State::closed || state_ == State::time_wait) return;
  if (!board_.empty()) {
    persist_ = false;
    if (rtx_at_ == kNever) rtx_at_ = now + rtt_.rto();
    return;
  }
  const bool blocked = is_synchronized(state_) && !fin_sent_ && unsent() > 0 &&
                       usable_window() < std::min<std::uint32_t>(mss_, unsent());
  if (!blocked || probe_pending_) {
    if (!probe_pending_) persist_ = false, rtx_at_ = kNever;
    return;
  }
  if (!persist_ || rtx_at_ == kNever) {
    persist_ = true;
    rtx_at_ = now + rtt_.rto();
  }
}

bool Conn::gave_up(Instant now) {
  const bool opening = !is_synchronized(state_);
  Duration limit = opening ? kR2Syn : kR2;
  if (opt_->user_timeout > Duration::zero()) limit = opt_->user_timeout;
  if (stuck_since_ == kNever) stuck_since_ = now;
  if (now - stuck_since_ < limit) return false;
  rst_pending_ = is_synchronized(state_);
  close_with(CloseCause::timeout);
  return true;
}

void Conn::on_retransmission_timeout(Instant now) {
  if (board_.empty() || gave_up(now)) return;
  rtt_.back_off();
  if (!is_synchronized(state_)) {
    syn_pending_ = true;
    return;
  }
  // In a long recovery much was sent beyond the hole and SACKed; cwnd never allowed that much at
  // once.
  const std::uint32_t flight = std::min(distance(snd_.una, snd_.nxt), cc_.cwnd());
  if (snd_.wnd > 0) cc_.on_rto(now, flight);
  in_recovery_ = false;
  rto_recovery_ = true;
  first_retransmission_ = true;
  recover_ = snd_.nxt;
  dup_credit_ = 0;
  dup_acks_ = 0;
  board_.mark_all_lost();
}

void Conn::on_persist(Instant now) {
  if (gave_up(now)) return;
  rtt_.back_off();
  probe_pending_ = true;
}

void Conn::touch_keepalive(Instant now) {
  if (state_ == State::time_wait) return;
  keepalive_sent_ = 0;
  const bool on = opt_->keepalive > Duration::zero() && is_synchronized(state_);
  keepalive_at_ = on ? now + opt_->keepalive : kNever;
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
  keepalive_at_ = now + opt_->keepalive_interval;
}

}  // namespace pollux::tcp
