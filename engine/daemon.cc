#include "engine/daemon.h"

#include <fcntl.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <system_error>

#include "engine/clock.h"
#include "engine/control.h"
#include "engine/log.h"
#include "engine/report.h"
#include "engine/runtime.h"
#include "engine/target.h"
#include "engine/trace.h"

namespace pollux::engine {

namespace {

using nlohmann::json;

[[noreturn]] void fail(const std::string& what) {
  throw std::runtime_error(what + ": " + std::generic_category().message(errno));
}

HashKey random_key() {
  HashKey key;
  if (getrandom(&key, sizeof key, 0) != sizeof key) fail("cannot get randomness from the kernel");
  return key;
}

TunOptions tun_options(const Config& c, unsigned workers) {
  TunOptions o;
  o.name = c.tun.name;
  o.queues = c.tun.queues.value_or(workers);
  o.offload = c.tun.offload;
  o.trust_checksums = c.tun.verify_checksums != ChecksumMode::always;
  o.mtu = c.tun.mtu;
  o.manage = c.tun.manage;
  o.txqueuelen = c.tun.txqueuelen;
  o.host_addresses = c.tun.host_address;
  o.routes = c.tun.address;
  return o;
}

ShardOptions shard_options(const Config& c) {
  ShardOptions o;
  o.tcp.congestion_control = c.tcp.congestion_control;
  o.tcp.receive_buffer = static_cast<std::uint32_t>(c.tcp.receive_buffer);
  o.tcp.send_buffer = static_cast<std::uint32_t>(c.tcp.send_buffer);
  o.tcp.delayed_ack = c.tcp.delayed_ack;
  o.tcp.keepalive = c.tcp.keepalive;
  o.tcp.time_wait = c.tcp.time_wait;
  o.tcp.user_timeout = c.tcp.user_timeout;
  o.memory_limit = c.tcp.memory_limit;
  o.syn_cookies = c.tcp.syn_cookies;
  o.secret = random_key();
  o.addresses = c.tun.address;
  o.verify_checksums_always = c.tun.verify_checksums == ChecksumMode::always;
  return o;
}

CpuPlan plan_for(const Config& c, std::size_t cpus) {
  std::optional<bool> dedicated;
  if (c.engine.rx != RxMode::auto_) dedicated = c.engine.rx == RxMode::dedicated;
  return plan_cpus(cpus, c.engine.workers, dedicated);
}

/// Pinned when asked for, or when there is a CPU for each thread and one to spare: on a small
/// machine the scheduler does better than a fixed place beside a busy client.
std::vector<int> cpus_for(const Config& c, const CpuPlan& plan, const std::vector<int>& usable) {
  std::vector<int> cpus;
  if (c.engine.cores) {
    for (const unsigned id : *c.engine.cores) cpus.push_back(static_cast<int>(id));
    return cpus;
  }
  const std::size_t threads = plan.workers + (plan.dedicated_rx ? 1U : 0U);
  if (usable.size() > threads + 1) {
    cpus.assign(usable.begin(), usable.begin() + static_cast<std::ptrdiff_t>(threads));
  }
  return cpus;
}

RuntimeOptions runtime_options(const Config& c, SegmentTrace* trace) {
  const std::vector<int> usable = usable_cpus();
  RuntimeOptions o;
  o.plan = plan_for(c, usable.size());
  o.cpus = cpus_for(c, o.plan, usable);
  o.worker.idle = static_cast<IdlePolicy>(c.engine.idle);
  o.worker.spin = c.engine.spin;
  o.worker.crowded = o.plan.crowded;
  o.tun = tun_options(c, o.plan.workers);
  o.shard = shard_options(c);
  o.services = c.services;
  o.trace = c.log.level <= LogLevel::debug ? trace : nullptr;
  return o;
}

constexpr std::string_view kConnect = "connect ";
constexpr std::string_view kIperf3 = "iperf3 ";
constexpr std::string_view kPing = "ping ";
constexpr unsigned kMaxConnectTime = 3600;  // seconds

ConnectRequest parse_connect(std::string_view words) {
  const std::size_t space = words.find(' ');
  const auto target = parse_target(words.substr(0, space));
  const auto address = target ? target->address() : std::nullopt;
  if (!address) throw std::runtime_error("connect wants ADDR:PORT or [ADDR]:PORT");
  ConnectRequest r;
  r.remote = {*address, target->port};
  if (space == std::string_view::npos) return r;
  const std::string_view text = words.substr(space + 1);
  unsigned seconds = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error != std::errc{} || rest != text.data() + text.size() || seconds == 0 ||
      seconds > kMaxConnectTime) {
    throw std::runtime_error("connect wants 1.." + std::to_string(kMaxConnectTime) + " seconds");
  }
  r.timeout = std::chrono::seconds(seconds);
  return r;
}

void make_non_blocking(const OwnedFd& socket) {
  int type = 0;
  socklen_t size = sizeof type;
  if (getsockopt(socket.get(), SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_STREAM) {
    throw std::runtime_error("connect wants a stream socket along with the request");
  }
  const int flags = fcntl(socket.get(), F_GETFL);
  if (flags < 0 || fcntl(socket.get(), F_SETFL, flags | O_NONBLOCK) != 0) {
    fail("cannot use the client's socket");
  }
}

/// The most descriptors that the kernel lets this process have: forwarding takes one a connection.
void raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  (void)setrlimit(RLIMIT_NOFILE, &limit);
}

/// SIGINT and SIGTERM as a descriptor. Blocked before any thread is made, so that all inherit it.
OwnedFd make_signal_fd() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  if (pthread_sigmask(SIG_BLOCK, &set, nullptr) != 0) fail("cannot block signals");
  signal(SIGPIPE, SIG_IGN);
  OwnedFd fd(signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
  if (fd.get() < 0) fail("cannot create a signalfd");
  return fd;
}

/// The control thread: signals and the control socket, nothing else.
class ControlLoop {
 public:
  ControlLoop(const Config& config, Runtime& runtime, const OwnedFd& signals)
      : config_(config),
        runtime_(runtime),
        reporter_(runtime, monotonic_now()),
        signals_(signals),
        epoll_(epoll_create1(EPOLL_CLOEXEC)) {
    if (epoll_.get() < 0) fail("cannot create an epoll set");
    watch(signals_.get());
    if (config.control.socket.empty()) return;
    server_ = std::make_unique<ControlServer>(config.control.socket);
    watch(server_->fd());
  }

  /// Until the first signal; then until all connections closed, drain_s passed, or the second.
  void run() {
    while (!wait(-1)) {
    }
    spdlog::info("draining: {} connections, at most {} s", runtime_.open_connections(),
                 config_.engine.drain.count());
    draining_ = true;
    runtime_.begin_drain();
    const Instant end = monotonic_now() + config_.engine.drain;
    while (runtime_.open_connections() > 0 && monotonic_now() < end) {
      if (wait(20)) {
        spdlog::info("second signal: ending at once");
        break;
      }
    }
    runtime_.abort_all();
  }

 private:
  void watch(int fd) {
    epoll_event e{};
    e.events = EPOLLIN;
    e.data.fd = fd;
    if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &e) != 0) fail("cannot watch a descriptor");
  }

  /// One round of events; true when a signal came.
  bool wait(int timeout_ms) {
    epoll_event events[4];
    const int n = epoll_wait(epoll_.get(), events, 4, timeout_ms);
    bool signalled = false;
    for (int i = 0; i < n; ++i) {
      if (events[i].data.fd == signals_.get()) {
        signalfd_siginfo info;
        signalled |= read(signals_.get(), &info, sizeof info) == sizeof info;
      } else {
        server_->on_ready([this](ControlRequest& request) { return answer(request); });
      }
    }
    return signalled;
  }

  json answer(ControlRequest& request) {
    const std::string_view command = request.command();
    if (command == "show stats") return reporter_.stats();
    if (command == "show connections") return reporter_.connections();
    if (command == "show workers") return reporter_.workers();
    if (command == "show queues") return reporter_.queues();
    if (command == "show top") return reporter_.top();
    if (command == "show config") return to_json(config_);
    if (command.starts_with(kConnect)) return connect(request);
    if (command.starts_with(kIperf3)) return iperf3(request);
    if (command.starts_with(kPing)) return ping(request);
    throw std::runtime_error("unknown command: " + std::string(command));
  }

  /// "connect ADDR:PORT [SECONDS]" with a stream socket: joins that to a connection of the engine.
  json connect(ControlRequest& request) {
    ConnectRequest r = parse_connect(request.command().substr(kConnect.size()));
    r.socket = request.take_fd();
    make_non_blocking(r.socket);
    if (draining_) throw std::runtime_error("the daemon is ending");
    const std::uint64_t id = ++connects_;
    const std::size_t worker = id % runtime_.workers();
    r.link =
        request.open_session({.on_gone = [this, worker, id] { runtime_.abandon(worker, id); }});
    runtime_.connect(worker, id, std::move(r));
    return nullptr;
  }

  /// "iperf3 JSON": measures from the engine, see parse_client_request().
  json iperf3(ControlRequest& request) {
    auto r = pollux::iperf3::parse_client_request(request.command().substr(kIperf3.size()));
    if (draining_) throw std::runtime_error("the daemon is ending");
    const std::uint64_t id = ++connects_;
    const std::size_t worker = id % runtime_.workers();
    r.link = request.open_session(
        {.on_gone = [this, worker, id] { runtime_.abandon(worker, id); },
         .on_stop = [this, worker, id] { runtime_.interrupt_iperf3(worker, id); }});
    runtime_.run_iperf3(worker, id, std::move(r));
    return nullptr;
  }

  /// "ping JSON", see parse_ping_request().
  json ping(ControlRequest& request) {
    PingRequest r = parse_ping_request(request.command().substr(kPing.size()));
    if (draining_) throw std::runtime_error("the daemon is ending");
    const std::uint64_t id = ++connects_;
    r.link = request.open_session({.on_gone = [this, id] {
      for (std::size_t i = 0; i < runtime_.workers(); ++i) runtime_.abandon(i, id);
    }});
    runtime_.ping(id, std::move(r));
    return nullptr;
  }

  const Config& config_;
  Runtime& runtime_;
  Reporter reporter_;
  const OwnedFd& signals_;
  OwnedFd epoll_;
  std::unique_ptr<ControlServer> server_;
  std::uint64_t connects_ = 0;
  bool draining_ = false;
};

}  // namespace

int run_daemon(const Config& config) {
  const OwnedFd signals = make_signal_fd();
  const Logging logging(config.log);
  raise_descriptor_limit();
  LogTrace trace;
  Runtime runtime(runtime_options(config, &trace));
  for (const std::string& warning : runtime.device().warnings()) spdlog::warn("{}", warning);
  ControlLoop control(config, runtime, signals);
  runtime.start();
  const RuntimeOptions& o = runtime.options();
  spdlog::info("pollux {} ready on {}: {} worker{}, rx {}, {} queue{}, offload {}, mtu {}",
               POLLUX_VERSION, runtime.device().name(), o.plan.workers,
               o.plan.workers == 1 ? "" : "s", o.plan.dedicated_rx ? "dedicated" : "inline",
               runtime.device().queues(), runtime.device().queues() == 1 ? "" : "s",
               runtime.device().caps().segmentation ? "on" : "off", runtime.device().caps().mtu);
  for (const ServiceConfig& s : o.services) {
    spdlog::info("service {} on {}:{}", to_string(s.kind), s.address ? s.address->to_string() : "*",
                 s.port);
  }
  control.run();
  runtime.stop();
  spdlog::info("stopped");
  return 0;
}

}  // namespace pollux::engine
