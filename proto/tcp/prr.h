// Proportional Rate Reduction (RFC 6937, with the safe-ACK rule of its revision): during fast
// recovery the window follows what is delivered, so that it ends at ssthresh without a silence of
// half a round trip and without a burst.
#pragma once

#include <algorithm>
#include <cstdint>

namespace pollux::tcp {

class Prr {
 public:
  /// Recovery begins: `flight` octets are outstanding (RecoverFS).
  void begin(std::uint32_t flight, std::uint32_t ssthresh) {
    flight_ = std::max(flight, 1U);
    ssthresh_ = ssthresh;
    delivered_ = sent_ = 0;
  }
  /// An ACK delivered `octets` and `pipe` is in flight after it. `safe`: it advanced SND.UNA and
  /// told of no new loss.
  void on_ack(std::uint32_t octets, std::uint32_t pipe, std::uint32_t mss, bool safe) {
    delivered_ += octets;
    std::int64_t count = 0;
    const auto balance = static_cast<std::int64_t>(delivered_) - static_cast<std::int64_t>(sent_);
    if (pipe > ssthresh_) {
      count = static_cast<std::int64_t>((delivered_ * ssthresh_ + flight_ - 1) / flight_) -
              static_cast<std::int64_t>(sent_);
    } else {
      std::int64_t limit = std::max<std::int64_t>(balance, octets);
      if (safe) limit += mss;  // slow start toward ssthresh (PRR-SSRB)
      count = std::min<std::int64_t>(ssthresh_ - pipe, limit);
    }
    // The first retransmission goes out in any case.
    if (sent_ == 0) count = std::max<std::int64_t>(count, mss);
    window_ = std::max(pipe + static_cast<std::uint32_t>(std::max<std::int64_t>(count, 0)), mss);
  }
  void on_sent(std::uint32_t octets) { sent_ += octets; }
  std::uint32_t window() const { return window_; }

 private:
  std::uint64_t delivered_ = 0;  ///< prr_delivered
  std::uint64_t sent_ = 0;       ///< prr_out
  std::uint32_t flight_ = 1;     ///< RecoverFS
  std::uint32_t ssthresh_ = 0;
  std::uint32_t window_ = 0;
};

}  // namespace pollux::tcp
