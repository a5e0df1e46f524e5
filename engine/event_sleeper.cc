#include "engine/event_sleeper.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <stdexcept>
#include <string>
#include <system_error>

#include "engine/clock.h"

namespace pollux {

EventSleeper::EventSleeper(const std::vector<int>& queue_fds)
    : event_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  if (event_.get() < 0) {
    throw std::runtime_error("cannot create an eventfd: " + std::generic_category().message(errno));
  }
  polled_.push_back({.fd = event_.get(), .events = POLLIN, .revents = 0});
  for (const int fd : queue_fds) polled_.push_back({.fd = fd, .events = POLLIN, .revents = 0});
}

void EventSleeper::sleep(Instant deadline) noexcept {
  timespec timeout{};
  timespec* wait = nullptr;
  if (deadline != kNever) {
    const Duration left = std::max(deadline - monotonic_now(), Duration::zero());
    timeout.tv_sec = static_cast<time_t>(left / 1s);
    timeout.tv_nsec = static_cast<long>((left % 1s).count());
    wait = &timeout;
  }
  if (ppoll(polled_.data(), polled_.size(), wait, nullptr) <= 0) return;
  if (polled_[0].revents != 0) {
    eventfd_t value = 0;
    (void)eventfd_read(event_.get(), &value);
  }
}

void EventSleeper::wake() noexcept {
  if (flag_.must_wake()) (void)eventfd_write(event_.get(), 1);
}

}  // namespace pollux
