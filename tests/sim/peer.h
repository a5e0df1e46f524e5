// The application of the simulator: sends a pattern whose octets depend on their position, checks
// that what it reads is the other end's pattern, octet for octet, and closes as its plan says.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/sim/random.h"
#include "workers/service.h"

namespace pollux::sim {

inline constexpr std::size_t kPatternSize = 1 << 18;
/// Random octets; a sender at position p sends pattern[salt + p].
const std::vector<std::uint8_t>& pattern();

enum class CloseWhen : std::uint8_t { sent, peer_closed, abort };

/// What one end does on each of its connections.
struct Plan {
  std::size_t octets = 0;       ///< to send
  std::size_t salt = 0;         ///< of what it sends
  std::size_t peer_octets = 0;  ///< to read
  std::size_t peer_salt = 0;
  std::size_t max_write = 1000;  ///< octets of one write
  bool zero_copy = false;
  bool nodelay = false;
  bool wait_for_peer = false;  ///< sends only after the peer's FIN (half-close)
  CloseWhen close = CloseWhen::sent;
  std::size_t read_quota = 0;  ///< octets per read_every; 0: all at once
  Duration read_every = 1ms;
  Duration read_pause{};  ///< reads nothing before
};

class Peer final : public Service {
 public:
  Peer(const Plan& plan, Random& random) : plan_(plan), random_(random) {}
  std::string_view name() const override { return "peer"; }
  void on_open(Stream& s) override;
  void on_readable(Stream& s) override;
  void on_writable(Stream& s) override { send(s); }
  void on_peer_closed(Stream& s) override;
  void on_timer(Stream& s) override;
  void on_closed(Stream& s, CloseReason reason) override;

  std::size_t opened = 0;
  std::size_t closed = 0;
  std::size_t complete = 0;  ///< connections on which all was sent and all was read
  std::vector<CloseReason> reasons;
  std::string broken;  ///< the first law that was broken

 private:
  struct Talk;
  void send(Stream& s);
  void read(Stream& s, std::size_t most);
  void close(Stream& s);
  void complain(const std::string& what) {
    if (broken.empty()) broken = what;
  }
  Plan plan_;
  Random& random_;
};

}  // namespace pollux::sim
