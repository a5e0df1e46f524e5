// Where a thread's time goes: ticks by stage of the pipeline, taken in one turn of the loop in 4 to
// 64, and only where that turn did something. Ticks come from outside and only their ratios count;
// without a source nothing is ever sampled. One thread writes, any may read `spent()`.
//
//   begin_turn()   enter(read) ... enter(parse) ... enter(write) ...   end_turn(busy)
//                  └─ each tick belongs to the stage that was entered last ─┘
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "workers/counters.h"

namespace pollux {

/// What each one covers is in README.md.
enum class Stage : std::uint8_t {
  read,
  classify,
  ring,
  parse,
  lookup,
  tcp_in,
  service,
  tcp_out,
  write,
  timers,
  loop,
};
inline constexpr std::size_t kStages = 11;
std::string_view to_string(Stage s);

class StageClock {
 public:
  /// Any counter that rises steadily, e.g. the CPU's time stamp.
  using TickFn = std::uint64_t (*)() noexcept;

  /// `cost`: ticks that reading them takes, which belong to no stage.
  constexpr explicit StageClock(TickFn ticks = nullptr, std::uint64_t cost = 0)
      : ticks_(ticks), cost_(cost) {}
  StageClock(const StageClock&) = delete;
  StageClock& operator=(const StageClock&) = delete;
  /// One without a source, for all who need none: nobody writes to it.
  static StageClock& off();

  /// A turn begins, with the stage `loop`.
  void begin_turn() noexcept {
    if (ticks_ != nullptr && --turns_left_ == 0) [[unlikely]]
      begin_sample();
  }
  /// Returns the stage that this one interrupts (or, in a turn that is not sampled, `s`).
  Stage enter(Stage s) noexcept {
    if (!sampling_) [[likely]]
      return s;
    return change(s);
  }
  /// The turn is over; what a turn took that did nothing is forgotten.
  void end_turn(bool busy) noexcept {
    if (sampling_) [[unlikely]]
      end_sample(busy);
  }

  /// Ticks in busy turns, each sampled one for those that it stands for.
  const Counter& spent(Stage s) const { return spent_[static_cast<std::size_t>(s)]; }
  /// Busy turns that were sampled.
  const Counter& samples() const { return samples_; }

 private:
  void begin_sample() noexcept;
  Stage change(Stage s) noexcept;
  void end_sample(bool busy) noexcept;
  void draw_next() noexcept;

  const TickFn ticks_;
  const std::uint64_t cost_;
  bool sampling_ = false;
  Stage stage_ = Stage::loop;
  std::uint32_t turns_left_ = 1;
  std::uint32_t gap_ = 64;  ///< turns from one sample to the next, in the mean
  std::uint32_t dice_ = 1;
  std::uint32_t readings_ = 0;  ///< of the ticks, in this turn
  std::uint64_t last_ = 0;
  std::array<std::uint64_t, kStages> turn_{};
  alignas(kSharedLine) std::array<Counter, kStages> spent_;
  Counter samples_;
};
static_assert(kOwnLine<StageClock>);

/// A stage inside another, until the end of the scope.
class StageScope {
 public:
  StageScope(StageClock& clock, Stage s) noexcept : clock_(clock), before_(clock.enter(s)) {}
  ~StageScope() { clock_.enter(before_); }
  StageScope(const StageScope&) = delete;
  StageScope& operator=(const StageScope&) = delete;

 private:
  StageClock& clock_;
  const Stage before_;
};

}  // namespace pollux
