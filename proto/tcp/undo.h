// Was a recovery for nothing? Three witnesses: a timestamp echo older than the first retransmission
// (Eifel, RFC 3522), D-SACKs for all that was sent again (RFC 3708), and ACKs for what was never
// sent again after a time-out (F-RTO, RFC 5682).
#pragma once

#include <cstdint>

#include "proto/base/seq.h"

namespace pollux::tcp {

/// Steps of F-RTO after a time-out.
enum class Frto : std::uint8_t {
  off,
  head_sent,  ///< step 2: the first segment was sent again, nothing else yet
  new_sent,   ///< step 3: an ACK advanced, up to two new segments went out instead of old ones
};

class Undo {
 public:
  /// A recovery begins at SND.UNA = `una`.
  void begin(Seq una) {
    marker_ = una;
    pending_ = true;
    first_ = true;
    dsacked_ = false;
    again_ = 0;
  }
  void end() { pending_ = false; }
  /// Octets are sent again; `ts`: our timestamp clock.
  void on_retransmitted(std::uint32_t octets, std::uint32_t ts) {
    if (!pending_) return;
    if (first_) first_ts_ = ts;
    first_ = false;
    again_ += octets;
  }
  /// A D-SACK for [begin, end) came.
  void on_dsack(Seq begin, Seq end) {
    if (!pending_ || begin < marker_) return;
    const std::uint32_t octets = distance(begin, end);
    again_ = octets < again_ ? again_ - octets : 0;
    dsacked_ = true;
  }
  /// Eifel: the ACK that advances over a retransmission echoes what was sent before it.
  bool told_by_echo(std::uint32_t echo) const {
    return pending_ && !first_ && static_cast<std::int32_t>(echo - first_ts_) < 0;
  }
  /// All that was sent again had arrived before.
  bool told_by_dsack() const { return pending_ && !first_ && dsacked_ && again_ == 0; }
  bool pending() const { return pending_; }

 private:
  Seq marker_;
  std::uint32_t first_ts_ = 0;
  std::uint32_t again_ = 0;  ///< octets sent again and not D-SACKed
  bool pending_ = false;
  bool first_ = true;  ///< nothing was sent again yet
  bool dsacked_ = false;
};

}  // namespace pollux::tcp
