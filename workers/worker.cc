#include "workers/worker.h"

#include "workers/relax.h"

namespace pollux {

Worker::Worker(const WorkerOptions& options, Shard& shard, RxSource& source, Sleeper& sleeper,
               ClockFn clock)
    : options_(options),
      shard_(shard),
      source_(source),
      sleeper_(sleeper),
      clock_(clock),
      stages_(shard.stage_clock()) {}

bool Worker::turn(Instant now) {
  const std::size_t n = source_.poll(batch_);
  handle(now, n);
  stages_.enter(Stage::timers);
  const bool due = shard_.next_deadline() <= now;
  if (due) shard_.on_timers(now);
  stages_.enter(Stage::loop);
  const bool mail = mailbox_.has_mail();
  if (mail) {
    shard_.begin_errands(now);
    mailbox_.run(shard_);
  }
  const bool polled = events_ != nullptr && events_->is_active() && events_->poll(now);
  const bool worked = shard_.finish_turn(now, source_.more());
  stages_.enter(Stage::loop);
  return n > 0 || mail || polled || worked;
}

/// The first `n` packets of the batch.
void Worker::handle(Instant now, std::size_t n) {
  if (n > 1) shard_.prefetch(std::span(batch_).first(n));
  for (std::size_t i = 0; i < n; ++i) shard_.on_packet(now, batch_[i]);
}

void Worker::account(Instant from, Instant to, bool busy) {
  WorkerCounters& c = shard_.counters();
  const auto ns = static_cast<std::uint64_t>((to - from).count());
  (busy ? c.busy_ns : c.idle_ns).add(ns);
  c.turns.add();
}

void Worker::run() {
  Instant now = clock_();
  last_busy_ = now;
  while (!stop_.is_set()) {
    stages_.begin_turn();
    const bool busy = turn(now);
    const Instant after = clock_();
    account(now, after, busy);
    stages_.end_turn(busy);
    now = after;
    if (busy || shard_.has_work()) {
      last_busy_ = now;
      continue;
    }
    if (options_.idle == IdlePolicy::poll ||
        (options_.idle == IdlePolicy::adaptive && now - last_busy_ < options_.spin)) {
      relax(options_.crowded);
      if (options_.crowded) now = clock_();  // another thread may have run meanwhile
      continue;
    }
    const bool found = idle(now);
    const Instant woken = clock_();
    account(now, woken, found);
    now = woken;
  }
}

/// Arms the flag, looks once more (a packet may have come before the producer saw the flag), and
/// only then sleeps. True when it did not sleep and found packets.
bool Worker::idle(Instant now) {
  sleeper_.prepare();
  const std::size_t n = source_.poll(batch_);
  if (n == 0 && !mailbox_.has_mail() && !stop_.is_set()) {
    shard_.counters().sleeps.add();
    sleeper_.sleep(shard_.next_deadline());
    sleeper_.done();
    last_busy_ = clock_();
    return false;
  }
  sleeper_.done();
  handle(now, n);
  shard_.finish_turn(now);
  last_busy_ = now;
  return n > 0;
}

}  // namespace pollux
