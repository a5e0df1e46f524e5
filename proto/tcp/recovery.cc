// What an acknowledgement tells about what is in flight: delivered, lost, late. Loss is found by
// RACK-TLP (RFC 8985) where the peer sends SACK, by three duplicate ACKs where not (RFC 6582);
// recovery is governed by PRR (RFC 6937) and taken back when it was for nothing (RFC 3522, 5682,
// 3708).
#include <algorithm>
#include <utility>

#include "proto/tcp/incoming.h"

namespace pollux::tcp {

namespace flag = wire::tcp_flag;

void Conn::on_ack(Instant now, const Incoming& in) {
  const wire::TcpHeader& h = in.h;
  const bool advances = h.ack > snd_.una;
  if (!advances && board_.empty()) return on_late_ack(now, h);
  Delivered d{.now = now, .min_rtt = rtt_.min_rtt()};
  if (ts_on_ && h.options.timestamps) {
    d.echoes = true;
    d.echo_ms = h.options.timestamps->echo - ts_offset_;
  }
  if (!syn_acked_) d.echoes = false;  // of SYNs, one sample is enough
  const std::uint32_t in_flight = board_.pipe();
  const std::uint32_t credit = dup_credit_;
  const std::uint32_t acked = advances ? advance(h.ack, d) : 0;
  if (advances) rtx_at_ = kNever;  // armed anew: by what may be lost, or at the end
  const wire::SackBlock* dsack = nullptr;
  if (sack_on_ && h.options.sack_count > 0) {
    dsack = find_dsack(h);
    board_.on_sack({h.options.sack, h.options.sack_count}, mss_, d);
  } else if (!sack_on_ && !advances) {
    count_duplicate_ack(now, in);
  }
  sample_rtt(d, advances);
  rack_.on_delivered(d);
  rack_.on_ack(snd_.una);
  take_dsack(dsack);
  judge_probe(now, h, dsack, advances);
  judge_recovery(now, h, d, advances);
  if (ecn_on_) on_congestion_echo(now, h.has(flag::ece));
  if (in_recovery_) {
    // Without SACK each duplicate ACK counts for one segment, and a partial ACK for the rest.
    const bool partial = advances && acked > 0;
    const std::uint32_t octets =
        sack_on_ ? d.octets : (partial ? acked - std::min(acked, credit) : mss_);
    losses_.own().prr.on_ack(octets, pipe(), mss_, advances && lost_unreported_ == 0);
  }
  tell_congestion_control(now, d, in_flight, advances);
  if (want_writable_ && send_room() >= send_limit() / 4) {
    want_writable_ = false;
    events_ |= event::writable;
  }
  arm_retransmission(now);
}

/// Moves SND.UNA; returns the octets of data acknowledged.
std::uint32_t Conn::advance(Seq ack, Delivered& d) {
  std::uint32_t octets = distance(snd_.una, ack);
  board_.on_ack(ack, d);
  snd_.una = ack;
  if (!syn_acked_) {
    --octets;
    syn_acked_ = true;
    if (d.octets > 0) --d.octets;
    if (d.retransmitted) rtt_.syn_timed_out();
  }
  octets = std::min<std::uint32_t>(octets, static_cast<std::uint32_t>(send_queue_.size()));
  send_queue_.pop(octets);
  stuck_since_ = kNever;
  dup_acks_ = 0;
  snd_.urgent = snd_.urgent && snd_.up > snd_.una;
  return octets;
}

/// RFC 2883 4: the first block lies below the cumulative ACK or within the second.
const wire::SackBlock* Conn::find_dsack(const wire::TcpHeader& h) const {
  const wire::SackBlock& first = h.options.sack[0];
  if (first.begin >= first.end || first.begin < snd_.iss) return nullptr;
  if (first.end <= h.ack) return &first;
  if (h.options.sack_count < 2) return nullptr;
  const wire::SackBlock& second = h.options.sack[1];
  const bool within = second.begin <= first.begin && first.end <= second.end;
  return within ? &first : nullptr;
}

void Conn::take_dsack(const wire::SackBlock* dsack) {
  if (dsack == nullptr) return;
  ++losses_.own().dsacks;
  if (retransmits_ > 0) rack_.on_dsack(snd_.nxt);
  losses_.own().undo.on_dsack(dsack->begin, dsack->end);
}

/// Nothing is in flight any more. That the last thing sent again came twice is told by now only.
void Conn::on_late_ack(Instant now, const wire::TcpHeader& h) {
  if (!sack_on_ || !is_synchronized(state_)) return;
  const wire::SackBlock* dsack = h.options.sack_count > 0 ? find_dsack(h) : nullptr;
  take_dsack(dsack);
  judge_probe(now, h, dsack, false);
  if (dsack != nullptr && losses_->undo.told_by_dsack()) undo_recovery();
}

/// Karn; and what waited behind a hole until its retransmission came tells no round trip either.
/// There only an echoed timestamp does (RFC 7323 4.1), to its millisecond.
void Conn::sample_rtt(const Delivered& d, bool advances) {
  if (!d.retransmitted && d.rtt > Duration::zero()) {
    rtt_.sample(d.rtt);
  } else if (!d.retransmitted && advances) {
    rtt_.reset_back_off();
  } else if (d.retransmitted && advances && d.echoes) {
    const auto now_ms = static_cast<std::uint32_t>(to_ms(d.now.time_since_epoch()));
    const auto ms = static_cast<std::int32_t>(now_ms - d.echo_ms);
    if (ms >= 0) rtt_.sample_echo(std::chrono::milliseconds(ms) + 1ms);
  }
}

/// RFC 5681 2: a duplicate ACK carries no data, does not move the window, and something is out.
bool Conn::is_duplicate_ack(const Incoming& in) const {
  return in.data.empty() && !in.fin && !board_.empty() && in.h.ack == snd_.una &&
         (std::uint32_t{in.h.window} << snd_.shift) == snd_.wnd;
}

void Conn::count_duplicate_ack(Instant now, const Incoming& in) {
  if (!is_duplicate_ack(in)) return;
  if (dup_acks_ < 255) ++dup_acks_;
  dup_credit_ = std::min(dup_credit_ + mss_, board_.pipe());
  if (dup_acks_ == 3 && !in_recovery_ && !rto_recovery_ && snd_.una >= recover_) {
    enter_recovery(now);
    note_lost(board_.mark_head_lost(mss_));
  }
}

/// Is a recovery over, for nothing, or to begin?
void Conn::judge_recovery(Instant now, const wire::TcpHeader& h, const Delivered& d,
                          bool advances) {
  const bool recovers = in_recovery_ || rto_recovery_;
  const bool echo = recovers && advances && ts_on_ && h.options.timestamps &&
                    losses_->undo.told_by_echo(h.options.timestamps->echo);
  if (echo || losses_->undo.told_by_dsack()) {
    undo_recovery();
  } else if (rto_recovery_) {
    judge_timeout(d, advances);
  }
  if (advances) {
    // A partial ACK covers one retransmission, and octets whose duplicate ACKs were counted before.
    dup_credit_ = dup_credit_ + mss_ > d.octets ? dup_credit_ + mss_ - d.octets : 0;
    dup_credit_ = in_recovery_ && !sack_on_ ? std::min(dup_credit_, board_.pipe()) : 0;
    if ((in_recovery_ || rto_recovery_) && snd_.una >= recover_) leave_recovery();
    recover_ = max(recover_, snd_.una);  // never 2^31 behind
    // Without SACK a partial ACK says that the next hole is lost as well (RFC 6582 3.2).
    if (in_recovery_ && !sack_on_) {
      note_lost(board_.mark_head_lost(mss_));
      first_retransmission_ = true;
    }
  }
  if (board_.sacked() > 0 || in_recovery_ || rto_recovery_) detect_loss(now);
}

/// F-RTO with SACK (RFC 5682 3.1): was the time-out spurious? ACKs for what was never sent again
/// say so.
void Conn::judge_timeout(const Delivered& d, bool advances) {
  if (frto_ == Frto::off) return;
  if (d.original && snd_.una < recover_) return undo_recovery();
  const bool sendable_new =
      !fin_sent_ && unsent() > 0 && usable_window() >= std::min<std::uint32_t>(mss_, unsent());
  if (frto_ == Frto::head_sent && advances && sendable_new) {
    frto_ = Frto::new_sent;  // step 2b
    return;
  }
  // Step 3a: what is lost goes out again, although the new segments fill the window.
  first_retransmission_ |= frto_ == Frto::new_sent;
  frto_ = Frto::off;
}

/// RFC 8985 7.4: did the probe repair a loss? Then congestion control must know of it.
void Conn::judge_probe(Instant now, const wire::TcpHeader& h, const wire::SackBlock* dsack,
                       bool advances) {
  if (!probe_.out || h.ack < probe_.end) return;
  const bool duplicate = !advances && h.ack == probe_.end && h.options.sack_count == 0;
  const bool twice = duplicate || (dsack != nullptr && dsack->end == probe_.end);
  if (probe_.retransmission && !twice) {
    if (h.ack == probe_.end) return;  // the next ACK tells
    if (!in_recovery_ && !rto_recovery_) cc_.on_loss(now, reducible());
  }
  probe_.out = false;
}

/// RFC 8985 6.2 step 5.
void Conn::detect_loss(Instant now) {
  if (!sack_on_ || !rack_.known() || board_.empty()) return;
  const Duration window = rack_.window(rtt_.min_rtt(), rtt_.srtt(), in_recovery_ || rto_recovery_,
                                       board_.sacked() / mss_);
  const auto loss = board_.mark_lost_before(rack_.newest(), rack_.rtt() + window, now);
  note_lost(loss.octets);
  if (loss.octets > 0 && !in_recovery_ && !rto_recovery_) enter_recovery(now);
  if (loss.next < rtx_at_ || (loss.next != kNever && waits_for_ == Wait::probe)) {
    rtx_at_ = loss.next;
    waits_for_ = Wait::reorder;
  }
}

void Conn::note_lost(std::uint32_t octets) {
  if (octets == 0) return;
  rate_.on_lost(octets);
  lost_unreported_ += octets;
  losses_.own().bytes_lost += octets;
}

/// What a reduction starts from: cwnd where it was the limit (RFC 9438 4.6), else what is in
/// flight, which a recovery may have stretched far beyond cwnd.
std::uint32_t Conn::reducible() const {
  const std::uint32_t cwnd = cc_.cwnd();
  const bool limited = cwnd_limited_ || cwnd_was_limited_;
  return limited ? cwnd : std::min(distance(snd_.una, snd_.nxt), cwnd);
}

void Conn::enter_recovery(Instant now) {
  const std::uint32_t flight = distance(snd_.una, snd_.nxt);
  in_recovery_ = first_retransmission_ = true;
  sacked_unpaid_ = 0;
  recover_ = snd_.nxt;
  probe_.out = tail_probe_pending_ = false;
  losses_.own().undo.begin(snd_.una);
  cc_.on_loss(now, reducible());
  losses_.own().prr.begin(flight, cc_.ssthresh());
  losses_.own().prr.on_ack(0, pipe(), mss_, false);
  ++losses_.own().recoveries;
}

void Conn::leave_recovery() {
  in_recovery_ = rto_recovery_ = false;
  frto_ = Frto::off;
  recover_ = snd_.una;
  dup_credit_ = 0;
  rack_.on_recovered();
}

/// RFC 4015: nothing was lost, so the window is what it was and nothing more is sent again.
void Conn::undo_recovery() {
  cc_.undo();
  losses_.own().undo.end();
  rtt_.reset_back_off();
  board_.unmark_lost();
  if (in_recovery_ || rto_recovery_) leave_recovery();
  ++losses_.own().spurious;
}

/// RFC 3168 6.1.2: like a lost segment, once per window, but nothing is sent again. The echo goes
/// on until the peer has our CWR, which lies at or behind `ecn_recover_`.
void Conn::on_congestion_echo(Instant now, bool echo) {
  ecn_wait_ = ecn_wait_ && snd_.una <= ecn_recover_;
  if (!echo || ecn_wait_) return;
  ecn_wait_ = true;
  ecn_recover_ = snd_.nxt;
  if (!in_recovery_ && !rto_recovery_) cc_.on_loss(now, reducible());
  ecn_cwr_ = true;
}

/// Octets by which the window may grow. What is SACKed counts once a cumulative ACK shows that
/// nothing before it was lost: duplicate ACKs move no window (RFC 5681 3.2).
std::uint32_t Conn::growth(const Delivered& d, bool advances) {
  if (cc_.drives_recovery() || in_recovery_ || rto_recovery_) {
    sacked_unpaid_ = 0;
    return d.octets;
  }
  if (advances) return d.octets + std::exchange(sacked_unpaid_, 0U);
  sacked_unpaid_ += d.octets;
  return 0;
}

void Conn::tell_congestion_control(Instant now, const Delivered& d, std::uint32_t in_flight,
                                   bool advances) {
  RateSample rate;
  if (d.any) {
    rate = rate_.on_delivered(now, d.octets, d.rate, d.newest.time, rtt_.min_rtt());
  } else {
    rate_.on_delivered(d.octets);
  }
  if (rate.interval > Duration::zero()) {
    stats_.delivery_rate = rate.rate();
    rate_app_limited_ = rate.app_limited;
  }
  const bool round = static_cast<std::int32_t>(snd_.una.raw() - round_end_raw_) >= 0;
  if (round) round_end_raw_ = snd_.nxt.raw();
  if (!in_recovery_ || cc_.drives_recovery()) {
    cc_.on_ack({.now = now,
                .acked = growth(d, advances),
                .in_flight = in_flight,
                .pipe = pipe(),
                .lost = lost_unreported_,
                .srtt = rtt_.srtt(),
                .rtt = d.retransmitted ? Duration::zero() : d.rtt,
                .min_rtt = rtt_.min_rtt(),
                .cwnd_limited = cwnd_limited_ || rto_recovery_,
                .round_start = round,
                .in_recovery = in_recovery_ || rto_recovery_,
                .rate = rate});
    if (round) cwnd_was_limited_ = std::exchange(cwnd_limited_, false);
  }
  lost_unreported_ = 0;
  pacing_rate_ = cc_.pacing_rate(rtt_.srtt());
}

}  // namespace pollux::tcp
