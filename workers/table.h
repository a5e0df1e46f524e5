// Flow table of one shard: keyed hash -> entry, O(1), bounded, open addressing with 64-octet
// buckets of tags. It stores pointers; the entry type has `FlowKey key` and `std::uint32_t hash`.
#pragma once

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
      if (e != nullptr && e != tombstone()) f(*e);
    }
  }

 private:
  static FlowEntry* tombstone();
  void rehash(std::size_t slots);
  // Implementation's choice; slots_ is the array of entries that for_each walks.
  std::vector<FlowEntry*> slots_;
  std::vector<std::uint16_t> tags_;
  std::size_t max_entries_;
  std::size_t size_ = 0;
  std::size_t used_ = 0;  // entries and tombstones
};

}  // namespace pollux
