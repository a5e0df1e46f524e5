#include "proto/tcp/scoreboard.h"

#include <algorithm>

namespace pollux::tcp {

void Scoreboard::on_sent(Seq begin, std::uint32_t size, Instant now) {
  records_.push_back({.begin = begin, .size = size, .sent = now});
  pipe_ += size;
  last_sent_ = now;
}

Scoreboard::Acked Scoreboard::on_ack(Seq una, Instant now, std::uint32_t mss) {
  Acked a;
  const auto leave = [&](const TxRecord& r, std::uint32_t octets) {
    if (r.sacked) {
      sacked_ -= octets;
    } else {
      (r.lost ? lost_ : pipe_) -= octets;
      a.newly += octets;
      a.retransmitted |= r.retransmitted;
      if (!r.retransmitted && !r.lost) a.rtt = now - r.sent;
    }
  };
  while (!empty() && records_[head_].end() <= una)
    leave(records_[head_], records_[head_].size), ++head_;
  if (!empty() && records_[head_].begin < una) {
    TxRecord& r = records_[head_];
    const std::uint32_t octets = distance(r.begin, una);
    leave(r, octets);
    r.begin = una;
    r.size -= octets;
  }
  if (empty()) {
    clear();
  } else if (head_ >= 64 && head_ * 2 >= records_.size()) {
    records_.erase(records_.begin(), records_.begin() + static_cast<std::ptrdiff_t>(head_));
    head_ = 0;
  }
  (void)mss;
  return a;
}

std::size_t Scoreboard::find(Seq s) const {
  const auto it =
      std::upper_bound(records_.begin() + static_cast<std::ptrdiff_t>(head_), records_.end(), s,
                       [](Seq v, const TxRecord& r) { return v < r.end(); });
  return static_cast<std::size_t>(it - records_.begin());
}

void Scoreboard::split(std::size_t index, std::uint32_t size) {
  TxRecord rest = records_[index];
  records_[index].size = size;
  rest.begin = rest.begin + size;
  rest.size -= size;
  records_.insert(records_.begin() + static_cast<std::ptrdiff_t>(index) + 1, rest);
}

Scoreboard::Acked Scoreboard::on_sack(std::span<const wire::SackBlock> blocks, Instant now,
                                      std::uint32_t mss) {
  Acked a;
  for (const wire::SackBlock& b : blocks) {
    if (empty() || b.begin >= b.end || b.begin < records_[head_].begin ||
        b.end > records_.back().end()) {
      continue;
    }
    for (std::size_t i = find(b.begin); i < records_.size() && records_[i].begin < b.end; ++i) {
      if (records_[i].sacked) continue;
      // Cut at whole segments only: the parts of a super-packet that the block covers.
      if (records_[i].begin < b.begin) {
        const std::uint32_t keep = (distance(records_[i].begin, b.begin) + mss - 1) / mss * mss;
        if (keep >= records_[i].size) continue;
        split(i, keep);
        continue;
      }
      if (records_[i].end() > b.end) {
        const std::uint32_t covered = distance(records_[i].begin, b.end) / mss * mss;
        if (covered == 0) break;
        split(i, covered);
      }
      TxRecord& r = records_[i];
      (r.lost ? lost_ : pipe_) -= r.size;
      if (!r.retransmitted && !r.lost) a.rtt = now - r.sent;
      a.retransmitted |= r.retransmitted;
      r.sacked = true;
      r.lost = false;
      sacked_ += r.size;
      a.newly += r.size;
    }
  }
  return a;
}

void Scoreboard::set_lost(TxRecord& r) {
  r.lost = true;
  pipe_ -= r.size;
  lost_ += r.size;
}

bool Scoreboard::mark_lost_by_sack(std::uint32_t threshold) {
  std::uint32_t above = sacked_;
  bool any = false;
  for (std::size_t i = head_; i < records_.size() && above >= threshold; ++i) {
    TxRecord& r = records_[i];
    if (r.sacked) {
      above -= r.size;
    } else if (!r.lost && !r.retransmitted) {
      set_lost(r);
      any = true;
    }
  }
  return any;
}

void Scoreboard::mark_head_lost(std::uint32_t mss) {
  if (empty() || records_[head_].lost || records_[head_].sacked) return;
  if (records_[head_].size > mss) split(head_, mss);
  set_lost(records_[head_]);
}

void Scoreboard::mark_all_lost() {
  const bool reneged = !empty() && records_[head_].sacked;
  for (std::size_t i = head_; i < records_.size(); ++i) {
    TxRecord& r = records_[i];
    if (r.sacked && reneged) {
      r.sacked = false;
      sacked_ -= r.size;
      pipe_ += r.size;
    }
    if (!r.sacked && !r.lost) set_lost(r);
  }
}

TxRecord* Scoreboard::next_lost(std::uint32_t max, std::uint32_t mss) {
  if (lost_ == 0) return nullptr;
  for (std::size_t i = head_; i < records_.size(); ++i) {
    if (!records_[i].lost) continue;
    const std::uint32_t whole = std::max(max / mss, 1U) * mss;
    if (records_[i].size > whole) split(i, whole);
    return &records_[i];
  }
  return nullptr;
}

TxRecord& Scoreboard::shorten(TxRecord& r, std::uint32_t size) {
  const auto index = static_cast<std::size_t>(&r - records_.data());
  split(index, size);
  return records_[index];
}

void Scoreboard::on_retransmitted(TxRecord& r, Instant now) {
  r.lost = false;
  r.retransmitted = true;
  r.sent = now;
  lost_ -= r.size;
  pipe_ += r.size;
  last_sent_ = now;
}

void Scoreboard::clear() {
  head_ = 0;
  pipe_ = sacked_ = lost_ = 0;
  if (records_.capacity() > 16) {
    std::vector<TxRecord>().swap(records_);
  } else {
    records_.clear();
  }
}

}  // namespace pollux::tcp
