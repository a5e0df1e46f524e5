// Errands for a worker from the control thread: the one header that sees oneTBB. Off the packet
// path: a worker looks at one flag a turn.
#pragma once

#include <tbb/concurrent_queue.h>

#include <atomic>
#include <functional>

namespace pollux {

class Shard;

class Mailbox {
 public:
  using Errand = std::function<void(Shard&)>;
  /// Any thread. The caller wakes the worker afterwards.
  void post(Errand errand) {
    queue_.push(std::move(errand));
    mail_.store(true, std::memory_order_release);
  }
  bool has_mail() const { return mail_.load(std::memory_order_acquire); }
  /// The worker: runs what has come.
  void run(Shard& shard) {
    mail_.store(false, std::memory_order_seq_cst);
    Errand errand;
    while (queue_.try_pop(errand)) errand(shard);
  }

 private:
  tbb::concurrent_queue<Errand> queue_;
  std::atomic<bool> mail_{false};
};

}  // namespace pollux
