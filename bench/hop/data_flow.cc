#include "bench/hop/data_flow.h"

#include <algorithm>
#include <iterator>

namespace pollux::hop {

void RangeSet::add(Range r) {
  auto it = ranges_.upper_bound(r.begin);
  if (it != ranges_.begin() && std::prev(it)->second >= r.begin) --it;
  while (it != ranges_.end() && it->first <= r.end) {
    r.begin = std::min(r.begin, it->first);
    r.end = std::max(r.end, it->second);
    it = ranges_.erase(it);
  }
  ranges_.emplace(r.begin, r.end);
}

void RangeSet::remove(Range r) {
  auto it = ranges_.upper_bound(r.begin);
  if (it != ranges_.begin() && std::prev(it)->second > r.begin) --it;
  while (it != ranges_.end() && it->first < r.end) {
    const Range old{it->first, it->second};
    it = ranges_.erase(it);
    if (old.begin < r.begin) ranges_.emplace(old.begin, r.begin);
    if (old.end > r.end) ranges_.emplace(r.end, old.end);
  }
}

bool RangeSet::overlaps(Range r) const {
  auto it = ranges_.lower_bound(r.end);
  return it != ranges_.begin() && std::prev(it)->second > r.begin;
}

void SendCounts::cut(std::uint64_t offset) { steps_.emplace(offset, at(offset)); }

void SendCounts::add(Range r) {
  cut(r.begin);
  cut(r.end);
  for (auto it = steps_.find(r.begin); it->first < r.end; ++it) ++it->second;
}

std::uint32_t SendCounts::at(std::uint64_t offset) const {
  const auto it = steps_.upper_bound(offset);
  return it == steps_.begin() ? 0 : std::prev(it)->second;
}

void DataFlow::on_syn(Seq isn) {
  if (isn_ == isn) return;
  *this = DataFlow();
  isn_ = isn;
  origin_ = isn + 1;
  started_ = true;
}

Duration DataFlow::take_lag(Instant now, Range r) {
  Duration lag{0};
  auto it = lost_at_.lower_bound(r.begin);
  while (it != lost_at_.end() && it->first < r.end) {
    lag = std::max(lag, now - it->second);
    it = lost_at_.erase(it);
  }
  return lag;
}

std::optional<Transmission> DataFlow::on_data(Instant now, Seq seq, std::uint32_t octets) {
  if (!started_) {  // the SYN passed before the hop looked
    origin_ = seq;
    started_ = true;
  }
  // The highest octet sent is the reference: it is never 2^31 away from what is sent next.
  const Seq next_seq = origin_ + static_cast<std::uint32_t>(next_);
  const std::int64_t begin = static_cast<std::int64_t>(next_) + (seq - next_seq);
  if (begin < 0) return std::nullopt;
  Transmission t;
  t.range.begin = static_cast<std::uint64_t>(begin);
  t.range.end = t.range.begin + octets;
  const std::uint64_t old_end = std::clamp(next_, t.range.begin, t.range.end);
  t.sent_before = old_end - t.range.begin;
  if (t.sent_before > 0) again_.add({t.range.begin, old_end});
  t.lag = take_lag(now, t.range);
  if (t.range.end > next_) {
    t.ordinal = ++ordinal_;
    next_ = t.range.end;
  } else {
    t.spurious = !missing_.overlaps(t.range);
  }
  return t;
}

}  // namespace pollux::hop
