#include "engine/iperf3/recorder.h"

#include <algorithm>

namespace pollux::iperf3 {
namespace {

Sample operator-(const Sample& a, const Sample& b) {
  const auto less = [](std::uint64_t x, std::uint64_t y) { return x > y ? x - y : 0; };
  Sample d = a;
  d.bytes = less(a.bytes, b.bytes);
  d.packets = less(a.packets, b.packets);
  d.lost = less(a.lost, b.lost);
  d.out_of_order = less(a.out_of_order, b.out_of_order);
  d.retransmits = less(a.retransmits, b.retransmits);
  return d;
}

}  // namespace

void Recorder::end_omission() {
  for (const auto& slot : test_.slots) slot->omitted = slot->previous = Sample::of(slot->counters);
  last_s_ = 0;
}

const IntervalRow& Recorder::interval(double now_s, bool omitted) {
  IntervalRow row{.start_s = last_s_, .end_s = now_s, .omitted = omitted, .streams = {}};
  extremes_.resize(test_.slots.size());
  for (std::size_t i = 0; i < test_.slots.size(); ++i) {
    Slot& slot = *test_.slots[i];
    const Sample now = Sample::of(slot.counters);
    row.streams.push_back(
        {.id = slot.id, .sender = slot.sends, .delta = now - slot.previous, .now = now});
    slot.previous = now;
    Extremes& e = extremes_[i];
    e.max_cwnd = std::max(e.max_cwnd, now.cwnd);
    e.max_send_window = std::max(e.max_send_window, now.send_window);
    if (now.rtt_us == 0) continue;
    e.min_rtt = e.samples == 0 ? now.rtt_us : std::min(e.min_rtt, now.rtt_us);
    e.max_rtt = std::max(e.max_rtt, now.rtt_us);
    e.sum_rtt += now.rtt_us;
    ++e.samples;
  }
  last_s_ = now_s;
  rows_ += row.streams.size();
  while (rows_ > kMaxRows && !intervals_.empty()) {
    rows_ -= intervals_.front().streams.size();
    intervals_.erase(intervals_.begin());
  }
  intervals_.push_back(std::move(row));
  return intervals_.back();
}

std::vector<StreamResult> Recorder::results(double seconds) const {
  std::vector<StreamResult> all;
  for (const auto& slot : test_.slots) {
    const Sample end = Sample::of(slot->counters);
    const Sample counted = end - slot->omitted;
    StreamResult r;
    r.id = slot->id;
    r.bytes = counted.bytes;
    r.retransmits =
        slot->sends && !test_.parameters.udp ? static_cast<std::int64_t>(counted.retransmits) : -1;
    r.jitter_s = static_cast<double>(end.jitter_ns) / 1e9;
    r.lost = end.lost;
    r.packets = end.packets;
    r.omitted_lost = slot->omitted.lost;
    r.omitted_packets = slot->omitted.packets;
    r.seconds = seconds;
    all.push_back(r);
  }
  return all;
}

Summary Recorder::summary(double seconds) const {
  Summary summary;
  summary.seconds = seconds;
  const std::vector<StreamResult> own = results(seconds);
  for (std::size_t i = 0; i < own.size(); ++i) {
    const Slot& slot = *test_.slots[i];
    StreamSummary s{.id = slot.id, .sender = slot.sends, .sent = {}, .received = {}};
    StreamResult r = own[i];
    r.lost -= std::min(r.lost, r.omitted_lost);
    r.packets -= std::min(r.packets, r.omitted_packets);
    (slot.sends ? s.sent : s.received) = r;
    s.out_of_order = slot.counters.out_of_order.get() - slot.omitted.out_of_order;
    if (i < extremes_.size()) {
      const Extremes& e = extremes_[i];
      s.max_cwnd = e.max_cwnd;
      s.max_send_window = e.max_send_window;
      s.min_rtt_us = e.min_rtt;
      s.max_rtt_us = e.max_rtt;
      s.mean_rtt_us = e.samples != 0 ? e.sum_rtt / e.samples : 0;
    }
    summary.streams.push_back(s);
  }
  return summary;
}

Sample sum_of(const IntervalRow& row, bool sender, std::size_t& streams) {
  Sample sum;
  streams = 0;
  for (const StreamRow& s : row.streams) {
    if (s.sender != sender) continue;
    ++streams;
    sum.bytes += s.delta.bytes;
    sum.packets += s.delta.packets;
    sum.lost += s.delta.lost;
    sum.out_of_order += s.delta.out_of_order;
    sum.retransmits += s.delta.retransmits;
    sum.jitter_ns += s.delta.jitter_ns;
  }
  if (streams != 0) sum.jitter_ns /= streams;
  return sum;
}

std::optional<StreamResult> total(const Summary& summary, bool sender, bool sent) {
  std::optional<StreamResult> sum;
  std::size_t n = 0;
  for (const StreamSummary& s : summary.streams) {
    const auto& r = sent ? s.sent : s.received;
    if (s.sender != sender || !r) continue;
    if (!sum) sum = StreamResult{};
    ++n;
    sum->bytes += r->bytes;
    sum->retransmits = r->retransmits < 0     ? r->retransmits
                       : sum->retransmits < 0 ? r->retransmits
                                              : sum->retransmits + r->retransmits;
    sum->jitter_s += r->jitter_s;
    sum->lost += r->lost;
    sum->packets += r->packets;
    sum->seconds = std::max(sum->seconds, r->seconds);
  }
  if (sum) sum->jitter_s /= static_cast<double>(n);
  return sum;
}

}  // namespace pollux::iperf3
