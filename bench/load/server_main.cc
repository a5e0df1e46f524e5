// The kernel's TCP in the engine's place: echo, discard and chargen in one thread.
#include <sys/epoll.h>
#include <sys/socket.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <exception>
#include <map>
#include <memory>

#include "bench/load/sockets.h"

namespace pollux::load {
namespace {

volatile std::sig_atomic_t stop_asked = 0;

enum class Service : std::uint8_t { echo, discard, chargen };

struct Connection {
  Fd fd;
  Service service;
  std::string pending;  ///< of echo: what the kernel did not take yet
};

struct Options {
  bool poll = false;
  int cpu = -1;
};

class Server {
 public:
  explicit Server(bool poll) : poll_(poll), block_(kBlock, 'x') {
    constexpr std::uint16_t kPorts[] = {7, 9, 19};
    for (std::uint64_t i = 0; i < 3; ++i) {
      listeners_.push_back(listen_on(kPorts[i], 4096));
      epoll_.add(listeners_.back().get(), EPOLLIN, i);
    }
  }

  void run() {
    while (stop_asked == 0) {
      if (poll_ && !open_.empty() && open_.size() <= kFew) poll_few();
      for (const Epoll::Ready& ready : epoll_.wait(poll_ ? 0 : 100)) {
        if (ready.token < listeners_.size()) {
          accept_all(ready.token);
        } else {
          serve(ready.token);
        }
      }
    }
  }

 private:
  static constexpr std::size_t kBlock = 128 << 10;
  static constexpr std::size_t kFew = 2;
  static constexpr unsigned kRounds = 200;

  /// A server that has few connections asks them themselves: that is the fastest that it can be.
  void poll_few() {
    for (unsigned round = 0; round < kRounds; ++round) {
      // Serving may close one, so the next is found first.
      for (auto it = open_.begin(); it != open_.end();) serve((it++)->first);
    }
  }

  void accept_all(std::uint64_t listener) {
    while (true) {
      Fd fd(accept4(listeners_[listener].get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (fd.get() < 0) return;
      const auto service = static_cast<Service>(listener);
      const std::uint64_t token = next_token_++;
      epoll_.add(fd.get(), service == Service::chargen ? EPOLLOUT : EPOLLIN, token);
      open_.emplace(token, Connection{std::move(fd), service, {}});
    }
  }

  void serve(std::uint64_t token) {
    const auto found = open_.find(token);
    if (found == open_.end()) return;
    Connection& c = found->second;
    const bool stays = c.service == Service::chargen ? generate(c)
                       : c.service == Service::echo  ? echo(c, token)
                                                     : receive(c) != 0;
    if (!stays) open_.erase(found);
  }

  static bool would_block() { return errno == EAGAIN || errno == EINTR; }

  bool generate(const Connection& c) {
    return send(c.fd.get(), block_.data(), block_.size(), MSG_NOSIGNAL) > 0 || would_block();
  }

  /// Octets received; -1 when there are none now, 0 at the end.
  ssize_t receive(const Connection& c) {
    const ssize_t n = recv(c.fd.get(), block_.data(), block_.size(), 0);
    return n < 0 && !would_block() ? 0 : n;
  }

  bool echo(Connection& c, std::uint64_t token) {
    if (!c.pending.empty()) return flush(c, token);
    const ssize_t n = receive(c);
    if (n <= 0) return n < 0;
    const ssize_t sent = send(c.fd.get(), block_.data(), static_cast<std::size_t>(n), MSG_NOSIGNAL);
    if (sent < 0 && !would_block()) return false;
    const auto done = static_cast<std::size_t>(std::max<ssize_t>(sent, 0));
    if (done == static_cast<std::size_t>(n)) return true;
    c.pending.assign(block_.data() + done, static_cast<std::size_t>(n) - done);
    epoll_.change(c.fd.get(), EPOLLOUT, token);
    return true;
  }

  bool flush(Connection& c, std::uint64_t token) {
    const ssize_t sent = send(c.fd.get(), c.pending.data(), c.pending.size(), MSG_NOSIGNAL);
    if (sent < 0) return would_block();
    c.pending.erase(0, static_cast<std::size_t>(sent));
    if (c.pending.empty()) epoll_.change(c.fd.get(), EPOLLIN, token);
    return true;
  }

  bool poll_;
  Epoll epoll_;
  std::vector<char> block_;
  std::vector<Fd> listeners_;
  std::map<std::uint64_t, Connection> open_;
  std::uint64_t next_token_ = 3;  // behind the listeners
};

int parse(int argc, char** argv, Options& o) {
  CLI::App app("Serves echo (7), discard (9) and chargen (19) with the kernel's TCP and cubic.");
  app.add_flag("--poll", o.poll, "Never sleep; the default is to block");
  app.add_option("--cpu", o.cpu, "The CPU to run on")->check(CLI::NonNegativeNumber);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int status = app.exit(error);
    return status == 0 ? 0 : 2;
  }
  return -1;
}

void serve(const Options& options) {
  if (options.cpu >= 0 && !run_on_cpu(options.cpu)) fail("cannot run on that CPU");
  struct sigaction action {};
  action.sa_handler = [](int) { stop_asked = 1; };
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  raise_descriptor_limit(1 << 18);
  Server server(options.poll);
  std::puts("ready");
  std::fflush(stdout);
  server.run();
}

}  // namespace
}  // namespace pollux::load

int main(int argc, char** argv) {
  pollux::load::Options options;
  const int status = pollux::load::parse(argc, argv, options);
  if (status >= 0) return status;
  try {
    pollux::load::serve(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "pollux_kernel_server: %s\n", error.what());
    return 1;
  }
  return 0;
}
