#include "engine/services/ping.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <utility>

namespace pollux {
namespace {

using nlohmann::json;

constexpr std::uint64_t kMaxCount = 1'000'000'000;
constexpr std::int64_t kMinIntervalUs = 1000, kMaxTimeUs = 3'600'000'000;
constexpr std::size_t kMaxSize = 65507;
constexpr Duration kDefaultWait = 10s, kLeastWait = 1s;

/// The number of `key`; `otherwise` where there is none.
std::int64_t number(const json& from, const char* key, std::int64_t lo, std::int64_t hi,
                    std::int64_t otherwise) {
  const auto at = from.find(key);
  if (at == from.end()) return otherwise;
  if (at->is_number_integer()) {
    const auto n = at->get<std::int64_t>();
    if (n >= lo && n <= hi) return n;
  }
  throw std::runtime_error(std::string("ping wants ") + key + " from " + std::to_string(lo) +
                           " to " + std::to_string(hi));
}

}  // namespace

PingRequest parse_ping_request(std::string_view text) {
  const json j = json::parse(text, nullptr, false);
  const bool has_address = j.is_object() && j.contains("address") && j["address"].is_string();
  const auto address =
      has_address ? IpAddr::parse(j["address"].get<std::string>()) : std::optional<IpAddr>{};
  if (!address) throw std::runtime_error("ping wants an address");
  PingRequest r;
  r.remote = *address;
  r.count = static_cast<std::uint64_t>(number(j, "count", 0, kMaxCount, 0));
  r.interval = std::chrono::microseconds(
      number(j, "interval_us", kMinIntervalUs, kMaxTimeUs, to_us(r.interval)));
  r.wait = std::chrono::microseconds(number(j, "wait_us", 0, kMaxTimeUs, 0));
  r.size = static_cast<std::size_t>(number(j, "size", 0, kMaxSize, 56));
  return r;
}

/// One of them under way.
class PingService::Ping {
 public:
  Ping(Shard& shard, const EchoFlow& flow, const PingRequest& request, PingService& owner)
      : shard_(shard),
        flow_(flow),
        request_(request),
        owner_(owner),
        timer_([this](Instant now) { on_timer(now); }),
        data_(request.size) {
    for (std::size_t i = 0; i < data_.size(); ++i) data_[i] = static_cast<std::uint8_t>(i);
  }
  void start(Instant now) {
    tell({{"start", {{"local", flow_.local.to_string()}, {"remote", flow_.remote.to_string()}}}});
    next_ = now;
    if (!finished_) on_timer(now);
  }
  const EchoFlow& flow() const { return flow_; }
  bool finished() const { return finished_; }

  void finish() {
    if (finished_) return;
    finished_ = true;
    shard_.close_echo(flow_);
    shard_.arm(timer_, kNever);
    request_.link->finish();
    shard_.arm(owner_.reaper_, shard_.now());
  }

  void on_reply(const icmp::EchoReply& reply, Instant now) {
    Sent* const sent = find(reply.sequence);
    const bool same = std::equal(reply.data.begin(), reply.data.end(), data_.begin(), data_.end());
    if (finished_ || sent == nullptr || !same) return;
    const Duration time = now - sent->at;
    if (!sent->answered) ++answered_;
    if (std::exchange(sent->failed, false)) --failed_;  // whoever said so was wrong
    longest_ = std::max(longest_, time);
    tell({{"answer",
           {{"number", sent->number},
            {"ttl", reply.hop_limit},
            {"octets", reply.data.size() + icmp::kHeaderSize},
            {"time_us", static_cast<double>(time.count()) / 1000},
            {"duplicate", sent->answered}}}});
    sent->answered = true;
    end_when_settled();
  }

  void on_error(const icmp::EchoError& error) {
    Sent* const sent = find(error.sequence);
    if (finished_ || sent == nullptr || sent->answered || sent->failed) return;
    sent->failed = true;
    ++failed_;
    tell({{"failure",
           {{"number", sent->number},
            {"from", error.from.to_string()},
            {"type", error.type},
            {"code", error.code},
            {"mtu", error.mtu}}}});
    end_when_settled();
  }

 private:
  struct Sent {
    std::uint64_t number;
    Instant at;
    bool answered = false;
    bool failed = false;
  };

  /// Numbers on the wire have 16 bits: the latest of those that end so.
  Sent* find(std::uint16_t sequence) {
    const auto at = std::find_if(pending_.rbegin(), pending_.rend(), [&](const Sent& s) {
      return static_cast<std::uint16_t>(s.number) == sequence;
    });
    return at == pending_.rend() ? nullptr : &*at;
  }

  void end_when_settled() {
    if (request_.count != 0 && answered_ + failed_ == request_.count) finish();
  }
  bool all_sent() const { return request_.count != 0 && sent_ == request_.count; }

  void on_timer(Instant now) {
    if (all_sent()) return finish();
    send(now);
    if (finished_) return;
    next_ = std::max(next_ + request_.interval, now);
    shard_.arm(timer_, all_sent() ? now + last_wait() : next_);
  }

  /// As ping does: twice the longest round trip, where there was one.
  Duration last_wait() const {
    if (request_.wait > Duration::zero()) return request_.wait;
    return answered_ > 0 ? std::max(2 * longest_, kLeastWait) : kDefaultWait;
  }

  void send(Instant now) {
    ++sent_;
    if (pending_.size() == kMaxPending) pending_.pop_front();
    pending_.push_back({.number = sent_, .at = now});
    shard_.send_echo(flow_, static_cast<std::uint16_t>(sent_), data_);
    tell({{"sent", sent_}});
  }

  void tell(const json& line) {
    if (!request_.link->send(line)) finish();
  }

  Shard& shard_;
  EchoFlow flow_;
  PingRequest request_;
  PingService& owner_;
  TaskTimer timer_;
  std::vector<std::uint8_t> data_;
  std::deque<Sent> pending_;
  std::uint64_t sent_ = 0;
  std::uint64_t answered_ = 0;
  std::uint64_t failed_ = 0;
  Duration longest_{};
  Instant next_{};
  bool finished_ = false;
};

PingService::PingService() : reaper_([this](Instant) { reap(); }) {}
PingService::~PingService() = default;

PingService::Opened PingService::open(Shard& shard, std::uint64_t id, const PingRequest& request,
                                      Instant now) {
  const auto refuse = [&](const std::string& why) {
    request.link->send(json{{"error", "cannot ping " + request.remote.to_string() + ": " + why}});
    request.link->finish();
    return Opened::failed;
  };
  on_listen(shard);
  const std::size_t most = Shard::max_datagram(request.remote.is_v4());
  if (request.size > most) {
    return refuse("a packet takes at most " + std::to_string(most) + " octets");
  }
  if (shard.is_own_host(request.remote)) return refuse("that is the engine itself");
  const auto flow = shard.open_echo(request.remote, *this);
  if (!flow) return Opened::elsewhere;
  if (flow->local.is_v4() != request.remote.is_v4() || flow->local == IpAddr{}) {
    shard.close_echo(*flow);
    return refuse("the engine has no address of its family");
  }
  auto& ping =
      *pings_.emplace(id, std::make_unique<Ping>(shard, *flow, request, *this)).first->second;
  ping.start(now);
  return Opened::yes;
}

void PingService::abandon(std::uint64_t id) {
  const auto at = pings_.find(id);
  if (at != pings_.end()) at->second->finish();
}

void PingService::on_drain() {
  for (const auto& [id, ping] : pings_) ping->finish();
}

void PingService::on_echo_reply(const icmp::EchoReply& reply) {
  for (const auto& [id, ping] : pings_) {
    if (ping->flow().id == reply.id) return ping->on_reply(reply, shard().now());
  }
}

void PingService::on_echo_error(const icmp::EchoError& error) {
  for (const auto& [id, ping] : pings_) {
    if (ping->flow().id == error.id) return ping->on_error(error);
  }
}

void PingService::reap() {
  std::erase_if(pings_, [](const auto& p) { return p.second->finished(); });
}

}  // namespace pollux
