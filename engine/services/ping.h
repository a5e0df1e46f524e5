// ICMP echo from the engine: what `pollux ping` has asked for. Each answer is told over the control
// socket as it comes; what is printed is the command's.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/control_link.h"
#include "workers/shard.h"

namespace pollux {

struct PingRequest {
  IpAddr remote = {};
  std::uint64_t count = 0;  ///< 0: until the client goes
  Duration interval = 1s;
  Duration wait{};        ///< for the last answer; zero: 10 s, or what the round trips suggest
  std::size_t size = 56;  ///< octets behind the ICMP header
  std::shared_ptr<engine::ControlLink> link = {};
};

/// From {"address", "count", "interval_us", "wait_us", "size"}, the first of which must be there.
/// Throws std::runtime_error (one line) when it is not that.
PingRequest parse_ping_request(std::string_view text);

/// One object for each worker. Lines on the link: {"start": {"local", "remote"}}, then {"sent": n},
/// and for each answer {"answer": {"number", "ttl", "octets", "time_us", "duplicate"}}, for each
/// request of which ICMP says that it has none {"failure": {"number", "from", "type", "code",
/// "mtu"}}; or {"error": words}; then it is finished.
class PingService final : public Service {
 public:
  /// Requests that are remembered for late answers, of one ping.
  static constexpr std::size_t kMaxPending = 4096;

  PingService();
  ~PingService() override;
  std::string_view name() const override { return "ping"; }

  enum class Opened : std::uint8_t { yes, elsewhere, failed };
  /// `id` names it for abandon(). elsewhere: the answers would come to another worker, nothing was
  /// done; failed: the link was told why.
  Opened open(Shard& shard, std::uint64_t id, const PingRequest& request, Instant now);
  /// The client went away.
  void abandon(std::uint64_t id);
  void on_drain() override;
  void on_echo_reply(const icmp::EchoReply& reply) override;
  void on_echo_error(const icmp::EchoError& error) override;

 private:
  class Ping;
  void reap();
  std::unordered_map<std::uint64_t, std::unique_ptr<Ping>> pings_;
  TaskTimer reaper_;  ///< a ping cannot be destroyed by its own timer
};

}  // namespace pollux
