#include "proto/tcp/scoreboard.h"

#include <algorithm>
#include <array>
#include <cassert>

namespace pollux::tcp {

void Delivered::add(const TxRecord& r, std::uint32_t n) {
  octets += n;
  retransmitted |= r.retransmitted;
  if (!r.retransmitted) {
    if (!r.lost) rtt = now - r.sent;
    original |= r.lost;
  } else {
    // RFC 8985 6.2 step 2: an ACK that comes too early was for the first transmission.
    const bool early = now - r.sent < min_rtt;
    const auto sent_ms = static_cast<std::uint32_t>(to_ms(r.sent.time_since_epoch()));
    if (early || (echoes && static_cast<std::int32_t>(echo_ms - sent_ms) < 0)) return;
  }
  const SentAt at{r.sent, r.begin + n};
  if (any && !at.after(newest)) return;
  any = true;
  newest = at;
  newest_again = r.retransmitted;
  rate = r.rate;
}

Scoreboard::Block& Scoreboard::block_for_new() {
  if (!blocks_.empty() && blocks_.back().records.size() < kBlock) return blocks_.back();
  blocks_.emplace_back();
  if (blocks_.size() > 1) blocks_.back().records.reserve(kBlock);
  return blocks_.back();
}

void Scoreboard::on_sent(Seq begin, std::uint32_t size, Instant now, const RateStamp& rate) {
  if (empty()) highest_ = begin;
  Block& b = block_for_new();
  b.records.push_back({.begin = begin, .size = size, .sent = now, .rate = rate});
  b.earliest = std::min(b.earliest, now);
  ++b.in_flight;
  ++count_;
  pipe_ += size;
}

void Scoreboard::leave(Block& b, const TxRecord& r, std::uint32_t octets, Delivered& d) {
  const bool whole = octets == r.size;
  b.stale |= whole;
  if (r.sacked) {
    sacked_ -= octets;
    return;
  }
  if (r.lost) {
    lost_ -= octets;
    if (whole) --b.lost;
  } else {
    pipe_ -= octets;
    if (whole) --b.in_flight;
  }
  d.reordered |= !r.retransmitted && r.begin + octets < highest_;
  d.add(r, octets);
}

void Scoreboard::drop_head() {
  --count_;
  if (++head_ < blocks_[first_].records.size()) return;
  head_ = 0;
  blocks_[first_].records = {};
  if (++first_ < 16 || first_ * 2 < blocks_.size()) return;
  blocks_.erase(blocks_.begin(), blocks_.begin() + static_cast<std::ptrdiff_t>(first_));
  first_ = 0;
}

void Scoreboard::on_ack(Seq una, Delivered& d) {
  while (!empty() && front().end() <= una) {
    leave(blocks_[first_], front(), front().size, d);
    if (count_ == 1) return clear();
    drop_head();
  }
  if (!empty() && front().begin < una) {
    TxRecord& r = blocks_[first_].records[head_];
    const std::uint32_t octets = distance(r.begin, una);
    leave(blocks_[first_], r, octets, d);
    r.begin = una;
    r.size -= octets;
  }
  highest_ = max(highest_, una);
}

/// The record that holds `s`, or the end.
Scoreboard::Position Scoreboard::find(Seq s) const {
  const auto block =
      std::partition_point(blocks_.begin() + static_cast<std::ptrdiff_t>(first_), blocks_.end(),
                           [&](const Block& b) { return b.records.back().end() <= s; });
  Position p{static_cast<std::size_t>(block - blocks_.begin()), 0};
  if (at_end(p)) return p;
  const auto& records = block->records;
  const auto it =
      std::partition_point(records.begin() + static_cast<std::ptrdiff_t>(begin_of(p.block)),
                           records.end(), [&](const TxRecord& r) { return r.end() <= s; });
  p.index = static_cast<std::size_t>(it - records.begin());
  return p;
}

Scoreboard::Position Scoreboard::position_of(const TxRecord& r) const {
  const Position p = find(r.begin);
  assert(!at_end(p) && &blocks_[p.block].records[p.index] == &r);
  return p;
}

void Scoreboard::settle(Position& p) const {
  if (!at_end(p) && p.index >= blocks_[p.block].records.size()) p = {p.block + 1, 0};
}

Scoreboard::Position Scoreboard::split(Position p, std::uint32_t size) {
  Block& b = blocks_[p.block];
  TxRecord rest = b.records[p.index];
  b.records[p.index].size = size;
  rest.begin = rest.begin + size;
  rest.size -= size;
  if (rest.lost) ++b.lost;
  if (!rest.lost && !rest.sacked) ++b.in_flight;
  b.records.insert(b.records.begin() + static_cast<std::ptrdiff_t>(p.index) + 1, rest);
  ++count_;
  if (b.records.size() <= kBlock) return p;
  // The block is cut in half; the counts of both halves are taken anew.
  const std::size_t half = b.records.size() / 2;
  if (p.block == first_ && head_ >= half) {  // the first half is gone already
    b.records.erase(b.records.begin(), b.records.begin() + static_cast<std::ptrdiff_t>(head_));
    p.index -= head_;
    head_ = 0;
    return p;
  }
  Block right;
  right.earliest = b.earliest;
  right.stale = b.stale = true;
  right.records.assign(b.records.begin() + static_cast<std::ptrdiff_t>(half), b.records.end());
  for (const TxRecord& r : right.records) {
    right.lost += r.lost ? 1U : 0U;
    right.in_flight += !r.lost && !r.sacked ? 1U : 0U;
  }
  b.lost -= right.lost;
  b.in_flight -= right.in_flight;
  b.records.resize(half);
  blocks_.insert(blocks_.begin() + static_cast<std::ptrdiff_t>(p.block) + 1, std::move(right));
  return p.index < half ? p : Position{p.block + 1, p.index - half};
}

void Scoreboard::set_sacked(Block& b, TxRecord& r, Delivered& d) {
  --(r.lost ? b.lost : b.in_flight);
  (r.lost ? lost_ : pipe_) -= r.size;
  sacked_ += r.size;
  d.reordered |= !r.retransmitted && r.end() < highest_;
  d.add(r, r.size);
  r.sacked = true;
  b.stale = true;
  r.lost = false;
}

void Scoreboard::sack(const wire::SackBlock& s, std::uint32_t mss, Delivered& d) {
  for (Position p = find(s.begin); !at_end(p) && at(p).begin < s.end; ++p.index, settle(p)) {
    if (at(p).sacked) continue;
    // Cut at whole segments only: the parts of a super-packet that the block covers.
    if (at(p).begin < s.begin) {
      const std::uint32_t keep = (distance(at(p).begin, s.begin) + mss - 1) / mss * mss;
      if (keep < at(p).size) p = split(p, keep);
      continue;
    }
    if (at(p).end() > s.end) {
      const std::uint32_t covered = distance(at(p).begin, s.end) / mss * mss;
      if (covered == 0) break;
      p = split(p, covered);
    }
    set_sacked(blocks_[p.block], at(p), d);
  }
}

void Scoreboard::on_sack(std::span<const wire::SackBlock> blocks, std::uint32_t mss, Delivered& d) {
  // In sequence order, so that an older block does not look like a segment that came late.
  std::array<wire::SackBlock, 4> sorted;
  std::size_t n = 0;
  for (const wire::SackBlock& b : blocks.first(std::min(blocks.size(), sorted.size()))) {
    if (empty() || b.begin >= b.end || b.begin < front().begin ||
        b.end > blocks_.back().records.back().end()) {
      continue;
    }
    std::size_t i = n++;
    for (; i > 0 && b.begin < sorted[i - 1].begin; --i) sorted[i] = sorted[i - 1];
    sorted[i] = b;
  }
  const std::span valid(sorted.data(), n);
  for (const wire::SackBlock& b : valid) sack(b, mss, d);
  for (const wire::SackBlock& b : valid) highest_ = max(highest_, b.end);
}

void Scoreboard::set_lost(Block& b, TxRecord& r) {
  r.lost = true;
  b.stale = true;
  --b.in_flight;
  ++b.lost;
  pipe_ -= r.size;
  lost_ += r.size;
}

Scoreboard::Loss Scoreboard::scan(Block& b, std::size_t from, const SentAt& newest, Duration window,
                                  Instant now) {
  Loss loss;
  b.earliest = kNever;
  for (std::size_t i = from; i < b.records.size(); ++i) {
    TxRecord& r = b.records[i];
    if (r.sacked || r.lost) continue;
    if (newest.after({r.sent, r.end()})) {
      if (r.sent + window <= now) {
        set_lost(b, r);
        loss.octets += r.size;
        continue;
      }
      loss.next = std::min(loss.next, r.sent + window);
    }
    b.earliest = std::min(b.earliest, r.sent);
  }
  b.stale = false;
  return loss;
}

Scoreboard::Loss Scoreboard::mark_lost_before(const SentAt& newest, Duration window, Instant now) {
  Loss all;
  for (std::size_t i = first_; i < blocks_.size(); ++i) {
    Block& b = blocks_[i];
    if (b.in_flight == 0 || b.earliest > newest.time) continue;
    // A peer that SACKs piece by piece must not make each ACK look at all that is in flight. Of
    // what was sent at one time the sequence decides; what is young is only to be looked at later.
    const bool ahead = b.records[begin_of(i)].begin >= newest.end;
    const bool behind = b.records.back().end() <= newest.end;
    if (ahead && b.earliest == newest.time) continue;
    if (!b.stale && (ahead || behind) && b.earliest + window > now) {
      all.next = std::min(all.next, b.earliest + window);
      continue;
    }
    const Loss loss = scan(b, begin_of(i), newest, window, now);
    all.octets += loss.octets;
    all.next = std::min(all.next, loss.next);
  }
  return all;
}

std::uint32_t Scoreboard::mark_head_lost(std::uint32_t mss) {
  if (empty() || front().lost || front().sacked) return 0;
  Position p{first_, head_};
  if (front().size > mss) p = split(p, mss);
  set_lost(blocks_[p.block], at(p));
  return at(p).size;
}

std::uint32_t Scoreboard::mark_timed_out(Instant sent_until) {
  const bool reneged = !empty() && front().sacked;
  const std::uint32_t before = lost_;
  for (std::size_t i = first_; i < blocks_.size(); ++i) {
    Block& b = blocks_[i];
    for (std::size_t j = begin_of(i); j < b.records.size(); ++j) {
      TxRecord& r = b.records[j];
      if (r.sacked && reneged) {
        r.sacked = false;
        sacked_ -= r.size;
        pipe_ += r.size;
        ++b.in_flight;
      }
      const bool head = i == first_ && j == head_;
      if (!r.sacked && !r.lost && (head || reneged || r.sent <= sent_until)) set_lost(b, r);
    }
  }
  return lost_ - before;
}

void Scoreboard::unmark_lost() {
  for (std::size_t i = first_; lost_ > 0 && i < blocks_.size(); ++i) {
    Block& b = blocks_[i];
    for (std::size_t j = begin_of(i); b.lost > 0 && j < b.records.size(); ++j) {
      TxRecord& r = b.records[j];
      if (!r.lost) continue;
      r.lost = false;
      --b.lost;
      ++b.in_flight;
      b.earliest = std::min(b.earliest, r.sent);
      lost_ -= r.size;
      pipe_ += r.size;
    }
  }
}

TxRecord* Scoreboard::next_lost(std::uint32_t max, std::uint32_t mss) {
  if (lost_ == 0) return nullptr;
  for (std::size_t i = first_; i < blocks_.size(); ++i) {
    if (blocks_[i].lost == 0) continue;
    Position p{i, begin_of(i)};
    while (!at(p).lost) ++p.index;
    const std::uint32_t whole = std::max(max / mss, 1U) * mss;
    if (at(p).size > whole) p = split(p, whole);
    return &at(p);
  }
  return nullptr;
}

TxRecord* Scoreboard::tail(std::uint32_t mss) {
  if (empty()) return nullptr;
  Position p{blocks_.size() - 1, blocks_.back().records.size() - 1};
  if (at(p).sacked || at(p).lost) return nullptr;
  if (at(p).size > mss) {
    split(p, (at(p).size - 1) / mss * mss);
    p = {blocks_.size() - 1, blocks_.back().records.size() - 1};
  }
  return &at(p);
}

TxRecord& Scoreboard::shorten(TxRecord& r, std::uint32_t size) {
  return at(split(position_of(r), size));
}

void Scoreboard::on_retransmitted(TxRecord& r, Instant now, const RateStamp& rate) {
  Block& b = blocks_[position_of(r).block];
  if (r.lost) {
    lost_ -= r.size;
    pipe_ += r.size;
    --b.lost;
    ++b.in_flight;
  }
  b.stale = true;
  r.lost = false;
  r.retransmitted = true;
  r.sent = now;
  r.rate = rate;
  b.earliest = std::min(b.earliest, now);
}

void Scoreboard::clear() {
  first_ = head_ = count_ = 0;
  pipe_ = sacked_ = lost_ = 0;
  // What is idle is small: one short block at most is kept.
  if (blocks_.size() > 1 || (!blocks_.empty() && blocks_[0].records.capacity() > 4)) {
    std::vector<Block>().swap(blocks_);
  } else if (!blocks_.empty()) {
    std::vector<TxRecord> records = std::move(blocks_[0].records);
    records.clear();
    blocks_[0] = Block{.records = std::move(records)};
  }
}

}  // namespace pollux::tcp
