// The tests of one service, by cookie: where a stream that comes to any worker finds its test. One
// lock, taken when a connection says who it is and never for traffic.
#pragma once

#include <mutex>
#include <string>
#include <unordered_map>

#include "engine/iperf3/test.h"

namespace pollux::iperf3 {

/// Bounds of a service; its configuration.
struct Limits {
  std::size_t max_tests = 64;
  std::size_t max_tests_per_client = 32;  ///< of one address; over IPv6 of one network of 64 bits
  unsigned max_parallel = kMaxParallel;
  std::uint32_t max_duration_s = 86400;
};

class Registry {
 public:
  explicit Registry(const Limits& limits) : limits_(limits) {}
  const Limits& limits() const { return limits_; }

  struct Begun {
    TestPtr test;              ///< nullptr: refused
    std::string refused = {};  ///< why
  };
  /// A test begins, unless there are max_tests, or max_tests_per_client of this one, or the cookie
  /// is taken. The parameters come later: no stream finds it before open().
  Begun begin(const Cookie& cookie, std::size_t home, const IpAddr& peer);
  /// Streams may join from now on. False when another UDP test of the same peer is still gathering:
  /// datagrams have no cookie, so theirs would be mixed up. Try again.
  bool open(const TestPtr& test);
  /// No more streams: all are there, or the test is over. Another UDP test of the peer may open.
  void close(const TestPtr& test);
  void end(const TestPtr& test);

  struct Joined {
    TestPtr test;
    Slot* slot = nullptr;
    bool complete = false;  ///< it was the last one
  };
  /// What a cookie on a new connection means.
  enum class Meaning : std::uint8_t { control, stream, refused };
  Meaning meaning(const Cookie& cookie) const;
  /// A TCP stream with this cookie, from the peer of the test; a UDP stream by its peer alone. No
  /// test: it is refused.
  Joined join(const Cookie& cookie, const FlowKey& flow, std::size_t worker, Instant opened_at);
  Joined join_datagrams(const FlowKey& flow, std::size_t worker);
  std::size_t tests() const;

 private:
  struct Entry {
    TestPtr test;
    bool open = false;
  };
  Joined add(Entry& entry, const FlowKey& flow, std::size_t worker, Instant opened_at);

  const Limits limits_;
  mutable std::mutex mutex_;
  std::unordered_map<std::string, Entry> tests_;
  std::uint64_t joined_ = 0;
};

}  // namespace pollux::iperf3
