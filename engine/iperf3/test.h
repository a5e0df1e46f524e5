// One test: what its streams, which live on whatever workers they hash to, and the control
// connection on its home worker know together. There is no lock in it: parameters do not change,
// the list of streams is settled before they start, and every counter has one writer.
//
//   worker 1 (home)  control connection ── Test ──┬── slot 1: stream on worker 1
//                                                 ├── slot 3: stream on worker 0
//                                                 └── slot 4: stream on worker 2
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/iperf3/protocol.h"
#include "proto/base/addr.h"
#include "workers/counters.h"
#include "workers/service.h"

namespace pollux::iperf3 {

enum class Phase : std::uint8_t {
  gathering,  ///< streams are being made
  running,    ///< traffic counts
  ending,     ///< senders stop, receivers take what is still under way
  over,       ///< nothing counts any more
};

/// Written by the worker of the stream, read by home and by whoever reports. `bytes` of a TCP
/// sender are those that were transmitted, each once: what only waits in a queue was not sent yet.
struct alignas(kSharedLine) StreamCounters {
  Counter bytes;
  Counter acked;         ///< TCP, of a sender
  Counter packets;       ///< UDP: sent, or the highest number received
  Counter lost;          ///< UDP: gaps in the numbers, less what came late
  Counter out_of_order;  ///< UDP
  Counter jitter_ns;     ///< UDP, RFC 1889 6.3.1
  Counter retransmits;   ///< TCP, segments
  Counter cwnd;          ///< TCP, octets
  Counter rtt_us;        ///< TCP, smoothed; 0: no sample
  Counter rttvar_us;
  Counter send_window;  ///< TCP, octets
  Counter path_mtu;     ///< TCP, octets
};

/// A copy of the counters.
struct Sample {
  std::uint64_t bytes = 0, packets = 0, lost = 0, out_of_order = 0, jitter_ns = 0;
  std::uint64_t retransmits = 0, cwnd = 0, rtt_us = 0, rttvar_us = 0;
  std::uint64_t send_window = 0, path_mtu = 0;
  static Sample of(const StreamCounters& c);
};

/// The traffic of one stream, on the worker that owns it.
class DataStream {
 public:
  /// The test runs.
  virtual void start() = 0;
  /// Brings the counters up to date.
  virtual void publish() = 0;
  /// Counting begins now (`Slot::omitted` is set): a number of octets to send is from here on.
  virtual void end_omission() = 0;
  /// Brings the counters up to date, sends nothing more, and goes when its peer does.
  virtual void finish() = 0;
  /// Ends at once.
  virtual void abort() = 0;

 protected:
  ~DataStream() = default;
};

/// One stream's place in the test.
struct Slot {
  StreamCounters counters;
  FlowKey flow;
  std::size_t worker = 0;  ///< that owns the stream
  Instant opened_at{};     ///< of its SYN: streams are numbered in this order
  std::uint64_t joined = 0;
  DataStream* stream = nullptr;  ///< the worker's alone; null when it has gone

  // Settled by home before the test runs.
  int id = 0;
  bool sends = false;

  // Home's, for reports.
  Sample omitted;   ///< when counting began
  Sample previous;  ///< at the end of the interval before
};

/// Where and when a test runs, as its reports say it.
struct Circumstances {
  std::int64_t began_at = 0;  ///< seconds since 1970; 0: it did not
  Endpoint control_peer;      ///< the other end of the control connection
  std::uint32_t control_mss = 0;
  bool chose_block = false;                           ///< this end did: the user gave none
  std::uint32_t send_buffer = 0, receive_buffer = 0;  ///< octets, bounds of a stream's
  std::string congestion;                             ///< control of this end's streams
  /// As of now, by what the test's control connection and parameters say.
  static Circumstances of(const Stream& control, const Parameters& p);
};

/// The workers' shared knowledge of one test.
class Test {
 public:
  Test(const Cookie& cookie, std::size_t home, const IpAddr& peer, bool server)
      : cookie_(cookie), home_(home), peer_(peer), server_(server) {}

  const Cookie& cookie() const { return cookie_; }
  std::size_t home() const { return home_; }
  /// Who has the control connection; streams come from there.
  const IpAddr& peer() const { return peer_; }

  Phase phase() const { return phase_.load(std::memory_order_acquire); }
  void enter(Phase p) { phase_.store(p, std::memory_order_release); }

  /// Set by home before the phase is `gathering` for others: before the registry knows the test.
  Parameters parameters;
  Circumstances circumstances;  ///< likewise
  char rate_unit = 'a';         ///< of the text form, as iperf3's -f has it; 'a': whatever fits
  bool verbose = false;         ///< the text form, as with iperf3's -V
  /// Grows under the registry's lock while gathering, settled afterwards.
  std::vector<std::unique_ptr<Slot>> slots;
  /// This end is the server.
  bool server() const { return server_; }
  /// When the traffic began; set before `running`.
  Instant started{};

  /// Puts the streams into the order of their SYNs and gives them their numbers (1, 3, 4, 5, ...)
  /// and directions: those that send to the server come first. Home, once all are there.
  void settle();

 private:
  Cookie cookie_;
  std::size_t home_;
  IpAddr peer_;
  bool server_;
  std::atomic<Phase> phase_{Phase::gathering};
};

using TestPtr = std::shared_ptr<Test>;

}  // namespace pollux::iperf3
