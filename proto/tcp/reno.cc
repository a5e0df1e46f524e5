// RFC 5681 with byte counting (RFC 3465).
#include <algorithm>

#include "proto/tcp/congestion.h"

namespace pollux::tcp {

Reno::Reno(std::uint32_t mss) : mss_(std::max(mss, 1U)), cwnd_(initial_window(mss_)) {}

void Reno::on_ack(const AckEvent& e) {
  if (e.acked == 0) return;
  timed_out_ = false;
  if (!e.cwnd_limited) return;
  std::uint32_t left = std::min(e.acked, cwnd_);
  if (cwnd_ < ssthresh_) {
    const std::uint32_t grow = std::min({left, ssthresh_ - cwnd_, kMaxCwnd - cwnd_});
    cwnd_ += grow;
    if (cwnd_ < ssthresh_) return;
    left -= grow;
  }
  // (3): one MSS per cwnd of acknowledged octets. Both terms are at most kMaxCwnd.
  acked_ += left;
  if (acked_ < cwnd_) return;
  acked_ -= cwnd_;
  cwnd_ = std::min(cwnd_ + mss_, kMaxCwnd);
}

void Reno::on_loss(Instant, std::uint32_t in_flight) {
  const std::uint32_t floor = 2 * mss_;
  prior_cwnd_ = cwnd_;
  prior_ssthresh_ = ssthresh_;
  ssthresh_ = std::clamp(in_flight / 2, floor, kMaxCwnd);  // (4)
  cwnd_ = std::min(ssthresh_, std::max(cwnd_, floor));     // a loss never enlarges the window
  acked_ = 0;
}

void Reno::on_rto(Instant, std::uint32_t in_flight) {
  // RFC 5681 3.1: ssthresh is held when the same segment times out again.
  if (!timed_out_) {
    prior_cwnd_ = cwnd_;
    prior_ssthresh_ = ssthresh_;
    ssthresh_ = std::clamp(in_flight / 2, 2 * mss_, kMaxCwnd);
  }
  timed_out_ = true;
  cwnd_ = mss_;
  acked_ = 0;
}

void Reno::undo() {
  if (prior_cwnd_ == 0) return;
  cwnd_ = std::max(cwnd_, prior_cwnd_);
  ssthresh_ = std::max(ssthresh_, prior_ssthresh_);
  prior_cwnd_ = 0;
  timed_out_ = false;
}

void Reno::on_idle(Duration idle, Duration rto) {
  if (idle < rto) return;
  const std::uint32_t restart = std::min(initial_window(mss_), cwnd_);
  if (restart == cwnd_) return;
  // RFC 2861 3: what was proven is found again by slow start, not octet by octet.
  ssthresh_ = std::max(ssthresh_, cwnd_ - cwnd_ / 4);
  cwnd_ = restart;
  acked_ = 0;
}

void Reno::set_mss(std::uint32_t mss) {
  const bool untouched = ssthresh_ == UINT32_MAX && cwnd_ == initial_window(mss_);
  mss_ = std::max(mss, 1U);
  cwnd_ = untouched ? initial_window(mss_) : std::max(cwnd_, mss_);
}

}  // namespace pollux::tcp
