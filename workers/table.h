// Flow table of one shard: keyed hash -> entry, O(1), bounded, open addressing by groups of eight
// 16-bit tags (four groups per cache line), so that a miss touches no entry. It stores pointers;
// the entry type derives from FlowEntry.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "proto/base/addr.h"

namespace pollux {

/// What an entry begins with, so that the table needs no template.
struct FlowEntry {
  FlowKey key;
  std::uint32_t hash = 0;
};

class FlowTable {
 public:
  /// `max_entries`: insert() refuses past it. Starts small and grows by doubling.
  explicit FlowTable(std::size_t max_entries);
  FlowEntry* find(std::uint32_t hash, const FlowKey& key) const;
  /// Asks for the lines that find() and guess() look at first.
  void prefetch(std::uint32_t hash) const;
  /// What find() will give for a key of this hash, most likely; no entry is touched.
  FlowEntry* guess(std::uint32_t hash) const;
  /// False when full. The key must not be there.
  bool insert(FlowEntry* entry);
  /// The entry must be there.
  void erase(FlowEntry* entry);
  std::size_t size() const { return size_; }
  std::size_t reserved_bytes() const;
  /// Visits all; the callback must not insert or erase.
  template <class F>
  void for_each(F&& f) const {
    for (FlowEntry* e : slots_) {
      if (e != nullptr) f(*e);
    }
  }
  /// Visits entries from place `at` on, at most `places` of the table's, for as long as the
  /// callback (which must not insert or erase) returns true; returns where to go on.
  template <class F>
  std::size_t for_some(std::size_t at, std::size_t places, F&& f) const {
    const std::size_t n = slots_.size();
    for (std::size_t i = 0; i < std::min(places, n); ++i) {
      const FlowEntry* e = slots_[(at + i) % n];
      if (e != nullptr && !f(*e)) return (at + i + 1) % n;
    }
    return n == 0 ? 0 : (at + std::min(places, n)) % n;
  }

 private:
  struct Place {
    std::size_t group;
    std::uint16_t tag;
  };
  Place place_of(std::uint32_t hash) const;
  void put(FlowEntry* entry);
  void make_room();
  void rehash(std::size_t slots);

  std::vector<FlowEntry*> slots_;    // nullptr where there is no entry
  std::vector<std::uint16_t> tags_;  // per slot: empty, tombstone or the entry's tag
  std::size_t max_entries_;
  std::size_t group_mask_ = 0;
  unsigned group_shift_ = 0;
  std::size_t size_ = 0;
  std::size_t used_ = 0;  // entries and tombstones
};

}  // namespace pollux
