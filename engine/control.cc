#include "engine/control.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
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

#include "engine/unix_socket.h"

namespace pollux::engine {
namespace {

using Clock = std::chrono::steady_clock;
using nlohmann::json;

constexpr std::size_t kMaxRequest = 4096;       ///< octets of one request line
constexpr std::size_t kMaxClients = 16;         ///< without a session; the next one is closed
constexpr std::size_t kMaxSessions = 64;        ///< at once; the next one is refused
constexpr std::chrono::seconds kClientTime{1};  ///< without progress
constexpr Clock::time_point kNoDeadline = Clock::time_point::max();
constexpr int kBacklog = 16;
constexpr int kEventsAtOnce = 32;

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
  const int error = unix_connect(unix_stream_socket(SOCK_NONBLOCK), a);
  if (error == 0 || error == EAGAIN) {
    throw std::runtime_error("a pollux daemon is already running at control socket " + path +
                             "; stop it or set control.socket to another path");
  }
  if (error == ENOENT) return;
  if (error != ECONNREFUSED) fail_with("cannot probe control socket " + path, error);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
    fail_with("cannot remove stale control socket " + path, errno);
  }
}

/// No client gets in between bind() and chmod(): connect() is refused before listen().
OwnedFd listen_at(const std::string& path, const sockaddr_un& a) {
  OwnedFd fd = unix_stream_socket(SOCK_NONBLOCK);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&a), sizeof a) != 0) {
    fail_with("cannot bind control socket " + path, errno);
  }
  if (::chmod(path.c_str(), 0660) != 0 || ::listen(fd.get(), kBacklog) != 0) {
    const int error = errno;
    ::unlink(path.c_str());
    fail_with("cannot listen on control socket " + path, error);
  }
  return fd;
}

/// What becomes of a client after an event.
enum class Fate : std::uint8_t { stays, served, gone };

struct Client {
  OwnedFd fd;
  Clock::time_point deadline;
  std::string in = {};
  OwnedFd passed = {};
  std::string out = {};
  std::size_t sent = 0;
  bool answering = false;
  std::shared_ptr<ControlLink> link = {};  ///< of a session
  ControlRequest::Events events = {};

  bool is_endless() const { return link != nullptr && !link->is_finished(); }
  void note_progress() { deadline = is_endless() ? kNoDeadline : Clock::now() + kClientTime; }
};

bool would_block() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

/// Writes what the socket takes of `out`: served when it took all.
Fate flush(Client& c) {
  while (c.sent < c.out.size()) {
    const ssize_t n =
        ::send(c.fd.get(), c.out.data() + c.sent, c.out.size() - c.sent, MSG_NOSIGNAL);
    if (n < 0) return would_block() ? Fate::stays : Fate::gone;
    c.sent += static_cast<std::size_t>(n);
    c.note_progress();
  }
  return Fate::served;
}

/// Writes the answer, then what the session has.
Fate pump(Client& c) {
  if (c.link != nullptr && c.link->is_overrun()) return Fate::gone;
  for (;;) {
    const Fate fate = flush(c);
    if (fate == Fate::stays && c.deadline == kNoDeadline) c.note_progress();
    if (fate != Fate::served || c.link == nullptr) return fate;
    ControlLink::Taken taken = c.link->take();
    if (taken.text.empty()) return taken.finished ? Fate::served : Fate::stays;
    c.out = std::move(taken.text);
    c.sent = 0;
  }
}

std::string answer(Client& c, const ControlServer::Handler& handler,
                   const ControlRequest::Opener& open) {
  std::string_view command(c.in);
  command = command.substr(0, command.find('\n'));
  while (!command.empty() && (command.back() == '\r' || command.back() == ' ')) {
    command.remove_suffix(1);
  }
  try {
    ControlRequest request(command, c.passed, open);
    const json document = handler(request);
    return c.link != nullptr && document.is_null() ? std::string() : to_line(document);
  } catch (const std::exception& e) {
    if (c.link != nullptr) c.link->close();
    c.link.reset();
    return to_line(json{{"error", e.what()}});
  }
}

/// Reads up to a full line and answers it.
Fate receive(Client& c, const ControlServer::Handler& handler, const ControlRequest::Opener& open) {
  std::array<char, kMaxRequest> buffer;
  while (!c.answering) {
    const ssize_t n = receive_passed(c.fd, buffer.data(), buffer.size(), c.passed);
    if (n < 0) return would_block() ? Fate::stays : Fate::gone;
    if (n == 0) return Fate::gone;
    c.in.append(buffer.data(), static_cast<std::size_t>(n));
    const std::size_t end = c.in.find('\n');
    if (end == std::string::npos && c.in.size() < kMaxRequest) continue;
    c.answering = true;
    c.out = end > kMaxRequest ? to_line(json{{"error", "request longer than 4096 octets"}})
                              : answer(c, handler, open);
    c.passed = {};
    if (c.link != nullptr && end + 1 < c.in.size()) c.events.on_stop();  // said in one breath
  }
  return pump(c);
}

/// Whatever a session's client says, it wants the end.
Fate look_for_end(const Client& c) {
  std::array<char, kMaxRequest> ignored;
  const ssize_t n = ::recv(c.fd.get(), ignored.data(), ignored.size(), 0);
  if (n > 0) c.events.on_stop();
  return n > 0 || (n < 0 && would_block()) ? Fate::stays : Fate::gone;
}

}  // namespace

struct ControlServer::State {
  std::string path;
  OwnedFd listener;
  OwnedFd epoll;
  OwnedFd timer;
  std::shared_ptr<const ControlBell> bell = std::make_shared<ControlBell>();
  dev_t device = 0;
  ino_t inode = 0;
  bool ticking = false;
  std::unordered_map<int, Client> clients;

  void watch(int fd, std::uint32_t events) const {
    epoll_event e{};
    e.events = events;
    e.data.fd = fd;
    if (::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd, &e) != 0 &&
        ::epoll_ctl(epoll.get(), EPOLL_CTL_MOD, fd, &e) != 0) {
      fail_with("cannot watch control socket " + path, errno);
    }
  }

  /// The timer ticks only while there are clients whose time can run out.
  void set_timer() {
    const bool wanted = std::any_of(clients.begin(), clients.end(),
                                    [](const auto& c) { return c.second.deadline != kNoDeadline; });
    if (wanted == ticking) return;
    ticking = wanted;
    itimerspec t{};
    if (wanted) t.it_value.tv_nsec = t.it_interval.tv_nsec = 250'000'000;
    ::timerfd_settime(timer.get(), 0, &t, nullptr);
  }

  std::size_t sessions() const {
    return static_cast<std::size_t>(std::count_if(
        clients.begin(), clients.end(), [](const auto& c) { return c.second.link != nullptr; }));
  }

  void accept_all() {
    for (;;) {
      OwnedFd fd(::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (!fd.is_open()) return;
      if (clients.size() - sessions() >= kMaxClients) continue;
      const int key = fd.get();
      watch(key, EPOLLIN);
      clients.emplace(key, Client{std::move(fd), Clock::now() + kClientTime});
    }
  }

  std::shared_ptr<ControlLink> open_session(Client& c, ControlRequest::Events events) const {
    if (sessions() >= kMaxSessions) {
      throw std::runtime_error("the daemon has " + std::to_string(kMaxSessions) +
                               " sessions already; end one");
    }
    c.link = std::make_shared<ControlLink>(bell);
    c.events = std::move(events);
    c.deadline = kNoDeadline;
    return c.link;
  }

  void serve(int fd, const Handler& handler) {
    const auto it = clients.find(fd);
    if (it == clients.end()) return;
    Client& c = it->second;
    if (!c.answering) {
      return settle(fd, receive(c, handler, [this, &c](ControlRequest::Events events) {
                      return open_session(c, std::move(events));
                    }));
    }
    settle(fd, c.link != nullptr && look_for_end(c) == Fate::gone ? Fate::gone : pump(c));
  }

  /// After an event of the client `fd`.
  void settle(int fd, Fate fate) {
    const auto it = clients.find(fd);
    if (fate != Fate::stays) return end(it, fate);
    const Client& c = it->second;
    if (!c.answering) return;
    const bool blocked = c.sent < c.out.size();
    watch(fd, (c.link != nullptr ? EPOLLIN : 0U) | (blocked ? EPOLLOUT : 0U));
  }

  void end(std::unordered_map<int, Client>::iterator it, Fate fate) {
    const std::shared_ptr<ControlLink> link = it->second.link;
    const std::function<void()> on_gone = std::move(it->second.events.on_gone);
    clients.erase(it);
    if (link == nullptr) return;
    link->close();
    if (fate == Fate::gone && on_gone) on_gone();
  }

  template <class F>
  std::vector<int> those(F&& wanted) const {
    std::vector<int> fds;
    for (const auto& [fd, c] : clients) {
      if (wanted(c)) fds.push_back(fd);
    }
    return fds;
  }

  void pump_sessions() {
    bell->clear();
    for (const int fd : those([](const Client& c) { return c.link != nullptr; })) {
      settle(fd, pump(clients.at(fd)));
    }
  }

  void expire() {
    std::uint64_t ticks = 0;
    [[maybe_unused]] const ssize_t n = ::read(timer.get(), &ticks, sizeof ticks);
    const auto now = Clock::now();
    for (const int fd : those([now](const Client& c) { return c.deadline <= now; })) {
      end(clients.find(fd), Fate::gone);
    }
  }
};

ControlServer::ControlServer(std::string path) : state_(std::make_unique<State>()) {
  const sockaddr_un a = unix_address(path);
  make_folder(path);
  remove_stale(path, a);
  State& s = *state_;
  s.epoll = OwnedFd(::epoll_create1(EPOLL_CLOEXEC));
  s.timer = OwnedFd(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  if (!s.epoll.is_open() || !s.timer.is_open()) fail_with("cannot create epoll for control", errno);
  s.listener = listen_at(path, a);
  s.path = std::move(path);
  struct stat info {};
  if (::lstat(s.path.c_str(), &info) == 0) {
    s.device = info.st_dev;
    s.inode = info.st_ino;
  }
  for (const int fd : {s.listener.get(), s.timer.get(), s.bell->event.get()}) s.watch(fd, EPOLLIN);
}

ControlServer::~ControlServer() {
  for (auto& [fd, c] : state_->clients) {
    if (c.link == nullptr) continue;
    pump(c);
    c.link->close();
  }
  // Only our own socket: somebody may have replaced it.
  struct stat info {};
  if (::lstat(state_->path.c_str(), &info) == 0 && info.st_dev == state_->device &&
      info.st_ino == state_->inode) {
    ::unlink(state_->path.c_str());
  }
}

int ControlServer::fd() const { return state_->epoll.get(); }

void ControlServer::on_ready(const Handler& handler) {
  std::array<epoll_event, kEventsAtOnce> events;
  const int n = ::epoll_wait(fd(), events.data(), kEventsAtOnce, 0);
  for (int i = 0; i < n; ++i) {
    const int ready = events[static_cast<std::size_t>(i)].data.fd;
    if (ready == state_->listener.get()) {
      state_->accept_all();
    } else if (ready == state_->timer.get()) {
      state_->expire();
    } else if (ready == state_->bell->event.get()) {
      state_->pump_sessions();
    } else {
      state_->serve(ready, handler);
    }
  }
  state_->set_timer();
}

}  // namespace pollux::engine
