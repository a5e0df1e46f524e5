// One direction of one TCP connection as the hop sees it: which octets were sent how often, and
// which of them have not got past the hop yet. Offsets count from the first octet of data.
#pragma once

#include <cstdint>
#include <map>
#include <optional>

#include "proto/base/seq.h"
#include "proto/base/time.h"

namespace pollux::hop {

/// [begin, end) in octets of the stream.
struct Range {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;

  bool overlaps(const Range& o) const { return begin < o.end && o.begin < end; }
  bool operator==(const Range&) const = default;
};

/// A set of octets, kept as ranges that do not touch.
class RangeSet {
 public:
  void add(Range r);
  void remove(Range r);
  bool overlaps(Range r) const;

 private:
  std::map<std::uint64_t, std::uint64_t> ranges_;  // begin -> end
};

/// How often each octet was sent again.
class SendCounts {
 public:
  void add(Range r);
  std::uint32_t at(std::uint64_t offset) const;

 private:
  void cut(std::uint64_t offset);

  std::map<std::uint64_t, std::uint32_t> steps_;  // from this offset on, so often
};

/// What a packet of data is within its flow.
struct Transmission {
  Range range;
  std::uint64_t ordinal = 0;      ///< 1, 2, ... among those with new octets; 0: nothing new in it
  std::uint64_t sent_before = 0;  ///< octets in it that were sent before
  bool spurious = false;          ///< wholly sent before, and all of it had got past the hop
  Duration lag{0};                ///< since the loss that this one makes good, 0: of none
};

class DataFlow {
 public:
  /// The initial sequence number. A repeated SYN changes nothing, a new one starts afresh.
  void on_syn(Seq isn);
  /// Counts a packet with `octets` of data; nothing for what lies before the stream (a keep-alive).
  std::optional<Transmission> on_data(Instant now, Seq seq, std::uint32_t octets);
  /// How the packet fared that on_data() was about.
  void on_lost(Instant now, Range r) {
    missing_.add(r);
    lost_at_[r.begin] = now;
  }
  void on_forwarded(Range r) { missing_.remove(r); }

  /// The transmission of this octet that the packet last given to on_data() was: 1 is the first.
  std::uint32_t nth_of(std::uint64_t offset) const { return 1 + again_.at(offset); }

 private:
  Duration take_lag(Instant now, Range r);

  std::optional<Seq> isn_;
  Seq origin_;              ///< sequence number of offset 0
  std::uint64_t next_ = 0;  ///< offset behind the highest octet sent
  std::uint64_t ordinal_ = 0;
  bool started_ = false;
  SendCounts again_;
  RangeSet missing_;
  std::map<std::uint64_t, Instant> lost_at_;  // of each packet not sent again since
};

}  // namespace pollux::hop
