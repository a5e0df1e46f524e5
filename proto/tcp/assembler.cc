// Out-of-order store: disjoint slices in sequence order, in an array cut into blocks.
//
//   blocks_:  [ |aa|bbb|  |cc| ]  [ |d|  |eeee|ff| ]  [ ... ]      at most 32 pieces each
//                     ^ hole
#include "proto/tcp/assembler.h"

#include <algorithm>
#include <iterator>

namespace pollux::tcp {

/// The first piece whose end lies after `at`; {blocks_.size(), 0} when there is none. Pieces are
/// disjoint, so their ends are sorted as their beginnings are.
Assembler::Position Assembler::first_ending_after(Seq at) const {
  if (blocks_.empty() || blocks_.back().end() <= at) return {blocks_.size(), 0};
  const auto block = std::partition_point(blocks_.begin(), blocks_.end(),
                                          [&](const Block& b) { return b.end() <= at; });
  const auto piece = std::partition_point(block->pieces.begin(), block->pieces.end(),
                                          [&](const Piece& p) { return p.end() <= at; });
  return {static_cast<std::size_t>(block - blocks_.begin()),
          static_cast<std::size_t>(piece - block->pieces.begin())};
}

/// How many pieces it takes to fill [at, end); `p` is first_ending_after(at).
std::size_t Assembler::gaps(Position p, Seq at, Seq end) const {
  std::size_t count = 0;
  for (; p.block < blocks_.size() && at < end; ++p.block, p.index = 0) {
    const auto& pieces = blocks_[p.block].pieces;
    for (; p.index < pieces.size() && at < end; ++p.index) {
      if (at < pieces[p.index].begin) ++count;
      at = pieces[p.index].end();
    }
  }
  return at < end ? count + 1 : count;
}

Assembler::Insert Assembler::insert(Seq at, Slice payload) {
  if (payload.empty()) return Insert::duplicate;
  const Seq end = at + payload.size();
  Position p = first_ending_after(at);
  const std::size_t needed = gaps(p, at, end);
  if (size_ + needed > kMaxPieces) return Insert::no_room;
  if (needed != 0) bytes_ += fill(p, at, std::move(payload));
  remember({at, end});
  return needed != 0 ? Insert::stored : Insert::duplicate;
}

/// Stores the parts of `payload` that are not there; returns their octets.
std::size_t Assembler::fill(Position p, Seq at, Slice payload) {
  std::size_t stored = 0;
  while (!payload.empty()) {
    if (p.block < blocks_.size() && p.index == blocks_[p.block].pieces.size()) {
      p = {p.block + 1, 0};
    }
    std::uint32_t gap = payload.size();
    std::uint32_t held = 0;
    if (p.block < blocks_.size()) {
      const Piece& next = blocks_[p.block].pieces[p.index];
      const Seq end = at + payload.size();
      gap = distance(at, std::clamp(next.begin, at, end));
      held = distance(at + gap, min(max(next.end(), at), end));
    }
    if (gap != 0) p = insert_piece(p, {at, payload.sub(0, gap)});
    stored += gap;
    ++p.index;
    at += gap + held;
    payload.remove_prefix(gap + held);
  }
  return stored;
}

/// Puts `piece` before position `p` and returns where the piece that was at `p` is now, minus one:
/// the new piece's own position.
Assembler::Position Assembler::insert_piece(Position p, Piece piece) {
  ++size_;
  if (p.block == blocks_.size()) {  // after everything: into the last block while it has room
    if (blocks_.empty() || blocks_.back().pieces.size() == kBlock) blocks_.emplace_back();
    p = {blocks_.size() - 1, blocks_.back().pieces.size()};
  } else if (blocks_[p.block].pieces.size() == kBlock) {
    p = split(p);
  }
  Block& b = blocks_[p.block];
  b.bytes += piece.data.size();
  b.pieces.insert(b.pieces.begin() + static_cast<std::ptrdiff_t>(p.index), std::move(piece));
  return p;
}

/// Cuts the full block of `p` in two halves; returns `p`'s place in them.
Assembler::Position Assembler::split(Position p) {
  const auto after = blocks_.begin() + static_cast<std::ptrdiff_t>(p.block) + 1;
  Block& right = *blocks_.emplace(after);
  Block& left = blocks_[p.block];
  const auto middle = left.pieces.begin() + kBlock / 2;
  right.pieces.assign(std::make_move_iterator(middle), std::make_move_iterator(left.pieces.end()));
  left.pieces.erase(middle, left.pieces.end());
  for (const Piece& moved : right.pieces) right.bytes += moved.data.size();
  left.bytes -= right.bytes;
  return p.index <= kBlock / 2 ? p : Position{p.block + 1, p.index - kBlock / 2};
}

void Assembler::erase_front() {
  Block& b = blocks_.front();
  b.bytes -= b.pieces.front().data.size();
  bytes_ -= b.pieces.front().data.size();
  b.pieces.erase(b.pieces.begin());
  if (b.pieces.empty()) blocks_.erase(blocks_.begin());
  if (--size_ == 0) clear();
}

Slice Assembler::take(Seq next) {
  while (size_ != 0 && blocks_.front().pieces.front().end() <= next) erase_front();
  if (size_ == 0 || blocks_.front().begin() > next) return {};
  Piece& front = blocks_.front().pieces.front();
  Slice taken = front.data;
  taken.remove_prefix(distance(front.begin, next));
  erase_front();
  return taken;
}

/// Ranges that touch become one entry, so a run of segments behind a hole is one entry.
void Assembler::remember(wire::SackBlock range) {
  std::size_t kept = 0;
  std::size_t untold = 0;
  for (std::size_t i = 0; i < recent_.size(); ++i) {
    const wire::SackBlock r = recent_[i];
    if (r.end <= blocks_.front().begin()) continue;  // taken: never to be compared beyond 2^31
    if (r.begin <= range.end && range.begin <= r.end) {
      range = {min(r.begin, range.begin), max(r.end, range.end)};
      continue;
    }
    if (i < untold_) ++untold;
    recent_[kept++] = r;
  }
  recent_.resize(std::min(kept, kMaxRecent - 1));
  recent_.insert(recent_.begin(), range);
  untold_ = std::min(untold + 1, recent_.size());
}

/// The contiguous range that holds `octet`; false when it is not held.
bool Assembler::range_around(Seq octet, wire::SackBlock& out) const {
  const Position p = first_ending_after(octet);
  if (p.block == blocks_.size() || blocks_[p.block].pieces[p.index].begin > octet) return false;
  out = {blocks_[p.block].pieces[p.index].begin, blocks_[p.block].pieces[p.index].end()};
  out.begin = run_begin(p, out.begin);
  out.end = run_end(p, out.end);
  return true;
}

Seq Assembler::run_begin(Position p, Seq begin) const {
  for (std::size_t i = p.index; i-- > 0;) {
    const Piece& piece = blocks_[p.block].pieces[i];
    if (piece.end() != begin) return begin;
    begin = piece.begin;
  }
  for (std::size_t b = p.block; b-- > 0;) {
    const Block& block = blocks_[b];
    if (block.end() != begin) return begin;
    if (!block.solid()) return run_begin({b, block.pieces.size()}, begin);
    begin = block.begin();
  }
  return begin;
}

Seq Assembler::run_end(Position p, Seq end) const {
  const auto& pieces = blocks_[p.block].pieces;
  for (std::size_t i = p.index + 1; i < pieces.size(); ++i) {
    if (pieces[i].begin != end) return end;
    end = pieces[i].end();
  }
  for (std::size_t b = p.block + 1; b < blocks_.size(); ++b) {
    const Block& block = blocks_[b];
    if (block.begin() != end) return end;
    if (!block.solid()) return run_end({b, 0}, block.pieces.front().end());
    end = block.end();
  }
  return end;
}

std::size_t Assembler::sack_blocks(std::span<wire::SackBlock> out) {
  // More ranges are news than fit: the older ones go first, the newest with the last call.
  const std::size_t from = untold_ > out.size() ? untold_ - out.size() : 0;
  std::size_t count = 0;
  for (std::size_t i = from; i < recent_.size() && count < out.size(); ++i) {
    wire::SackBlock range;
    // By its last octet: take() may have removed the first ones.
    if (!range_around(recent_[i].end - 1U, range)) continue;
    const auto written = out.first(count);
    if (std::find(written.begin(), written.end(), range) == written.end()) out[count++] = range;
  }
  untold_ = from;
  return count;
}

void Assembler::clear() {
  std::vector<Block>().swap(blocks_);
  size_ = 0;
  bytes_ = 0;
  std::vector<wire::SackBlock>().swap(recent_);
  untold_ = 0;
}

}  // namespace pollux::tcp
