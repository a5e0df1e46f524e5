// What the stubs answer: a handshake without memory, a sink that knows what it has, and an echo
// that knows nothing at all.
#pragma once

#include <cstdint>
#include <vector>

#include "bench/stubs/segment.h"

namespace pollux::stubs {

/// What a stub says about itself, the same to everybody.
struct Self {
  std::uint16_t mss = 1460;
  std::uint32_t window = 6 << 20;  ///< octets, always open

  static constexpr std::uint8_t kScale = 8;
  static constexpr std::uint32_t kIss = 1000;
  /// The window field of all segments but the SYN-ACK, whose window is never scaled
  /// (RFC 7323 2.2).
  std::uint16_t scaled_window() const;
};

/// Ports swapped, timestamps mirrored (RFC 7323 3.2), the window set. `seq`, `ack` and the flags
/// (ACK alone) are the caller's to change.
wire::TcpHeader answer_to(const Arrived& in, const Self& self);
/// The answer to a SYN. Offers back what was offered: window scale and timestamps, never SACK.
wire::TcpHeader syn_ack(const Arrived& in, const Self& self);

/// Takes everything in order and throws it away. One RCV.NXT for each port of the peer: all
/// clients of a measurement have one address.
class Sink {
 public:
  explicit Sink(const Self& self) : self_(self), next_(1 << 16) {}

  /// True when `answer` is to be sent: for a SYN, and for whatever takes sequence space.
  bool on_segment(const Arrived& in, wire::TcpHeader& answer);
  std::uint64_t octets() const { return octets_; }           ///< taken in order
  std::uint64_t out_of_place() const { return misplaced_; }  ///< packets that were not in order

 private:
  void take(const Arrived& in, Seq& next);

  Self self_;
  std::vector<Seq> next_;
  std::uint64_t octets_ = 0;
  std::uint64_t misplaced_ = 0;
};

/// True when `answer` is to be sent, with the payload that came in. Everything is taken from the
/// packet itself: SEG.ACK is where the peer expects us to go on.
bool echo(const Arrived& in, const Self& self, wire::TcpHeader& answer);

}  // namespace pollux::stubs
