#include "workers/task_timers.h"

namespace pollux {

TaskTimer::~TaskTimer() {
  if (timers_ != nullptr) timers_->arm(*this, kNever);
}

TaskTimers::~TaskTimers() {
  while (!queue_.empty()) arm(*queue_.begin()->second, kNever);
}

void TaskTimers::arm(TaskTimer& timer, Instant deadline) {
  if (timer.timers_ != nullptr) queue_.erase({timer.deadline_, &timer});
  timer.timers_ = deadline == kNever ? nullptr : this;
  timer.deadline_ = deadline;
  if (deadline != kNever) queue_.emplace(deadline, &timer);
}

void TaskTimers::run(Instant now) {
  // As many as there are now: one that is armed for the past meanwhile comes to the front again.
  for (std::size_t left = queue_.size(); left > 0 && next_deadline() <= now; --left) {
    TaskTimer& timer = *queue_.begin()->second;
    arm(timer, kNever);
    timer.due_(now);
  }
}

}  // namespace pollux
