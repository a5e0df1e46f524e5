// What iperf2's UDP senders have sent, flow by flow: loss, order, jitter and octets until their
// last datagram, and for a while afterwards, for that is sent again until the report arrives.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <optional>
#include <unordered_map>

#include "engine/services/iperf2_wire.h"
#include "proto/base/addr.h"
#include "proto/base/siphash.h"

namespace pollux::iperf2 {

/// The counts of one flow; sequence numbers are what the peer says, so nothing here trusts them.
class Receiver {
 public:
  explicit Receiver(Instant now) : first_(now), last_(now) {}
  /// A datagram of `size` octets came.
  void take(const DatagramHead& h, std::size_t size, Instant now);
  /// Whether a datagram is the first of another test: this one is over, and it is not a late one.
  bool is_over_for(const DatagramHead& h, Instant now) const {
    return finished_ && h.id >= 0 && (h.id <= 1 || now - last_ >= kLate);
  }
  Report report() const;

 private:
  static constexpr Duration kLate = 1s;  ///< how long datagrams may be overtaken by the last one
  void count(std::uint64_t sequence);
  void measure_jitter(std::int64_t sent_us, Instant now);

  Instant first_, last_;
  std::uint64_t octets_ = 0;
  std::uint64_t highest_ = 0;
  std::uint64_t lost_ = 0;
  std::uint64_t out_of_order_ = 0;
  std::optional<std::int64_t> transit_us_;  ///< of the last datagram, by two clocks
  double jitter_us_ = 0;                    ///< RFC 1889 6.3.1
  bool finished_ = false;
};

/// Receivers by flow, at most `capacity`: the one that has heard nothing for longest makes room.
class Flows {
 public:
  static constexpr Duration kForget = 60s;  ///< after the last datagram

  struct Flow {
    FlowKey key;
    bool wide_sequence = false;
    Instant heard{};
    Receiver receiver;
    std::uint64_t unanswered = 0;  ///< octets that came since the last report
  };

  Flows(const HashKey& secret, std::size_t capacity)
      : capacity_(capacity), by_key_(0, Hasher{secret}) {}

  /// The flow of `key`, as the one heard last; nullptr: it is new.
  Flow* find(const FlowKey& key, Instant now);
  Flow& add(const FlowKey& key, bool wide_sequence, Instant now);
  std::size_t size() const { return by_key_.size(); }

 private:
  struct Hasher {
    HashKey key;
    std::size_t operator()(const FlowKey& flow) const { return flow_hash(key, flow); }
  };
  void drop_oldest();

  std::size_t capacity_;
  std::list<Flow> flows_;  ///< the one heard last in front
  std::unordered_map<FlowKey, std::list<Flow>::iterator, Hasher> by_key_;
};

}  // namespace pollux::iperf2
