// Requests and their echoes, one under way on each connection (a closed loop).
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "bench/load/client.h"
#include "bench/load/histogram.h"

namespace pollux::load {
namespace {

struct Conversation {
  Fd fd;
  Instant sent;
  std::size_t missing = 0;  ///< octets of the answer
};

class RoundTrips {
 public:
  explicit RoundTrips(const Options& o)
      : options_(o), request_(o.size, 'x'), buffer_(o.size), talks_(o.connections), window_(o) {
    for (std::uint32_t i = 0; i < o.connections; ++i) talks_[i].fd = connect_to(o.target(i));
  }

  nlohmann::json run() {
    window_ = Window(options_);
    if (talks_.size() == 1) {
      one();
    } else {
      several();
    }
    return report();
  }

 private:
  void ask(Conversation& talk) {
    talk.missing = request_.size();
    talk.sent = Clock::now();
    const ssize_t n = send(talk.fd.get(), request_.data(), request_.size(), MSG_NOSIGNAL);
    if (n != static_cast<ssize_t>(request_.size())) fail("cannot send a request");
  }

  /// True when the answer is complete, which is then counted.
  bool hear(Conversation& talk, int flags) {
    const ssize_t n = recv(talk.fd.get(), buffer_.data(), talk.missing, flags);
    if (n == 0) throw std::runtime_error("the server ended the connection");
    if (n < 0 && errno != EAGAIN && errno != EINTR) fail("the connection broke");
    if (n > 0) talk.missing -= static_cast<std::size_t>(n);
    if (talk.missing != 0) return false;
    now_ = Clock::now();
    if (window_.begun(talk.sent)) {
      const auto took = std::chrono::duration_cast<std::chrono::nanoseconds>(now_ - talk.sent);
      histogram_.add(static_cast<std::uint64_t>(took.count()));
    }
    return true;
  }

  void one() {
    Conversation& talk = talks_[0];
    set_timeouts(talk.fd.get(), std::chrono::seconds(5));
    const int flags = options_.spin ? MSG_DONTWAIT : 0;
    while (!window_.over(now_)) {
      ask(talk);
      while (!hear(talk, flags)) {
        if (!options_.spin && errno == EAGAIN) throw std::runtime_error("no answer in 5 s");
      }
    }
  }

  void several() {
    Epoll epoll;
    for (std::size_t i = 0; i < talks_.size(); ++i) {
      set_blocking(talks_[i].fd.get(), false);
      epoll.add(talks_[i].fd.get(), EPOLLIN, i);
      ask(talks_[i]);
    }
    while (!window_.over(now_)) {
      for (const Epoll::Ready& ready : epoll.wait(options_.spin ? 0 : 5000)) {
        Conversation& talk = talks_[ready.token];
        if (hear(talk, 0)) ask(talk);
      }
      now_ = Clock::now();
    }
  }

  nlohmann::json report() const {
    const double took = std::chrono::duration<double>(now_ - window_.begin()).count();
    nlohmann::json buckets = nlohmann::json::array();
    for (std::size_t i = 0; i < histogram_.buckets().size(); ++i) {
      const std::uint64_t n = histogram_.buckets()[i];
      if (n != 0) buckets.push_back({Histogram::lowest_of(i), n});
    }
    const auto us = [this](double share) {
      return static_cast<double>(histogram_.quantile(share)) / 1e3;
    };
    return {{"count", histogram_.count()},
            {"seconds", took},
            {"per_second", static_cast<double>(histogram_.count()) / took},
            {"p50_us", us(0.5)},
            {"p90_us", us(0.9)},
            {"p99_us", us(0.99)},
            {"p999_us", us(0.999)},
            {"max_us", static_cast<double>(histogram_.max()) / 1e3},
            {"histogram_ns", buckets}};
  }

  Options options_;
  std::vector<char> request_;
  std::vector<char> buffer_;
  std::vector<Conversation> talks_;
  Window window_;
  Instant now_;
  Histogram histogram_;
};

}  // namespace

nlohmann::json round_trips(const Options& options) { return RoundTrips(options).run(); }

}  // namespace pollux::load
