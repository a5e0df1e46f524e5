// Timers of services that no connection carries: few of them, but exact. A connection's deadlines
// are the wheel's, which has a million of them and may be an eighth late.
#pragma once

#include <cstddef>
#include <functional>
#include <set>
#include <utility>

#include "proto/base/time.h"

namespace pollux {

class TaskTimers;

/// One deadline and what to do then. Its owner may destroy it at any time but within `due`.
class TaskTimer {
 public:
  /// `due` gets the instant of the turn; it may arm this timer again.
  explicit TaskTimer(std::function<void(Instant)> due) : due_(std::move(due)) {}
  TaskTimer(const TaskTimer&) = delete;
  TaskTimer& operator=(const TaskTimer&) = delete;
  ~TaskTimer();
  bool armed() const { return timers_ != nullptr; }

 private:
  friend class TaskTimers;
  std::function<void(Instant)> due_;
  TaskTimers* timers_ = nullptr;
  Instant deadline_ = kNever;
};

class TaskTimers {
 public:
  TaskTimers() = default;
  TaskTimers(const TaskTimers&) = delete;
  TaskTimers& operator=(const TaskTimers&) = delete;
  /// Timers that are still armed become unarmed.
  ~TaskTimers();
  /// Arms or moves; kNever cancels.
  void arm(TaskTimer& timer, Instant deadline);
  /// Fires what is due, in the order of deadlines and each at most once: what arms itself again for
  /// the past waits for the next turn.
  void run(Instant now);
  Instant next_deadline() const { return queue_.empty() ? kNever : queue_.begin()->first; }
  std::size_t size() const { return queue_.size(); }

 private:
  using Queue = std::set<std::pair<Instant, TaskTimer*>>;
  Queue queue_;
};

}  // namespace pollux
