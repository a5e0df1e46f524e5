// The RX stage: takes packets from queues, hashes each one's flow to a worker and hands it over
// through that worker's ring. A stage, not a thread: one with all queues runs in the dedicated RX
// thread, or every worker runs its own with its own queue.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/packet_queue.h"
#include "proto/base/siphash.h"
#include "workers/counters.h"
#include "workers/limits.h"
#include "workers/packet.h"
#include "workers/pool.h"
#include "workers/port.h"
#include "workers/ring.h"
#include "workers/stage_clock.h"

namespace pollux {

/// Wakes a worker that may be asleep. Called by the producer once per batch, after the batch is in
/// the ring; must do nothing, and cheaply, where the worker is awake.
class Waker {
 public:
  virtual ~Waker() = default;
  virtual void wake() noexcept = 0;
};

/// Which worker owns a flow: the top octet of its hash through a table of 256 workers.
class Indirection {
 public:
  explicit Indirection(std::size_t workers);
  std::size_t worker(std::uint32_t hash) const { return table_[hash >> 24U]; }

 private:
  std::array<std::uint8_t, 256> table_{};
};

struct RxStageOptions {
  HashKey key;  ///< per boot; the same for every stage and worker
  /// They outlive the stage. None where there are fewer queues than workers.
  std::vector<PacketQueue*> queues;
  std::size_t workers = 1;
  /// Inline mode: the worker that runs this stage, whose packets poll() returns directly.
  std::optional<std::size_t> self;
  PoolOptions pool;  ///< slot_size: rx_slot_size(largest packet)
  std::size_t ring_slots = limits::kRingSlots;
  std::vector<Waker*> wakers;                    ///< one per worker, null for none; or empty
  StageClock* stage_clock = &StageClock::off();  ///< of the thread that runs this stage
};

/// Written by the stage's thread only; every packet taken counts in `packets`, and a dropped one
/// in exactly one of the drops.
struct alignas(kSharedLine) RxStageCounters {
  Counter packets;
  Counter bytes;
  Counter forwarded;  ///< handed over through a ring
  Counter ring_full;
  Counter no_buffer;
};
static_assert(kOwnLine<RxStageCounters>);

/// Buffers in the rings and with the workers are the stage's: it must outlive the last of them.
class RxStage {
 public:
  explicit RxStage(RxStageOptions options);
  RxStage(const RxStage&) = delete;
  RxStage& operator=(const RxStage&) = delete;

  /// Takes packets from the queues in turn, at most own.size() of them in inline mode and
  /// limits::kBatch in dedicated mode. Inline: puts what belongs to `self` into `own` and returns
  /// how many; dedicated (`own` is not looked at): returns how many it took. Never blocks.
  std::size_t poll(std::span<RxPacket> own) noexcept;
  /// How many packets the last poll() took, wherever they went.
  std::size_t last_taken() const { return last_taken_; }
  /// The last poll() left a queue before it was empty.
  bool more() const { return more_; }

  const std::vector<PacketQueue*>& queues() const { return options_.queues; }
  std::optional<std::size_t> self() const { return options_.self; }
  const RxStageCounters& counters() const { return counters_; }
  const BufferPool& pool() const { return pool_; }

 private:
  friend class WorkerInbox;
  /// The way to one worker and back: what both threads write is in the two rings. The staged
  /// packets are published as one batch.
  struct Lane {
    Lane(BufferPool& pool, std::size_t ring_slots) : ring(ring_slots), home(pool) {}
    SpscRing<RxPacket> ring;
    ReturnPath home;
    std::array<RxPacket, limits::kBatch> staged;
    std::size_t staged_count = 0;
    Waker* waker = nullptr;
  };
  static_assert(kOwnLine<Lane>);

  /// One queue, and how many packets it is asked for next.
  struct Input {
    PacketQueue* queue;
    std::size_t burst = limits::kBatch;
  };
  RxResult take_one(PacketQueue& queue, std::span<RxPacket> own) noexcept;
  std::size_t drain_queue(Input& input, std::size_t quota, std::span<RxPacket> own) noexcept;
  void stage(Lane& lane, const RxPacket& packet) noexcept;
  void publish() noexcept;
  void publish(Lane& lane) noexcept;
  void bring_buffers_home() noexcept;

  const RxStageOptions options_;
  const Indirection indirection_;
  BufferPool pool_;
  std::vector<std::unique_ptr<Lane>> lanes_;  ///< by worker; null for self
  std::vector<Input> inputs_;
  std::size_t next_queue_ = 0;
  std::size_t own_count_ = 0;
  std::size_t last_taken_ = 0;
  bool more_ = false;
  RxStageCounters counters_;
};
static_assert(kOwnLine<RxStage>);

/// What one worker receives from: its ring of every stage, and in inline mode its own stage.
class alignas(kSharedLine) WorkerInbox final : public RxSource {
 public:
  /// `stages` are all of them; the one whose self() is `worker` is polled, the others feed rings.
  WorkerInbox(std::size_t worker, const std::vector<RxStage*>& stages,
              StageClock& stage_clock = StageClock::off());

  /// In inline mode the rings get half of `out` at first, so that neither side starves the other.
  std::size_t poll(std::span<RxPacket> out) noexcept override;
  bool more() const noexcept override { return more_; }
  /// True when a ring has something: what a worker that said that it sleeps looks at once more.
  bool has_pending() const noexcept;
  /// The worker's own stage in inline mode, else null.
  RxStage* own_stage() const { return own_; }

 private:
  std::size_t pop_rings(std::span<RxPacket> out) noexcept;

  std::vector<RxStage::Lane*> lanes_;
  std::size_t next_lane_ = 0;
  RxStage* own_ = nullptr;
  StageClock& stage_clock_;
  bool more_ = false;
};
static_assert(kOwnLine<WorkerInbox>);

}  // namespace pollux
