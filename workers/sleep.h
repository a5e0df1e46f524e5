// Who writes the eventfd: the producer wakes a consumer only when it said that it sleeps, and no
// wake-up is lost.
//
//   consumer                          producer
//     prepare():  sleeping = true       publish to the queue
//     ---- seq_cst fence ----           ---- seq_cst fence ----
//     re-check the queues               must_wake(): sleeping?
//     wait when empty                     -> signal
//     done()
//
// The fences come in one order (C++ [atomics.order]): either the consumer's re-check sees what was
// published, or the producer sees the flag. A busy consumer costs the producer a fence and a load
// of a line that nobody writes.
#pragma once

#include <atomic>

#include "workers/shared_line.h"

namespace pollux {

class SleepFlag {
 public:
  /// Consumer: says that it is about to sleep. It must look at its queues once more after this,
  /// and call done() whether it slept or not. False when it had said so already.
  bool prepare() noexcept {
    const bool was = sleeping_.exchange(true, std::memory_order_seq_cst);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    return !was;
  }
  /// Consumer: is awake. A signal may still be under way: it must tolerate a spurious one.
  void done() noexcept { sleeping_.store(false, std::memory_order_seq_cst); }

  /// Any producer, after publishing: true when it has to signal, at most once per sleep among all
  /// producers.
  bool must_wake() noexcept {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (!sleeping_.load(std::memory_order_relaxed)) return false;
    return sleeping_.exchange(false, std::memory_order_seq_cst);
  }

 private:
  alignas(kSharedLine) std::atomic<bool> sleeping_{false};
};
static_assert(kOwnLine<SleepFlag>);

}  // namespace pollux
