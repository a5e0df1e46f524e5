// Out-of-order store (RFC 9293 3.10.7.4, SHLD-31): segments that wait for a gap to fill, bounded in
// pieces and octets, sub-linear in the number of holes. First-accepted octets win; they are never
// stored twice or delivered twice.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "proto/base/buffer.h"
#include "proto/base/seq.h"
#include "proto/wire/tcp.h"

namespace pollux::tcp {

/// One pointer while it is empty, which is nearly always.
class Assembler {
 public:
  static constexpr std::size_t kMaxPieces = 4096;  ///< slices held at once

  enum class Insert : std::uint8_t { stored, duplicate, no_room };

  Assembler();
  Assembler(const Assembler& o);
  Assembler(Assembler&& o) noexcept;
  Assembler& operator=(Assembler o) noexcept;
  ~Assembler();

  /// Stores the parts of `payload` (first octet at `at`) that are not there yet. The caller has
  /// trimmed it to the receive window, so everything lies within 2^30 of everything else. `no_room`
  /// stores nothing: kMaxPieces would be passed. Touching ranges count as one for SACK.
  Insert insert(Seq at, Slice payload);
  /// The piece that begins at or before `next` and ends after it, trimmed to begin at `next`, taken
  /// out; empty when there is none. Pieces that end at or before `next` are dropped on the way.
  Slice take(Seq next);
  bool empty() const { return store_ == nullptr; }
  std::size_t bytes() const;   ///< octets held
  std::size_t pieces() const;  ///< slices held
  /// Octets that it takes itself, beside the payload.
  std::size_t bookkeeping() const { return empty() ? 0 : store_bytes(); }
  /// Contiguous ranges for the SACK option, that of the latest insert first (RFC 2018 4), then the
  /// ones before in recency as far as known. Returns how many were written. When more ranges are
  /// news than fit, has_news() stays true: a further ACK must tell them, because a range that a
  /// whole batch of segments left untold is taken for lost.
  std::size_t sack_blocks(std::span<wire::SackBlock> out);
  bool has_news() const;
  void clear();

 private:
  class Store;
  std::size_t store_bytes() const;
  std::unique_ptr<Store> store_;
};

}  // namespace pollux::tcp
