#include "workers/wheel.h"

#include <algorithm>
#include <bit>

namespace pollux {
namespace {

void make_empty(TimerLink& head) { head.prev = head.next = &head; }
bool is_empty(const TimerLink& head) { return head.next == &head; }

void push_back(TimerLink& head, TimerLink& node) {
  node.prev = head.prev;
  node.next = &head;
  head.prev->next = &node;
  head.prev = &node;
}

/// Moves all of `from` behind the last of `to` in O(1).
void splice_back(TimerLink& to, TimerLink& from) {
  from.next->prev = to.prev;
  to.prev->next = from.next;
  from.prev->next = &to;
  to.prev = from.prev;
  make_empty(from);
}

std::int64_t nanoseconds(Instant t) { return t.time_since_epoch().count(); }

constexpr unsigned low6(std::int64_t index) { return static_cast<unsigned>(index & 63); }

void disarm_all(TimerLink& head) {
  while (!is_empty(head)) {
    TimerLink* first = head.next;
    head.next = first->next;
    first->prev = first->next = nullptr;
  }
}

}  // namespace

TimerWheel::TimerWheel(Instant start) : now_tick_(nanoseconds(start) >> kTickShift) {
  for (Level& level : levels_) std::ranges::for_each(level.heads, make_empty);
  make_empty(due_);
}

TimerWheel::~TimerWheel() {
  for (Level& level : levels_) std::ranges::for_each(level.heads, disarm_all);
  disarm_all(due_);
}

void TimerWheel::arm(TimerNode& node, Instant deadline) {
  cancel(node);
  if (deadline == kNever) return;
  // Rounded up: a tick is due only when it has begun, so nothing fires early.
  const std::int64_t ns = nanoseconds(deadline);
  const bool within_tick = (ns & ((1 << kTickShift) - 1)) != 0;
  node.expires_tick = (ns >> kTickShift) + (within_tick ? 1 : 0);
  place(node);
  ++size_;
}

void TimerWheel::cancel(TimerNode& node) {
  if (!node.armed()) return;
  unlink(node);
  --size_;
}

// The buckets of a level that are ahead of now are index+1 .. index+64, each once, so the finest
// level that reaches the entry's tick holds it. The next tick is the nearest: what is armed for the
// past while expire() runs is not seen by that run.
void TimerWheel::place(TimerNode& node) {
  const std::int64_t tick = std::max(node.expires_tick, now_tick_ + 1);
  unsigned level = 0;
  std::int64_t ahead = 0;
  std::int64_t index = 0;
  for (;; ++level) {
    const unsigned shift = level * kLevelShift;
    index = now_tick_ >> shift;
    ahead = ((tick - 1) >> shift) + 1 - index;  // rounded up
    if (ahead <= kBuckets || level == kLevels - 1) break;
  }
  // Past the last level: as late as it goes, expire() places it again.
  const unsigned slot = low6(index + std::min(ahead, kBuckets));
  push_back(levels_[level].heads[slot], node);
  levels_[level].occupied |= std::uint64_t{1} << slot;
  node.bucket = static_cast<std::uint16_t>((level << kLevelBits) | slot);
}

// A node on the due list still names the bucket it was in; clearing that bucket's bit only when the
// bucket is empty is right for it too.
void TimerWheel::unlink(TimerNode& node) {
  node.prev->next = node.next;
  node.next->prev = node.prev;
  node.prev = node.next = nullptr;
  Level& level = levels_[node.bucket >> kLevelBits];
  const unsigned slot = low6(node.bucket);
  if (is_empty(level.heads[slot])) level.occupied &= ~(std::uint64_t{1} << slot);
}

void TimerWheel::advance(Instant now) {
  const std::int64_t tick = nanoseconds(now) >> kTickShift;
  if (tick <= now_tick_) return;
  for (unsigned l = 0; l < kLevels; ++l) {
    const std::int64_t from = now_tick_ >> (l * kLevelShift);
    const std::int64_t passed = (tick >> (l * kLevelShift)) - from;
    if (passed == 0) break;  // nor did any coarser one move
    const std::uint64_t run =
        passed >= kBuckets ? ~std::uint64_t{0} : (std::uint64_t{1} << passed) - 1;
    const int first = static_cast<int>(low6(from + 1));
    collect(levels_[l], levels_[l].occupied & std::rotl(run, first));
  }
  now_tick_ = tick;
}

void TimerWheel::collect(Level& level, std::uint64_t buckets) {
  level.occupied &= ~buckets;
  for (; buckets != 0; buckets &= buckets - 1) {
    splice_back(due_, level.heads[static_cast<unsigned>(std::countr_zero(buckets))]);
  }
}

TimerNode* TimerWheel::expire(Instant now) {
  advance(now);
  while (!is_empty(due_)) {
    TimerNode& node = static_cast<TimerNode&>(*due_.next);
    unlink(node);
    if (node.expires_tick <= now_tick_) {
      --size_;
      return &node;
    }
    place(node);
  }
  return nullptr;
}

Instant TimerWheel::next_deadline() const {
  if (size_ == 0) return kNever;
  std::int64_t best = is_empty(due_) ? INT64_MAX : now_tick_;
  for (unsigned l = 0; l < kLevels; ++l) {
    if (levels_[l].occupied == 0) continue;
    const unsigned shift = l * kLevelShift;
    const std::int64_t first = (now_tick_ >> shift) + 1;
    const int ahead =
        std::countr_zero(std::rotr(levels_[l].occupied, static_cast<int>(low6(first))));
    best = std::min(best, (first + ahead) << shift);
  }
  return Instant{Duration{best << kTickShift}};
}

}  // namespace pollux
