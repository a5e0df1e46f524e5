// The engine at work: the device, the RX stages, one thread per worker and, in dedicated mode, the
// RX thread. The control thread makes one, asks it, drains it.
//
//   dedicated:  TUN queues -> [RX thread: RxStage] -> rings -> [worker 0..n]
//   inline:     TUN queue i -> [worker i: RxStage, own packets] + rings between workers
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "engine/cpus.h"
#include "engine/event_sleeper.h"
#include "engine/rx_stage.h"
#include "engine/services/factory.h"
#include "engine/tun.h"
#include "workers/worker.h"

namespace pollux {

struct RuntimeOptions {
  CpuPlan plan;
  std::vector<int> cpus;  ///< pinned to in order (RX thread first); empty: not pinned
  WorkerOptions worker;
  TunOptions tun;
  ShardOptions shard;  ///< memory_limit is that of all workers together
  std::vector<ServiceOptions> services;
  SegmentTrace* trace = nullptr;  ///< shared by all workers: must take calls from many threads
};

class Runtime {
 public:
  /// Opens the device and makes all parts; threads start with start(). Throws std::runtime_error
  /// with one line.
  explicit Runtime(RuntimeOptions options);
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  void start();
  /// Listeners close, every connection gets a FIN.
  void begin_drain();
  /// RST on what is left.
  void abort_all();
  /// Ends the threads and waits for them.
  void stop();
  /// Connections that are not closed by both ends yet.
  std::uint64_t open_connections() const;

  /// Runs `errand` on worker `i`'s thread and waits for it, a second at most; false when it did not
  /// answer in that time.
  bool ask(std::size_t i, std::function<void(Shard&)> errand);

  std::size_t workers() const { return lanes_.size(); }
  const WorkerCounters& counters(std::size_t i) const { return lanes_[i]->counters; }
  const std::vector<std::unique_ptr<RxStage>>& stages() const { return stages_; }
  const RuntimeOptions& options() const { return options_; }
  const TunDevice& device() const { return *device_; }

 private:
  /// One worker with all that belongs to it.
  struct Lane {
    WorkerCounters counters;
    std::unique_ptr<EventSleeper> sleeper;
    std::unique_ptr<WorkerInbox> inbox;
    std::vector<std::unique_ptr<Service>> services;
    std::unique_ptr<Shard> shard;
    std::unique_ptr<Worker> worker;
    std::thread thread;
  };
  void make_stages();
  void make_lane(std::size_t i);
  void run_rx();
  void post(std::size_t i, Mailbox::Errand errand);
  void pin(std::size_t place, const std::string& name) const;

  RuntimeOptions options_;
  std::unique_ptr<TunDevice> device_;
  // Buffers in the shards are the stages' pools': stages are destroyed last.
  std::vector<std::unique_ptr<RxStage>> stages_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::unique_ptr<EventSleeper> rx_sleeper_;
  std::thread rx_thread_;
  std::atomic<bool> rx_stop_{false};
};

}  // namespace pollux
