// Hierarchical timer wheel, one per worker: O(1) arm, cancel and expire, no cascades (a level is
// 8 times coarser than the one below). Ticks of 2^16 ns (65.5 us). An entry fires never early, and
// late by at most two ticks plus 8/63 of the delay it was armed with, counted from the last
// advance().
//
// Lazy re-arm: moving a deadline later is a store to the owner's own deadline; the owner compares
// on expiry and arms again. Only moving it earlier needs arm().
#pragma once

#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>

#include "proto/base/time.h"

namespace pollux {

struct TimerLink {
  TimerLink* prev = nullptr;
  TimerLink* next = nullptr;
};

/// Intrusive entry; the owner derives from it or holds it, and cancels before it destroys
/// (checked).
struct TimerNode : TimerLink {
  TimerNode() = default;
  TimerNode(const TimerNode&) = delete;
  TimerNode& operator=(const TimerNode&) = delete;
  ~TimerNode() { assert(!armed()); }
  bool armed() const { return next != nullptr; }

  std::int64_t expires_tick = 0;
  std::uint16_t bucket = 0;
};

class TimerWheel {
 public:
  explicit TimerWheel(Instant start);
  TimerWheel(const TimerWheel&) = delete;
  TimerWheel& operator=(const TimerWheel&) = delete;
  /// Entries that are still armed become unarmed.
  ~TimerWheel();

  /// Tells the wheel the time without firing anything: call it first in a turn, before arm(), so
  /// that delays count from now and not from the turn before the sleep. Time never goes back.
  void advance(Instant now);
  /// Arms or moves; kNever cancels. A deadline at or before now fires in a turn of a later tick.
  void arm(TimerNode& node, Instant deadline);
  void cancel(TimerNode& node);
  /// Takes the next due entry out of the wheel (it is unarmed on return), or nullptr when none is
  /// due at `now`. Call until nullptr; an entry armed meanwhile for the past is due on a later
  /// turn, so the loop ends. Advances.
  TimerNode* expire(Instant now);
  /// The earliest instant at which expire() may give something; kNever when empty. Never later
  /// than that of any entry, which is its deadline rounded up to its bucket.
  Instant next_deadline() const;
  std::size_t size() const { return size_; }

 private:
  static constexpr unsigned kTickShift = 16;
  static constexpr unsigned kLevelBits = 6;   // 64 buckets a level
  static constexpr unsigned kLevelShift = 3;  // each level 8 times coarser
  static constexpr unsigned kLevels = 9;      // 19.5 hours; later ones are placed again on the way
  static constexpr std::int64_t kBuckets = 1 << kLevelBits;
  struct Level {
    std::array<TimerLink, kBuckets> heads;
    std::uint64_t occupied = 0;
  };

  void place(TimerNode& node);
  void unlink(TimerNode& node);
  void collect(Level& level, std::uint64_t buckets);

  std::array<Level, kLevels> levels_;
  TimerLink due_;  // collected by advance(), not yet given out
  std::int64_t now_tick_ = 0;
  std::size_t size_ = 0;
};

}  // namespace pollux
