// The server's end of one control connection: from the cookie to the results.
//
//   cookie ─► parameters ─► [queued] ─► gathering ─► running ─► draining ─► results ─► done
//                 │  refused: server_error            │ client_terminate, reset, time-out: over
#pragma once

#include <list>
#include <optional>
#include <string>

#include "engine/iperf3/cpu_usage.h"
#include "engine/iperf3/report.h"
#include "engine/services/iperf3.h"

namespace pollux::iperf3 {

class ServerControl final : public Party {
 public:
  /// Who connects says within this time what it wants, and so on.
  static constexpr Duration kHelloTime = 10s;
  static constexpr Duration kGatherTime = 30s;
  static constexpr Duration kIdleTime = 120s;    ///< without data, while only receiving
  static constexpr Duration kOverTime = 40s;     ///< past the end that the client gave
  static constexpr Duration kResultsTime = 30s;  ///< for the client's results
  static constexpr Duration kLinger = 5s;        ///< for its FIN after ours

  ServerControl(Iperf3Service& service, Stream stream);
  ~ServerControl() override { matters(); }

  void on_readable(Stream& s) override;
  void on_writable(Stream&) override { flush(); }
  void on_timer(Stream& s) override;
  void on_peer_closed(Stream& s) override;
  void on_closed(Stream& s, CloseReason reason) override;
  /// All streams have joined: the list of them does not change any more.
  void on_complete();
  /// A stream's counters are final.
  void on_finished();
  bool controls(const TestPtr& test) const { return test_ == test; }
  /// It has a test: it is one of the spare ones no more.
  void matters();
  /// One of the spare ones ends at once, for another.
  void make_room();
  /// The daemon ends.
  void terminate();

 private:
  enum class Step : std::uint8_t {
    cookie,
    parameters,
    queued,
    gathering,
    running,
    draining,
    results,
    done
  };

  bool step(Stream& s);
  bool read_cookie(Stream& s);
  bool read_parameters(Stream& s);
  bool read_state(Stream& s);
  bool read_results(Stream& s);
  void accept_parameters();
  void gather();
  void start_traffic();
  void tick(Instant now);
  void tick_running(Instant now);
  bool is_over(Instant now);
  void arm_tick(Instant now);
  void end_traffic(Instant now);
  void tick_draining(Instant now);
  void finish(bool senders);
  void note_interval(double end_s);
  void send_results();
  std::string output(const Summary& total) const;

  void send(State state);
  void send(std::string_view octets);
  void flush();
  void refuse(const Refusal& refusal);
  void deny(const std::string& why);
  /// What becomes of the streams of a test that is over.
  enum class Streams : std::uint8_t { left, finished, aborted };
  void end(Streams streams = Streams::aborted);
  void release(Streams streams);
  std::uint64_t received() const;
  double seconds(Instant now) const;

  Iperf3Service& service_;
  Stream stream_;
  TestPtr test_;
  Step step_ = Step::cookie;
  MessageReader message_{kMaxParameters};
  TaskTimer tick_;
  std::optional<Recorder> recorder_;
  std::string lines_;  ///< of the report for the client
  Instant begun_{};    ///< counting: after the omitted time
  Instant ended_{};
  Instant last_data_{};
  std::uint64_t last_received_ = 0;
  std::uint64_t intervals_ = 0;
  std::string unsent_;
  std::optional<std::list<ServerControl*>::iterator> spare_;  ///< its place in the service's list
  bool omitting_ = false;
  std::size_t unfinished_ = 0;  ///< streams whose last word is out
  CpuUsage cpu_;
};

}  // namespace pollux::iperf3
