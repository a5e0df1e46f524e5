// How a thread of the engine sleeps and is woken: ppoll on an eventfd and on the queues that it
// reads. The eventfd is written only when the sleeper said that it sleeps.
#pragma once

#include <poll.h>

#include <vector>

#include "engine/rx_stage.h"
#include "engine/tun.h"
#include "workers/sleep.h"
#include "workers/worker.h"

namespace pollux {

class EventSleeper final : public Sleeper, public Waker {
 public:
  /// `queue_fds`: what else ends a sleep by becoming readable. Throws std::runtime_error.
  explicit EventSleeper(const std::vector<int>& queue_fds);

  void prepare() noexcept override { flag_.prepare(); }
  void sleep(Instant deadline) noexcept override;
  void done() noexcept override { flag_.done(); }
  /// Any thread, after it published something.
  void wake() noexcept override;

 private:
  SleepFlag flag_;
  OwnedFd event_;
  std::vector<pollfd> polled_;
};
static_assert(kOwnLine<EventSleeper>);

}  // namespace pollux
