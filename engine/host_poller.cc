#include "engine/host_poller.h"

#include <sys/epoll.h>

#include <array>
#include <cerrno>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace pollux {
namespace {

constexpr int kEventsPerTurn = 64;
constexpr std::uint32_t kBufferSize = 64U << 10;
constexpr std::size_t kMaxBuffers = 1024;  // 64 MiB a worker; past that relays wait for ACKs

}  // namespace

HostPoller::HostPoller()
    : epoll_(epoll_create1(EPOLL_CLOEXEC)),
      buffers_({.slot_size = kBufferSize, .max_slots = kMaxBuffers, .chunk_slots = 16}) {
  if (!epoll_.is_open()) {
    throw std::runtime_error("cannot create an epoll set: " +
                             std::generic_category().message(errno));
  }
}

HostPoller::~HostPoller() = default;

HostPoller::Id HostPoller::add(int fd, std::shared_ptr<HostHandler> handler) {
  const Id id = next_id_++;
  epoll_event e{};
  e.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  e.data.u64 = id;
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &e) != 0) return kNone;
  handlers_.emplace(id, std::move(handler));
  set_active(true);
  return id;
}

void HostPoller::remove(Id id, int fd) {
  const auto it = handlers_.find(id);
  if (it == handlers_.end()) return;
  (void)epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  const std::shared_ptr<HostHandler> handler = std::move(it->second);
  handlers_.erase(it);
  if (polling_) removed_.push_back(handler);
  set_active(!handlers_.empty());
}

void HostPoller::dispatch(Id id, std::uint32_t events, Instant now) {
  const auto it = handlers_.find(id);
  if (it != handlers_.end()) it->second->on_ready(events, now);
}

bool HostPoller::poll(Instant now) noexcept {
  std::array<epoll_event, kEventsPerTurn> events;
  polling_ = true;
  for (const Id id : std::exchange(again_, {})) dispatch(id, 0, now);
  const int n = epoll_wait(epoll_.get(), events.data(), kEventsPerTurn, 0);
  for (int i = 0; i < n; ++i) {
    const epoll_event& e = events[static_cast<std::size_t>(i)];
    dispatch(e.data.u64, e.events, now);
  }
  polling_ = false;
  removed_.clear();
  return n > 0;
}

}  // namespace pollux
