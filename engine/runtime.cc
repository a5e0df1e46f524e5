#include "engine/runtime.h"

#include <condition_variable>
#include <mutex>
#include <nlohmann/json.hpp>

#include "engine/live.h"
#include "workers/relax.h"

namespace pollux {

namespace {

/// Slots of one RX pool: what all rings and receive queues may hold before packets are lost.
constexpr std::size_t kRxSlots = 8192;
constexpr std::size_t kRxChunk = 32;

}  // namespace

Runtime::Runtime(RuntimeOptions options) : options_(std::move(options)) {
  device_ = std::make_unique<TunDevice>(options_.tun);
  const std::size_t workers = options_.plan.workers;
  for (std::size_t i = 0; i < workers; ++i) {
    lanes_.push_back(std::make_unique<Lane>());
    std::vector<int> fds{lanes_[i]->host.fd()};
    if (!options_.plan.dedicated_rx) {
      for (std::size_t q = i; q < device_->queues(); q += workers) {
        fds.push_back(device_->queue(static_cast<unsigned>(q)).fd());
      }
    }
    lanes_[i]->sleeper = std::make_unique<EventSleeper>(fds);
  }
  make_stages();
  for (std::size_t i = 0; i < workers; ++i) make_lane(i);
  make_services();
}

Runtime::~Runtime() {
  stop();
  lanes_.clear();
}

void Runtime::make_stages() {
  RxStageOptions o;
  o.key = options_.shard.secret;
  o.workers = lanes_.size();
  o.pool = {.slot_size = rx_slot_size(device_->largest_packet()),
            .max_slots = kRxSlots,
            .chunk_slots = kRxChunk,
            .huge_pages = true};
  for (auto& lane : lanes_) o.wakers.push_back(lane->sleeper.get());
  const std::size_t stages = options_.plan.dedicated_rx ? 1 : lanes_.size();
  for (std::size_t s = 0; s < stages; ++s) {
    o.queues.clear();
    for (std::size_t q = s; q < device_->queues(); q += stages) {
      o.queues.push_back(&device_->queue(static_cast<unsigned>(q)));
    }
    o.self.reset();
    o.stage_clock = &rx_stage_clock_;
    if (!options_.plan.dedicated_rx) {
      o.self = s;
      o.stage_clock = &lanes_[s]->stage_clock;
    }
    stages_.push_back(std::make_unique<RxStage>(o));
  }
  if (!options_.plan.dedicated_rx) return;
  std::vector<int> fds;
  for (unsigned q = 0; q < device_->queues(); ++q) fds.push_back(device_->queue(q).fd());
  rx_sleeper_ = std::make_unique<EventSleeper>(fds);
}

void Runtime::make_lane(std::size_t i) {
  Lane& lane = *lanes_[i];
  std::vector<RxStage*> stages;
  for (auto& s : stages_) stages.push_back(s.get());
  lane.inbox = std::make_unique<WorkerInbox>(i, stages, lane.stage_clock);

  ShardOptions o = options_.shard;
  o.memory_limit /= lanes_.size();
  o.crew = this;
  o.worker = i;
  o.workers = lanes_.size();
  o.worker_of = [table = Indirection(lanes_.size())](std::uint32_t h) { return table.worker(h); };
  TunQueue& queue = device_->queue(static_cast<unsigned>(i % device_->queues()));
  lane.shard = std::make_unique<Shard>(o, queue, lane.counters, monotonic_now());
  lane.shard->set_trace(options_.trace);
  lane.shard->set_stage_clock(lane.stage_clock);
  lane.worker = std::make_unique<Worker>(options_.worker, *lane.shard, *lane.inbox, *lane.sleeper,
                                         &monotonic_now);
  lane.worker->set_event_source(lane.host);
  lane.iperf3_client = std::make_unique<Iperf3ClientService>(iperf3_clients_);
  iperf3_clients_.push_back(lane.iperf3_client.get());
}

void Runtime::make_services() {
  std::vector<HostPoller*> hosts;
  std::vector<LiveStats::Source> sources;
  for (std::size_t i = 0; i < lanes_.size(); ++i) {
    hosts.push_back(&lanes_[i]->host);
    sources.push_back(
        {&lanes_[i]->counters, i < stages_.size() ? &stages_[i]->counters() : nullptr});
  }
  const auto live = std::make_shared<LiveStats>(sources);
  for (const ServiceConfig& config : options_.services) {
    auto services = pollux::make_services(config, lanes_.size(), hosts, live);
    for (std::size_t i = 0; i < lanes_.size(); ++i) {
      lanes_[i]->shard->listen({config.address.value_or(IpAddr{}), config.port}, !config.address,
                               *services[i]);
      lanes_[i]->services.push_back(std::move(services[i]));
    }
  }
}

void Runtime::pin(std::size_t place, const std::string& name) const {
  name_current_thread(name);
  if (place < options_.cpus.size()) pin_current_thread(options_.cpus[place]);
}

void Runtime::start() {
  const std::size_t first = options_.plan.dedicated_rx ? 1 : 0;
  if (options_.plan.dedicated_rx) rx_thread_ = std::thread([this] { run_rx(); });
  for (std::size_t i = 0; i < lanes_.size(); ++i) {
    lanes_[i]->thread = std::thread([this, i, first] {
      pin(first + i, "pollux-w" + std::to_string(i));
      lanes_[i]->worker->run();
    });
  }
}

/// The dedicated RX thread: the same idle ladder as a worker's, woken by the queues themselves.
void Runtime::run_rx() {
  pin(0, "pollux-rx");
  RxStage& stage = *stages_[0];
  const WorkerOptions& w = options_.worker;
  Instant now = monotonic_now();
  Instant last = now;
  while (!rx_stop_.is_set()) {
    const Instant before = now;
    rx_stage_clock_.begin_turn();
    const bool busy = stage.poll({}) > 0;
    rx_stage_clock_.enter(Stage::loop);
    now = monotonic_now();
    rx_loop_.account(before, now, busy);
    rx_loop_.turns.add();
    rx_stage_clock_.end_turn(busy);
    if (busy) {
      last = now;
      continue;
    }
    if (w.idle == IdlePolicy::poll || (w.idle == IdlePolicy::adaptive && now - last < w.spin)) {
      relax(w.crowded);
      continue;
    }
    rx_sleeper_->prepare();
    if (!rx_stop_.is_set()) rx_sleeper_->sleep(kNever);
    rx_sleeper_->done();
    last = monotonic_now();
    rx_loop_.account(now, last, false);
    rx_loop_.sleeps.add();
    now = last;
  }
}

void Runtime::post(std::size_t i, Mailbox::Errand errand) {
  lanes_[i]->worker->mailbox().post(std::move(errand));
  lanes_[i]->sleeper->wake();
}

bool Runtime::ask(std::size_t i, std::function<void(Shard&)> errand) {
  // Shared with the worker, which may come to it after the caller gave up.
  struct State {
    std::mutex m;
    std::condition_variable cv;
    bool done = false;
    bool abandoned = false;
  };
  auto state = std::make_shared<State>();
  post(i, [state, errand = std::move(errand)](Shard& shard) {
    std::lock_guard lock(state->m);
    if (!state->abandoned) errand(shard);
    state->done = true;
    state->cv.notify_one();
  });
  std::unique_lock lock(state->m);
  const bool answered = state->cv.wait_for(lock, 1s, [&] { return state->done; });
  state->abandoned = !answered;
  return answered;
}

void Runtime::connect(std::size_t i, std::uint64_t id, ConnectRequest request) {
  // An errand is copied.
  const auto shared = std::make_shared<ConnectRequest>(std::move(request));
  post(i, [&service = lanes_[i]->connect, id, shared](Shard& shard) {
    service.open(shard, id, std::move(*shared), monotonic_now());
  });
}

void Runtime::run_iperf3(std::size_t i, std::uint64_t id, iperf3::ClientRequest request) {
  post(i, [&service = *lanes_[i]->iperf3_client, id, request](Shard& shard) {
    service.on_listen(shard);
    service.start(id, request);
  });
}

void Runtime::interrupt_iperf3(std::size_t i, std::uint64_t id) {
  post(i, [&service = *lanes_[i]->iperf3_client, id](Shard&) { service.interrupt(id); });
}

void Runtime::ping(std::uint64_t id, PingRequest request) {
  ping_from(0, id, std::make_shared<const PingRequest>(std::move(request)));
}

/// Answers go by their addresses: worker after worker is asked whether they come to it.
void Runtime::ping_from(std::size_t i, std::uint64_t id,
                        std::shared_ptr<const PingRequest> request) {
  post(i, [this, i, id, request](Shard& shard) {
    const auto opened = lanes_[i]->ping.open(shard, id, *request, monotonic_now());
    if (opened != PingService::Opened::elsewhere) return;
    if (i + 1 < lanes_.size()) return ping_from(i + 1, id, request);
    request->link->send(
        nlohmann::json{{"error", "cannot ping " + request->remote.to_string() +
                                     ": no address to send to, or too many pings at once"}});
    request->link->finish();
  });
}

void Runtime::abandon(std::size_t i, std::uint64_t id) {
  post(i, [&lane = *lanes_[i], id](Shard&) {
    lane.connect.abandon(id, monotonic_now());
    lane.iperf3_client->abandon(id);
    lane.ping.abandon(id);
  });
}

void Runtime::begin_drain() {
  for (std::size_t i = 0; i < lanes_.size(); ++i) {
    post(i, [&lane = *lanes_[i]](Shard& s) {
      lane.iperf3_client->on_drain();
      lane.ping.on_drain();
      s.begin_drain(monotonic_now());
    });
  }
}

void Runtime::abort_all() {
  for (std::size_t i = 0; i < lanes_.size(); ++i) {
    ask(i, [](Shard& s) {
      s.abort_all(monotonic_now());
      s.finish_turn(monotonic_now());
    });
  }
}

std::uint64_t Runtime::open_connections() const {
  std::uint64_t n = 0;
  for (const auto& lane : lanes_) n += lane->counters.connections_open.get();
  return n;
}

void Runtime::stop() {
  for (auto& lane : lanes_) {
    if (!lane->thread.joinable()) continue;
    lane->worker->stop();
    lane->sleeper->wake();
    lane->thread.join();
  }
  if (rx_thread_.joinable()) {
    rx_stop_.set(true);
    rx_sleeper_->wake();
    rx_thread_.join();
  }
}

}  // namespace pollux
