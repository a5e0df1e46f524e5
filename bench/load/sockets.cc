#include "bench/load/sockets.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace pollux::load {
namespace {

void set_option(int fd, int level, int name, int value, const char* what) {
  if (setsockopt(fd, level, name, &value, sizeof value) != 0) fail(what);
}

void use_cubic(int fd) {
  constexpr std::array<char, 5> kName{'c', 'u', 'b', 'i', 'c'};
  if (setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, kName.data(), kName.size()) != 0) {
    fail("cannot use cubic");
  }
}

}  // namespace

Fd& Fd::operator=(Fd&& o) noexcept {
  std::swap(fd_, o.fd_);
  return *this;
}

Fd::~Fd() {
  if (fd_ >= 0) close(fd_);
}

void fail(const std::string& what) {
  throw std::system_error(errno, std::generic_category(), what);
}

sockaddr_in address_of(const std::string& text, std::uint16_t port, std::uint32_t offset) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  if (inet_pton(AF_INET, text.c_str(), &address.sin_addr) != 1) {
    throw std::invalid_argument("not an IPv4 address: " + text);
  }
  address.sin_addr.s_addr = htonl(ntohl(address.sin_addr.s_addr) + offset);
  return address;
}

Fd tcp_socket(bool blocking) {
  const int type = SOCK_STREAM | SOCK_CLOEXEC | (blocking ? 0 : SOCK_NONBLOCK);
  Fd fd(socket(AF_INET, type, 0));
  if (fd.get() < 0) fail("cannot open a socket");
  use_cubic(fd.get());
  set_option(fd.get(), IPPROTO_TCP, TCP_NODELAY, 1, "cannot set TCP_NODELAY");
  return fd;
}

Fd connect_to(const sockaddr_in& address) {
  Fd fd = tcp_socket(true);
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    fail("cannot connect");
  }
  return fd;
}

Fd listen_on(std::uint16_t port, int backlog) {
  Fd fd = tcp_socket(false);
  set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1, "cannot set SO_REUSEADDR");
  const sockaddr_in address = address_of("0.0.0.0", port);
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    fail("cannot bind port " + std::to_string(port));
  }
  if (listen(fd.get(), backlog) != 0) fail("cannot listen");
  return fd;
}

void set_blocking(int fd, bool blocking) {
  const int flags = fcntl(fd, F_GETFL);
  const int wanted = blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK;
  if (flags < 0 || fcntl(fd, F_SETFL, wanted) != 0) fail("cannot change a socket's mode");
}

void set_timeouts(int fd, std::chrono::milliseconds timeout) {
  const timeval value{timeout.count() / 1000, timeout.count() % 1000 * 1000};
  for (const int name : {SO_SNDTIMEO, SO_RCVTIMEO}) {
    if (setsockopt(fd, SOL_SOCKET, name, &value, sizeof value) != 0) fail("cannot set a timeout");
  }
}

Epoll::Epoll() : fd_(epoll_create1(EPOLL_CLOEXEC)) {
  if (fd_.get() < 0) fail("cannot make an epoll set");
}

void Epoll::add(int fd, std::uint32_t events, std::uint64_t token) {
  epoll_event event{events, {.u64 = token}};
  if (epoll_ctl(fd_.get(), EPOLL_CTL_ADD, fd, &event) != 0) fail("cannot watch a socket");
}

void Epoll::change(int fd, std::uint32_t events, std::uint64_t token) {
  epoll_event event{events, {.u64 = token}};
  if (epoll_ctl(fd_.get(), EPOLL_CTL_MOD, fd, &event) != 0) fail("cannot watch a socket");
}

const std::vector<Epoll::Ready>& Epoll::wait(int timeout_ms) {
  std::array<epoll_event, 64> events;
  const int n = epoll_wait(fd_.get(), events.data(), static_cast<int>(events.size()), timeout_ms);
  ready_.clear();
  for (int i = 0; i < n; ++i) {
    const epoll_event& event = events[static_cast<std::size_t>(i)];
    ready_.push_back({event.data.u64, event.events});
  }
  return ready_;
}

TcpCounters counters_of(int fd) {
  tcp_info info{};
  socklen_t size = sizeof info;
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) fail("cannot read TCP_INFO");
  return {info.tcpi_bytes_acked, info.tcpi_total_retrans};
}

void raise_descriptor_limit(std::uint64_t wanted) {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  const rlimit more{wanted, std::max<rlim_t>(wanted, limit.rlim_max)};
  if (setrlimit(RLIMIT_NOFILE, &more) == 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

bool run_on_cpu(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<std::size_t>(cpu), &set);
  return sched_setaffinity(0, sizeof set, &set) == 0;
}

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace pollux::load
