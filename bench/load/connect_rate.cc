// Lives of connections: connect, one octet there and back, close; so many at a time.
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "bench/load/client.h"
#include "bench/load/histogram.h"

namespace pollux::load {
namespace {

struct Life {
  Fd fd;
  Instant begin;
  bool asked = false;
};

class ConnectRate {
 public:
  explicit ConnectRate(const Options& o) : options_(o), lives_(o.connections), window_(o) {}

  nlohmann::json run() {
    for (std::size_t i = 0; i < lives_.size(); ++i) start(i);
    while (!window_.over(now_)) {
      for (const Epoll::Ready& ready : epoll_.wait(options_.spin ? 0 : 1000)) go_on(ready.token);
      now_ = Clock::now();
    }
    return report();
  }

 private:
  void start(std::size_t i) {
    Life& life = lives_[i];
    life.begin = Clock::now();
    life.asked = false;
    life.fd = Fd();
    life.fd = tcp_socket(false);
    const sockaddr_in to = options_.target(next_target_++);
    const int status = connect(life.fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to);
    if (status != 0 && errno != EINPROGRESS) fail("cannot connect");
    epoll_.add(life.fd.get(), EPOLLOUT, i);
  }

  void go_on(std::size_t i) {
    Life& life = lives_[i];
    char octet = 'x';
    if (!life.asked) {
      if (send(life.fd.get(), &octet, 1, MSG_NOSIGNAL) != 1) fail("cannot connect");
      life.asked = true;
      epoll_.change(life.fd.get(), EPOLLIN, i);
      return;
    }
    const ssize_t n = recv(life.fd.get(), &octet, 1, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n != 1) fail("no echo");
    count(life);
    start(i);
  }

  void count(const Life& life) {
    if (!window_.begun(life.begin)) return;
    const auto took =
        std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - life.begin);
    histogram_.add(static_cast<std::uint64_t>(took.count()));
  }

  nlohmann::json report() const {
    const double took = std::chrono::duration<double>(now_ - window_.begin()).count();
    return {{"count", histogram_.count()},
            {"seconds", took},
            {"per_second", static_cast<double>(histogram_.count()) / took},
            {"p50_us", static_cast<double>(histogram_.quantile(0.5)) / 1e3},
            {"p99_us", static_cast<double>(histogram_.quantile(0.99)) / 1e3}};
  }

  Options options_;
  std::vector<Life> lives_;
  Window window_;
  Epoll epoll_;
  Instant now_;
  Histogram histogram_;
  std::uint32_t next_target_ = 0;
};

}  // namespace

nlohmann::json connect_rate(const Options& options) { return ConnectRate(options).run(); }

}  // namespace pollux::load
