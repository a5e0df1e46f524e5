#include "engine/control.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <unordered_map>
#include <utility>
#include <vector>

namespace pollux::engine {
namespace {

using Clock = std::chrono::steady_clock;
using nlohmann::json;

constexpr std::size_t kMaxRequest = 4096;       ///< octets of one request line
constexpr std::size_t kMaxClients = 16;         ///< at once; the next one is closed
constexpr std::chrono::seconds kClientTime{1};  ///< without progress
constexpr int kBacklog = 16;

class Fd {
 public:
  explicit Fd(int fd = -1) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

[[noreturn]] void fail(const std::string& what, int error) {
  throw std::runtime_error(what + ": " + std::strerror(error));
}

sockaddr_un address_of(const std::string& path) {
  sockaddr_un a{};
  a.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof a.sun_path) {
    throw std::runtime_error("control socket path '" + path + "' must have 1..107 characters");
  }
  std::memcpy(a.sun_path, path.data(), path.size());
  return a;
}

Fd stream_socket(int flags) {
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0));
  if (fd.get() < 0) fail("cannot create a UNIX socket", errno);
  return fd;
}

/// 0, or the errno of connect().
int try_connect(const Fd& fd, const sockaddr_un& a) {
  return ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&a), sizeof a) == 0 ? 0 : errno;
}

void make_folder(const std::string& path) {
  const auto folder = std::filesystem::path(path).parent_path();
  std::error_code error;
  if (!folder.empty()) std::filesystem::create_directories(folder, error);
  if (error) {
    throw std::runtime_error("cannot create folder " + folder.string() + ": " + error.message() +
                             "; run as root or set control.socket");
  }
}

/// Removes a socket that a dead daemon left; anything else at `path` stays and is an error.
void remove_stale(const std::string& path, const sockaddr_un& a) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) return;
  if (!S_ISSOCK(info.st_mode)) {
    throw std::runtime_error("control socket " + path + ": the file exists and is not a socket");
  }
  // Non-blocking: EAGAIN is a full backlog, so somebody listens.
  const int error = try_connect(stream_socket(SOCK_NONBLOCK), a);
  if (error == 0 || error == EAGAIN) {
    throw std::runtime_error("a pollux daemon is already running at control socket " + path +
                             "; stop it or set control.socket to another path");
  }
  if (error == ENOENT) return;
  if (error != ECONNREFUSED) fail("cannot probe control socket " + path, error);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
    fail("cannot remove stale control socket " + path, errno);
  }
}

/// No client gets in between bind() and chmod(): connect() is refused before listen().
Fd listen_at(const std::string& path, const sockaddr_un& a) {
  Fd fd = stream_socket(SOCK_NONBLOCK);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&a), sizeof a) != 0) {
    fail("cannot bind control socket " + path, errno);
  }
  if (::chmod(path.c_str(), 0660) != 0 || ::listen(fd.get(), kBacklog) != 0) {
    const int error = errno;
    ::unlink(path.c_str());
    fail("cannot listen on control socket " + path, error);
  }
  return fd;
}

std::string to_line(const json& document) {
  return document.dump(-1, ' ', false, json::error_handler_t::replace) + '\n';
}

std::string answer(const ControlServer::Handler& handler, std::string_view command) {
  while (!command.empty() && (command.back() == '\r' || command.back() == ' ')) {
    command.remove_suffix(1);
  }
  try {
    return to_line(handler(command));
  } catch (const std::exception& e) {
    return to_line(json{{"error", e.what()}});
  }
}

struct Client {
  Fd fd;
  Clock::time_point deadline;
  std::string in;
  std::string out;
  std::size_t sent = 0;
  bool answering = false;
};

bool would_block() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

/// Writes what the socket takes; true when the client is done with, for good or bad.
bool flush(Client& c) {
  while (c.sent < c.out.size()) {
    const ssize_t n =
        ::send(c.fd.get(), c.out.data() + c.sent, c.out.size() - c.sent, MSG_NOSIGNAL);
    if (n < 0) return !would_block();
    c.sent += static_cast<std::size_t>(n);
    c.deadline = Clock::now() + kClientTime;
  }
  return true;
}

/// Reads up to a full line and answers it; true when the client is done with.
bool receive(Client& c, const ControlServer::Handler& handler) {
  std::array<char, kMaxRequest> buffer;
  while (!c.answering) {
    const ssize_t n = ::recv(c.fd.get(), buffer.data(), buffer.size(), 0);
    if (n < 0) return !would_block();
    if (n == 0) return true;
    c.in.append(buffer.data(), static_cast<std::size_t>(n));
    const std::size_t end = c.in.find('\n');
    if (end == std::string::npos && c.in.size() < kMaxRequest) continue;
    c.answering = true;
    c.out = end > kMaxRequest ? to_line(json{{"error", "request longer than 4096 octets"}})
                              : answer(handler, std::string_view(c.in).substr(0, end));
  }
  return flush(c);
}

}  // namespace

struct ControlServer::State {
  std::string path;
  Fd listener;
  Fd epoll;
  Fd timer;
  dev_t device = 0;
  ino_t inode = 0;
  std::unordered_map<int, Client> clients;

  void watch(int fd, std::uint32_t events) const {
    epoll_event e{};
    e.events = events;
    e.data.fd = fd;
    if (::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd, &e) != 0 &&
        ::epoll_ctl(epoll.get(), EPOLL_CTL_MOD, fd, &e) != 0) {
      fail("cannot watch control socket " + path, errno);
    }
  }

  /// The timer ticks only while there are clients whose time can run out.
  void set_timer(bool on) const {
    itimerspec t{};
    if (on) t.it_value.tv_nsec = t.it_interval.tv_nsec = 250'000'000;
    ::timerfd_settime(timer.get(), 0, &t, nullptr);
  }

  void accept_all() {
    for (;;) {
      Fd fd(::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (fd.get() < 0) return;
      if (clients.size() >= kMaxClients) continue;
      const int key = fd.get();
      watch(key, EPOLLIN);
      if (clients.empty()) set_timer(true);
      clients.emplace(key, Client{std::move(fd), Clock::now() + kClientTime, {}, {}, 0, false});
    }
  }

  void serve(int fd, const Handler& handler) {
    const auto it = clients.find(fd);
    if (it == clients.end()) return;
    Client& c = it->second;
    const bool done = c.answering ? flush(c) : receive(c, handler);
    if (done) {
      clients.erase(it);
    } else if (c.answering) {
      watch(fd, EPOLLOUT);
    }
  }

  void expire() {
    std::uint64_t ticks = 0;
    [[maybe_unused]] const ssize_t n = ::read(timer.get(), &ticks, sizeof ticks);
    std::erase_if(clients,
                  [now = Clock::now()](const auto& c) { return c.second.deadline <= now; });
  }
};

ControlServer::ControlServer(std::string path) : state_(std::make_unique<State>()) {
  const sockaddr_un a = address_of(path);
  make_folder(path);
  remove_stale(path, a);
  State& s = *state_;
  s.epoll = Fd(::epoll_create1(EPOLL_CLOEXEC));
  s.timer = Fd(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  if (s.epoll.get() < 0 || s.timer.get() < 0) fail("cannot create epoll for control", errno);
  s.listener = listen_at(path, a);
  s.path = std::move(path);
  struct stat info {};
  if (::lstat(s.path.c_str(), &info) == 0) {
    s.device = info.st_dev;
    s.inode = info.st_ino;
  }
  s.watch(s.listener.get(), EPOLLIN);
  s.watch(s.timer.get(), EPOLLIN);
}

ControlServer::~ControlServer() {
  // Only our own socket: somebody may have replaced it.
  struct stat info {};
  if (::lstat(state_->path.c_str(), &info) == 0 && info.st_dev == state_->device &&
      info.st_ino == state_->inode) {
    ::unlink(state_->path.c_str());
  }
}

int ControlServer::fd() const { return state_->epoll.get(); }

void ControlServer::on_ready(const Handler& handler) {
  std::array<epoll_event, kMaxClients + 2> events;
  const int n = ::epoll_wait(fd(), events.data(), static_cast<int>(events.size()), 0);
  for (int i = 0; i < n; ++i) {
    const int ready = events[static_cast<std::size_t>(i)].data.fd;
    if (ready == state_->listener.get()) {
      state_->accept_all();
    } else if (ready == state_->timer.get()) {
      state_->expire();
    } else {
      state_->serve(ready, handler);
    }
  }
  if (state_->clients.empty()) state_->set_timer(false);
}

namespace {

[[noreturn]] void fail_connect(const std::string& path, int error) {
  if (error == ENOENT || error == ECONNREFUSED) {
    throw std::runtime_error("no daemon answers at control socket " + path +
                             "; start one with 'pollux run' or give --control PATH");
  }
  const char* const mend = error == EACCES ? "; run as root or as a member of its group" : "";
  throw std::runtime_error("cannot reach control socket " + path + ": " + std::strerror(error) +
                           mend);
}

void send_all(const Fd& fd, const std::string& path, std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL);
    if (n < 0) fail("cannot ask the daemon at " + path, errno);
    text.remove_prefix(static_cast<std::size_t>(n));
  }
}

std::string read_all(const Fd& fd, const std::string& path) {
  std::string text;
  std::vector<char> buffer(64 * 1024);
  for (;;) {
    const ssize_t n = ::recv(fd.get(), buffer.data(), buffer.size(), 0);
    if (n == 0) return text;
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("no answer from the daemon at " + path, errno == EAGAIN ? ETIMEDOUT : errno);
    text.append(buffer.data(), static_cast<std::size_t>(n));
  }
}

}  // namespace

nlohmann::json control_request(const std::string& path, std::string_view command) {
  const sockaddr_un a = address_of(path);
  const Fd fd = stream_socket(0);
  const timeval limit{.tv_sec = 5, .tv_usec = 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  if (const int error = try_connect(fd, a); error != 0) fail_connect(path, error);
  send_all(fd, path, std::string(command) + '\n');
  json document = json::parse(read_all(fd, path), nullptr, false);
  if (document.is_discarded()) {
    throw std::runtime_error("the daemon at " + path + " closed without an answer");
  }
  if (document.is_object() && document.contains("error")) {
    const json& error = document["error"];
    throw std::runtime_error(error.is_string() ? error.get<std::string>() : error.dump());
  }
  return document;
}

}  // namespace pollux::engine
