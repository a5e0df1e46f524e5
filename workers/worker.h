// The poll loop of one core: packets in, timers, services, transmissions, and the idle ladder.
//
// A turn reads the time once. When nothing came for `spin`, the worker arms its sleep flag, looks
// once more, and sleeps until a packet, an errand or the next timer.
#pragma once

#include <functional>

#include "workers/mailbox.h"
#include "workers/port.h"
#include "workers/shard.h"

namespace pollux {

enum class IdlePolicy : std::uint8_t { poll, adaptive, block };

/// How a worker waits, in the terms of the machine: engine/ implements it, the tests fake it.
class Sleeper {
 public:
  virtual ~Sleeper() = default;
  /// From here on producers wake this worker; the caller looks at its sources once more.
  virtual void prepare() noexcept = 0;
  /// Returns at `deadline` at the latest (kNever: only when woken).
  virtual void sleep(Instant deadline) noexcept = 0;
  virtual void done() noexcept = 0;
};

/// What a worker serves beside packets and errands, once a turn while there is some: the host's
/// side of proxies. engine/ implements it; whoever sleeps for the worker watches it too.
class EventSource {
 public:
  virtual ~EventSource() = default;
  /// Handles what is ready, never waits; true when something was.
  virtual bool poll(Instant now) noexcept = 0;
  bool is_active() const { return active_; }

 protected:
  void set_active(bool on) { active_ = on; }

 private:
  bool active_ = false;
};

struct WorkerOptions {
  IdlePolicy idle = IdlePolicy::adaptive;
  Duration spin = 50us;
  bool crowded = false;  ///< more threads than CPUs
};

class Worker {
 public:
  using ClockFn = Instant (*)();
  /// `shard` has its stage clock already.
  Worker(const WorkerOptions& options, Shard& shard, RxSource& source, Sleeper& sleeper,
         ClockFn clock);

  /// Before run(); it outlives the worker.
  void set_event_source(EventSource& events) { events_ = &events; }
  /// Runs until stop(). On the worker's own thread.
  void run();
  /// Any thread; wake the worker afterwards.
  void stop() { stop_.set(true); }
  Mailbox& mailbox() { return mailbox_; }
  /// One turn; true when something was done. For run() and for tests.
  bool turn(Instant now);

 private:
  void handle(Instant now, std::size_t n);
  bool idle(Instant now);
  void account(Instant from, Instant to, bool busy);

  WorkerOptions options_;
  Shard& shard_;
  RxSource& source_;
  Sleeper& sleeper_;
  ClockFn clock_;
  StageClock& stages_;
  EventSource* events_ = nullptr;
  Mailbox mailbox_;
  SharedFlag stop_;
  alignas(kSharedLine) std::array<RxPacket, limits::kBatch> batch_;
  Instant last_busy_{};
};
static_assert(kOwnLine<Worker>);

}  // namespace pollux
