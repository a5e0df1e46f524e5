// What all algorithms share, and the choice between them.
#include "proto/tcp/congestion.h"

#include <algorithm>

namespace pollux::tcp {

std::string_view to_string(CcKind k) {
  switch (k) {
    case CcKind::reno:
      return "reno";
    case CcKind::cubic:
      return "cubic";
    case CcKind::bbr:
      return "bbr";
  }
  return "?";
}

std::optional<CcKind> parse_cc(std::string_view name) {
  for (const CcKind k : {CcKind::reno, CcKind::cubic, CcKind::bbr}) {
    if (to_string(k) == name) return k;
  }
  return std::nullopt;
}

std::uint32_t initial_window(std::uint32_t mss) {
  return std::min(10 * mss, std::max(2 * mss, 14600U));
}

CongestionControl::CongestionControl(CcKind kind, std::uint32_t mss) : v_(Reno(mss)) {
  if (kind == CcKind::cubic) v_ = Cubic(mss);
  if (kind == CcKind::bbr) v_ = Lazy<Bbr>(Bbr(mss));
}

namespace {

/// What a window's worth per round trip is in octets per second, times `percent`.
std::uint64_t window_rate(std::uint64_t cwnd, Duration srtt, std::uint64_t percent) {
  if (srtt <= Duration::zero()) return kUnpaced;
  // 2^30 octets * 200 * 1e7 fits 64 bits.
  return cwnd * percent * 10'000'000 / static_cast<std::uint64_t>(srtt.count());
}

}  // namespace

/// BBR's is a part of its model; the others spread their window over the round trip.
std::uint64_t CongestionControl::pacing_rate(Duration srtt) const {
  if (const auto* bbr = std::get_if<Lazy<Bbr>>(&v_)) return (*bbr)->pacing_rate();
  const auto* cubic = std::get_if<Cubic>(&v_);
  const auto percent =
      cubic != nullptr ? cubic->pacing_percent() : std::get<Reno>(v_).pacing_percent();
  return window_rate(cwnd(), srtt, percent);
}

}  // namespace pollux::tcp
