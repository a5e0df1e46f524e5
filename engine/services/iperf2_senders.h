// UDP tests in which the engine sends: -R and --full-duplex. Such a test makes one datagram into
// megabits for whoever its source address says, so it is off by custom, and here are its bounds:
// how many at once, how long, how fast; and ICMP errors of the host that is hit end it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/services/iperf2_wire.h"
#include "workers/shard.h"

namespace pollux::iperf2 {

/// One of a bounded number of senders, TCP and UDP together; gives itself back.
class Permit {
 public:
  Permit() = default;
  explicit Permit(std::size_t& free) : free_(&free) { --free; }
  Permit(Permit&& o) noexcept : free_(std::exchange(o.free_, nullptr)) {}
  Permit& operator=(Permit&& o) noexcept {
    std::swap(free_, o.free_);
    return *this;
  }
  explicit operator bool() const { return free_ != nullptr; }
  ~Permit() {
    if (free_ != nullptr) ++*free_;
  }

 private:
  std::size_t* free_ = nullptr;
};

class DatagramSenders {
 public:
  static constexpr std::uint64_t kDefaultRate = 1 << 20;     ///< bits a second, as iperf2
  static constexpr std::uint64_t kMaxRate = 10'000'000'000;  ///< bits a second
  static constexpr std::size_t kDefaultBlockV4 = 1470, kDefaultBlockV6 = 1450;  ///< as iperf2

  explicit DatagramSenders(Service& service)
      : service_(service), timer_([this](Instant now) { run(now); }) {}

  void set_shard(Shard& shard) { shard_ = &shard; }
  /// Sends to the remote end of `flow` what `test` asks for, `max_time` at most.
  void start(const FlowKey& flow, const Test& test, Duration max_time, Permit permit, Instant now);
  /// Its peer is not there.
  void stop(const FlowKey& flow);
  /// The engine drains: each sends its last datagram now.
  void stop_all(Instant now);
  bool is_sending(const FlowKey& flow) const { return senders_.contains(flow); }

 private:
  struct Sender {
    Permit permit;
    Instant started;
    Instant end;         ///< kNever: `left` decides
    std::uint64_t left;  ///< datagrams
    std::uint64_t rate;  ///< bits a second
    std::size_t block;   ///< octets of a datagram
    std::uint8_t tos;
    bool trip_times;
    std::int64_t started_us;  ///< since 1970
    std::uint64_t sent = 0;   ///< datagrams
    Instant next() const;
  };
  struct Hasher {
    HashKey key;
    std::size_t operator()(const FlowKey& flow) const { return flow_hash(key, flow); }
  };
  using Senders = std::unordered_map<FlowKey, Sender, Hasher>;

  void run(Instant now);
  bool send_due(const FlowKey& flow, Sender& s, Instant now);
  void send(const FlowKey& flow, Sender& s, std::size_t count, bool last);
  void rearm();

  Service& service_;
  Shard* shard_ = nullptr;
  TaskTimer timer_;
  Senders senders_{0, Hasher{}};
  std::vector<std::uint8_t> octets_;  ///< of a super-datagram that is being made
};

}  // namespace pollux::iperf2
