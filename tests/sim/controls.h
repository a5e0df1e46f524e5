// Every congestion control that the engine has.
#pragma once

#include <vector>

#include "proto/tcp/congestion.h"

namespace pollux::sim {

template <class Kind>
std::vector<Kind> controls_of() {
  std::vector<Kind> all{Kind::reno, Kind::cubic};
  if constexpr (requires { Kind::bbr; }) all.push_back(Kind::bbr);
  return all;
}

inline const std::vector<tcp::CcKind>& all_congestion_controls() {
  static const auto all = controls_of<tcp::CcKind>();
  return all;
}

}  // namespace pollux::sim
