// Arithmetic of BBR's model: times as nanoseconds, volumes as octets, all of it saturating.
#pragma once

#include <algorithm>
#include <cstdint>

#include "proto/base/time.h"
#include "proto/tcp/ack_event.h"

namespace pollux::tcp::bbr {

inline constexpr std::uint64_t kMaxVolume = kMaxCwnd;
inline constexpr std::uint64_t kMaxBandwidth = std::uint64_t{1} << 40;  ///< octets per second
inline constexpr std::uint64_t kMinRate = 1000;                         ///< octets per second
inline constexpr std::uint64_t kLossDivisor = 50;                       ///< BBR.LossThresh, 2 %
inline constexpr std::uint64_t kNoiseDivisor = 5;  ///< 20 %: the same where no queue is seen

/// Zero when time runs backwards.
constexpr std::uint64_t elapsed_ns(Instant from, Instant to) {
  if (to <= from) return 0;
  return static_cast<std::uint64_t>(to.time_since_epoch().count()) -
         static_cast<std::uint64_t>(from.time_since_epoch().count());
}

constexpr std::uint32_t volume_of(std::uint64_t octets) {
  return static_cast<std::uint32_t>(std::min(octets, kMaxVolume));
}

constexpr std::uint32_t add_volume(std::uint32_t v, std::uint64_t more) {
  return volume_of(v + std::min(more, kMaxVolume));
}

/// BBR.Beta
constexpr std::uint32_t times_beta(std::uint32_t v) {
  return static_cast<std::uint32_t>(std::uint64_t{v} * 7 / 10);
}

/// Octets that `bandwidth` (at most kMaxBandwidth) delivers in `ns`.
constexpr std::uint64_t delivered_in(std::uint64_t bandwidth, std::uint64_t ns) {
  constexpr std::uint64_t second = 1'000'000'000;
  const std::uint64_t seconds = std::min(ns / second, std::uint64_t{1} << 20);
  // 2^34 octets per second times a second in nanoseconds fits 64 bits; beyond, 8 bits go.
  const unsigned shift = bandwidth >> 34 != 0 ? 8 : 0;
  return bandwidth * seconds + (((bandwidth >> shift) * (ns % second) / second) << shift);
}

/// Octets per second, in [1, kMaxBandwidth]; `time` is above zero.
constexpr std::uint64_t rate_of(std::uint32_t octets, Duration time) {
  const std::uint64_t rate =
      std::uint64_t{octets} * 1'000'000'000 / static_cast<std::uint64_t>(time.count());
  return std::clamp<std::uint64_t>(rate, 1, kMaxBandwidth);
}

}  // namespace pollux::tcp::bbr
