// Out-of-order store (RFC 9293 3.10.7.4, SHLD-31): segments that wait for a gap to fill, bounded in
// pieces and octets, sub-linear in the number of holes. First-accepted octets win; they are never
// stored twice or delivered twice.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "proto/base/buffer.h"
#include "proto/base/seq.h"
#include "proto/wire/tcp.h"

namespace pollux::tcp {

class Assembler {
 public:
  static constexpr std::size_t kMaxPieces = 4096;  ///< slices held at once

  enum class Insert : std::uint8_t { stored, duplicate, no_room };

  /// Stores the parts of `payload` (first octet at `at`) that are not there yet. The caller has
  /// trimmed it to the receive window, so everything lies within 2^30 of everything else. `no_room`
  /// stores nothing: kMaxPieces would be passed. Touching ranges count as one for SACK.
  Insert insert(Seq at, Slice payload);
  /// The piece that begins at or before `next` and ends after it, trimmed to begin at `next`, taken
  /// out; empty when there is none. Pieces that end at or before `next` are dropped on the way.
  Slice take(Seq next);
  bool empty() const { return size_ == 0; }
  std::size_t bytes() const { return bytes_; }  ///< octets held
  std::size_t pieces() const { return size_; }
  std::size_t bookkeeping() const { return size_ * sizeof(Piece); }  ///< octets beside the payload
  /// Contiguous ranges for the SACK option, that of the latest insert first (RFC 2018 4), then the
  /// ones before in recency as far as known. Returns how many were written. When more ranges are
  /// news than fit, has_news() stays true: a further ACK must tell them, because a range that a
  /// whole batch of segments left untold is taken for lost.
  std::size_t sack_blocks(std::span<wire::SackBlock> out);
  bool has_news() const { return untold_ > 0; }
  void clear();

 private:
  struct Piece {
    Seq begin;
    Slice data;
    Seq end() const { return begin + data.size(); }
  };
  /// Sorted, disjoint pieces; never empty while it is in blocks_. `bytes` equal to the distance
  /// from first to last octet says "no hole inside" without a walk.
  struct Block {
    std::vector<Piece> pieces;
    std::uint32_t bytes = 0;
    Seq begin() const { return pieces.front().begin; }
    Seq end() const { return pieces.back().end(); }
    bool solid() const { return bytes == distance(begin(), end()); }
  };
  struct Position {
    std::size_t block;
    std::size_t index;
  };
  static constexpr std::size_t kBlock = 32;  ///< pieces per block at most

  Position first_ending_after(Seq at) const;
  std::size_t gaps(Position p, Seq at, Seq end) const;
  std::size_t fill(Position p, Seq at, Slice payload);
  Position insert_piece(Position p, Piece piece);
  Position split(Position p);
  Seq run_begin(Position p, Seq begin) const;
  Seq run_end(Position p, Seq end) const;
  void erase_front();
  void remember(wire::SackBlock range);
  bool range_around(Seq octet, wire::SackBlock& out) const;

  // A sorted array cut into blocks: a search is binary over the blocks, then within one; an
  // insert moves the pieces of one block only. Empty, it owns no heap memory.
  std::vector<Block> blocks_;
  std::size_t size_ = 0;
  std::size_t bytes_ = 0;
  /// The latest inserts, newest first, merged where they touch: where to look for SACK ranges.
  static constexpr std::size_t kMaxRecent = 64;
  std::vector<wire::SackBlock> recent_;
  std::size_t untold_ = 0;  ///< the first of them, changed since they were written last
};

}  // namespace pollux::tcp
