#include "proto/tcp/rate.h"

namespace pollux::tcp {

RateSample RateSampler::on_delivered(Instant now, std::uint32_t octets, const RateStamp& newest,
                                     Instant sent_at, Duration min_rtt) {
  delivered_ += octets;
  delivered_at_ = now;
  first_sent_ = sent_at;
  if (app_limited_until_ != 0 && delivered_ > app_limited_until_) app_limited_until_ = 0;
  RateSample s;
  s.delivered_total = delivered_;
  s.prior_delivered = newest.delivered;
  s.delivered = delivered_ - newest.delivered;
  s.lost = lost_ - newest.lost;
  s.tx_in_flight = newest.in_flight;
  s.app_limited = newest.app_limited;
  const Duration send_elapsed = sent_at - newest.first_sent;
  const Duration ack_elapsed = now - newest.delivered_at;
  const Duration interval = std::max(send_elapsed, ack_elapsed);
  if (interval >= min_rtt) s.interval = interval;
  return s;
}

}  // namespace pollux::tcp
