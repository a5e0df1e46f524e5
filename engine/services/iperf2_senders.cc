#include "engine/services/iperf2_senders.h"

#include <algorithm>

#include "engine/clock.h"
#include "engine/services/chargen.h"

namespace pollux::iperf2 {
namespace {

constexpr std::size_t kDatagramHeads = kDatagramHead + kDatagramTestHead;
/// Octets of what goes out at once.
constexpr std::size_t kMaxAtOnce = 65'507;

std::size_t block_of(const Test& test, bool v4) {
  const std::size_t custom =
      v4 ? DatagramSenders::kDefaultBlockV4 : DatagramSenders::kDefaultBlockV6;
  const std::size_t wanted = test.block != 0 ? test.block : custom;
  return std::clamp(wanted, kDatagramHead, std::min(Shard::max_datagram(v4), kMaxAtOnce));
}

}  // namespace

/// When the next datagram is due. A double holds what a day at the highest rate needs.
Instant DatagramSenders::Sender::next() const {
  const double seconds =
      static_cast<double>(sent) * static_cast<double>(block) * 8 / static_cast<double>(rate);
  return started + std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
}

void DatagramSenders::start(const FlowKey& flow, const Test& test, Duration max_time, Permit permit,
                            Instant now) {
  if (!shard_->claim_datagrams(flow, service_)) return;
  if (octets_.empty()) {
    octets_.resize(kMaxAtOnce);
    const Slice pattern = chargen_slice(0, kMaxAtOnce);
    std::copy_n(pattern.data(), kMaxAtOnce, octets_.begin());
  }
  const std::size_t block = block_of(test, flow.remote.addr.is_v4());
  const std::uint64_t rate = test.rate != 0 ? test.rate : kDefaultRate;
  senders_.emplace(flow, Sender{.permit = std::move(permit),
                                .started = now,
                                .end = now + std::min(test.time.value_or(max_time), max_time),
                                .left = test.time ? UINT64_MAX : (test.octets + block - 1) / block,
                                .rate = std::min(rate, kMaxRate),
                                .block = block,
                                .tos = test.tos,
                                .trip_times = test.trip_times && block >= kDatagramHeads,
                                .started_us = wall_clock_us()});
  rearm();
}

void DatagramSenders::stop(const FlowKey& flow) {
  if (senders_.erase(flow) == 0) return;
  shard_->close_datagrams(flow);
  rearm();
}

void DatagramSenders::stop_all(Instant now) {
  for (auto& [flow, sender] : senders_) sender.end = now;
  if (!senders_.empty()) run(now);
}

void DatagramSenders::run(Instant now) {
  for (auto it = senders_.begin(); it != senders_.end();) {
    if (send_due(it->first, it->second, now)) {
      ++it;
      continue;
    }
    shard_->close_datagrams(it->first);
    it = senders_.erase(it);
  }
  rearm();
}

/// False when it has sent its last one.
bool DatagramSenders::send_due(const FlowKey& flow, Sender& s, Instant now) {
  const std::size_t most = std::min(limits::kDatagramSegments, kMaxAtOnce / s.block);
  std::size_t count = 0;
  const std::uint64_t before = s.sent;
  while (count < most && count < s.left && s.next() <= now) {
    ++count;
    ++s.sent;
  }
  s.sent = before;
  const bool last = now >= s.end || count >= s.left;
  if (last && count == 0) count = 1;
  if (count > 0) send(flow, s, count, last);
  return !last;
}

void DatagramSenders::send(const FlowKey& flow, Sender& s, std::size_t count, bool last) {
  const std::int64_t us = wall_clock_us();
  for (std::size_t i = 0; i < count; ++i) {
    const auto number = static_cast<std::int64_t>(++s.sent);
    const bool final_one = last && i + 1 == count;
    emit_datagram({.id = final_one ? -number : number, .sent_us = us},
                  MutableBytes(octets_).subspan(i * s.block, kDatagramHead));
    if (s.trip_times) {
      emit_datagram_test_head(s.started_us,
                              MutableBytes(octets_).subspan(i * s.block + kDatagramHead));
    }
  }
  s.left -= std::min<std::uint64_t>(s.left, count);
  const std::uint16_t each = count > 1 ? static_cast<std::uint16_t>(s.block) : std::uint16_t{0};
  shard_->send_datagram(flow, Bytes(octets_).first(count * s.block),
                        {.segment_size = each, .tos = s.tos});
}

void DatagramSenders::rearm() {
  Instant next = kNever;
  for (const auto& [flow, s] : senders_) next = std::min({next, s.next(), s.end});
  shard_->arm(timer_, next);
}

}  // namespace pollux::iperf2
