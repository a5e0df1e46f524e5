// Counters of one worker: plain 64-bit words written by that worker only and read by the control
// thread with relaxed loads; one cache line apart from everybody else's.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "proto/base/drop.h"
#include "workers/shared_line.h"

namespace pollux {

/// A counter with one writer. The add is a plain load and store: no lock prefix.
class Counter {
 public:
  void add(std::uint64_t n = 1) {
    v_.store(v_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  void sub(std::uint64_t n = 1) {
    v_.store(v_.load(std::memory_order_relaxed) - n, std::memory_order_relaxed);
  }
  void set(std::uint64_t n) { v_.store(n, std::memory_order_relaxed); }
  std::uint64_t get() const { return v_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> v_{0};
};

// The names are those of `pollux show stats --json`.
// clang-format off
#define POLLUX_COUNTERS(X) \
  X(rx_packets) X(rx_bytes) X(tx_packets) X(tx_bytes) X(connections_open) \
  X(connections_opened) X(connections_closed) X(retransmitted_segments) \
  X(out_of_order_segments) X(checksum_errors) X(resets_sent) X(resets_received) \
  X(syn_cookies_sent) X(syn_cookies_validated) X(memory_bytes) X(busy_ns) X(idle_ns) \
  X(turns) X(sleeps) X(tx_drops) X(datagrams_received) X(datagrams_sent) \
  X(packets_reassembled) X(packets_fragmented)
// clang-format on

struct alignas(kSharedLine) WorkerCounters {
#define X(name) Counter name;
  POLLUX_COUNTERS(X)
#undef X
  std::array<Counter, kDropReasons> drops;
  void drop(DropReason r, std::uint64_t n = 1) { drops[static_cast<std::size_t>(r)].add(n); }
};
static_assert(kOwnLine<WorkerCounters>);

}  // namespace pollux
