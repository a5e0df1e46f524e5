#include "engine/services/connect.h"

#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "workers/shard.h"

namespace pollux {
namespace {

using nlohmann::json;

/// As long as Linux keeps a connection whose process is gone and whose peer says nothing.
constexpr Duration kOrphanTime = 60s;

}  // namespace

struct ConnectService::Call final : Session {
  std::uint64_t id = 0;
  ConnectRequest request;
  std::shared_ptr<HostRelay> relay;  ///< once it is open
  bool timed_out = false;
  bool no_way = false;  ///< ICMP said so while it was being opened
};

void ConnectService::open(Shard& shard, std::uint64_t id, ConnectRequest request, Instant now) {
  ConnEntry* e = shard.connect(now, {}, request.remote, *this);
  if (e == nullptr) {
    const char* const why = shard.is_own_host(request.remote.addr)
                                ? "the engine opens no connection to itself"
                                : "no address of its family, or no port is free";
    request.link->send(
        json{{"error", "cannot connect to " + request.remote.to_string() + ": " + why}});
    return request.link->finish();
  }
  Stream s(shard, *e);
  s.set_nodelay(true);
  if (request.timeout > Duration::zero()) s.set_timer(now + request.timeout);
  auto call = std::make_unique<Call>();
  call->id = id;
  call->request = std::move(request);
  s.attach(std::move(call));
  calls_.emplace(id, s);
}

void ConnectService::abandon(std::uint64_t id, Instant now) {
  const auto it = calls_.find(id);
  if (it == calls_.end()) return;
  Call& call = *it->second.session<Call>();
  if (call.relay == nullptr) return it->second.abort();
  call.relay->set_idle(kOrphanTime, now);
}

void ConnectService::on_open(Stream& s) {
  Call& call = *s.session<Call>();
  call.request.link->send(
      json{{"connected", {{"local", s.local().to_string()}, {"remote", s.remote().to_string()}}}});
  call.relay = std::make_shared<HostRelay>(host_, std::move(call.request.socket), Duration::zero());
  call.relay->start(s, s.now());
}

void ConnectService::on_readable(Stream& s) {
  if (auto& relay = s.session<Call>()->relay) relay->on_stream_readable(s.now());
}

void ConnectService::on_writable(Stream& s) {
  if (auto& relay = s.session<Call>()->relay) relay->on_stream_writable(s.now());
}

void ConnectService::on_timer(Stream& s) {
  Call& call = *s.session<Call>();
  if (call.relay) return call.relay->on_stream_timer(s.now());
  call.timed_out = true;
  s.abort();
}

void ConnectService::on_soft_error(Stream& s, SoftError error) {
  Call& call = *s.session<Call>();
  call.no_way = call.no_way || (error == SoftError::path && !call.relay);
}

void ConnectService::on_closed(Stream& s, CloseReason reason) {
  Call& call = *s.session<Call>();
  calls_.erase(call.id);
  if (call.relay) call.relay->on_stream_closed(s, reason, s.now());
  const CloseReason told = call.timed_out ? CloseReason::timeout : reason;
  std::string words(to_string(told));
  if (told == CloseReason::timeout && call.no_way) words += " (ICMP says: unreachable)";
  call.request.link->send(json{{"closed", words}});
  call.request.link->finish();
}

}  // namespace pollux
