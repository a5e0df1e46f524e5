// The server side of iperf2: what `iperf -c` of Debian (2.1.8) measures against, over TCP and UDP.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

#include "engine/services/iperf2_flows.h"
#include "engine/services/iperf2_senders.h"
#include "workers/service.h"
#include "workers/task_timers.h"

namespace pollux {

struct Iperf2Options {
  bool udp_reverse = false;       ///< whether UDP tests in which we send are served
  std::size_t max_flows = 1024;   ///< UDP tests that are remembered, per worker
  std::size_t max_senders = 64;   ///< tests in which we send, TCP and UDP, per worker
  Duration max_duration = 3600s;  ///< of one in which we send
};

class Iperf2Service final : public Service {
 public:
  static constexpr Duration kHeadTimeout = 30s;     ///< from the handshake to the whole test head
  static constexpr Duration kConnectTimeout = 10s;  ///< for connections back
  static constexpr Duration kRedial = 50ms;         ///< from one that was refused to the next
  static constexpr Duration kRedialTime = 2s;       ///< from the first one to the last
  static constexpr Duration kLinger = 120s;         ///< from our FIN to the end, where we sent

  explicit Iperf2Service(const Iperf2Options& options);
  ~Iperf2Service() override;

  std::string_view name() const override { return "iperf2"; }
  void on_listen(Shard& shard) override;
  void on_open(Stream& s) override;
  void on_readable(Stream& s) override { pump(s); }
  void on_writable(Stream& s) override { pump(s); }
  void on_peer_closed(Stream& s) override;
  void on_timer(Stream& s) override;
  void on_closed(Stream& s, CloseReason reason) override;
  void on_drain() override;
  bool takes_datagrams() const override { return true; }
  std::optional<DropReason> on_datagram(const Datagram& d) override;
  void on_datagram_error(const FlowKey& flow, bool hard) override;

  std::size_t flows() const { return flows_->size(); }
  std::size_t free_senders() const { return free_senders_; }
  std::size_t free_dials() const { return free_dials_; }

 private:
  struct Connection;

  void pump(Stream& s);
  bool read_head(Stream& s, Connection& c);
  void begin(Stream& s, Connection& c);
  void start_sending(Stream& s, Connection& c);
  static void begin_bursts(Stream& s, Connection& c);
  static std::size_t begin_burst(Stream& s, Connection& c);
  static void send(Stream& s, Connection& c);
  static void finish(Stream& s, Connection& c);
  void connect_back(Stream& s, Connection& c);
  void dial(std::unique_ptr<Connection> back, Instant now);
  void redial(Instant now);

  iperf2::Flows::Flow* flow_of(const Datagram& d, Bytes datagram, iperf2::Flows::Flow* known);
  std::optional<DropReason> send_report(const Datagram& d, iperf2::Flows::Flow& flow);

  Iperf2Options options_;
  std::size_t free_senders_;
  /// For connections back that are not open yet. Were they counted as senders, who names closed
  /// ports would keep everybody else from a test.
  std::size_t free_dials_;
  iperf2::DatagramSenders senders_;
  std::vector<std::unique_ptr<Connection>> refused_;  ///< each has a permit
  TaskTimer redial_;
  std::optional<iperf2::Flows> flows_;  ///< from on_listen() on: it wants the shard's secret
};

}  // namespace pollux
