// The server side of iperf3 (engine/iperf3/) as a service. A connection begins without a role: its
// cookie says whether it controls a test or is a stream of one that lives on any worker.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>

#include "engine/iperf3/group.h"
#include "engine/iperf3/party.h"
#include "engine/iperf3/traffic.h"
#include "workers/service.h"
#include "workers/token_bucket.h"

namespace pollux {

namespace iperf3 {

class ServerControl;

}  // namespace iperf3

class Iperf3Service final : public iperf3::PartyService {
 public:
  explicit Iperf3Service(std::shared_ptr<iperf3::Group> group) : group_(std::move(group)) {}

  std::string_view name() const override { return "iperf3"; }
  void on_open(Stream& s) override;
  void on_drain() override;
  bool takes_datagrams() const override { return true; }
  std::optional<DropReason> on_datagram(const Datagram& d) override;

  // For the parties.
  iperf3::Group& group() { return *group_; }
  Shard& shard_of() const { return shard(); }
  std::size_t worker() const;
  /// Runs `errand` with the service object of another worker, or of this one, a moment later.
  void post(std::size_t worker, std::function<void(Iperf3Service&)> errand);
  /// Makes the connection a stream of the test that the cookie names; false where it cannot.
  bool adopt(Stream& s, const iperf3::Cookie& cookie);
  void add_control(const iperf3::Cookie& cookie, iperf3::ServerControl& control);
  void remove_control(const iperf3::Cookie& cookie);
  /// Of this worker; nullptr when the test is over.
  iperf3::ServerControl* control_of(const iperf3::TestPtr& test) const;
  /// A line in the log about a peer that does wrong; not for each, where they are many.
  void complain(const Endpoint& peer, const std::string& what);
  /// Datagrams of this flow are no test's any more.
  void forget(const FlowKey& flow) { datagram_streams_.erase(flow); }

 private:
  static constexpr std::size_t kMaxSpare = 1024;  ///< connections without a test

  std::optional<DropReason> greet(const Datagram& d);
  void tell_complete(const iperf3::Registry::Joined& joined);
  friend class iperf3::ServerControl;

  struct FlowHash {
    std::size_t operator()(const FlowKey& k) const {
      return k.remote.addr.low() * 31 + k.remote.addr.high() + std::size_t{k.remote.port} * 65537;
    }
  };
  std::shared_ptr<iperf3::Group> group_;
  std::unordered_map<std::string, iperf3::ServerControl*> controls_;
  /// At most as many as the streams of all tests: only those are let in.
  std::unordered_map<FlowKey, std::unique_ptr<iperf3::UdpStream>, FlowHash> datagram_streams_;
  /// Without a test, not yet or no more. The front one goes first: what was refused, then the
  /// oldest.
  std::list<iperf3::ServerControl*> spare_;
  TokenBucket complaints_{5, 20};
};

}  // namespace pollux
