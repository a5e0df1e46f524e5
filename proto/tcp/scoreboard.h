// What is in flight: one record per transmitted segment or super-packet, in sequence order, with
// the marks that loss recovery needs. It answers: how much is in flight (RFC 6675's pipe), what is
// lost and to be sent again, what one ACK delivered, and which ACK gives an honest round-trip
// sample.
//
//      una                                           nxt
//       |  sacked?  |  lost?  |  in flight  | ...     |
//       [ block of records ][ block of records ][ ... ]
//
// The records lie in blocks, so that a search is binary, a split moves the records of one block
// only, and a walk for lost segments skips blocks in which nothing can be lost. Bounded: a record
// is split at whole segments only, so there are at most (in flight / MSS) + 1 more records than
// transmissions, whatever blocks a peer invents.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "proto/base/seq.h"
#include "proto/base/time.h"
#include "proto/tcp/rate.h"
#include "proto/wire/tcp.h"

namespace pollux::tcp {

struct TxRecord {
  Seq begin;
  std::uint32_t size = 0;  ///< sequence space: octets, SYN and FIN
  Instant sent;            ///< of the latest transmission
  RateStamp rate{};        ///< of the latest transmission
  bool sacked = false;
  bool lost = false;           ///< to be sent again, not in flight
  bool retransmitted = false;  ///< no round-trip sample of it (Karn)
  Seq end() const { return begin + size; }
};

/// RACK's order of transmissions (RFC 8985 6.2): by time, then by sequence.
struct SentAt {
  Instant time{};
  Seq end;
  constexpr bool after(const SentAt& o) const {
    return time > o.time || (time == o.time && end > o.end);
  }
};

/// What one acknowledgement, cumulative and selective, delivered. The caller fills the first part.
struct Delivered {
  Instant now{};
  Duration min_rtt{};         ///< zero: not known
  bool echoes = false;        ///< the ACK has a timestamp echo
  std::uint32_t echo_ms = 0;  ///< our clock at the time of the segment that it echoes

  std::uint32_t octets = 0;    ///< that left the network by this ACK
  Duration rtt{};              ///< of the latest record that was sent once; zero: none
  bool retransmitted = false;  ///< covered a retransmission
  bool original = false;       ///< covered a record that was sent once and whose loss was presumed
  bool reordered = false;      ///< a record sent once came after one behind it
  bool any = false;            ///< the rest is there
  bool newest_again = false;   ///< the newest had been retransmitted
  SentAt newest{};             ///< the record that was sent last of all delivered ones
  RateStamp rate{};            ///< its stamp

  void add(const TxRecord& r, std::uint32_t n);
};

class Scoreboard {
 public:
  /// A new transmission at the right edge.
  void on_sent(Seq begin, std::uint32_t size, Instant now, const RateStamp& rate = {});
  /// Cumulative acknowledgement up to `una`.
  void on_ack(Seq una, Delivered& d);
  /// Selective acknowledgement; blocks outside what is in flight are ignored.
  void on_sack(std::span<const wire::SackBlock> blocks, std::uint32_t mss, Delivered& d);

  struct Loss {
    std::uint32_t octets = 0;  ///< newly marked lost
    Instant next = kNever;     ///< when the next one may be
  };
  /// RFC 8985 6.2 step 5: lost is what was sent `window` or longer before now, and before `newest`
  /// that was delivered.
  Loss mark_lost_before(const SentAt& newest, Duration window, Instant now);
  /// NewReno: marks the first `mss` octets lost; returns how many were marked.
  std::uint32_t mark_head_lost(std::uint32_t mss);
  /// A time-out (RFC 8985 6.3): the head and everything sent at or before `sent_until` is lost.
  /// SACKs are forgotten when the head was SACKed (reneging). Returns octets marked.
  std::uint32_t mark_timed_out(Instant sent_until);
  std::uint32_t mark_all_lost() { return mark_timed_out(kNever); }
  /// What is marked lost was only late: it is in flight again.
  void unmark_lost();

  /// First lost record, cut down to at most `max` octets (multiple of mss); nullptr when none.
  TxRecord* next_lost(std::uint32_t max, std::uint32_t mss);
  /// The last record, cut down to its last `mss` octets at most, for a loss probe; nullptr when
  /// there is none in flight.
  TxRecord* tail(std::uint32_t mss);
  /// Cuts `r` (from next_lost) down to `size` octets; what is cut off stays lost.
  TxRecord& shorten(TxRecord& r, std::uint32_t size);
  /// The record has been sent again.
  void on_retransmitted(TxRecord& r, Instant now, const RateStamp& rate = {});

  std::uint32_t pipe() const { return pipe_; }      ///< octets in flight
  std::uint32_t sacked() const { return sacked_; }  ///< octets SACKed
  std::uint32_t lost() const { return lost_; }      ///< octets marked lost and not sent again yet
  /// One past the highest octet that was delivered (RACK.fack).
  Seq highest_delivered() const { return highest_; }
  bool empty() const { return count_ == 0; }
  std::size_t size() const { return count_; }
  std::size_t bookkeeping() const { return count_ * sizeof(TxRecord); }  ///< octets
  const TxRecord& front() const { return blocks_[first_].records[head_]; }
  void clear();

 private:
  static constexpr std::size_t kBlock = 64;  ///< records per block at most
  struct Block {
    std::vector<TxRecord> records;
    std::uint32_t in_flight = 0;  ///< records neither SACKed nor lost
    std::uint32_t lost = 0;       ///< records
    Instant earliest = kNever;    ///< no record in flight was sent before
    bool stale = false;           ///< perhaps none was sent then: look again
  };
  struct Position {
    std::size_t block;
    std::size_t index;
  };

  std::size_t begin_of(std::size_t block) const { return block == first_ ? head_ : 0; }
  Block& block_for_new();
  Position find(Seq s) const;
  TxRecord& at(Position p) { return blocks_[p.block].records[p.index]; }
  Position position_of(const TxRecord& r) const;
  /// Moves on to a record that is there or to the end.
  void settle(Position& p) const;
  bool at_end(Position p) const { return p.block == blocks_.size(); }
  /// Cuts the record so that it ends `size` octets after its begin; returns the first part's place.
  Position split(Position p, std::uint32_t size);
  void set_lost(Block& b, TxRecord& r);
  void set_sacked(Block& b, TxRecord& r, Delivered& d);
  void sack(const wire::SackBlock& s, std::uint32_t mss, Delivered& d);
  void leave(Block& b, const TxRecord& r, std::uint32_t octets, Delivered& d);
  void drop_head();
  Loss scan(Block& b, std::size_t from, const SentAt& newest, Duration window, Instant now);

  std::vector<Block> blocks_;
  std::uint32_t first_ = 0;  ///< block of the head
  std::uint32_t head_ = 0;   ///< index of the head in it
  std::uint32_t count_ = 0;
  std::uint32_t pipe_ = 0;
  std::uint32_t sacked_ = 0;
  std::uint32_t lost_ = 0;
  Seq highest_;
};

}  // namespace pollux::tcp
