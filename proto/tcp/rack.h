// RACK (RFC 8985): a segment is lost when one sent sufficiently later was delivered. This is the
// time of the newest delivered segment, the reordering window with its adaptation by D-SACK, and
// what there is of a tail loss probe. The scoreboard holds the segments.
#pragma once

#include <algorithm>
#include <cstdint>

#include "proto/base/seq.h"
#include "proto/base/time.h"
#include "proto/tcp/scoreboard.h"

namespace pollux::tcp {

class Rack {
 public:
  static constexpr std::uint8_t kPersist = 16;     ///< recoveries that a widened window outlasts
  static constexpr Duration kMinProbe = 5ms;       ///< PTO floor: what a busy receiver may pause
  static constexpr Duration kMaxAckDelay = 200ms;  ///< TLP.max_ack_delay: of one lone segment

  /// Step 2 and 3: what an ACK delivered.
  void on_delivered(const Delivered& d) {
    reordering_seen_ |= d.reordered;
    if (!d.any) return;
    rtt_ = d.now - d.newest.time;
    if (d.newest.after(newest_) || !known_) newest_ = d.newest;
    known_ = true;
  }
  /// Step 4: a D-SACK tells that a retransmission was for nothing: wider, once per round trip.
  void on_dsack(Seq snd_nxt) {
    if (round_open_) return;
    round_open_ = true;
    round_end_ = snd_nxt;
    if (multiplier_ < UINT8_MAX) ++multiplier_;
    persist_ = kPersist;
  }
  void on_ack(Seq una) {
    if (round_open_ && una >= round_end_) round_open_ = false;
  }
  void on_recovered() {
    if (persist_ > 0 && --persist_ == 0) multiplier_ = 1;
  }
  /// The reordering window; `in_recovery`: fast or RTO recovery goes on, `sacked_segments`: how
  /// many full-sized segments' worth is SACKed.
  Duration window(Duration min_rtt, Duration srtt, bool in_recovery,
                  std::uint32_t sacked_segments) const {
    constexpr std::uint32_t kDupThresh = 3;
    if (!reordering_seen_ && (in_recovery || sacked_segments >= kDupThresh)) return {};
    return std::min<Duration>(multiplier_ * (min_rtt / 4), srtt);
  }
  bool known() const { return known_; }
  const SentAt& newest() const { return newest_; }
  Duration rtt() const { return rtt_; }
  bool reordering_seen() const { return reordering_seen_; }
  std::uint8_t multiplier() const { return multiplier_; }

  /// RFC 8985 7.2: PTO. `lone`: one segment at most is in flight, whose ACK the peer may delay.
  static Duration probe_timeout(Duration srtt, bool lone) {
    const Duration pto = std::max<Duration>(2 * srtt, kMinProbe);
    return lone ? pto + kMaxAckDelay : pto;
  }

 private:
  SentAt newest_{};
  Duration rtt_{};  ///< of the newest delivered segment
  Seq round_end_;
  std::uint8_t multiplier_ = 1;
  std::uint8_t persist_ = 0;
  bool known_ = false;
  bool round_open_ = false;
  bool reordering_seen_ = false;
};

/// The one loss probe that may be out (RFC 8985 7).
struct LossProbe {
  Seq end;  ///< SND.NXT when it was sent
  bool out = false;
  bool retransmission = false;
};

}  // namespace pollux::tcp
