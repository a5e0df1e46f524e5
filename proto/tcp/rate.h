// Delivery rate estimation (draft-cheng-iccrg-delivery-rate-estimation): how fast the path
// delivers, measured between the sending of a segment and its acknowledgement, free of ACK bunching
// and of pauses in which the application had nothing to send.
#pragma once

#include <algorithm>
#include <cstdint>

#include "proto/base/time.h"

namespace pollux::tcp {

/// What one acknowledgement says about the path.
struct RateSample {
  std::uint64_t delivered_total = 0;  ///< octets delivered on the connection, this ACK included
  std::uint64_t prior_delivered = 0;  ///< the same when the newest acknowledged segment was sent
  std::uint64_t delivered = 0;        ///< octets delivered over `interval`
  Duration interval{};                ///< zero: no sample
  std::uint64_t lost = 0;             ///< octets marked lost since that segment was sent
  std::uint32_t tx_in_flight = 0;     ///< octets in flight when it was sent, itself included
  bool app_limited = false;           ///< the application, not the path, may have set the rate

  /// Octets per second; zero without a sample.
  std::uint64_t rate() const {
    if (interval <= Duration::zero()) return 0;
    return delivered * 1'000'000'000U / static_cast<std::uint64_t>(interval.count());
  }
};

/// What a transmitted segment remembers of the moment in which it was sent.
struct RateStamp {
  Instant first_sent{};  ///< when the segment was sent that was acknowledged latest then
  Instant delivered_at{};
  std::uint64_t delivered = 0;
  std::uint64_t lost = 0;
  std::uint32_t in_flight = 0;  ///< octets, the segment included
  bool app_limited = false;
};

class RateSampler {
 public:
  /// A segment is sent (for the first time or again); `in_flight`: octets before it.
  RateStamp stamp(Instant now, std::uint32_t in_flight, std::uint32_t size) {
    if (in_flight == 0) first_sent_ = delivered_at_ = now;
    return {.first_sent = first_sent_,
            .delivered_at = delivered_at_,
            .delivered = delivered_,
            .lost = lost_,
            .in_flight = in_flight + size,
            .app_limited = app_limited_until_ != 0};
  }
  void on_lost(std::uint32_t octets) { lost_ += octets; }
  /// The application left room in the window: what is in flight measures it, not the path.
  void on_app_limited(std::uint32_t in_flight) {
    app_limited_until_ = std::max<std::uint64_t>(delivered_ + in_flight, 1);
  }
  /// An ACK delivered `octets`; `newest`, `sent_at`: of the segment sent last among them. Samples
  /// shorter than `min_rtt` are measured too fast and give no rate.
  RateSample on_delivered(Instant now, std::uint32_t octets, const RateStamp& newest,
                          Instant sent_at, Duration min_rtt);
  /// The same, when no segment among them tells a rate.
  void on_delivered(std::uint32_t octets) { delivered_ += octets; }
  std::uint64_t delivered() const { return delivered_; }
  std::uint64_t lost() const { return lost_; }
  bool app_limited() const { return app_limited_until_ != 0; }

 private:
  std::uint64_t delivered_ = 0;
  std::uint64_t lost_ = 0;
  std::uint64_t app_limited_until_ = 0;  ///< a value of delivered_; 0: not limited
  Instant first_sent_{};
  Instant delivered_at_{};
};

}  // namespace pollux::tcp
