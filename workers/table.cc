#include "workers/table.h"

#include <bit>
#include <cassert>
#include <utility>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace pollux {
namespace {

constexpr std::size_t kGroup = 8;  // tags compared at once
constexpr std::size_t kMinSlots = 64;
constexpr std::uint16_t kEmpty = 0;
constexpr std::uint16_t kTombstone = 1;
constexpr std::uint16_t kFirstTag = 2;

/// One bit pair per tag of a group that equals `tag`; bit 2i belongs to tag i.
unsigned matches(const std::uint16_t* tags, std::uint16_t tag) {
#ifdef __SSE2__
  const __m128i group = _mm_loadu_si128(reinterpret_cast<const __m128i*>(tags));
  const __m128i equal = _mm_cmpeq_epi16(group, _mm_set1_epi16(static_cast<short>(tag)));
  return static_cast<unsigned>(_mm_movemask_epi8(equal)) & 0x5555U;
#else
  unsigned mask = 0;
  for (unsigned i = 0; i < kGroup; ++i) mask |= (tags[i] == tag ? 1U : 0U) << (2 * i);
  return mask;
#endif
}

std::size_t first_of(unsigned mask) { return static_cast<std::size_t>(std::countr_zero(mask)) / 2; }

/// At most 7/8 full, so that every probe meets an empty tag soon.
std::size_t most_used(std::size_t slots) { return slots - slots / 8; }

}  // namespace

FlowTable::FlowTable(std::size_t max_entries) : max_entries_(max_entries) { rehash(kMinSlots); }

// The worker was chosen by bits of the same hash, so some are equal for the whole shard: spread
// them by a multiplication (2^64 / golden ratio) and use its high half. Group and tag do not
// overlap up to 2^24 groups.
FlowTable::Place FlowTable::place_of(std::uint32_t hash) const {
  const std::uint64_t mixed = hash * std::uint64_t{0x9e3779b97f4a7c15};
  auto tag = static_cast<std::uint16_t>(mixed >> 24);
  if (tag < kFirstTag) tag = static_cast<std::uint16_t>(tag + kFirstTag);
  return {static_cast<std::size_t>(mixed >> group_shift_), tag};
}

// Groups are probed at triangular distances, which visit all of a power of two. A group with an
// empty tag was never full since the last rehash, so no probe ever went past it.
FlowEntry* FlowTable::find(std::uint32_t hash, const FlowKey& key) const {
  auto [group, tag] = place_of(hash);
  for (std::size_t step = 1;; ++step) {
    const std::uint16_t* tags = &tags_[group * kGroup];
    for (unsigned m = matches(tags, tag); m != 0; m &= m - 1) {
      FlowEntry* e = slots_[group * kGroup + first_of(m)];
      if (e->hash == hash && e->key == key) return e;
    }
    if (matches(tags, kEmpty) != 0) return nullptr;
    group = (group + step) & group_mask_;
  }
}

void FlowTable::prefetch(std::uint32_t hash) const {
  const std::size_t first = place_of(hash).group * kGroup;
  __builtin_prefetch(&tags_[first]);
  __builtin_prefetch(&slots_[first]);
}

FlowEntry* FlowTable::guess(std::uint32_t hash) const {
  const auto [group, tag] = place_of(hash);
  const unsigned m = matches(&tags_[group * kGroup], tag);
  return m == 0 ? nullptr : slots_[group * kGroup + first_of(m)];
}

bool FlowTable::insert(FlowEntry* entry) {
  if (size_ >= max_entries_) return false;
  assert(find(entry->hash, entry->key) == nullptr);
  if (used_ >= most_used(slots_.size())) make_room();
  put(entry);
  return true;
}

void FlowTable::put(FlowEntry* entry) {
  auto [group, tag] = place_of(entry->hash);
  for (std::size_t step = 1;; ++step) {
    std::uint16_t* tags = &tags_[group * kGroup];
    const unsigned free = matches(tags, kEmpty) | matches(tags, kTombstone);
    if (free != 0) {
      const std::size_t i = first_of(free);
      if (tags[i] == kEmpty) ++used_;
      tags[i] = tag;
      slots_[group * kGroup + i] = entry;
      ++size_;
      return;
    }
    group = (group + step) & group_mask_;
  }
}

void FlowTable::erase(FlowEntry* entry) {
  auto [group, tag] = place_of(entry->hash);
  for (std::size_t step = 1;; ++step) {
    std::uint16_t* tags = &tags_[group * kGroup];
    const bool has_empty = matches(tags, kEmpty) != 0;
    for (unsigned m = matches(tags, tag); m != 0; m &= m - 1) {
      const std::size_t i = first_of(m);
      if (slots_[group * kGroup + i] != entry) continue;
      slots_[group * kGroup + i] = nullptr;
      tags[i] = has_empty ? kEmpty : kTombstone;
      if (has_empty) --used_;
      --size_;
      return;
    }
    assert(!has_empty && "erase of an entry that is not in the table");
    group = (group + step) & group_mask_;
  }
}

// Doubles when entries fill it; when tombstones do, a rehash of the same size is enough. Either
// way at least 7/16 of the slots are free after it, which pays for the next one.
void FlowTable::make_room() {
  const std::size_t slots = slots_.size();
  rehash(size_ > most_used(slots) / 2 ? slots * 2 : slots);
}

void FlowTable::rehash(std::size_t slots) {
  std::vector<FlowEntry*> old(slots, nullptr);
  std::vector<std::uint16_t> tags(slots, kEmpty);
  old.swap(slots_);
  tags_ = std::move(tags);
  const std::size_t groups = slots / kGroup;
  group_mask_ = groups - 1;
  group_shift_ = 64 - static_cast<unsigned>(std::countr_zero(groups));
  size_ = used_ = 0;
  for (FlowEntry* e : old) {
    if (e != nullptr) put(e);
  }
}

std::size_t FlowTable::reserved_bytes() const {
  return slots_.capacity() * sizeof(FlowEntry*) + tags_.capacity() * sizeof(std::uint16_t);
}

}  // namespace pollux
