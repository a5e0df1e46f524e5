// What one thread writes and another reads has cache lines of its own, two of them: CPUs fetch
// lines in pairs.
#pragma once

#include <atomic>
#include <cstddef>

namespace pollux {

inline constexpr std::size_t kSharedLine = 128;

/// True when nothing else can lie on T's lines, wherever it is a member.
template <class T>
inline constexpr bool kOwnLine = alignof(T) >= kSharedLine && sizeof(T) % kSharedLine == 0;

/// Tells a thread something: set by one, looked at by another in every turn of its loop.
class alignas(kSharedLine) SharedFlag {
 public:
  void set(bool value) noexcept { value_.store(value, std::memory_order_seq_cst); }
  bool is_set() const noexcept { return value_.load(std::memory_order_acquire); }

 private:
  std::atomic<bool> value_{false};
};
static_assert(kOwnLine<SharedFlag>);

}  // namespace pollux
