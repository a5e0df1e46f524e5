// Bulk transfers. One flow is a blocking loop, which costs least; several are level-triggered
// epoll, one call for each that is ready.
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <stdexcept>
#include <thread>

#include "bench/load/client.h"
#include "bench/load/iperf3_test_run.h"

namespace pollux::load {
namespace {

constexpr std::size_t kBlock = 128 << 10;

struct Flow {
  Fd fd;
  std::uint64_t octets = 0;         ///< received, or given to the kernel
  std::uint64_t octets_before = 0;  ///< of them before the measurement
};

class Bulk {
 public:
  Bulk(bool sends, const Options& o) : sends_(sends), block_(kBlock, 'x'), flows_(o.connections) {
    if (o.iperf3) test_ = std::make_unique<Iperf3TestRun>(sends, o);
    for (std::uint32_t i = 0; i < o.connections; ++i) {
      flows_[i].fd = test_ ? test_->stream() : connect_to(o.target(i));
    }
    if (test_) test_->start();
  }

  /// Moves octets until the time is over.
  void run(const Window& window) {
    if (flows_.size() == 1) {
      set_timeouts(flows_[0].fd.get(), std::chrono::seconds(1));
      one(window);
    } else {
      several(window);
    }
  }

  void report(std::vector<double>& gbit_s, std::uint64_t& all, std::uint64_t& octets,
              std::uint64_t& resent) const {
    for (const Flow& flow : flows_) {
      const std::uint64_t moved = flow.octets - flow.octets_before;
      octets += moved;
      all += flow.octets;
      gbit_s.push_back(static_cast<double>(moved) * 8 / seconds_ / 1e9);
      resent += counters_of(flow.fd.get()).retransmitted;
    }
  }
  double seconds() const { return seconds_; }

 private:
  bool move_some(Flow& flow) {
    const int fd = flow.fd.get();
    const ssize_t n = sends_ ? send(fd, block_.data(), block_.size(), MSG_NOSIGNAL)
                             : recv(fd, block_.data(), block_.size(), 0);
    if (n == 0) throw std::runtime_error("the server ended the connection");
    if (n < 0 && errno != EAGAIN && errno != EINTR) fail("the connection broke");
    if (n > 0) flow.octets += static_cast<std::uint64_t>(n);
    return n > 0;
  }

  /// True when the time is over. The acknowledged octets count, not those in the kernel's buffer.
  bool look_at_clock(const Window& window) {
    const Instant now = Clock::now();
    if (begun_ == Instant{} && window.begun(now)) {
      begun_ = now;
      for (Flow& flow : flows_) flow.octets_before = count(flow);
    }
    if (!window.over(now) || begun_ == Instant{}) return false;
    seconds_ = std::chrono::duration<double>(now - begun_).count();
    for (Flow& flow : flows_) flow.octets = count(flow);
    return true;
  }

  std::uint64_t count(const Flow& flow) const {
    return sends_ ? counters_of(flow.fd.get()).acked : flow.octets;
  }

  void one(const Window& window) {
    while (!look_at_clock(window)) move_some(flows_[0]);
  }

  void several(const Window& window) {
    Epoll epoll;
    for (std::size_t i = 0; i < flows_.size(); ++i) {
      set_blocking(flows_[i].fd.get(), false);
      epoll.add(flows_[i].fd.get(), sends_ ? EPOLLOUT : EPOLLIN, i);
    }
    while (!look_at_clock(window)) {
      for (const Epoll::Ready& ready : epoll.wait(100)) move_some(flows_[ready.token]);
    }
  }

  bool sends_;
  std::unique_ptr<Iperf3TestRun> test_;  ///< --iperf3
  std::vector<char> block_;
  std::vector<Flow> flows_;
  Instant begun_;
  double seconds_ = 0;
};

nlohmann::json bulk(bool sends, const Options& options) {
  std::vector<Bulk> parts;
  // A test has one control connection, and so one thread.
  const std::uint32_t threads = options.iperf3 ? 1 : std::min(options.threads, options.connections);
  for (std::uint32_t i = 0; i < threads; ++i) {
    Options part = options;
    part.connections = options.connections / threads + (i < options.connections % threads ? 1 : 0);
    parts.emplace_back(sends, part);
  }
  const double cpu = cpu_seconds();
  const Window window(options);
  std::vector<std::exception_ptr> errors(threads);
  std::vector<std::thread> running;
  for (std::uint32_t i = 0; i < threads; ++i) {
    running.emplace_back([&, i] {
      try {
        parts[i].run(window);
      } catch (...) {
        errors[i] = std::current_exception();
      }
    });
  }
  for (std::thread& thread : running) thread.join();
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
  std::vector<double> gbit_s;
  std::uint64_t all = 0, octets = 0, resent = 0;
  for (const Bulk& part : parts) part.report(gbit_s, all, octets, resent);
  return {{"octets", octets},
          {"octets_all", all},  // with the warm-up
          {"seconds", parts[0].seconds()},
          {"gbit_s", std::accumulate(gbit_s.begin(), gbit_s.end(), 0.0)},
          {"flows_gbit_s", gbit_s},
          {"retransmitted", resent},
          {"cpu_seconds", cpu_seconds() - cpu}};
}

}  // namespace

nlohmann::json bulk_in(const Options& options) { return bulk(true, options); }
nlohmann::json bulk_out(const Options& options) { return bulk(false, options); }

}  // namespace pollux::load
