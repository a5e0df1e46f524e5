// A bounded store of small records, one a flow: what is kept of a connection that does not exist
// yet (half_open.h) or no longer (time_wait.h). Records lie in chunks that are never moved; a hash
// index finds them by flow, and intrusive queues keep them in the order in which they fall due,
// which is the order of arrival where each waits equally long. No allocation per record.
//
//   index:  hash, number ──► chunks: [record][record][free]...      queue: head ⇄ ... ⇄ tail
#pragma once

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "proto/base/siphash.h"
#include "proto/base/time.h"

namespace pollux {

/// `Record` has `FlowKey key` and two bit fields of 24 bits, `next` and `prev`, for the store.
template <class Record>
class RecordStore {
 public:
  static constexpr std::uint32_t kNone = (1U << 24) - 1;

  /// Records in a row; each is in one queue at most.
  struct Queue {
    std::uint32_t head = kNone;
    std::uint32_t tail = kNone;
    bool empty() const { return head == kNone; }
  };

  RecordStore(const HashKey& secret, std::size_t max)
      : secret_(secret), max_(std::min<std::size_t>(max, kNone)) {}

  std::size_t size() const { return size_; }
  bool full() const { return size_ >= max_; }
  std::size_t bytes() const { return size_ * sizeof(Record); }
  Record& at(std::uint32_t n) const { return chunks_[n / kChunk][n % kChunk]; }

  /// The record of a flow, or kNone. `hash` is its flow_hash().
  std::uint32_t find(std::uint32_t hash, const FlowKey& key) const {
    if (size_ == 0) return kNone;
    for (std::size_t i = home(hash); index_[i].record != kNone; i = after(i)) {
      if (index_[i].hash == hash && at(index_[i].record).key == key) return index_[i].record;
    }
    return kNone;
  }

  /// A record with nothing but its key, or kNone when the store is full. The flow must be new.
  std::uint32_t add(std::uint32_t hash, const FlowKey& key) {
    if (full()) return kNone;
    if ((size_ + 1) * 2 > index_.size()) grow_index();
    const std::uint32_t n = take_free();
    at(n) = Record{};
    at(n).key = key;
    put({hash, n});
    ++size_;
    return n;
  }

  /// The record must be in no queue.
  void remove(std::uint32_t n) {
    std::size_t i = home(flow_hash(secret_, at(n).key));
    while (index_[i].record != n) {
      assert(index_[i].record != kNone && "a record that is not in the store");
      i = after(i);
    }
    close_gap(i);
    at(n).next = free_ & kNone;
    free_ = n;
    --size_;
  }

  void push_back(Queue& q, std::uint32_t n) {
    at(n).prev = q.tail & kNone;
    at(n).next = kNone;
    if (q.empty()) {
      q.head = n;
    } else {
      at(q.tail).next = n & kNone;
    }
    q.tail = n;
  }

  void unlink(Queue& q, std::uint32_t n) {
    const std::uint32_t prev = at(n).prev;
    const std::uint32_t next = at(n).next;
    if (prev == kNone) {
      q.head = next;
    } else {
      at(prev).next = next & kNone;
    }
    if (next == kNone) {
      q.tail = prev;
    } else {
      at(next).prev = prev & kNone;
    }
  }

  template <class F>
  void for_each(F&& f) const {
    for (const Slot& s : index_) {
      if (s.record != kNone) f(at(s.record));
    }
  }

 private:
  static constexpr std::size_t kChunk = 1024;
  static constexpr std::size_t kMinSlots = 64;
  struct Slot {
    std::uint32_t hash = 0;
    std::uint32_t record = kNone;
  };

  /// The worker was chosen by bits of the same hash: spread them (2^64 / golden ratio).
  std::size_t home(std::uint32_t hash) const {
    return static_cast<std::size_t>(hash * std::uint64_t{0x9e3779b97f4a7c15} >> 32) &
           (index_.size() - 1);
  }
  std::size_t after(std::size_t i) const { return (i + 1) & (index_.size() - 1); }

  void put(const Slot& s) {
    std::size_t i = home(s.hash);
    while (index_[i].record != kNone) i = after(i);
    index_[i] = s;
  }

  /// At most half full, so that probes are short. One doubling is a pause of the worker.
  void grow_index() {
    std::vector<Slot> old(std::max(kMinSlots, index_.size() * 2));
    old.swap(index_);
    for (const Slot& s : old) {
      if (s.record != kNone) put(s);
    }
  }

  /// Moves back what was pushed past slot `hole` on its way from home: no tombstones.
  void close_gap(std::size_t hole) {
    const std::size_t mask = index_.size() - 1;
    for (std::size_t i = after(hole); index_[i].record != kNone; i = after(i)) {
      const std::size_t way = (i - home(index_[i].hash)) & mask;
      if (way < ((i - hole) & mask)) continue;
      index_[hole] = index_[i];
      hole = i;
    }
    index_[hole] = {};
  }

  std::uint32_t take_free() {
    if (free_ == kNone) {
      const auto first = static_cast<std::uint32_t>(chunks_.size() * kChunk);
      const std::size_t count = std::min(kChunk, max_ - first);
      chunks_.push_back(std::make_unique<Record[]>(count));
      for (std::size_t i = count; i-- > 0;) {
        const std::uint32_t n = first + static_cast<std::uint32_t>(i);
        at(n).next = free_ & kNone;
        free_ = n;
      }
    }
    const std::uint32_t n = free_;
    free_ = at(n).next;
    return n;
  }

  HashKey secret_;
  std::size_t max_;
  std::vector<std::unique_ptr<Record[]>> chunks_;
  std::vector<Slot> index_;
  std::uint32_t free_ = kNone;
  std::size_t size_ = 0;
};

/// Instants cut to 32 bits of a unit; good while they are younger than 2^32 of it.
template <class Unit>
struct ShortTime {
  static std::uint32_t cut(Instant t) {
    return static_cast<std::uint32_t>(
        std::chrono::duration_cast<Unit>(t.time_since_epoch()).count());
  }
  /// The instant that was cut, as seen from a `reference` at or after it.
  static Instant restore(std::uint32_t cut_time, Instant reference) {
    const auto whole = std::chrono::duration_cast<Unit>(reference.time_since_epoch());
    return Instant{whole - Unit{static_cast<std::uint32_t>(whole.count()) - cut_time}};
  }
};

}  // namespace pollux
