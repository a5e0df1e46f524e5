// Connections in TIME-WAIT: 64 octets each, in the order in which they end, which is the order in
// which they began because 2 MSL is the same for all. When the store is full the oldest goes:
// cutting one quiet time short does less harm than refusing what is new.
#pragma once

#include <cstdint>

#include "proto/base/time.h"
#include "proto/tcp/time_wait.h"
#include "workers/record_store.h"

namespace pollux {

struct TimeWait {
  FlowKey key;
  std::uint32_t snd_nxt = 0;
  std::uint32_t rcv_nxt = 0;
  std::uint32_t ts_recent = 0;
  std::uint32_t since_ms = 0;    ///< when 2 MSL began, low 32 bits
  std::uint16_t window = 0;      ///< of our last ACK, as on the wire
  std::uint16_t challenged = 0;  ///< time of the last challenge, in units of kChallengeUnit
  std::uint32_t next : 24 = 0;
  std::uint32_t timestamps : 1 = 0;
  std::uint32_t prev : 24 = 0;
};
static_assert(sizeof(TimeWait) <= 64, "a million of them must fit");

class TimeWaitTable {
 public:
  using Store = RecordStore<TimeWait>;
  static constexpr std::uint32_t kNone = Store::kNone;

  TimeWaitTable(const HashKey& secret, std::size_t max, Duration two_msl)
      : store_(secret, max), two_msl_(two_msl) {}

  std::uint32_t find(std::uint32_t hash, const FlowKey& key) const {
    return store_.find(hash, key);
  }
  const TimeWait& at(std::uint32_t n) const { return store_.at(n); }
  /// `since`: when 2 MSL began.
  void add(std::uint32_t hash, const FlowKey& key, const tcp::TimeWaitState& state, Instant since);
  void remove(std::uint32_t n);
  void clear();
  /// Judges a segment; restarts 2 MSL and withholds challenges that come too soon by itself.
  tcp::TimeWaitVerdict on_segment(std::uint32_t n, const wire::TcpHeader& h, std::uint32_t payload,
                                  Instant now);
  static tcp::TimeWaitState state_of(const TimeWait& r);
  Instant since(const TimeWait& r) const { return Ms::restore(r.since_ms, now_); }

  Instant next_deadline() const;
  /// Removes what has waited 2 MSL, `most` records at most.
  void expire(Instant now, std::size_t most);

  std::size_t size() const { return store_.size(); }
  std::size_t bytes() const { return store_.bytes(); }
  template <class F>
  void for_each(F&& f) const {
    store_.for_each(f);
  }

 private:
  using Ms = ShortTime<std::chrono::milliseconds>;

  bool may_challenge(TimeWait& r, Instant now) const;

  Store store_;
  Store::Queue queue_;
  Duration two_msl_;
  Instant now_{};  ///< the latest seen: what `since_ms` counts back from
};

}  // namespace pollux
