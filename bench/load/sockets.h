// Kernel sockets as the measurements want them: cubic, no Nagle, errors as exceptions.
#pragma once

#include <netinet/in.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace pollux::load {

using Clock = std::chrono::steady_clock;
using Instant = Clock::time_point;

/// A descriptor that closes itself.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& o) noexcept : fd_(o.fd_) { o.fd_ = -1; }
  Fd& operator=(Fd&& o) noexcept;
  ~Fd();
  int get() const { return fd_; }

 private:
  int fd_ = -1;
};

/// Throws std::system_error with errno and what was tried.
[[noreturn]] void fail(const std::string& what);

/// `address` of `text`, and the `offset`-th after it. Throws std::invalid_argument.
sockaddr_in address_of(const std::string& text, std::uint16_t port, std::uint32_t offset = 0);

/// A socket with TCP_CONGESTION=cubic and TCP_NODELAY.
Fd tcp_socket(bool blocking);
Fd connect_to(const sockaddr_in& address);
Fd listen_on(std::uint16_t port, int backlog);
void set_blocking(int fd, bool blocking);
/// A blocking call gives up after this.
void set_timeouts(int fd, std::chrono::milliseconds timeout);

class Epoll {
 public:
  Epoll();
  /// `token` comes back from wait().
  void add(int fd, std::uint32_t events, std::uint64_t token);
  void change(int fd, std::uint32_t events, std::uint64_t token);
  struct Ready {
    std::uint64_t token;
    std::uint32_t events;
  };
  /// Until something is ready or the time is over; 0 ms only looks.
  const std::vector<Ready>& wait(int timeout_ms);

 private:
  Fd fd_;
  std::vector<Ready> ready_;
};

struct TcpCounters {
  std::uint64_t acked = 0;          ///< octets that the peer acknowledged
  std::uint64_t retransmitted = 0;  ///< segments
};
TcpCounters counters_of(int fd);

/// As many descriptors as the hard limit, or root, allows.
void raise_descriptor_limit(std::uint64_t wanted);
/// False when the kernel refuses.
bool run_on_cpu(int cpu);
/// User and system time of this process.
double cpu_seconds();

}  // namespace pollux::load
