// BBR's model of the path (draft-ietf-ccwg-bbr 5.5) and the controls that follow from it (5.6).
#include <algorithm>

#include "proto/tcp/bbr.h"
#include "proto/tcp/bbr_math.h"

namespace pollux::tcp {

using namespace bbr;

namespace {

constexpr std::uint32_t kMaxQuantum = 64 * 1024;
constexpr std::uint8_t kExtraAckedRounds = 5;  // two windows of it: BBR.ExtraAckedFilterLen
constexpr std::uint64_t kMarginPercent = 1;    // BBR.PacingMarginPercent
constexpr Duration kQueueNoise = 500us;        // what hosts add to a round trip without a queue

}  // namespace

/// Normalises what an ACK says and counts packet-timed round trips (5.5.1): one ends when something
/// is delivered that was sent after it began.
Bbr::Sample Bbr::take(const AckEvent& e) {
  delivered_ = std::max(delivered_, e.rate.delivered_total);
  Sample s{.now = e.now, .rs = e.rate};
  s.rate = std::min(e.rate.rate(), kMaxBandwidth);
  s.pipe = volume_of(e.pipe);
  s.acked = e.acked;
  s.app_limited = e.rate.app_limited || e.rate.prior_delivered < probe_rtt_delivered_;
  s.cwnd_limited = e.cwnd_limited;
  s.queue = min_rtt_ != Duration::max() && latest_rtt_ > min_rtt_ + min_rtt_ / 8 + kQueueNoise;
  if (e.acked == 0) return s;
  s.round_start = e.rate.prior_delivered >= next_round_delivered_;
  if (!s.round_start) return s;
  start_round();
  if (rounds_since_probe_ != UINT8_MAX) ++rounds_since_probe_;
  return s;
}

// ---- bandwidth ----------------------------------------------------------------------------

std::uint64_t Bbr::max_bw() const { return std::max(max_bw_[0], max_bw_[1]); }

std::uint64_t Bbr::bandwidth() const { return std::min(max_bw(), bw_shortterm_); }

/// A sample that the application limited counts only when it is higher than what is known.
void Bbr::update_max_bw(const Sample& s) {
  if (s.rate < max_bw() && s.app_limited) return;
  max_bw_[1] = std::max(max_bw_[1], s.rate);
}

/// A cycle without a sample of its own does not make us forget the one before.
void Bbr::advance_max_bw() {
  if (max_bw_[1] == 0) return;
  max_bw_[0] = max_bw_[1];
  max_bw_[1] = 0;
}

// ---- aggregation (5.5.9) ------------------------------------------------------------------

/// ACKs that come in bunches let the window run dry between them: allow for the largest bunch.
void Bbr::update_aggregation(const Sample& s) {
  if (s.round_start && ++extra_acked_rounds_ >= (full_bw_reached_ ? kExtraAckedRounds : 1)) {
    extra_acked_rounds_ = 0;
    extra_acked_[0] = extra_acked_[1];
    extra_acked_[1] = 0;
  }
  std::uint64_t expected = delivered_in(bandwidth(), elapsed_ns(extra_acked_stamp_, s.now));
  if (extra_acked_delivered_ <= expected) {
    extra_acked_delivered_ = 0;
    extra_acked_stamp_ = s.now;
    expected = 0;
  }
  extra_acked_delivered_ = add_volume(extra_acked_delivered_, s.acked);
  if (extra_acked_delivered_ <= expected) return;
  const auto extra = static_cast<std::uint32_t>(extra_acked_delivered_ - expected);
  extra_acked_[1] = std::max(extra_acked_[1], std::min(extra, cwnd_));
}

// ---- losses (5.5.10, 5.5.11) --------------------------------------------------------------

void Bbr::note_loss() {
  if (!saved_) save_state();
  if (!loss_in_round_) loss_round_delivered_ = delivered_;
  loss_in_round_ = true;
}

/// What the path delivered in the last round trip; such a round ends with what was sent after it
/// began, counted anew from the first loss on.
void Bbr::update_latest(Sample& s) {
  bw_latest_ = std::max(bw_latest_, s.rate);
  inflight_latest_ = std::max(inflight_latest_, volume_of(s.rs.delivered));
  s.loss_round_start = s.rs.prior_delivered >= loss_round_delivered_;
  if (s.loss_round_start) loss_round_delivered_ = delivered_;
}

/// Losses while not probing: down to what was delivered, by at most the factor 0.7 per round trip.
void Bbr::lower_short_term() {
  if (bw_shortterm_ == kNoLimit) bw_shortterm_ = max_bw();
  if (inflight_shortterm_ == kNoBound) {
    inflight_shortterm_ =
        in_recovery_ ? std::max(cwnd_, prior_cwnd_) : cwnd_;  // not an RTO's 1 MSS
  }
  bw_shortterm_ = std::max(bw_latest_, bw_shortterm_ * 7 / 10);
  inflight_shortterm_ = std::max(inflight_latest_, times_beta(inflight_shortterm_));
}

void Bbr::reset_short_term() {
  bw_shortterm_ = kNoLimit;
  inflight_shortterm_ = kNoBound;
}

void Bbr::save_cwnd() {
  const bool proven = !in_recovery_ && state_ != State::probe_rtt;
  prior_cwnd_ = proven ? cwnd_ : std::max(prior_cwnd_, cwnd_);
}

void Bbr::save_state() {
  save_cwnd();
  saved_ = can_undo_ = true;
  undo_state_ = State::cruise;
  undo_bw_shortterm_ = bw_shortterm_;
  undo_inflight_shortterm_ = inflight_shortterm_;
  undo_inflight_longterm_ = inflight_longterm_;
}

void Bbr::on_loss(Instant, std::uint32_t) {
  if (!saved_) save_state();
  in_recovery_ = true;
}

void Bbr::on_rto(Instant, std::uint32_t) {
  if (!saved_) save_state();
  save_cwnd();
  in_recovery_ = true;
  cwnd_ = mss_;
}

/// After a recovery the window is again what it was, within the bounds that the losses have set.
void Bbr::follow_recovery(const AckEvent& e) {
  if (in_recovery_ && !e.in_recovery) cwnd_ = std::max(cwnd_, prior_cwnd_);
  in_recovery_ = e.in_recovery;
  if (!e.in_recovery && e.lost == 0) saved_ = false;
}

void Bbr::undo() {
  if (!can_undo_) return;
  can_undo_ = false;
  cwnd_ = std::max(cwnd_, prior_cwnd_);
  loss_in_round_ = false;
  reset_full_bandwidth(0);
  bw_shortterm_ = std::max(bw_shortterm_, undo_bw_shortterm_);
  inflight_shortterm_ = std::max(inflight_shortterm_, undo_inflight_shortterm_);
  inflight_longterm_ = std::max(inflight_longterm_, undo_inflight_longterm_);
  if (undo_state_ == State::startup && state_ != State::startup) {
    full_bw_reached_ = false;
    if (state_ != State::probe_rtt) state_ = State::startup;
  } else if (undo_state_ == State::up && state_ != State::up && state_ != State::probe_rtt) {
    start_refill();
  }
  undo_state_ = State::cruise;
}

// ---- the controls (5.6) -------------------------------------------------------------------

/// Until the pipe was full once the rate only rises: what we have seen so far may have been the
/// application's rate.
void Bbr::set_pacing_rate(unsigned gain) {
  if (bandwidth() == 0) return;
  const std::uint64_t rate = bandwidth() * gain / 100 * (100 - kMarginPercent) / 100;
  if (full_bw_reached_ || rate > pacing_rate_) pacing_rate_ = std::max(rate, kMinRate);
}

/// A millisecond's worth, two segments to a whole super-packet.
std::uint32_t Bbr::send_quantum() const {
  const std::uint64_t octets = std::min<std::uint64_t>(pacing_rate_ / 1000, kMaxQuantum);
  return std::max(static_cast<std::uint32_t>(octets), 2 * mss_);
}

/// The bandwidth-delay product times `gain` percent.
std::uint32_t Bbr::bdp(std::uint64_t bandwidth, unsigned gain) const {
  if (min_rtt_ == Duration::max()) return initial_window(mss_);
  const std::uint64_t octets =
      delivered_in(bandwidth, static_cast<std::uint64_t>(min_rtt_.count()));
  return volume_of(std::min(octets, 4 * kMaxVolume) * gain / 100);
}

/// 5.5.8: a super-packet that we hand over, one on its way, and one that waits for its ACK.
std::uint32_t Bbr::with_offload_budget(std::uint64_t octets) const {
  octets = std::max(octets, std::uint64_t{3} * send_quantum());  // at least six segments
  if (state_ == State::up) octets += 2 * mss_;
  return volume_of(octets);
}

std::uint32_t Bbr::inflight(std::uint64_t bandwidth) const {
  return with_offload_budget(bdp(bandwidth, 100));
}

/// BBR.Headroom, 15 %: room for others below what is known to lose.
std::uint32_t Bbr::inflight_with_headroom() const {
  if (inflight_longterm_ == kNoBound) return kNoBound;
  const std::uint32_t bound = inflight_longterm_;
  const auto headroom = std::max(static_cast<std::uint32_t>(std::uint64_t{bound} * 15 / 100), mss_);
  return std::max(bound > headroom ? bound - headroom : 0, min_pipe());
}

std::uint32_t Bbr::probe_rtt_cwnd() const { return std::max(bdp(bandwidth(), 50), min_pipe()); }

void Bbr::grow_cwnd(std::uint32_t acked) {
  const unsigned gain = state_ == State::up ? 225 : state_ == State::probe_rtt ? 50 : 200;
  const std::uint32_t extra = std::max(extra_acked_[0], extra_acked_[1]);
  const std::uint32_t most = with_offload_budget(std::uint64_t{bdp(bandwidth(), gain)} + extra);
  if (full_bw_reached_) {
    cwnd_ = std::min(add_volume(cwnd_, acked), most);
  } else if (cwnd_ < most || delivered_ < initial_window(mss_)) {
    cwnd_ = add_volume(cwnd_, acked);
  }
  cwnd_ = std::max(cwnd_, min_pipe());
}

/// 5.6.4.7
void Bbr::bound_cwnd() {
  std::uint32_t bound = kNoBound;
  if (state_ == State::cruise || state_ == State::probe_rtt) {
    bound = inflight_with_headroom();
  } else if (in_probe_bw()) {
    bound = inflight_longterm_;
  }
  bound = std::max(std::min(bound, inflight_shortterm_), min_pipe());
  if (state_ == State::probe_rtt) bound = std::min(bound, probe_rtt_cwnd());
  cwnd_ = std::min(cwnd_, bound);
}

void Bbr::set_mss(std::uint32_t mss) {
  const bool untouched = !begun_ && cwnd_ == initial_window(mss_);
  mss_ = std::clamp(mss, 1U, 65535U);
  cwnd_ = untouched ? initial_window(mss_) : std::max(cwnd_, mss_);
}

}  // namespace pollux::tcp
