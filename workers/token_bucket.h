// A rate limit: `rate` tokens a second, at most `burst` saved up.
#pragma once

#include <algorithm>
#include <cstdint>

#include "proto/base/time.h"

namespace pollux {

class TokenBucket {
 public:
  TokenBucket(std::uint32_t rate_per_s, std::uint32_t burst)
      : interval_(std::chrono::nanoseconds(1'000'000'000 / rate_per_s)), burst_(burst) {}
  /// Takes a token if there is one.
  bool take(Instant now) {
    const Instant floor = now - interval_ * burst_;
    next_ = std::max(next_, floor);
    if (next_ > now) return false;
    next_ += interval_;
    return true;
  }

 private:
  Duration interval_;
  std::int64_t burst_;
  Instant next_{};
};

}  // namespace pollux
