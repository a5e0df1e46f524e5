// What the live page shows, of all workers, for whichever of them serves it. Counters have one
// writer each and are read as they are; round trips are sampled by errands, and only while
// somebody looks.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "engine/rx_stage.h"
#include "workers/counters.h"
#include "workers/crew.h"
#include "workers/shard.h"

namespace pollux {

/// Smoothed round-trip times of some of a shard's connections.
struct RttSample {
  std::size_t connections = 0;  ///< that were looked at and have one
  Duration median{};
  Duration max{};
};

/// Looks at a bounded part of the table, from `at` on, which moves on by what was looked at.
RttSample sample_rtt(const Shard& shard, std::size_t& at);

class LiveStats : public std::enable_shared_from_this<LiveStats> {
 public:
  static constexpr Duration kInterval = 250ms;  ///< between samples, and between events

  /// Of one worker. `stage`: the RX stage whose losses count as its, or nullptr.
  struct Source {
    const WorkerCounters* counters;
    const RxStageCounters* stage;
  };
  explicit LiveStats(const std::vector<Source>& sources);

  /// One JSON object, one line: `t_ms`, and `workers` with counters since the start.
  std::string json(Instant now) const;
  /// Samples round trips on all workers, should that be due. Any worker.
  void refresh(Crew& crew, Instant now);

 private:
  struct alignas(kSharedLine) Lane {
    Source source{};
    std::size_t at = 0;  ///< of the worker
    Counter rtt_median_us, rtt_max_us, rtt_connections;
  };
  void sample(std::size_t i, const Shard& shard);

  std::vector<Lane> lanes_;
  std::atomic<Duration::rep> due_{0};
};

}  // namespace pollux
