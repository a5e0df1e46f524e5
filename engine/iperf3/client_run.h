// One test of `pollux iperf3 -c`, at home: its control connection from cookie to results.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "engine/iperf3/client.h"
#include "engine/iperf3/cpu_usage.h"

namespace pollux::iperf3 {

class ClientRun {
 public:
  ClientRun(Iperf3ClientService& service, std::uint64_t id, ClientRequest request);

  void connect();
  void on_open(Stream& s);
  void on_readable(Stream& s);
  void on_timeout();
  void on_peer_closed();
  void on_closed(CloseReason reason);
  void on_joined();
  /// One could not be opened, or is gone.
  void on_stream_closed();
  void on_published();
  void fail(const std::string& cause);
  void interrupt();
  /// Nobody wants the result any more.
  void cancel();

 private:
  enum class Step : std::uint8_t {
    talking,
    running,
    stopping,  ///< interrupted: the last counts are on their way
    ending,
    own_results,
    server_results,
    error,
    done
  };

  bool step(Stream& s);
  bool on_state(State state);
  bool read_error(Stream& s);
  bool read_results(Stream& s);
  void next_stream();
  bool start_traffic();
  void tick(Instant now);
  bool is_over(Instant now) const;
  void arm_tick(Instant now);
  void end_traffic(Instant now);
  void take_interval(Instant now);
  void take_last_interval(Instant now);
  void take_stock(Instant now);
  void sum_up();
  void collect();
  void send_results();
  nlohmann::ordered_json document() const;
  void send_document(nlohmann::ordered_json document);
  void report(const Results& theirs);
  std::uint64_t omitted_packets(int id) const;
  void say(std::string lines);
  void send(State state);
  void release();
  void each_stream(const std::function<void(DataStream&)>& errand);

  Iperf3ClientService& service_;
  const std::uint64_t id_;
  ClientRequest request_;
  TestPtr test_;
  Recorder recorder_;
  TaskTimer tick_;
  std::optional<Stream> control_;
  Step step_ = Step::talking;
  bool opened_ = false;
  bool asked_ = false;  ///< for the parameters
  bool told_to_run_ = false;
  std::size_t joined_ = 0;
  std::size_t unpublished_ = 0;
  bool omitting_ = false;
  Instant begun_{};
  std::uint64_t intervals_ = 0;
  double elapsed_ = 0;
  Instant stopped_{};  ///< when it was interrupted
  Summary own_;
  std::vector<StreamResult> results_;
  MessageReader message_{kMaxResults};
  CpuUsage cpu_;
  CpuUsage::Percent used_;
};

}  // namespace pollux::iperf3
