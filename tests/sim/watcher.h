// Watches the wire beside one engine: what its peers offered as they said it, and that the engine
// never sends beyond (RFC 9293 3.8.6). One octet more is allowed: a zero-window probe.
#pragma once

#include <cstdint>
#include <optional>
#include <unordered_map>

#include "proto/base/addr.h"
#include "proto/wire/tcp.h"
#include "tests/sim/packet.h"

namespace pollux::sim {

class Watcher {
 public:
  /// Throws Broken when `p`, sent by the engine, goes beyond the peer's window.
  void on_send(const Packet& p);
  /// `p` is about to be taken by the engine.
  void on_receive(const Packet& p);

 private:
  /// What one direction of one connection may send.
  struct Direction {
    Seq iss;
    Seq sent;                          ///< one past the last octet that was sent
    Seq edge;                          ///< the rightmost that was ever offered
    bool open = false;                 ///< iss holds
    bool offered = false;              ///< edge holds
    bool scales = false;               ///< our SYN had the option
    std::optional<std::uint8_t> peer;  ///< the shift of the peer's SYN
    std::optional<std::uint8_t> next;  ///< of its latest SYN, for the next connection
  };
  struct Hash {
    std::size_t operator()(const FlowKey& k) const;
  };
  std::unordered_map<FlowKey, Direction, Hash> flows_;
};

}  // namespace pollux::sim
