// What is in flight: one record per transmitted segment or super-packet, in sequence order, with
// the marks that loss recovery needs (RFC 6675's scoreboard). It answers: how much is in flight
// (pipe), what is lost and to be sent again, and which ACK gives an honest round-trip sample.
//
//      una                                           nxt
//       |  sacked?  |  lost?  |  in flight  | ...     |
//       records_[head] ................ records_.back()
//
// Bounded: a record is never split below one MSS, so there are at most (in flight / MSS) + 1 more
// records than transmissions, whatever blocks a peer invents.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "proto/base/seq.h"
#include "proto/base/time.h"
#include "proto/wire/tcp.h"

namespace pollux::tcp {

struct TxRecord {
  Seq begin;
  std::uint32_t size = 0;  ///< sequence space: octets, SYN and FIN
  Instant sent;            ///< of the latest transmission
  bool sacked = false;
  bool lost = false;           ///< to be sent again, not in flight
  bool retransmitted = false;  ///< no round-trip sample of it (Karn)
  Seq end() const { return begin + size; }
};

class Scoreboard {
 public:
  struct Acked {
    std::uint32_t newly = 0;     ///< octets that left the network by this ACK
    Duration rtt{};              ///< of the latest record acknowledged that was sent once
    bool retransmitted = false;  ///< covered a retransmission
  };

  /// A new transmission at the right edge.
  void on_sent(Seq begin, std::uint32_t size, Instant now);
  /// Cumulative acknowledgement up to `una`.
  Acked on_ack(Seq una, Instant now, std::uint32_t mss);
  /// Selective acknowledgement; blocks outside what is in flight are ignored.
  Acked on_sack(std::span<const wire::SackBlock> blocks, Instant now, std::uint32_t mss);

  /// RFC 6675 IsLost(): marks what has at least `threshold` octets SACKed above it. True when
  /// something new was marked.
  bool mark_lost_by_sack(std::uint32_t threshold);
  /// NewReno: marks the first `mss` octets lost.
  void mark_head_lost(std::uint32_t mss);
  /// RTO: everything not SACKed is lost. SACKs are forgotten when the head was SACKed (reneging).
  void mark_all_lost();

  /// First lost record, cut down to at most `max` octets (multiple of mss); nullptr when none.
  TxRecord* next_lost(std::uint32_t max, std::uint32_t mss);
  /// Cuts `r` (from next_lost) down to `size` octets; what is cut off stays lost.
  TxRecord& shorten(TxRecord& r, std::uint32_t size);
  /// The record has been sent again.
  void on_retransmitted(TxRecord& r, Instant now);

  std::uint32_t pipe() const { return pipe_; }      ///< octets in flight
  std::uint32_t sacked() const { return sacked_; }  ///< octets SACKed
  std::uint32_t lost() const { return lost_; }      ///< octets marked lost and not sent again yet
  bool empty() const { return head_ == records_.size(); }
  std::size_t size() const { return records_.size() - head_; }
  const TxRecord& front() const { return records_[head_]; }
  Instant last_sent() const { return last_sent_; }
  void clear();

 private:
  std::size_t find(Seq s) const;  ///< index of the record that holds s
  /// Cuts the record at `index` so that it ends `size` octets after its begin.
  void split(std::size_t index, std::uint32_t size);
  void set_lost(TxRecord& r);

  std::vector<TxRecord> records_;
  std::size_t head_ = 0;
  std::uint32_t pipe_ = 0;
  std::uint32_t sacked_ = 0;
  std::uint32_t lost_ = 0;
  Instant last_sent_{};
};

}  // namespace pollux::tcp
