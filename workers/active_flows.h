// How many connections brought data lately: among so many the room in the device's queue is shared.
#pragma once

#include <algorithm>
#include <cstdint>

#include "proto/base/time.h"

namespace pollux {

/// Counts by periods, each connection once in each.
class ActiveFlows {
 public:
  static constexpr Duration kPeriod = 8ms;  ///< a few turns with a full queue

  /// A new turn.
  void advance(Instant now) {
    if (now < ends_at_) return;
    last_ = now < ends_at_ + kPeriod ? current_ : 0;
    current_ = 0;
    ++period_;
    ends_at_ = now + kPeriod;
  }
  /// A connection brought data; `mark` is its own, 0 at first.
  void note(std::uint32_t& mark) {
    if (mark == period_) return;
    mark = period_;
    ++current_;
  }
  /// Of this period and the one before, at least one.
  std::uint32_t count() const { return std::max({last_, current_, 1U}); }

 private:
  Instant ends_at_{};
  std::uint32_t period_ = 1;
  std::uint32_t current_ = 0;
  std::uint32_t last_ = 0;
};

}  // namespace pollux
