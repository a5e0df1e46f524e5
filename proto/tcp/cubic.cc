// RFC 9438 (CUBIC) with HyStart++ (RFC 9406). Windows are octets, the curve's time milliseconds.
//
//   cwnd  w_max - - - - - - -.-----'        C (t - K)^3 + W_max, C = 0.4 segments / s^3
//                       . '                  in octets and ms: mss (t - K)^3 / 2.5e9
//                    .'
//         0.7 w_max :_________________ t
//                    0          K
#include <algorithm>
#include <limits>
#include <utility>

#include "proto/tcp/congestion.h"

namespace pollux::tcp {

namespace {

// |t - K| is held below 800 s: then the cube times a 65,535-octet MSS fits 64 bits.
constexpr std::uint64_t kMaxCurveMs = 800'000;

constexpr std::uint64_t kMaxTimeNs = std::uint64_t{1} << 62;

// RFC 9406 4.3
constexpr std::uint32_t kMinRttThreshUs = 4'000;
constexpr std::uint32_t kMaxRttThreshUs = 16'000;
constexpr std::uint32_t kMinRttDivisor = 8;
constexpr std::uint8_t kRttSamples = 8;
constexpr std::uint8_t kCssRounds = 5;
constexpr std::uint32_t kCssGrowthDivisor = 4;

/// Time from `from` to `to`, zero when it runs backwards, saturated instead of overflowing.
std::uint64_t elapsed_ns(Instant from, Instant to) {
  if (to <= from) return 0;
  return static_cast<std::uint64_t>(to.time_since_epoch().count()) -
         static_cast<std::uint64_t>(from.time_since_epoch().count());
}

/// The largest r with r^3 <= v, by Newton's method from above: it falls until it has arrived.
std::uint32_t cube_root(std::uint64_t v) {
  if (v == 0) return 0;
  unsigned bits = 0;
  for (std::uint64_t x = v; x != 0; x >>= 1) ++bits;
  std::uint64_t r = std::uint64_t{1} << ((bits + 2) / 3);
  for (;;) {
    const std::uint64_t next = (2 * r + v / (r * r)) / 3;
    if (next >= r) return static_cast<std::uint32_t>(r);
    r = next;
  }
}

std::uint32_t times_beta(std::uint32_t v) {
  return static_cast<std::uint32_t>(std::uint64_t{v} * 7 / 10);
}

}  // namespace

Cubic::Cubic(std::uint32_t mss) : mss_(std::clamp(mss, 1U, 65535U)), cwnd_(initial_window(mss_)) {}

void Cubic::on_ack(const AckEvent& e) {
  count_time(e);
  if (cwnd_ < ssthresh_) {
    slow_start(e);
  } else if (e.cwnd_limited && e.acked != 0) {
    avoid(e);
  }
  if (e.acked != 0) timed_out_ = false;
}

/// Time in which the window was not the limit proves nothing about the path: RFC 9438 5.8 wants t
/// without it. So t is summed up from the gaps between ACKs instead of taken from an epoch's start.
void Cubic::count_time(const AckEvent& e) {
  if (epoch().begun && e.cwnd_limited && !idle_) {
    std::uint64_t& t = avoidance_.own().epoch.t_ns;
    t = std::min(t + elapsed_ns(last_ack_, e.now), kMaxTimeNs);
  }
  last_ack_ = std::max(last_ack_, e.now);
  idle_ = false;
}

void Cubic::slow_start(const AckEvent& e) {
  end_epoch();
  // RFC 9406 4.3: only the first slow start has no ssthresh to find its end by.
  if (ssthresh_ == UINT32_MAX && hystart_round(e)) return;
  if (!e.cwnd_limited) return;
  std::uint64_t grow = std::min(e.acked, cwnd_);  // the limit L: see Reno
  if (css_) {
    credit_ += grow;
    grow = credit_ / kCssGrowthDivisor;
    credit_ %= kCssGrowthDivisor;
  }
  const std::uint32_t room = std::min(ssthresh_, kMaxCwnd) - cwnd_;
  cwnd_ += static_cast<std::uint32_t>(std::min<std::uint64_t>(grow, room));
}

/// RFC 9406 4.2, with one change: the round trip of now is the least of eight samples in a row and
/// not that of the whole round. In a round that overfills the path the queue grows to its end, so
/// the first samples of it would hide what the last ones tell. True when slow start has just ended.
bool Cubic::hystart_round(const AckEvent& e) {
  if (e.round_start) {
    last_round_min_us_ = std::exchange(round_min_us_, UINT32_MAX);
    recent_min_us_ = UINT32_MAX;
    recent_samples_ = 0;
    if (css_ && ++css_rounds_ >= kCssRounds) return end_slow_start();
  }
  if (e.rtt <= Duration::zero()) return false;
  const auto us = static_cast<std::uint32_t>(
      std::clamp<std::int64_t>(to_us(e.rtt), 1, std::int64_t{UINT32_MAX} / 2));
  round_min_us_ = std::min(round_min_us_, us);
  recent_min_us_ = std::min(recent_min_us_, us);
  if (++recent_samples_ < kRttSamples) return false;
  recent_samples_ = 0;
  return judge_delay(std::exchange(recent_min_us_, UINT32_MAX));
}

bool Cubic::judge_delay(std::uint32_t now_us) {
  if (last_round_min_us_ == UINT32_MAX) return false;
  const std::uint32_t base = css_ ? css_base_us_ : last_round_min_us_;
  const std::uint32_t rise = now_us > base ? now_us - base : 0;
  const std::uint32_t thresh = std::clamp(base / kMinRttDivisor, kMinRttThreshUs, kMaxRttThreshUs);
  // What nearly doubles the round trip is a queue and no noise: growing on would only overflow it.
  if (rise >= std::max(thresh, base / 4 * 3)) return end_slow_start();
  if (css_) {
    if (now_us < css_entry_us_) css_ = false;  // the growth was noise: resume
  } else if (rise >= thresh) {
    css_ = true;
    css_base_us_ = base;
    css_entry_us_ = now_us;
    css_rounds_ = 0;
    credit_ = 0;
  }
  return false;
}

bool Cubic::end_slow_start() {
  ssthresh_ = cwnd_;
  css_ = false;
  credit_ = 0;
  return true;
}

/// Twice the window per round trip in slow start, 1.2 times after it: enough that pacing never
/// keeps the window from growing, and little enough that no burst of a whole window leaves.
std::uint32_t Cubic::pacing_percent() const { return cwnd_ < ssthresh_ / 2 && !css_ ? 200 : 120; }

void Cubic::begin_epoch() {
  Avoidance& a = avoidance_.own();
  Epoch& epoch = a.epoch;
  epoch.begun = true;
  epoch.t_ns = 0;
  epoch.w_est = cwnd_;
  credit_ = 0;
  a.est_credit = 0;
  // RFC 9438 4.8, 4.10: after a timeout or HyStart++ there is no W_max: K = 0 from here.
  epoch.w_max = std::max(epoch.w_max, cwnd_);
  epoch.cwnd_prior = std::max(epoch.cwnd_prior, cwnd_);
  const std::uint64_t cube = std::uint64_t{epoch.w_max - cwnd_} * 2'500'000'000U / mss_;  // (4.2)
  epoch.k_ms = cube_root(cube);
}

/// W_cubic at t + `ahead`, in [0, kMaxCwnd].
std::uint32_t Cubic::curve(Duration ahead) const {
  const auto ahead_ns = static_cast<std::uint64_t>(std::max(ahead, Duration::zero()).count());
  const Epoch& e = epoch();
  const std::uint64_t t = (e.t_ns + ahead_ns) / 1'000'000;  // below 2^62 + 2^63
  const std::uint64_t d = std::min(t < e.k_ms ? e.k_ms - t : t - e.k_ms, kMaxCurveMs);
  const std::uint64_t octets = d * d * d / 2500 * mss_ / 1'000'000;
  if (t < e.k_ms) return octets < e.w_max ? e.w_max - static_cast<std::uint32_t>(octets) : 0;
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(e.w_max + octets, kMaxCwnd));
}

/// RFC 9438 4.3: what Reno would have by now; alpha = 3 (1 - 0.7) / (1 + 0.7) = 9/17 until the
/// window of the last reduction is reached again, then 1.
void Cubic::grow_reno_estimate(std::uint32_t acked) {
  Avoidance& a = avoidance_.own();
  a.est_credit += std::uint64_t{acked} * (a.epoch.w_est < a.epoch.cwnd_prior ? 9 : 17);
  const std::uint64_t step = std::uint64_t{cwnd_} * 17;
  if (a.est_credit < step) return;
  a.est_credit -= step;
  a.epoch.w_est = std::min(a.epoch.w_est + mss_, kMaxCwnd);
}

void Cubic::avoid(const AckEvent& e) {
  if (!epoch().begun) begin_epoch();
  const std::uint32_t acked = std::min(e.acked, cwnd_);
  grow_reno_estimate(acked);
  if (curve(Duration::zero()) < epoch().w_est) {  // Reno-friendly region
    cwnd_ = std::max(cwnd_, epoch().w_est);
    return;
  }
  // (4.4), (4.5): toward the value one RTT ahead, at most half a window more per round trip.
  const std::uint32_t most = std::min(cwnd_ + cwnd_ / 2, kMaxCwnd);
  const std::uint32_t target = std::clamp(curve(e.srtt), cwnd_, most);
  credit_ += std::uint64_t{target - cwnd_} * acked;
  const std::uint64_t grow = credit_ / cwnd_;
  credit_ %= cwnd_;
  cwnd_ = static_cast<std::uint32_t>(std::min<std::uint64_t>(cwnd_ + grow, kMaxCwnd));
}

/// RFC 9438 4.6 and, for w_max, fast convergence (4.7): a window that shrinks leaves room to
/// newcomers.
void Cubic::reduce(std::uint32_t in_flight) {
  Avoidance& a = avoidance_.own();
  a.prior = {cwnd_, ssthresh_, a.epoch};
  a.epoch.cwnd_prior = cwnd_;
  a.epoch.w_max =
      cwnd_ < a.epoch.w_max ? static_cast<std::uint32_t>(std::uint64_t{cwnd_} * 17 / 20) : cwnd_;
  ssthresh_ = std::max(times_beta(std::min(in_flight, kMaxCwnd)), 2 * mss_);
  a.epoch.begun = false;
  css_ = false;
  credit_ = 0;
}

void Cubic::on_loss(Instant, std::uint32_t in_flight) {
  const std::uint32_t limit = std::max(cwnd_, 2 * mss_);
  reduce(in_flight);
  cwnd_ = std::min(ssthresh_, limit);  // a loss never enlarges the window
}

void Cubic::on_rto(Instant, std::uint32_t in_flight) {
  // RFC 5681 3.1: ssthresh is held when the same segment times out again.
  if (!timed_out_) reduce(in_flight);
  timed_out_ = true;
  avoidance_.own().epoch = {};  // (4.8): the next begins with K = 0 at its own cwnd
  cwnd_ = mss_;
}

void Cubic::undo() {
  if (avoidance_->prior.cwnd == 0) return;
  Avoidance& a = avoidance_.own();
  cwnd_ = std::max(cwnd_, a.prior.cwnd);
  ssthresh_ = std::max(ssthresh_, a.prior.ssthresh);
  a.epoch = a.prior.epoch;
  a.prior.cwnd = 0;
  timed_out_ = false;
}

void Cubic::on_idle(Duration idle, Duration rto) {
  idle_ = true;
  const std::uint32_t restart = std::min(initial_window(mss_), cwnd_);
  if (idle < rto || restart == cwnd_) return;
  // RFC 2861 3: what was proven is found again by slow start, not octet by octet.
  ssthresh_ = std::max(ssthresh_, cwnd_ - cwnd_ / 4);
  cwnd_ = restart;
  end_epoch();
  css_ = false;
  round_min_us_ = last_round_min_us_ = recent_min_us_ = UINT32_MAX;
  recent_samples_ = 0;
  credit_ = 0;
}

void Cubic::set_mss(std::uint32_t mss) {
  const bool untouched = ssthresh_ == UINT32_MAX && cwnd_ == initial_window(mss_);
  mss_ = std::clamp(mss, 1U, 65535U);
  cwnd_ = untouched ? initial_window(mss_) : std::max(cwnd_, mss_);
}

}  // namespace pollux::tcp
