// What every congestion control algorithm is told by an acknowledgement, and the bounds they share.
#pragma once

#include <cstdint>

#include "proto/base/time.h"
#include "proto/tcp/rate.h"

namespace pollux::tcp {

inline constexpr std::uint32_t kMaxCwnd = 1U << 30;  ///< the largest window RFC 7323 can offer

/// What one acknowledgement did.
struct AckEvent {
  Instant now;
  std::uint32_t acked = 0;      ///< octets newly acknowledged, cumulatively or by SACK
  std::uint32_t in_flight = 0;  ///< octets outstanding before this ACK
  std::uint32_t pipe = 0;       ///< octets in flight after this ACK and what it marked lost
  std::uint32_t lost = 0;       ///< octets that this ACK marked lost
  Duration srtt{};              ///< zero before the first sample
  Duration rtt{};               ///< this ACK's sample, zero when there is none
  Duration min_rtt{};           ///< of the connection, zero before the first sample
  bool cwnd_limited = false;    ///< the sender was held by cwnd, not by data or window (RFC 7661)
  bool round_start = false;     ///< first ACK of a new round trip (for HyStart++)
  bool in_recovery = false;     ///< fast or RTO recovery goes on after this ACK
  RateSample rate{};            ///< delivery rate; `interval` is zero when there is no sample
};

/// Initial window: min(10 MSS, max(2 MSS, 14600)) (RFC 6928).
std::uint32_t initial_window(std::uint32_t mss);

}  // namespace pollux::tcp
