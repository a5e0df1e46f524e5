#include "engine/services/iperf2_flows.h"

#include <algorithm>
#include <cmath>

namespace pollux::iperf2 {

void Receiver::take(const DatagramHead& h, std::size_t size, Instant now) {
  if (finished_) return;  // the last one again
  octets_ += size;
  last_ = now;
  const auto id = static_cast<std::uint64_t>(h.id);
  finished_ = h.id < 0;
  count(finished_ ? 0 - id : id);
  measure_jitter(h.sent_us, now);
}

/// Numbers count from 1; older clients' from 0.
void Receiver::count(std::uint64_t sequence) {
  if (sequence > highest_) {
    lost_ += sequence - highest_ - 1;
    highest_ = sequence;
  } else if (sequence != 0) {
    ++out_of_order_;
    if (lost_ > 0) --lost_;
  }
}

void Receiver::measure_jitter(std::int64_t sent_us, Instant now) {
  const std::int64_t transit = to_us(now.time_since_epoch()) - sent_us;
  if (transit_us_) {
    const double d = std::abs(static_cast<double>(transit - *transit_us_));
    // Times are the sender's word: what is longer than a day says nothing, and must fit.
    jitter_us_ = std::min(jitter_us_ + (d - jitter_us_) / 16, 86'400e6);
  }
  transit_us_ = transit;
}

Report Receiver::report() const {
  return {.octets = octets_,
          .datagrams = highest_,
          .lost = lost_,
          .out_of_order = out_of_order_,
          .time = last_ - first_,
          .jitter = std::chrono::microseconds(std::llround(jitter_us_))};
}

Flows::Flow* Flows::find(const FlowKey& key, Instant now) {
  const auto found = by_key_.find(key);
  if (found == by_key_.end()) return nullptr;
  flows_.splice(flows_.begin(), flows_, found->second);
  found->second->heard = now;
  return &*found->second;
}

Flows::Flow& Flows::add(const FlowKey& key, bool wide_sequence, Instant now) {
  while (!flows_.empty() && flows_.back().heard + kForget <= now) drop_oldest();
  if (by_key_.size() >= capacity_) drop_oldest();
  flows_.push_front({key, wide_sequence, now, Receiver(now)});
  by_key_.emplace(key, flows_.begin());
  return flows_.front();
}

void Flows::drop_oldest() {
  by_key_.erase(flows_.back().key);
  flows_.pop_back();
}

}  // namespace pollux::iperf2
