#include "bench/hop/forwarder.h"

#include <time.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

namespace pollux::hop {
namespace {

constexpr int kBatch = 64;  // packets read before others get their turn
constexpr Duration kLate = 1ms;
constexpr std::size_t kPacketMax = 65'535;  // what an IP packet can be

nlohmann::ordered_json as_json(const LinkCounters& c) {
  return {{"packets", c.packets},
          {"octets", c.octets},
          {"forwarded", c.forwarded},
          {"dropped",
           {{"loss", c.lost},
            {"burst", c.lost_burst},
            {"queue", c.lost_queue},
            {"script", c.lost_script}}},
          {"duplicated", c.duplicated},
          {"reordered", c.reordered},
          {"stripped", c.stripped},
          {"queue_octets_max", c.queue_octets_max},
          {"data_packets", c.data_packets},
          {"data_octets", c.data_octets},
          {"retransmitted_packets", c.retransmitted_packets},
          {"retransmitted_octets", c.retransmitted_octets},
          {"spurious_packets", c.spurious_packets},
          {"resend_lag_us_max", to_us(c.lag_max)}};
}

}  // namespace

Forwarder::Forwarder(const Options& o)
    : hold_(o.hold),
      devices_{Device(o.devices[0], o.mtu, o.txqueuelen),
               Device(o.devices[1], o.mtu, o.txqueuelen)},
      impairments_{Impairment(o.links[0], o.rules[0], o.seed * 2),
                   Impairment(o.links[1], o.rules[1], o.seed * 2 + 1)},
      read_buffer_(kPacketMax) {}

Instant Forwarder::now() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return Instant{std::chrono::seconds{t.tv_sec} + std::chrono::nanoseconds{t.tv_nsec}};
}

Instant Forwarder::next_due() const {
  Instant due = kNever;
  for (const Line& line : lines_) {
    if (!line.heap.empty()) due = std::min(due, line.heap.front().release);
  }
  return due;
}

void Forwarder::push(std::size_t direction, Instant release, Bytes packet) {
  Line& line = lines_[direction];
  if (lines_[0].heap.size() + lines_[1].heap.size() >= hold_) {
    ++line.overflow;
    return;
  }
  Buffer bytes;
  if (!spare_.empty()) {
    bytes = std::move(spare_.back());
    spare_.pop_back();
  }
  bytes.assign(packet.begin(), packet.end());
  line.heap.push_back({release, index_++, std::move(bytes)});
  std::push_heap(line.heap.begin(), line.heap.end(), Later{});
}

void Forwarder::accept(std::size_t direction, MutableBytes packet) {
  const Plan plan = impairments_[direction].on_packet(now(), packet);
  for (unsigned copy = 0; copy < plan.copies; ++copy) push(direction, plan.release[copy], packet);
}

bool Forwarder::read_from(std::size_t side) {
  for (int i = 0; i < kBatch; ++i) {
    const std::size_t size = devices_[side].read(read_buffer_);
    if (size == 0) return false;
    accept(side, MutableBytes(read_buffer_).first(size));
  }
  return true;
}

void Forwarder::send_due(std::size_t direction) {
  Line& line = lines_[direction];
  Instant at = now();
  while (!line.heap.empty() && line.heap.front().release <= at) {
    std::pop_heap(line.heap.begin(), line.heap.end(), Later{});
    Pending& due = line.heap.back();
    if (at - due.release > kLate) ++line.late;
    line.late_us_max = std::max(line.late_us_max, to_us(at - due.release));
    if (!devices_[1 - direction].write(due.bytes)) ++line.refused;
    spare_.push_back(std::move(due.bytes));
    line.heap.pop_back();
    at = now();
  }
}

bool Forwarder::turn() {
  bool more = false;
  for (std::size_t side = 0; side < devices_.size(); ++side) {
    if (read_from(side)) more = true;
    send_due(side);
  }
  return more;
}

std::string Forwarder::report() const {
  nlohmann::ordered_json out;
  constexpr std::array<const char*, 2> kNames = {"a>b", "b>a"};
  for (std::size_t d = 0; d < kNames.size(); ++d) {
    auto& direction = out[kNames[d]];
    direction = as_json(impairments_[d].counters());
    direction["dropped"]["overflow"] = lines_[d].overflow;
    direction["dropped"]["refused"] = lines_[d].refused;
    direction["late_packets"] = lines_[d].late;
    direction["late_us_max"] = lines_[d].late_us_max;
  }
  return out.dump();
}

}  // namespace pollux::hop
