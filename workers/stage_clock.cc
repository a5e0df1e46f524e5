#include "workers/stage_clock.h"

#include <algorithm>

namespace pollux {

namespace {

constexpr std::uint64_t kShortestGap = 4, kLongestGap = 64;
/// Reading the ticks may take this part of the time: where turns are long, more are sampled.
constexpr std::uint64_t kOverheadPart = 1024;

}  // namespace

std::string_view to_string(Stage s) {
  constexpr std::array<std::string_view, kStages> names{"read",   "classify", "ring",    "parse",
                                                        "lookup", "tcp_in",   "service", "tcp_out",
                                                        "write",  "timers",   "loop"};
  return names[static_cast<std::size_t>(s)];
}

StageClock& StageClock::off() {
  static constinit StageClock none;
  return none;
}

/// A fixed gap could fall into step with the traffic. Xorshift, of period 2^32 - 1.
void StageClock::draw_next() noexcept {
  dice_ ^= dice_ << 13;
  dice_ ^= dice_ >> 17;
  dice_ ^= dice_ << 5;
  turns_left_ = gap_ / 2 + 1 + dice_ % gap_;
}

void StageClock::begin_sample() noexcept {
  turn_.fill(0);
  readings_ = 1;
  sampling_ = true;
  stage_ = Stage::loop;
  last_ = ticks_() + cost_;
}

/// A thread may move to a CPU whose ticks are a little behind: that is no time, not an age.
Stage StageClock::change(Stage s) noexcept {
  const std::uint64_t now = ticks_();
  if (now > last_) turn_[static_cast<std::size_t>(stage_)] += now - last_;
  last_ = now + cost_;
  ++readings_;
  const Stage before = stage_;
  stage_ = s;
  return before;
}

/// A sample stands for a gap of turns. The gap follows from turns before it, so that what a turn is
/// like does not decide whether it is sampled.
void StageClock::end_sample(bool busy) noexcept {
  change(Stage::loop);
  sampling_ = false;
  if (busy) {
    std::uint64_t total = 1;
    for (std::size_t i = 0; i < kStages; ++i) {
      spent_[i].add(turn_[i] * gap_);
      total += turn_[i];
    }
    samples_.add();
    const std::uint64_t gap = readings_ * cost_ * kOverheadPart / total;
    gap_ = static_cast<std::uint32_t>(std::clamp(gap, kShortestGap, kLongestGap));
  }
  draw_next();
}

}  // namespace pollux
