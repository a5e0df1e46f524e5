// Out-of-order store: disjoint slices in sequence order, in an array cut into blocks.
//
//   heads_:  [ begin, end, octets ]  [ begin, end, octets ]  ...     searched by halves
//                     |                        |
//            [ |aa|bbb|  |cc| ]       [ |d|  |eeee|ff| ]             at most 32 pieces each
//                      ^ hole
//
// In a block the ends lie side by side, so that a search compares all of them at once, and moving a
// piece is moving octets.
#include "proto/tcp/assembler.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>
#include <tuple>
#include <utility>
#include <vector>

namespace pollux::tcp {
namespace {

constexpr std::size_t kBlock = 32;  // pieces per block at most

/// A reference to a buffer that moves as octets do.
struct Held {
  Buffer* buffer;
  const std::uint8_t* data;
};

Held hold(const Slice& s) {
  if (s.buffer() != nullptr) ++s.buffer()->refs;
  return {s.buffer(), s.data()};
}

/// The reference goes over to the slice.
Slice release(const Held& h, std::uint32_t size) {
  Slice s(h.buffer, Bytes{h.data, size});
  if (h.buffer != nullptr) --h.buffer->refs;
  return s;
}

struct Block {
  std::array<Seq, kBlock> begins{};
  std::array<Seq, kBlock> ends{};
  std::array<Held, kBlock> held{};
};

/// A block and what a search asks of it. Pieces first .. first + count - 1 are there, at least one.
struct Head {
  std::unique_ptr<Block> block = std::make_unique<Block>();
  Seq begin, end;
  std::uint32_t bytes = 0;
  std::uint8_t first = 0;
  std::uint8_t count = 0;
  std::size_t last() const { return first + count - 1U; }
  /// No hole inside.
  bool solid() const { return bytes == distance(begin, end); }
  /// After pieces came or went.
  void settle() {
    begin = block->begins[first];
    end = block->ends[last()];
  }
};

/// Pieces from .. from + n - 1 of one block to `to` in another, or in the same.
void move_pieces(Block& to, std::size_t at, const Block& source, std::size_t from, std::size_t n) {
  std::memmove(&to.begins[at], &source.begins[from], n * sizeof(Seq));
  std::memmove(&to.ends[at], &source.ends[from], n * sizeof(Seq));
  std::memmove(&to.held[at], &source.held[from], n * sizeof(Held));
}

/// The latest inserts, the newest last, merged where they touch: where to look for SACK ranges.
class Recent {
 public:
  std::size_t size() const { return size_; }
  std::size_t untold() const { return untold_; }
  void told(std::size_t left) { untold_ = static_cast<std::uint8_t>(left); }
  /// Some octet of the range that is `age` older than the newest, its last.
  Seq last_of(std::size_t age) const { return ends_[size_ - 1U - age] - 1U; }

  /// A range that touches nothing.
  void add(Seq begin, Seq end) {
    if (size_ == kMost) drop_oldest();
    begins_[size_] = begin;
    ends_[size_] = end;
    ++size_;
    untold_ = static_cast<std::uint8_t>(std::min<std::size_t>(untold_ + 1U, size_));
  }
  /// A range that touches the newest at one side and nothing else; false when it is another one.
  bool extend(Seq begin, Seq end) {
    if (size_ == 0) return false;
    Seq& newest_begin = begins_[size_ - 1U];
    Seq& newest_end = ends_[size_ - 1U];
    if (newest_end == begin) {
      newest_end = end;
    } else if (newest_begin == end) {
      newest_begin = begin;
    } else {
      return false;
    }
    untold_ = std::max<std::uint8_t>(untold_, 1);
    return true;
  }
  /// Any range. What touches it becomes one with it; what ends at or before `front` was taken, and
  /// is forgotten: it must never be compared beyond 2^31.
  void merge(Seq begin, Seq end, Seq front) {
    if (hits(begin, end, front) != 0) std::tie(begin, end) = absorb(begin, end, front);
    add(begin, end);
  }

 private:
  static constexpr std::size_t kMost = 64;
  /// How many ranges touch this one or were taken; a loop that becomes vectors.
  std::uint32_t hits(Seq begin, Seq end, Seq front) const {
    std::uint32_t n = 0;
    for (std::uint32_t i = 0; i < kMost; ++i) {
      const bool touches = (begins_[i] <= end) & (begin <= ends_[i]);
      n += static_cast<std::uint32_t>((i < size_) & (touches | (ends_[i] <= front)));
    }
    return n;
  }
  /// Takes out what touches and what was taken; the union of the former with [begin, end).
  std::pair<Seq, Seq> absorb(Seq begin, Seq end, Seq front) {
    std::pair<Seq, Seq> all{begin, end};
    std::size_t kept = 0;
    std::size_t untold = 0;
    for (std::size_t i = 0; i < size_; ++i) {
      const Seq b = begins_[i], e = ends_[i];
      if (e <= front) continue;
      if (b <= end && begin <= e) {
        all = {min(all.first, b), max(all.second, e)};
        continue;
      }
      if (i + untold_ >= size_) ++untold;
      begins_[kept] = b;
      ends_[kept++] = e;
    }
    size_ = static_cast<std::uint8_t>(kept);
    untold_ = static_cast<std::uint8_t>(untold);
    return all;
  }
  void drop_oldest() {
    std::memmove(&begins_[0], &begins_[1], (kMost - 1) * sizeof(Seq));
    std::memmove(&ends_[0], &ends_[1], (kMost - 1) * sizeof(Seq));
    --size_;
  }
  std::array<Seq, kMost> begins_{};
  std::array<Seq, kMost> ends_{};
  std::uint8_t size_ = 0;
  std::uint8_t untold_ = 0;  // the newest of them, changed since they were written last
};

}  // namespace

class Assembler::Store {
 public:
  Store() = default;
  Store(const Store& o);
  Store& operator=(const Store&) = delete;
  ~Store();

  Insert insert(Seq at, Slice payload);
  Slice take(Seq next);
  std::size_t sack_blocks(std::span<wire::SackBlock> out);
  std::size_t bytes() const { return bytes_; }
  std::size_t size() const { return size_; }
  std::size_t own_bytes() const {
    return sizeof *this + heads_.capacity() * sizeof(Head) + heads_.size() * sizeof(Block);
  }
  bool has_news() const { return recent_.untold() > 0; }

 private:
  struct Position {
    std::size_t block;
    std::size_t index;
  };
  bool at_end(Position p) const { return p.block == heads_.size(); }
  Seq begin_of(Position p) const { return heads_[p.block].block->begins[p.index]; }
  Seq end_of(Position p) const { return heads_[p.block].block->ends[p.index]; }
  Position next(Position p) const {
    return p.index < heads_[p.block].last() ? Position{p.block, p.index + 1} : start(p.block + 1);
  }
  Position start(std::size_t block) const {
    return {block, block < heads_.size() ? heads_[block].first : std::size_t{0}};
  }
  Position first_ending_after(Seq at) const;
  Seq end_before(Position p, Seq none) const;
  std::size_t gaps(Position p, Seq at, Seq end) const;
  bool append(Seq at, const Slice& payload);
  void remember(Seq begin, Seq end, bool left, bool right);
  void fill(Position p, Seq at, Slice payload);
  Position put(Position p, Seq at, const Slice& piece);
  Position split(Position p);
  void close_up(Head& h);
  void erase_front();
  Seq run_begin(Position p, Seq begin) const;
  Seq run_end(Position p, Seq end) const;
  bool range_around(Seq octet, wire::SackBlock& out) const;

  std::vector<Head> heads_;
  std::size_t size_ = 0;
  std::size_t bytes_ = 0;
  Recent recent_;
  bool taken_ = false;  ///< pieces left since recent_ forgot what is taken
};

Assembler::Store::Store(const Store& o)
    : size_(o.size_), bytes_(o.bytes_), recent_(o.recent_), taken_(o.taken_) {
  for (const Head& h : o.heads_) {
    Head& copy = heads_.emplace_back();
    *copy.block = *h.block;
    copy.bytes = h.bytes;
    copy.first = h.first;
    copy.count = h.count;
    copy.settle();
    for (std::size_t i = copy.first; i <= copy.last(); ++i) {
      if (Buffer* b = copy.block->held[i].buffer) ++b->refs;
    }
  }
}

Assembler::Store::~Store() {
  for (const Head& h : heads_) {
    for (std::size_t i = h.first; i <= h.last(); ++i) release(h.block->held[i], 0);
  }
}

/// The first piece whose end lies after `at`; {heads_.size(), 0} when there is none. Pieces are
/// disjoint, so their ends are sorted as their beginnings are. No branch depends on where it is.
Assembler::Store::Position Assembler::Store::first_ending_after(Seq at) const {
  if (heads_.empty() || heads_.back().end <= at) return {heads_.size(), 0};
  std::size_t block = 0;
  for (std::size_t n = heads_.size(); n > 1;) {
    const std::size_t half = n / 2;
    block += half * static_cast<std::size_t>(heads_[block + half - 1].end <= at);
    n -= half;
  }
  const Head& h = heads_[block];
  const auto& ends = h.block->ends;
  std::uint32_t before = 0;
  for (std::uint32_t i = 0; i < kBlock; ++i) {
    const bool there = i - h.first < h.count;
    before += static_cast<std::uint32_t>(there & (ends[i] <= at));
  }
  return {block, h.first + before};
}

/// Where the piece before `p` ends; `none` when there is none.
Seq Assembler::Store::end_before(Position p, Seq none) const {
  if (!at_end(p) && p.index > heads_[p.block].first) return end_of({p.block, p.index - 1});
  return p.block > 0 ? heads_[p.block - 1].end : none;
}

/// How many pieces it takes to fill [at, end); `p` is first_ending_after(at).
std::size_t Assembler::Store::gaps(Position p, Seq at, Seq end) const {
  std::size_t count = 0;
  for (; !at_end(p) && at < end; p = next(p)) {
    if (at < begin_of(p)) ++count;
    at = end_of(p);
  }
  return at < end ? count + 1 : count;
}

Assembler::Insert Assembler::Store::insert(Seq at, Slice payload) {
  const Seq end = at + payload.size();
  if (append(at, payload)) return Insert::stored;
  const Position p = first_ending_after(at);
  // Alone in its hole, or touching what came last at one side: no need to look at more.
  const bool touches_left = end_before(p, at - 1U) == at;
  const bool apart_right = at_end(p) || begin_of(p) > end;
  const bool touches_right = !apart_right && begin_of(p) == end;
  if ((apart_right || touches_right) && !taken_) {
    if (size_ == kMaxPieces) return Insert::no_room;
    put(p, at, payload);
    remember(at, end, touches_left, touches_right);
    return Insert::stored;
  }
  const std::size_t needed = gaps(p, at, end);
  if (size_ + needed > kMaxPieces) return Insert::no_room;
  if (needed != 0) fill(p, at, std::move(payload));
  recent_.merge(at, end, heads_.front().begin);
  taken_ = false;
  return needed != 0 ? Insert::stored : Insert::duplicate;
}

/// The common case: behind everything, where the last block has room. False when it is another one.
bool Assembler::Store::append(Seq at, const Slice& payload) {
  if (heads_.empty() || taken_ || size_ == kMaxPieces) return false;
  Head& h = heads_.back();
  const std::size_t i = h.last() + 1;
  if (at < h.end || i == kBlock) return false;
  const bool touches = at == h.end;
  const Seq end = at + payload.size();
  h.block->begins[i] = at;
  h.block->ends[i] = end;
  h.block->held[i] = hold(payload);
  h.end = end;
  h.bytes += payload.size();
  ++h.count;
  ++size_;
  bytes_ += payload.size();
  remember(at, end, touches, false);
  return true;
}

/// A new piece, and whether there are octets right before and behind it.
void Assembler::Store::remember(Seq begin, Seq end, bool left, bool right) {
  if (!left && !right) return recent_.add(begin, end);
  if ((left && right) || !recent_.extend(begin, end)) {
    recent_.merge(begin, end, heads_.front().begin);
  }
}

/// Stores the parts of `payload` that are not there.
void Assembler::Store::fill(Position p, Seq at, Slice payload) {
  while (!payload.empty()) {
    const Seq end = at + payload.size();
    const Seq piece_begin = at_end(p) ? end : std::clamp(begin_of(p), at, end);
    const Seq piece_end = at_end(p) ? end : std::clamp(end_of(p), piece_begin, end);
    const std::uint32_t gap = distance(at, piece_begin);
    if (gap != 0) p = next(put(p, at, payload.sub(0, gap)));
    if (!at_end(p)) p = next(p);
    payload.remove_prefix(distance(at, piece_end));
    at = piece_end;
  }
}

/// Puts `piece` before position `p`; returns where it is.
Assembler::Store::Position Assembler::Store::put(Position p, Seq at, const Slice& piece) {
  if (at_end(p)) {  // after everything: into the last block while it has room
    if (heads_.empty() || heads_.back().last() == kBlock - 1) heads_.emplace_back();
    p = {heads_.size() - 1, heads_.back().first + std::size_t{heads_.back().count}};
  } else if (heads_[p.block].count == kBlock) {
    p = split(p);
  } else if (heads_[p.block].first != 0) {
    p.index -= heads_[p.block].first;
    close_up(heads_[p.block]);
  }
  Head& h = heads_[p.block];
  Block& b = *h.block;
  const std::size_t behind = h.first + std::size_t{h.count} - p.index;
  if (behind != 0) move_pieces(b, p.index + 1, b, p.index, behind);
  b.begins[p.index] = at;
  b.ends[p.index] = at + piece.size();
  b.held[p.index] = hold(piece);
  ++h.count;
  h.bytes += piece.size();
  h.settle();
  ++size_;
  bytes_ += piece.size();
  return p;
}

/// Cuts the full block of `p` in two halves; returns `p`'s place in them.
Assembler::Store::Position Assembler::Store::split(Position p) {
  constexpr std::size_t half = kBlock / 2;
  Head& right = *heads_.emplace(heads_.begin() + static_cast<std::ptrdiff_t>(p.block) + 1);
  Head& left = heads_[p.block];
  move_pieces(*right.block, 0, *left.block, half, kBlock - half);
  right.count = kBlock - half;
  left.count = half;
  for (std::size_t i = 0; i < right.count; ++i) {
    right.bytes += distance(right.block->begins[i], right.block->ends[i]);
  }
  left.bytes -= right.bytes;
  left.settle();
  right.settle();
  return p.index <= half ? p : Position{p.block + 1, p.index - half};
}

/// Moves the pieces to the beginning of their block.
void Assembler::Store::close_up(Head& h) {
  move_pieces(*h.block, 0, *h.block, h.first, h.count);
  h.first = 0;
}

/// Its reference is someone else's by now.
void Assembler::Store::erase_front() {
  Head& h = heads_.front();
  const std::uint32_t size = distance(h.begin, h.block->ends[h.first]);
  h.bytes -= size;
  bytes_ -= size;
  --size_;
  taken_ = true;
  ++h.first;
  if (--h.count == 0) {
    heads_.erase(heads_.begin());
  } else {
    h.settle();
  }
}

Slice Assembler::Store::take(Seq next) {
  while (size_ != 0) {
    const Head& h = heads_.front();
    if (h.begin > next) break;
    const Seq begin = h.begin, end = h.block->ends[h.first];
    Slice piece = release(h.block->held[h.first], distance(begin, end));
    erase_front();
    if (end <= next) continue;
    piece.remove_prefix(distance(begin, next));
    return piece;
  }
  return {};
}

/// The contiguous range that holds `octet`; false when it is not held.
bool Assembler::Store::range_around(Seq octet, wire::SackBlock& out) const {
  const Position p = first_ending_after(octet);
  if (at_end(p) || begin_of(p) > octet) return false;
  out = {run_begin(p, begin_of(p)), run_end(p, end_of(p))};
  return true;
}

Seq Assembler::Store::run_begin(Position p, Seq begin) const {
  const Head& h = heads_[p.block];
  for (std::size_t i = p.index; i-- > h.first;) {
    if (h.block->ends[i] != begin) return begin;
    begin = h.block->begins[i];
  }
  for (std::size_t b = p.block; b-- > 0;) {
    const Head& before = heads_[b];
    if (before.end != begin) return begin;
    if (!before.solid()) return run_begin({b, before.last() + 1}, begin);
    begin = before.begin;
  }
  return begin;
}

Seq Assembler::Store::run_end(Position p, Seq end) const {
  const Head& h = heads_[p.block];
  for (std::size_t i = p.index + 1; i <= h.last(); ++i) {
    if (h.block->begins[i] != end) return end;
    end = h.block->ends[i];
  }
  for (std::size_t b = p.block + 1; b < heads_.size(); ++b) {
    const Head& after = heads_[b];
    if (after.begin != end) return end;
    if (!after.solid()) return run_end(start(b), end_of(start(b)));
    end = after.end;
  }
  return end;
}

std::size_t Assembler::Store::sack_blocks(std::span<wire::SackBlock> out) {
  // More ranges are news than fit: the older ones go first, the newest with the last call.
  const std::size_t untold = recent_.untold();
  const std::size_t from = untold > out.size() ? untold - out.size() : 0;
  std::size_t count = 0;
  for (std::size_t age = from; age < recent_.size() && count < out.size(); ++age) {
    wire::SackBlock range;
    // By its last octet: take() may have removed the first ones.
    if (!range_around(recent_.last_of(age), range)) continue;
    const auto written = out.first(count);
    if (std::find(written.begin(), written.end(), range) == written.end()) out[count++] = range;
  }
  recent_.told(from);
  return count;
}

Assembler::Assembler() = default;
Assembler::Assembler(const Assembler& o)
    : store_(o.empty() ? nullptr : std::make_unique<Store>(*o.store_)) {}
Assembler::Assembler(Assembler&& o) noexcept = default;
Assembler& Assembler::operator=(Assembler o) noexcept {
  store_.swap(o.store_);
  return *this;
}
Assembler::~Assembler() = default;

Assembler::Insert Assembler::insert(Seq at, Slice payload) {
  if (payload.empty()) return Insert::duplicate;
  if (!store_) store_ = std::make_unique<Store>();
  return store_->insert(at, std::move(payload));
}

Slice Assembler::take(Seq next) {
  if (!store_) return {};
  Slice taken = store_->take(next);
  if (store_->size() == 0) store_.reset();
  return taken;
}

std::size_t Assembler::bytes() const { return store_ ? store_->bytes() : 0; }
std::size_t Assembler::pieces() const { return store_ ? store_->size() : 0; }
std::size_t Assembler::store_bytes() const { return store_->own_bytes(); }
bool Assembler::has_news() const { return store_ && store_->has_news(); }
void Assembler::clear() { store_.reset(); }

std::size_t Assembler::sack_blocks(std::span<wire::SackBlock> out) {
  return store_ ? store_->sack_blocks(out) : 0;
}

}  // namespace pollux::tcp
