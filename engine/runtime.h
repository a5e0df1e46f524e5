// The engine at work: the device, the RX stages, one thread per worker and, in dedicated mode, the
// RX thread. The control thread makes one, asks it, drains it.
//
//   dedicated:  TUN queues -> [RX thread: RxStage] -> rings -> [worker 0..n]
//   inline:     TUN queue i -> [worker i: RxStage, own packets] + rings between workers
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "engine/clock.h"
#include "engine/cpus.h"
#include "engine/event_sleeper.h"
#include "engine/host_poller.h"
#include "engine/iperf3/client.h"
#include "engine/rx_stage.h"
#include "engine/services/connect.h"
#include "engine/services/factory.h"
#include "engine/services/ping.h"
#include "engine/tun.h"
#include "workers/crew.h"
#include "workers/worker.h"

namespace pollux {

/// How a loop that is no worker's spends its time; its thread writes.
struct alignas(kSharedLine) LoopCounters {
  Counter busy_ns;
  Counter idle_ns;
  Counter turns;
  Counter sleeps;
  void account(Instant from, Instant to, bool busy) {
    (busy ? busy_ns : idle_ns).add(static_cast<std::uint64_t>((to - from).count()));
  }
};
static_assert(kOwnLine<LoopCounters>);

struct RuntimeOptions {
  CpuPlan plan;
  std::vector<int> cpus;  ///< pinned to in order (RX thread first); empty: not pinned
  WorkerOptions worker;
  TunOptions tun;
  ShardOptions shard;  ///< memory_limit is that of all workers together
  std::vector<ServiceConfig> services;
  SegmentTrace* trace = nullptr;  ///< shared by all workers: must take calls from many threads
};

class Runtime final : private Crew {
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

  /// Opens a connection from worker `i`; what becomes of it is told by the request's link. Never
  /// waits. `id` is of the caller's choice, for abandon().
  void connect(std::size_t i, std::uint64_t id, ConnectRequest request);
  /// Runs an iperf3 test with worker `i` at home, in the same way.
  void run_iperf3(std::size_t i, std::uint64_t id, iperf3::ClientRequest request);
  /// Pings from the worker that gets the answers, in the same way; the caller does not know which.
  void ping(std::uint64_t id, PingRequest request);
  /// Ends such a test with a report of what it has measured.
  void interrupt_iperf3(std::size_t i, std::uint64_t id);
  /// Whoever asked for connection, test or ping `id` of worker `i` is gone.
  void abandon(std::size_t i, std::uint64_t id);

  std::size_t workers() const { return lanes_.size(); }
  const WorkerCounters& counters(std::size_t i) const { return lanes_[i]->counters; }
  const StageClock& stage_clock(std::size_t i) const { return lanes_[i]->stage_clock; }
  const std::vector<std::unique_ptr<RxStage>>& stages() const { return stages_; }
  /// Of the RX thread, which there is in dedicated mode only.
  const LoopCounters& rx_loop() const { return rx_loop_; }
  const StageClock& rx_stage_clock() const { return rx_stage_clock_; }
  const RuntimeOptions& options() const { return options_; }
  const TunDevice& device() const { return *device_; }

 private:
  /// One worker with all that belongs to it.
  struct Lane {
    WorkerCounters counters;
    StageClock stage_clock{&cpu_ticks, cpu_ticks_cost()};
    HostPoller host;
    std::unique_ptr<EventSleeper> sleeper;
    std::unique_ptr<WorkerInbox> inbox;
    std::vector<std::unique_ptr<Service>> services;
    ConnectService connect{host};
    PingService ping;
    std::unique_ptr<Iperf3ClientService> iperf3_client;
    std::unique_ptr<Shard> shard;
    std::unique_ptr<Worker> worker;
    std::thread thread;
  };
  void make_stages();
  void make_lane(std::size_t i);
  void make_services();
  void run_rx();
  void post(std::size_t i, Mailbox::Errand errand) override;
  void ping_from(std::size_t i, std::uint64_t id, std::shared_ptr<const PingRequest> request);
  void pin(std::size_t place, const std::string& name) const;

  RuntimeOptions options_;
  std::unique_ptr<TunDevice> device_;
  // Buffers in the shards are the stages' pools': stages are destroyed last.
  std::vector<std::unique_ptr<RxStage>> stages_;
  Iperf3ClientService::Members iperf3_clients_;  ///< of the lanes
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::unique_ptr<EventSleeper> rx_sleeper_;
  std::thread rx_thread_;
  LoopCounters rx_loop_;
  StageClock rx_stage_clock_{&cpu_ticks, cpu_ticks_cost()};
  SharedFlag rx_stop_;
};

}  // namespace pollux
