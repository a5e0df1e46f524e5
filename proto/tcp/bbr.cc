// BBR's states: when to send faster, when slower, and when to hold (draft-ietf-ccwg-bbr 5.3). The
// model that they feed is in bbr_model.cc.
//
//   in flight        up: 1.25
//      ^             .-'\       .
//      | refill: 1  /    \ down: 0.9
//      |___________/      \____________      cruise: 1
//      |     BDP                       \__/  probe_rtt: half of it for 200 ms
//      +--------------------------------------> time
#include "proto/tcp/bbr.h"

#include <algorithm>

#include "proto/tcp/bbr_math.h"

namespace pollux::tcp {

using namespace bbr;

namespace {

constexpr std::uint8_t kPlateauRounds = 3;
constexpr std::uint8_t kDrainRounds = 3;
constexpr std::uint8_t kStartupLossEvents = 6;
constexpr std::uint32_t kRenoRounds = 63;
constexpr std::uint64_t kProbeRttIntervalNs = 5'000'000'000;
constexpr std::uint64_t kProbeRttDurationNs = 200'000'000;

unsigned pacing_gain(Bbr::State s) {
  switch (s) {
    case Bbr::State::startup:
      return 277;  // 4 ln 2: the least that doubles the rate each round trip
    case Bbr::State::drain:
      return 50;
    case Bbr::State::down:
      return 90;
    case Bbr::State::up:
      return 125;
    case Bbr::State::cruise:
    case Bbr::State::refill:
    case Bbr::State::probe_rtt:
      break;
  }
  return 100;
}

/// There is no source of randomness here: the count of delivered octets, well mixed, differs from
/// connection to connection and from cycle to cycle, which is all that the draft's draws are for.
std::uint32_t mixed(std::uint64_t v) {
  v = (v ^ (v >> 33)) * 0xFF51AFD7ED558CCDU;
  v = (v ^ (v >> 33)) * 0xC4CEB9FE1A85EC53U;
  return static_cast<std::uint32_t>(v >> 32);
}

}  // namespace

Bbr::Bbr(std::uint32_t mss)
    : mss_(std::clamp(mss, 1U, 65535U)), cwnd_(std::min(initial_window(mss_), kMaxCwnd)) {
  // 5.6.2: without a round trip time, as if it were 1 ms.
  pacing_rate_ = std::uint64_t{cwnd_} * 1000 * pacing_gain(State::startup) / 100;
}

void Bbr::on_ack(const AckEvent& e) {
  begin(e);
  if (e.rtt > Duration::zero()) latest_rtt_ = e.rtt;
  Sample s = take(e);
  if (e.lost != 0) note_loss();
  if (e.acked != 0) {
    update_model(s, e);
    set_pacing_rate(pacing_gain(state_));
    grow_cwnd(e.acked);
  }
  follow_recovery(e);
  bound_cwnd();
}

void Bbr::begin(const AckEvent& e) {
  if (begun_) return;
  begun_ = true;
  min_rtt_stamp_ = probe_rtt_min_stamp_ = cycle_stamp_ = extra_acked_stamp_ = e.now;
}

/// UpdateModelAndState() of 5.2.3.
void Bbr::update_model(Sample& s, const AckEvent& e) {
  update_latest(s);
  update_max_bw(s);
  if (s.loss_round_start) {
    if (loss_in_round_ && !is_probing() && too_much_lost(s)) lower_short_term();
    loss_in_round_ = false;
  }
  update_aggregation(s);
  check_full_bandwidth(s);
  check_startup_loss(s, e);
  if (state_ == State::startup && full_bw_reached_) enter_drain();
  check_drain_done(s);
  if (full_bw_reached_) update_cycle(s);
  check_probe_rtt(s, update_min_rtt(s.now, e.rtt));
  if (!s.loss_round_start) return;
  bw_latest_ = s.rate;
  inflight_latest_ = volume_of(s.rs.delivered);
}

/// Lost since the sample's segment was sent: more than 2 % of what was in flight then, and a queue
/// in sight; without one losses are the path's own noise, unless they are a fifth.
bool Bbr::too_much_lost(const Sample& s) const {
  const std::uint64_t lost = std::min<std::uint64_t>(s.rs.lost, kMaxVolume);
  return lost * (s.queue ? kLossDivisor : kNoiseDivisor) > s.rs.tx_in_flight;
}

bool Bbr::is_probing() const {
  return state_ == State::startup || state_ == State::refill || state_ == State::up;
}

// ---- Startup and Drain (5.3.1, 5.3.2) -----------------------------------------------------

/// A plateau: three round trips in which sending faster brought less than a quarter more.
void Bbr::check_full_bandwidth(const Sample& s) {
  if (full_bw_now_ || s.app_limited || s.rate == 0) return;
  if (s.rate >= full_bw_ + full_bw_ / 4) return reset_full_bandwidth(s.rate);
  if (!s.round_start) return;
  ++full_bw_rounds_;
  full_bw_now_ = full_bw_rounds_ >= kPlateauRounds;
  full_bw_reached_ = full_bw_reached_ || full_bw_now_;
}

void Bbr::reset_full_bandwidth(std::uint64_t baseline) {
  full_bw_ = baseline;
  full_bw_rounds_ = 0;
  full_bw_now_ = false;
}

/// Losses end Startup when a recovery lasts for a round trip, several ACKs of that round reported
/// some, and there were too many: one burst proves nothing.
void Bbr::check_startup_loss(const Sample& s, const AckEvent& e) {
  if (e.lost != 0 && loss_events_ < kStartupLossEvents) ++loss_events_;
  if (!s.loss_round_start) return;
  const bool many = loss_events_ >= kStartupLossEvents;
  loss_events_ = 0;
  if (state_ != State::startup || full_bw_reached_) return;
  if (!in_recovery_ || !many || !too_much_lost(s)) return;
  undo_state_ = State::startup;
  full_bw_reached_ = true;
  inflight_longterm_ = std::max(bdp(bandwidth(), 100), inflight_latest_);
}

void Bbr::enter_drain() {
  state_ = State::drain;
  drain_rounds_ = 0;
}

void Bbr::check_drain_done(const Sample& s) {
  if (state_ != State::drain) return;
  if (s.round_start) ++drain_rounds_;
  // Longer than that, the bandwidth was overestimated: let its filter advance.
  if (s.pipe <= inflight(bandwidth()) || drain_rounds_ > kDrainRounds) start_down(s.now);
}

// ---- ProbeBW (5.3.3) ----------------------------------------------------------------------

void Bbr::update_cycle(const Sample& s) {
  if (adapt_long_term(s)) return;
  switch (state_) {
    case State::down:
      if (time_to_probe(s)) return start_refill();
      if (time_to_cruise(s)) state_ = State::cruise;
      return;
    case State::cruise:
      if (time_to_probe(s)) start_refill();
      return;
    case State::refill:
      if (s.round_start) start_up(s);
      return;
    case State::up:
      if (!time_to_go_down(s)) return;
      probe_too_high_ = false;
      return start_down(s.now);
    case State::startup:
    case State::drain:
    case State::probe_rtt:
      return;
  }
}

/// What came back from a probe moves inflight_longterm. True when that decided the next state.
bool Bbr::adapt_long_term(const Sample& s) {
  if (s.round_start && ack_phase_ == AckPhase::starting) ack_phase_ = AckPhase::feedback;
  if (s.round_start && ack_phase_ == AckPhase::stopping) {
    // The last of what the probe sent is answered.
    probe_sample_ = false;
    ack_phase_ = AckPhase::init;
    if (in_probe_bw() && !s.app_limited) advance_max_bw();
    if (in_probe_bw() && probe_precautionary_ && !probe_too_high_) {
      start_refill();
      return true;
    }
  }
  if (too_much_lost(s)) {
    if (!probe_sample_) return false;
    on_inflight_too_high(s);
    return false;
  }
  if (inflight_longterm_ == kNoBound) return false;
  inflight_longterm_ = std::max(inflight_longterm_, volume_of(s.rs.tx_in_flight));
  if (state_ == State::up) probe_long_term_upward(s);
  return false;
}

/// 5.5.10.2: once per probe.
void Bbr::on_inflight_too_high(const Sample& s) {
  probe_too_high_ = true;
  probe_sample_ = false;
  if (!s.app_limited) {
    const std::uint32_t target = std::min(inflight(bandwidth()), cwnd_);
    inflight_longterm_ = std::max(volume_of(s.rs.tx_in_flight), times_beta(target));
  }
  if (state_ != State::up) return;
  undo_state_ = State::up;
  start_down(s.now);
}

/// The bound grows by 1, 2, 4, ... segments per round trip, spread over the round trip.
void Bbr::probe_long_term_upward(const Sample& s) {
  if (!s.cwnd_limited || cwnd_ < inflight_longterm_) return;
  probe_up_acked_ = add_volume(probe_up_acked_, s.acked);
  const std::uint64_t steps = probe_up_acked_ / probe_up_per_increment_;
  probe_up_acked_ %= probe_up_per_increment_;
  inflight_longterm_ = add_volume(inflight_longterm_, steps * mss_);
  if (s.round_start) raise_slope();
}

void Bbr::raise_slope() {
  probe_up_per_increment_ = std::max(cwnd_ >> probe_up_rounds_, mss_);
  if (probe_up_rounds_ < 30) ++probe_up_rounds_;
}

/// 5.3.3.8: after two to three seconds, and for the sake of Reno and CUBIC flows at a small
/// bandwidth-delay product after as many round trips as they would need to win a loss back.
bool Bbr::time_to_probe(const Sample& s) const {
  if (elapsed_ns(cycle_stamp_, s.now) > probe_wait_ms_ * std::uint64_t{1'000'000}) return true;
  const std::uint32_t reno = std::min(inflight(bandwidth()), cwnd_) / mss_;
  return rounds_since_probe_ >= std::min(reno, kRenoRounds);
}

bool Bbr::time_to_cruise(const Sample& s) const {
  return s.pipe <= inflight_with_headroom() && s.pipe <= inflight(max_bw());
}

bool Bbr::time_to_go_down(const Sample& s) {
  // 5.3.3.6: the last probe lost too much at this level. Take only a short look.
  if (probe_too_high_ && s.pipe >= inflight_longterm_) {
    probe_precautionary_ = true;
    return true;
  }
  if (s.cwnd_limited && cwnd_ >= inflight_longterm_) {
    reset_full_bandwidth(s.rate);  // the bound holds us, which proves no plateau
    return false;
  }
  return full_bw_now_;
}

void Bbr::start_down(Instant now) {
  loss_in_round_ = false;
  bw_latest_ = 0;
  inflight_latest_ = 0;
  probe_up_per_increment_ = kNoBound;
  rounds_since_probe_ = mixed(delivered_) & 1;
  probe_wait_ms_ = static_cast<std::uint16_t>(2000 + mixed(delivered_ + 1) % 1000);
  cycle_stamp_ = now;
  ack_phase_ = AckPhase::stopping;
  start_round();
  state_ = State::down;
}

void Bbr::start_refill() {
  reset_short_term();
  probe_up_rounds_ = 0;
  probe_up_acked_ = 0;
  probe_precautionary_ = false;
  ack_phase_ = AckPhase::refilling;
  start_round();
  state_ = State::refill;
}

void Bbr::start_up(const Sample& s) {
  probe_sample_ = true;
  ack_phase_ = AckPhase::starting;
  start_round();
  reset_full_bandwidth(s.rate);
  state_ = State::up;
  raise_slope();
}

// ---- ProbeRTT (5.3.4) and idle (5.4) ------------------------------------------------------

void Bbr::check_probe_rtt(const Sample& s, bool expired) {
  if (state_ != State::probe_rtt && expired && !idle_restart_) {
    save_cwnd();
    state_ = State::probe_rtt;
    probe_rtt_held_ = false;
    ack_phase_ = AckPhase::stopping;
    start_round();
  }
  if (s.rs.delivered > 0) idle_restart_ = false;
  if (state_ != State::probe_rtt) return;
  // What is sent now measures our own restraint, not the path.
  probe_rtt_delivered_ = std::max<std::uint64_t>(delivered_ + s.pipe, 1);
  if (!probe_rtt_held_) {
    if (s.pipe > probe_rtt_cwnd()) return;
    probe_rtt_held_ = true;
    probe_rtt_round_done_ = false;
    probe_rtt_held_since_ = s.now;
    return start_round();
  }
  probe_rtt_round_done_ = probe_rtt_round_done_ || s.round_start;
  const bool long_enough = elapsed_ns(probe_rtt_held_since_, s.now) > kProbeRttDurationNs;
  if (probe_rtt_round_done_ && long_enough) exit_probe_rtt(s.now);
}

void Bbr::exit_probe_rtt(Instant now) {
  probe_rtt_min_stamp_ = now;  // the next one is due in 5 s
  cwnd_ = std::max(cwnd_, prior_cwnd_);
  reset_short_term();
  if (!full_bw_reached_) {
    state_ = State::startup;
    return;
  }
  start_down(now);
  state_ = State::cruise;  // less than the BDP is in flight already
}

/// The draft's "restarting from idle": the window stays, the pacing rate prevents the burst.
void Bbr::on_idle(Duration idle, Duration) {
  idle_restart_ = true;
  extra_acked_delivered_ = 0;
  if (in_probe_bw()) return set_pacing_rate(100);
  const bool silent = idle > Duration(kProbeRttDurationNs);
  if (state_ == State::probe_rtt && probe_rtt_held_ && silent)
    exit_probe_rtt(probe_rtt_held_since_);
}

/// The minimum of 5 s for ProbeRTT, and of 10 s for the model. True when the first was not renewed.
bool Bbr::update_min_rtt(Instant now, Duration rtt) {
  const bool expired = elapsed_ns(probe_rtt_min_stamp_, now) > kProbeRttIntervalNs;
  if (rtt > Duration::zero() && (rtt < probe_rtt_min_delay_ || expired)) {
    probe_rtt_min_delay_ = rtt;
    probe_rtt_min_stamp_ = now;
  }
  if (probe_rtt_min_delay_ == Duration::max()) return expired;
  if (min_rtt_ == Duration::max()) {
    // 5.6.2: the initial window over the first round trip time.
    const std::uint64_t rate = rate_of(initial_window(mss_), probe_rtt_min_delay_);
    pacing_rate_ = std::max(rate * pacing_gain(State::startup) / 100, kMinRate);
  }
  const bool min_expired = elapsed_ns(min_rtt_stamp_, now) > 2 * kProbeRttIntervalNs;
  if (probe_rtt_min_delay_ < min_rtt_ || min_expired) {
    min_rtt_ = probe_rtt_min_delay_;
    min_rtt_stamp_ = probe_rtt_min_stamp_;
  }
  return expired;
}

}  // namespace pollux::tcp
