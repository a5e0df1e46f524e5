// One direction of a path: a wire with delay, rate and queue, faults until it heals, a hop whose
// MTU may shrink in mid-life, and a middlebox.
//
//   sender -> [cut super-packets] -> [small MTU] -> [middlebox] -> [queue, rate] -> [faults] -> air
#pragma once

#include <optional>
#include <vector>

#include "proto/base/time.h"
#include "tests/sim/middlebox.h"
#include "tests/sim/packet.h"
#include "tests/sim/random.h"

namespace pollux::sim {

/// Gilbert-Elliott: two states, and loss in the bad one.
struct BurstLoss {
  double enter = 0;  ///< good to bad, per packet; 0: never
  double leave = 0;
  double loss = 1;
};

/// Faults end at `heals_at`; delay, rate, queue, MTU and middlebox stay.
struct LinkOptions {
  Duration delay = 1ms;
  std::uint64_t octets_per_s = 0;      ///< 0: infinitely fast
  std::size_t queue_octets = 1 << 20;  ///< what waits for the wire; beyond it packets are lost
  bool split = false;                  ///< super-packets are cut into segments on the way
  std::uint32_t mtu = 0;               ///< of a hop in the middle, from `mtu_from` on; 0: none
  Instant mtu_from{};
  MiddleboxOptions box{};

  double loss = 0;
  BurstLoss burst{};
  double ack_loss = 0;        ///< of pure ACKs only
  unsigned ack_thinning = 1;  ///< one of so many pure ACKs passes
  double duplicate = 0;
  double reorder = 0;  ///< of packets: late by up to `jitter`
  Duration jitter = Duration::zero();
  Duration wobble = Duration::zero();  ///< more delay, up to this, that keeps the order
  double corrupt = 0;                  ///< one bit flips; only with checksums verified
  Instant heals_at{};
};

struct Arrival {
  Packet packet;
  Instant at;
};

class Link {
 public:
  explicit Link(const LinkOptions& options = {}) : o_(options), box_(options.box) {}
  const LinkOptions& options() const { return o_; }
  /// `out`: what arrives at the other end and when; `back`: ICMP errors to the sender.
  void pass(Instant now, Packet p, Random& r, std::vector<Arrival>& out,
            std::vector<Arrival>& back);
  void on_time(Instant now, Random& r, std::vector<Arrival>& out);
  Instant next_due() const { return box_.next_due(); }

 private:
  void through_box(Instant now, Packet p, Random& r, std::vector<Arrival>& out);
  void through_wire(Instant now, Packet p, Random& r, std::vector<Arrival>& out);
  static void corrupt(Packet& p, Random& r);
  bool is_lost(const Packet& p, Random& r);

  LinkOptions o_;
  Middlebox box_;
  std::vector<Packet> passed_;
  Instant wire_free_{};
  Instant last_arrival_{};
  bool bad_ = false;  ///< Gilbert-Elliott's state
  unsigned acks_ = 0;
};

}  // namespace pollux::sim
