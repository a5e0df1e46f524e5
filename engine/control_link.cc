#include "engine/control_link.h"

#include <sys/eventfd.h>

#include <cerrno>
#include <nlohmann/json.hpp>
#include <utility>

#include "engine/unix_socket.h"

namespace pollux::engine {
namespace {

template <class Json>
std::string line_of(const Json& document) {
  return document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + '\n';
}

}  // namespace

ControlBell::ControlBell() : event(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  if (!event.is_open()) fail_with("cannot create an eventfd", errno);
}

void ControlBell::ring() const noexcept { (void)eventfd_write(event.get(), 1); }

void ControlBell::clear() const noexcept {
  eventfd_t value = 0;
  (void)eventfd_read(event.get(), &value);
}

bool ControlLink::send(const nlohmann::ordered_json& line) {
  const std::string text = to_line(line);
  bool taken = false;
  {
    const std::lock_guard lock(mutex_);
    if (closed_ || finished_ || overrun_) return false;
    taken = queued_.size() + text.size() <= kMaxBacklog;
    overrun_ = !taken;
    if (taken) queued_ += text;
  }
  bell_->ring();
  return taken;
}

void ControlLink::finish() {
  {
    const std::lock_guard lock(mutex_);
    finished_ = true;
  }
  bell_->ring();
}

bool ControlLink::is_finished() const {
  const std::lock_guard lock(mutex_);
  return finished_;
}

bool ControlLink::is_overrun() const {
  const std::lock_guard lock(mutex_);
  return overrun_;
}

ControlLink::Taken ControlLink::take() {
  const std::lock_guard lock(mutex_);
  return {std::exchange(queued_, {}), finished_};
}

void ControlLink::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  queued_.clear();
}

std::string to_line(const nlohmann::json& document) { return line_of(document); }
std::string to_line(const nlohmann::ordered_json& document) { return line_of(document); }

}  // namespace pollux::engine
