// RFC 6298. One sample costs a handful of integer operations; every result lies in
// [kMinSpread, kMaxRto], so that no sample, however odd, can stall or storm a connection.
#include "proto/tcp/rtt.h"

#include <algorithm>
#include <limits>

namespace pollux::tcp {

namespace {

// kMinSpread << 9 is beyond kMaxRto already; the bound keeps the shift defined.
constexpr unsigned kMaxShift = 10;

}  // namespace

void RttEstimator::sample(Duration rtt) {
  // Zero means "no sample" in this class, and more than kMaxRto cannot change the RTO.
  const Duration r = std::clamp<Duration>(rtt, 1ns, kMaxRto);
  min_ = min_ == Duration::zero() ? r : std::min(min_, r);
  update(r);
}

void RttEstimator::sample_echo(Duration rtt) { update(std::clamp<Duration>(rtt, 1ns, kMaxRto)); }

void RttEstimator::update(Duration r) {
  if (!has_sample()) {  // (2.2)
    srtt_ = r;
    rttvar_ = r / 2;
  } else {  // (2.3): RTTVAR first, with the old SRTT; alpha = 1/8, beta = 1/4
    const Duration error = srtt_ > r ? srtt_ - r : r - srtt_;
    rttvar_ = (3 * rttvar_ + error) / 4;
    srtt_ = std::max<Duration>((7 * srtt_ + r) / 8, 1ns);
  }
  // The floor is on the variance term: a floor on the sum would leave no room for a delayed ACK, or
  // for finding a lost retransmission, on a path whose round trip is near to it.
  const Duration spread = std::max<Duration>(4 * rttvar_, kMinSpread);
  base_ = std::min<Duration>(srtt_ + spread, kMaxRto);
  shift_ = 0;
}

void RttEstimator::back_off() {
  if (shift_ < std::numeric_limits<decltype(shift_)>::max()) ++shift_;
}

void RttEstimator::syn_timed_out() {
  if (has_sample()) return;
  base_ = 3s;
  shift_ = 0;
}

Duration RttEstimator::rto() const {
  const auto factor = std::int64_t{1} << std::min<unsigned>(shift_, kMaxShift);
  return std::min<Duration>(base_ * factor, kMaxRto);
}

}  // namespace pollux::tcp
