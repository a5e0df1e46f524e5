#include "engine/host_dial.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace pollux {
namespace {

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;
};

SocketAddress socket_address(const Endpoint& e) {
  SocketAddress a;
  if (e.addr.is_v4()) {
    auto& in = reinterpret_cast<sockaddr_in&>(a.storage);
    in.sin_family = AF_INET;
    in.sin_port = htons(e.port);
    in.sin_addr.s_addr = htonl(e.addr.v4_value());
    a.size = sizeof in;
  } else {
    auto& in = reinterpret_cast<sockaddr_in6&>(a.storage);
    in.sin6_family = AF_INET6;
    in.sin6_port = htons(e.port);
    std::memcpy(&in.sin6_addr, e.addr.octets().data(), sizeof in.sin6_addr);
    a.size = sizeof in;
  }
  return a;
}

}  // namespace

bool HostDial::try_one(const Endpoint& target, int& error) {
  const SocketAddress a = socket_address(target);
  OwnedFd fd(socket(a.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int on = 1;
  if (fd.is_open()) (void)setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  const bool begun =
      fd.is_open() &&
      (connect(fd.get(), reinterpret_cast<const sockaddr*>(&a.storage), a.size) == 0 ||
       errno == EINPROGRESS);
  if (begun) id_ = poller_.add(fd.get(), shared_from_this());
  error = errno;
  if (id_ == HostPoller::kNone) return false;
  fd_ = std::move(fd);
  return true;
}

void HostDial::try_next(Instant now, int last_error) {
  while (next_ < targets_.size()) {
    if (try_one(targets_[next_++], last_error)) return;
  }
  finish({}, last_error, now);
}

void HostDial::on_ready(std::uint32_t events, Instant now) {
  int error = 0;
  socklen_t size = sizeof error;
  (void)getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  if (error == 0 && (events & EPOLLOUT) == 0) return;
  OwnedFd fd = std::move(fd_);
  poller_.remove(std::exchange(id_, HostPoller::kNone), fd.get());
  if (error == 0) return finish(std::move(fd), 0, now);
  try_next(now, error);
}

void HostDial::finish(OwnedFd fd, int error, Instant now) {
  const Done done = std::exchange(done_, nullptr);
  done(std::move(fd), error, now);
}

void HostDial::cancel() {
  if (id_ != HostPoller::kNone) poller_.remove(std::exchange(id_, HostPoller::kNone), fd_.get());
  fd_ = {};
  done_ = nullptr;
}

}  // namespace pollux
