// Errands for a worker from the control thread: the one header that sees oneTBB. Off the packet
// path: a worker looks at one flag a turn.
#pragma once

#include <tbb/concurrent_queue.h>

#include <functional>

#include "workers/limits.h"
#include "workers/shared_line.h"

namespace pollux {

class Shard;

class Mailbox {
 public:
  using Errand = std::function<void(Shard&)>;
  /// Any thread. The caller wakes the worker afterwards.
  void post(Errand errand) {
    queue_.push(std::move(errand));
    mail_.set(true);
  }
  bool has_mail() const { return mail_.is_set(); }
  /// The worker: runs what has come, a batch at most; has_mail() tells whether more waits. Takes
  /// locked instructions, so it stays a function of its own.
  [[gnu::noinline, gnu::cold]] void run(Shard& shard) {
    mail_.set(false);
    Errand errand;
    for (std::size_t i = 0; i < limits::kBatch && queue_.try_pop(errand); ++i) errand(shard);
    if (!queue_.empty()) mail_.set(true);
  }

 private:
  tbb::concurrent_queue<Errand> queue_;
  SharedFlag mail_;
};
static_assert(kOwnLine<Mailbox>);

}  // namespace pollux
