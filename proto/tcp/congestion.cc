// What all algorithms share, and the choice between them.
#include "proto/tcp/congestion.h"

#include <algorithm>

namespace pollux::tcp {

std::string_view to_string(CcKind k) { return k == CcKind::reno ? "reno" : "cubic"; }

std::uint32_t initial_window(std::uint32_t mss) {
  return std::min(10 * mss, std::max(2 * mss, 14600U));
}

CongestionControl::CongestionControl(CcKind kind, std::uint32_t mss) : v_(Reno(mss)) {
  if (kind == CcKind::cubic) v_ = Cubic(mss);
}

}  // namespace pollux::tcp
