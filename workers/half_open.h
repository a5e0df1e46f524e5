// Connections in SYN-RECEIVED by a passive open, before the peer's ACK: 64 octets each instead of
// a whole connection, so that a flood of SYNs fills a small store and nothing else. A record is
// what the SYN said and what we answered; the shard makes a connection of it for the moment in
// which a segment arrives, so that the rules stay in one place.
//
// SYN-ACKs are sent again by RFC 6298 (5): after 1 s, then twice as long each time, at most 60 s.
// All records of one attempt wait equally long, so a queue for each attempt is sorted by itself.
#pragma once

#include <array>
#include <cstdint>

#include "proto/base/time.h"
#include "proto/wire/tcp.h"
#include "workers/record_store.h"

namespace pollux {

struct HalfOpen {
  FlowKey key;
  std::uint32_t iss = 0;
  std::uint32_t irs = 0;
  std::uint32_t ts_recent = 0;
  std::uint32_t sent_us = 0;  ///< when the SYN-ACK of this attempt went out, low 32 bits
  std::uint16_t window = 0;   ///< of the SYN
  std::uint16_t mss = 0;      ///< 0: the SYN had none
  std::uint32_t next : 24 = 0;
  std::uint32_t scale : 4 = 15;  ///< of the SYN, 15: none
  std::uint32_t sack : 1 = 0;
  std::uint32_t timestamps : 1 = 0;
  std::uint32_t ecn : 1 = 0;         ///< ECE and CWR were set
  std::uint32_t challenged : 1 = 0;  ///< a challenge ACK was sent in this attempt
  std::uint32_t prev : 24 = 0;
  std::uint32_t attempt : 4 = 0;   ///< SYN-ACKs sent on time-out
  std::uint32_t answered : 1 = 0;  ///< a duplicate SYN was answered in this attempt

  /// The ACK does not tell which SYN-ACK it answers: no round trip (Karn, RFC 6298 (3)).
  bool ambiguous() const { return attempt > 0 || answered != 0; }
  void keep(const wire::TcpHeader& syn);
  wire::TcpHeader syn() const;
};
static_assert(sizeof(HalfOpen) <= 64, "a flood must stay cheap");

class HalfOpenTable {
 public:
  using Store = RecordStore<HalfOpen>;
  static constexpr std::uint32_t kNone = Store::kNone;

  /// `user_timeout`: gives up earlier; zero: R2 for SYN decides (MUST-23, at least 3 minutes).
  HalfOpenTable(const HashKey& secret, std::size_t backlog, Duration user_timeout);

  std::uint32_t find(std::uint32_t hash, const FlowKey& key) const {
    return store_.find(hash, key);
  }
  HalfOpen& at(std::uint32_t n) const { return store_.at(n); }
  /// Keeps `syn`, whose SYN-ACK with `iss` goes out now. kNone when the backlog is full.
  std::uint32_t add(std::uint32_t hash, const FlowKey& key, const wire::TcpHeader& syn, Seq iss,
                    Instant now);
  void remove(std::uint32_t n);
  void clear();
  /// When the SYN-ACK of this attempt was sent.
  Instant sent_at(const HalfOpen& r) const { return Us::restore(r.sent_us, now_); }

  Instant next_deadline() const;
  /// The next record whose SYN-ACK is to be sent again, its attempt begun; kNone when there is
  /// none. Removes the records that have waited long enough on its way.
  std::uint32_t next_due(Instant now);

  std::size_t size() const { return store_.size(); }
  std::size_t bytes() const { return store_.bytes(); }
  bool full() const { return store_.full(); }
  template <class F>
  void for_each(F&& f) const {
    store_.for_each(f);
  }

 private:
  using Us = ShortTime<std::chrono::microseconds>;
  static constexpr std::array<Duration, 8> kWait{1s, 2s, 4s, 8s, 16s, 32s, 60s, 60s};

  Instant due(std::size_t attempt) const;

  Store store_;
  std::array<Store::Queue, kWait.size()> queues_;  ///< by attempt
  std::size_t last_attempt_ = kWait.size() - 1;
  Instant now_{};  ///< the latest seen: what `sent_us` counts back from
};

}  // namespace pollux
