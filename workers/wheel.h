// Hierarchical timer wheel, one per worker: O(1) arm, cancel and expire, no cascades (a level is
// 8 times coarser than the one below). Ticks of 2^16 ns (65.5 us). An entry fires never early, and
// late by at most a tick plus 1/8 of its delay.
//
// Lazy re-arm: moving a deadline later is a store to the owner's own deadline; the owner compares
// on expiry and arms again. Only moving it earlier needs arm().
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "proto/base/time.h"

namespace pollux {

/// Intrusive entry; the owner derives from it or holds it. Unlinked when destroyed by contract:
/// the owner cancels first (checked).
struct TimerNode {
  TimerNode* prev = nullptr;
  TimerNode* next = nullptr;
  std::int64_t expires_tick = 0;
  std::uint16_t bucket = 0;
  bool armed() const { return next != nullptr; }
};

class TimerWheel {
 public:
  explicit TimerWheel(Instant start);
  TimerWheel(const TimerWheel&) = delete;
  TimerWheel& operator=(const TimerWheel&) = delete;

  /// Arms or moves. A deadline at or before now fires on the next advance() past its tick.
  void arm(TimerNode& node, Instant deadline);
  void cancel(TimerNode& node);
  /// Takes the next due entry out of the wheel (it is unarmed on return), or nullptr when none is
  /// due at `now`. Call until nullptr; an entry armed meanwhile for the past is due on a later turn,
  /// so the loop ends.
  TimerNode* expire(Instant now);
  /// The earliest instant at which expire() may give something; kNever when empty. Never later
  /// than that of any entry.
  Instant next_deadline() const;
  std::size_t size() const { return size_; }

 private:
  static constexpr unsigned kTickShift = 16;
  static constexpr unsigned kLevelBits = 6;   // 64 buckets a level
  static constexpr unsigned kLevelShift = 3;  // each level 8 times coarser
  static constexpr unsigned kLevels = 9;
  struct Level {
    std::array<TimerNode, 1U << kLevelBits> heads;
    std::uint64_t occupied = 0;
  };
  std::array<Level, kLevels> levels_;
  std::int64_t now_tick_ = 0;
  std::size_t size_ = 0;
};

}  // namespace pollux
