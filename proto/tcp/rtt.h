// Round-trip estimate and retransmission timeout (RFC 6298). Samples come from the caller, who
// never gives one of a retransmitted segment (Karn's algorithm, RFC 6298 (3)).
#pragma once

#include "proto/base/time.h"

namespace pollux::tcp {

class RttEstimator {
 public:
  static constexpr Duration kInitialRto = 1s;  ///< (2.1)
  /// Least RTO - SRTT, in place of G and of (2.4)'s 1 s for the whole RTO, as Linux has it.
  static constexpr Duration kMinSpread = 200ms;
  static constexpr Duration kMaxRto = 60s;  ///< (2.5)

  void sample(Duration rtt);  ///< (2.2), (2.3); clears the back-off
  /// The same from a timestamp echo, too coarse for the minimum.
  void sample_echo(Duration rtt);
  void back_off();  ///< (5.5): doubles, up to kMaxRto
  void reset_back_off() { shift_ = 0; }
  /// (5.7): a SYN was lost and no sample is there: the RTO for data starts at 3 s.
  void syn_timed_out();
  Duration rto() const;                    ///< with back-off
  Duration srtt() const { return srtt_; }  ///< zero before the first sample
  Duration rttvar() const { return rttvar_; }
  Duration min_rtt() const { return min_; }  ///< zero before the first sample
  bool has_sample() const { return srtt_ != Duration::zero(); }
  unsigned back_offs() const { return shift_; }

 private:
  void update(Duration r);
  Duration srtt_{};
  Duration rttvar_{};
  Duration min_{};
  Duration base_ = kInitialRto;
  unsigned char shift_ = 0;
};

}  // namespace pollux::tcp
