// The client's end: `pollux iperf3 -c` measures from the engine to an iperf3 server.
//
//   connect, cookie ─► parameters ─► streams, one after the other ─► running ─► results ─► done
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/control_link.h"
#include "engine/iperf3/party.h"
#include "engine/iperf3/report.h"
#include "engine/iperf3/traffic.h"

namespace pollux {

namespace iperf3 {

class ClientRun;

/// One test to run. Lines on the link: {"text": lines} as it goes on, or {"json": report} at the
/// end. Where it fails or is interrupted the lines end with {"error": words}, the report has them
/// as its `error`; both have what was measured until then. Then it is finished.
struct ClientRequest {
  Endpoint server;
  IpAddr bind;              ///< empty: the engine's first address of the server's family
  std::uint32_t cport = 0;  ///< of the first stream, others follow; 0: whatever is free
  Parameters parameters;
  Duration interval = 1s;       ///< between reports; zero: only at the end
  Duration connect_time = 30s;  ///< for the control connection's handshake
  char rate_unit = 'a';         ///< see Test
  bool verbose = false;         ///< see Test
  bool json = false;
  std::shared_ptr<engine::ControlLink> link;
};

/// What the command line asks for: a JSON object with `server` and the members of the protocol's
/// parameters, `interval` and `connect_time` in seconds, `format` (one of kmgtKMGT), `bind`,
/// `cport`, `verbose` and `json`. Throws std::runtime_error with one line.
ClientRequest parse_client_request(std::string_view text);

}  // namespace iperf3

/// One object for each worker: streams of a test go to all of them in turn.
class Iperf3ClientService final : public iperf3::PartyService {
 public:
  using Members = std::vector<Iperf3ClientService*>;
  /// `members`: those of all workers; settled before any works.
  explicit Iperf3ClientService(const Members& members);
  ~Iperf3ClientService() override;
  std::string_view name() const override { return "iperf3 client"; }
  /// Runs a test from this worker. `id` names it for abandon().
  void start(std::uint64_t id, iperf3::ClientRequest request);
  /// Ends the test early, with a report of what it has measured.
  void interrupt(std::uint64_t id);
  /// Whoever asked is gone.
  void abandon(std::uint64_t id);
  void on_drain() override;
  std::optional<DropReason> on_datagram(const Datagram& d) override;

  // For the parties.
  Shard& shard_of() const { return shard(); }
  std::size_t worker() const;
  std::size_t workers() const { return members_.size(); }
  void post(std::size_t worker, std::function<void(Iperf3ClientService&)> errand);
  /// Tells the run at home, if there still is one.
  void tell(std::size_t home, std::uint64_t id, std::function<void(iperf3::ClientRun&)> errand);
  /// Opens stream `slot` of a test from this worker.
  void open_stream(std::uint64_t id, const iperf3::TestPtr& test, iperf3::Slot& slot,
                   const Endpoint& local, const Endpoint& server);
  void close_datagrams(const FlowKey& flow);
  void remove(std::uint64_t id);

 private:
  struct DatagramStream;
  struct FlowHash {
    std::size_t operator()(const FlowKey& k) const {
      return k.local.port * std::size_t{65537} + k.remote.port;
    }
  };
  const Members& members_;
  std::unordered_map<std::uint64_t, std::unique_ptr<iperf3::ClientRun>> runs_;
  std::unordered_map<FlowKey, std::unique_ptr<DatagramStream>, FlowHash> datagram_streams_;
};

}  // namespace pollux
