#include "engine/services/forward.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "engine/host_dial.h"
#include "engine/target.h"
#include "workers/shard.h"

namespace pollux {
namespace {

constexpr std::uint32_t kWarningsPerSecond = 1;

}  // namespace

class ForwardPlan {
 public:
  ForwardPlan(ForwardConfig config, std::string name, std::vector<Endpoint> targets)
      : config_(std::move(config)), name_(std::move(name)), targets_(std::move(targets)) {}

  /// Counts a connection until the last copy of what it returns goes; nullptr: there are enough.
  static RelayKeep admit(const std::shared_ptr<ForwardPlan>& plan) {
    if (plan->open_.fetch_add(1) < plan->config_.max_connections) {
      return {plan.get(), [plan](void*) { plan->open_.fetch_sub(1); }};
    }
    plan->open_.fetch_sub(1);
    return nullptr;
  }

  const ForwardConfig& config() const { return config_; }
  const std::string& name() const { return name_; }
  const std::vector<Endpoint>& targets() const { return targets_; }

 private:
  ForwardConfig config_;
  std::string name_;  ///< for the log
  std::vector<Endpoint> targets_;
  std::atomic<std::size_t> open_{0};
};

std::shared_ptr<ForwardPlan> plan_forward(const ServiceConfig& config) {
  const std::string name = "forward on port " + std::to_string(config.port);
  const auto target = parse_target(config.forward.to);
  if (!target) throw std::runtime_error(name + ": \"" + config.forward.to + "\" is no host:port");
  std::vector<Endpoint> targets;
  try {
    targets = resolve(*target);
  } catch (const std::runtime_error& e) {
    throw std::runtime_error(name + ": " + e.what());
  }
  const std::string first = targets.empty() ? "" : targets.front().addr.to_string();
  std::erase_if(targets,
                [&](const Endpoint& e) { return !may_reach(e.addr, config.forward.allow); });
  if (targets.empty()) {
    throw std::runtime_error(name + ": \"" + target->host + "\" is " + first +
                             ", which it may not reach; name it in `allow`");
  }
  return std::make_shared<ForwardPlan>(config.forward, name, std::move(targets));
}

/// What hangs on the client's connection, and on the one to the target with via = "engine".
struct ForwardService::Leg final : Session {
  RelayKeep keep;                       ///< until there is a relay to keep it
  std::shared_ptr<HostDial> dial;       ///< while the host's kernel connects
  std::shared_ptr<HostRelay> relay;     ///< via the host
  std::shared_ptr<StreamRelay> joined;  ///< via the engine
  StreamRelay::Side side = StreamRelay::Side::accepted;
  std::size_t next_target = 0;  ///< via the engine
};

ForwardService::ForwardService(std::shared_ptr<ForwardPlan> plan, HostPoller* host)
    : plan_(std::move(plan)), host_(host), warnings_(kWarningsPerSecond, 1) {}

ForwardService::~ForwardService() = default;

void ForwardService::on_open(Stream& s) {
  s.set_nodelay(true);  // the ends decide what belongs together
  if (auto* leg = s.session<Leg>()) return leg->joined->start(s.now());
  RelayKeep keep = ForwardPlan::admit(plan_);
  if (keep == nullptr) {
    return refuse(s, std::to_string(plan_->config().max_connections) +
                         " connections already (max_connections)");
  }
  begin(s, std::move(keep));
}

void ForwardService::begin(Stream& s, RelayKeep keep) {
  auto owned = std::make_unique<Leg>();
  Leg& leg = *owned;
  s.attach(std::move(owned));
  const ForwardConfig& c = plan_->config();
  s.set_timer(s.now() + c.connect_timeout);
  if (!c.via_engine) {
    leg.keep = std::move(keep);
    return dial_host(s, leg);
  }
  leg.joined = std::make_shared<StreamRelay>(c.idle_timeout, std::move(keep));
  leg.joined->join(leg.side, s);
  if (!dial_engine(leg, s.now())) refuse(s, "the engine cannot connect to its target");
}

void ForwardService::dial_host(Stream& s, Leg& leg) {
  leg.dial = std::make_shared<HostDial>(*host_, plan_->targets(),
                                        [this, s, &leg](OwnedFd fd, int error, Instant now) {
                                          on_dialled(s, leg, std::move(fd), error, now);
                                        });
  leg.dial->start(s.now());
}

void ForwardService::on_dialled(Stream s, Leg& leg, OwnedFd fd, int error, Instant now) {
  leg.dial.reset();
  if (!fd.is_open()) {
    warn(now,
         "cannot connect to " + plan_->config().to + ": " + std::generic_category().message(error));
    return s.abort();
  }
  leg.relay = std::make_shared<HostRelay>(*host_, std::move(fd), plan_->config().idle_timeout,
                                          std::move(leg.keep));
  leg.relay->start(s, now);
}

/// Opens the second connection to the next target; false when there is none left to try.
bool ForwardService::dial_engine(Leg& leg, Instant now) {
  while (leg.next_target < plan_->targets().size()) {
    ConnEntry* e = shard().connect(now, {}, plan_->targets()[leg.next_target++], *this);
    if (e == nullptr) continue;
    auto second = std::make_unique<Leg>();
    second->joined = leg.joined;
    second->side = StreamRelay::Side::opened;
    second->next_target = leg.next_target;
    Stream s(shard(), *e);
    s.attach(std::move(second));
    leg.joined->join(StreamRelay::Side::opened, s);
    return true;
  }
  return false;
}

void ForwardService::on_readable(Stream& s) {
  const auto* leg = s.session<Leg>();
  if (leg == nullptr) return;
  if (leg->relay) leg->relay->on_stream_readable(s.now());
  if (leg->joined) leg->joined->on_readable(leg->side, s.now());
}

void ForwardService::on_writable(Stream& s) {
  const auto* leg = s.session<Leg>();
  if (leg == nullptr) return;
  if (leg->relay) leg->relay->on_stream_writable(s.now());
  if (leg->joined) leg->joined->on_writable(leg->side, s.now());
}

void ForwardService::on_timer(Stream& s) {
  auto* leg = s.session<Leg>();
  if (leg == nullptr) return;
  if (leg->relay) return leg->relay->on_stream_timer(s.now());
  if (leg->joined && leg->joined->is_started()) return leg->joined->on_timer(s.now());
  if (leg->dial) std::exchange(leg->dial, nullptr)->cancel();
  refuse(s, plan_->config().to + " did not answer within " +
                std::to_string(plan_->config().connect_timeout.count()) + " s");
}

void ForwardService::on_closed(Stream& s, CloseReason reason) {
  auto* leg = s.session<Leg>();
  if (leg == nullptr) return;
  if (leg->dial) leg->dial->cancel();
  if (leg->relay) leg->relay->on_stream_closed(s, reason, s.now());
  if (leg->joined) on_leg_closed(s, *leg, reason);
}

void ForwardService::on_leg_closed(Stream& s, Leg& leg, CloseReason reason) {
  const bool failed = leg.side == StreamRelay::Side::opened && !leg.joined->is_started() &&
                      reason != CloseReason::aborted;
  if (failed && dial_engine(leg, s.now())) return;
  if (failed) {
    warn(s.now(), "cannot connect to " + plan_->config().to +
                      " through the engine: " + std::string(to_string(reason)));
  }
  leg.joined->on_closed(leg.side, s, reason, s.now());
}

void ForwardService::refuse(Stream& s, const std::string& why) {
  warn(s.now(), why);
  s.abort();
}

void ForwardService::warn(Instant now, const std::string& what) {
  if (!warnings_.take(now)) {
    ++unsaid_;
    return;
  }
  const std::uint64_t unsaid = std::exchange(unsaid_, 0);
  const std::string more = unsaid > 0 ? " (and " + std::to_string(unsaid) + " more)" : "";
  spdlog::warn("{}: reset a connection: {}{}", plan_->name(), what, more);
}

}  // namespace pollux
