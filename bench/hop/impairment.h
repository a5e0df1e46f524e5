// One direction of an impaired path, without I/O: packets and the time go in, what becomes of each
// comes out. The same packets at the same times from the same seed fare the same.
//
//   packet -> rules -> random loss -> queue (limit) -> rate -> delay, jitter, reordering -> release
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <random>
#include <unordered_map>
#include <vector>

#include "bench/hop/data_flow.h"
#include "bench/hop/script.h"
#include "bench/hop/tcp_view.h"
#include "proto/base/bytes.h"
#include "proto/base/time.h"

namespace pollux::hop {

/// Loss in bursts (Gilbert-Elliott): a good and a bad state, each with a loss rate of its own.
struct BurstLoss {
  double to_bad = 0;   ///< probability of going bad before a packet; 0 turns all of it off
  double to_good = 1;  ///< and of getting well again
  double loss_bad = 1;
  double loss_good = 0;
};

/// Probabilities are in [0, 1]; zero of anything is "not there".
struct LinkOptions {
  Duration delay{0};
  Duration jitter{0};      ///< up to this much on top, evenly; on its own it never reorders
  std::uint64_t rate = 0;  ///< bit/s of IP packets
  std::uint64_t queue_octets = 0;
  std::uint64_t queue_packets = 0;
  double loss = 0;
  BurstLoss burst{};
  double reorder = 0;         ///< so many are held back ...
  Duration reorder_delay{0};  ///< ... by this much, and overtaken
  double duplicate = 0;
  bool spare_handshake = false;  ///< random loss leaves SYNs alone
};

struct LinkCounters {
  std::uint64_t packets = 0, octets = 0;  ///< came in
  std::uint64_t forwarded = 0;            ///< went on, copies not counted
  std::uint64_t lost = 0, lost_burst = 0, lost_queue = 0, lost_script = 0;
  std::uint64_t duplicated = 0, reordered = 0, stripped = 0;
  std::uint64_t queue_octets_max = 0;
  std::uint64_t data_packets = 0, data_octets = 0;  ///< packets with TCP data, all transmissions
  std::uint64_t retransmitted_packets = 0, retransmitted_octets = 0;  ///< sent before
  std::uint64_t spurious_packets = 0;  ///< sent before although all of it had gone on
  Duration lag_max{0};                 ///< longest from a loss to the next transmission
};

/// When each copy goes on; none for a packet that is dropped.
struct Plan {
  unsigned copies = 0;
  std::array<Instant, 2> release{};
};

/// The bottleneck: a queue with a limit before a link of a given rate.
class Bottleneck {
 public:
  explicit Bottleneck(const LinkOptions& options);
  /// True, and when the last bit leaves, unless the queue is full.
  bool admit(Instant now, std::size_t octets, Instant& leaves);
  std::uint64_t octets() const { return octets_; }

 private:
  struct Waiting {
    Instant leaves;
    std::size_t octets;
  };
  const std::uint64_t rate_, octets_max_, packets_max_;
  Instant free_at_{};
  std::deque<Waiting> waiting_;
  std::uint64_t octets_ = 0;
};

class Impairment {
 public:
  Impairment(const LinkOptions& options, std::vector<Rule> rules, std::uint64_t seed);
  Impairment(const Impairment&) = delete;  // flows point at the rules
  Impairment& operator=(const Impairment&) = delete;

  /// May change the packet (options of a SYN). `now` never goes back.
  Plan on_packet(Instant now, MutableBytes packet);

  const LinkCounters& counters() const { return counters_; }

 private:
  struct Flow {
    explicit Flow(const std::vector<Rule>& rules) : script(rules) {}
    DataFlow data;
    FlowScript script;
  };
  struct FlowHash {
    std::size_t operator()(const FlowKey& key) const;
  };
  /// A source of chance of its own for each kind, so that one setting does not shift another.
  struct Dice {
    explicit Dice(std::uint64_t seed) : random(seed) {}
    std::mt19937_64 random;
    double roll();
    bool hit(double probability) { return roll() < probability; }
  };

  Flow& flow_of(const TcpView& tcp);
  std::optional<Transmission> count_data(Instant now, Flow& flow, const TcpView& tcp);
  bool lost_by_chance(bool handshake);
  Plan pass(Instant now, std::size_t octets, bool handshake, const Verdict& verdict);
  Instant release_at(Instant leaves, Duration extra);

  const LinkOptions options_;
  const std::vector<Rule> rules_;
  Dice loss_dice_, burst_dice_, order_dice_, copy_dice_, jitter_dice_;
  Bottleneck bottleneck_;
  bool bad_ = false;
  Instant last_release_{};
  std::unordered_map<FlowKey, Flow, FlowHash> flows_;
  LinkCounters counters_;
};

}  // namespace pollux::hop
