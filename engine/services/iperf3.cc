#include "engine/services/iperf3.h"

#include <spdlog/spdlog.h>

#include "engine/iperf3/server.h"
#include "workers/crew.h"

namespace pollux {
namespace iperf3 {
namespace {

/// A connection that is a stream.
class StreamParty final : public Party {
 public:
  StreamParty(Shard& shard, Stream& s, const Registry::Joined& joined)
      : traffic_(shard, s, joined.test, *joined.slot, 0) {}
  void on_readable(Stream&) override { traffic_.on_readable(); }
  void on_writable(Stream&) override { traffic_.on_writable(); }
  void on_peer_closed(Stream& s) override {
    traffic_.on_readable();
    s.shutdown_write();
  }
  void on_closed(Stream&, CloseReason) override { traffic_.publish(); }

 private:
  TcpStream traffic_;
};

}  // namespace
}  // namespace iperf3

using iperf3::Registry;
using iperf3::ServerControl;

std::size_t Iperf3Service::worker() const { return shard().options().worker; }

void Iperf3Service::post(std::size_t worker, std::function<void(Iperf3Service&)> errand) {
  Iperf3Service* const member = group_->members[worker];
  shard().options().crew->post(worker,
                               [member, errand = std::move(errand)](Shard&) { errand(*member); });
}

void Iperf3Service::on_open(Stream& s) {
  // A client says who it is, and closes when told that it is over, within a round trip: who does
  // not makes room.
  if (spare_.size() >= kMaxSpare) {
    complain(s.remote(), "comes, and the oldest connection without a test is reset: too many");
    spare_.front()->make_room();
  }
  s.attach(std::make_unique<ServerControl>(*this, s));
}

bool Iperf3Service::adopt(Stream& s, const iperf3::Cookie& cookie) {
  const FlowKey flow{.local = s.local(), .remote = s.remote()};
  const auto joined = group_->registry.join(cookie, flow, worker(), s.opened_at());
  if (joined.slot == nullptr) return false;
  s.set_timer(kNever);
  s.attach(std::make_unique<iperf3::StreamParty>(shard(), s, joined));
  tell_complete(joined);
  return true;
}

void Iperf3Service::tell_complete(const Registry::Joined& joined) {
  // Not of the others: home must not look at the list of streams while it still grows.
  if (!joined.complete) return;
  post(joined.test->home(), [test = joined.test](Iperf3Service& home) {
    if (ServerControl* control = home.control_of(test)) control->on_complete();
  });
}

/// Not by the cookie alone: clients choose theirs, and another test may have it by now.
ServerControl* Iperf3Service::control_of(const iperf3::TestPtr& test) const {
  const auto at = controls_.find(std::string(test->cookie().text()));
  return at != controls_.end() && at->second->controls(test) ? at->second : nullptr;
}

void Iperf3Service::add_control(const iperf3::Cookie& cookie, ServerControl& control) {
  controls_.emplace(std::string(cookie.text()), &control);
}

void Iperf3Service::remove_control(const iperf3::Cookie& cookie) {
  controls_.erase(std::string(cookie.text()));
}

void Iperf3Service::complain(const Endpoint& peer, const std::string& what) {
  if (complaints_.take(shard().now())) spdlog::warn("iperf3: {} {}", peer.to_string(), what);
}

void Iperf3Service::on_drain() {
  std::vector<ServerControl*> all;
  for (const auto& [cookie, control] : controls_) all.push_back(control);
  for (ServerControl* control : all) control->terminate();
}

std::optional<DropReason> Iperf3Service::on_datagram(const Datagram& d) {
  const auto at = datagram_streams_.find(d.flow);
  if (at == datagram_streams_.end()) return greet(d);
  // The client did not hear our answer.
  if (d.payload.size() == 4 && at->second->test().phase() == iperf3::Phase::gathering) {
    return greet(d);
  }
  return at->second->on_datagram(d);
}

/// The first datagram of a stream, which is answered: from the address of a control connection
/// whose test waits for it, and to nobody else.
std::optional<DropReason> Iperf3Service::greet(const Datagram& d) {
  if (d.payload.size() != 4) return DropReason::udp_ignored;
  if (!datagram_streams_.contains(d.flow)) {
    const auto joined = group_->registry.join_datagrams(d.flow, worker());
    if (joined.slot == nullptr) return DropReason::udp_ignored;
    datagram_streams_[d.flow] =
        std::make_unique<iperf3::UdpStream>(shard(), joined.test, *joined.slot);
    tell_complete(joined);
  }
  std::array<std::uint8_t, 4> answer;
  store_be32(answer.data(), iperf3::kUdpAnswer);
  shard().send_datagram(d.flow, answer);
  return std::nullopt;
}

}  // namespace pollux
