// A network of shards in one thread and virtual time, from one seed: hosts, each with a shard and a
// port, and a link from each to each with delay, rate, queue, loss, duplication, reordering and
// corruption. One step: the clock moves to the next thing due, packets arrive, timers fire, the
// shards take their turns, and the invariants are checked.
//
//   host 0: shard -> SimPort -- link (delay, queue, faults) --> shard :host 1
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "workers/shard.h"

namespace pollux::sim {

/// Where the oracle speaks: what() says which law was broken.
struct Broken : std::runtime_error {
  using std::runtime_error::runtime_error;
};

using Random = std::mt19937_64;
std::uint64_t below(Random& r, std::uint64_t n);                       ///< 0 .. n-1
std::uint64_t between(Random& r, std::uint64_t lo, std::uint64_t hi);  ///< both included
bool chance(Random& r, double p);

/// One direction of a path. Faults end at `heals_at`; delay, rate and queue stay.
struct LinkOptions {
  Duration delay = 1ms;
  Duration jitter = Duration::zero();  ///< of reordered packets
  std::uint64_t octets_per_s = 0;      ///< 0: infinitely fast
  std::size_t queue_octets = 1 << 20;  ///< what waits for the wire; beyond it packets are lost
  double loss = 0;
  double duplicate = 0;
  double reorder = 0;
  double corrupt = 0;  ///< one bit flips; only with checksums verified
  bool split = false;  ///< super-packets are cut into segments on the way
  Instant heals_at{};
};

struct HostOptions {
  std::string address = "198.18.0.1";
  PortCaps caps;
  ShardOptions shard;  ///< address is added
};

class Network;

/// The port of one host: copies each packet into the link.
class SimPort final : public TxPort {
 public:
  SimPort(Network& network, std::size_t host, const PortCaps& caps)
      : network_(network), host_(host), caps_(caps) {}
  bool transmit(const TxPacket& packet) noexcept override;
  const PortCaps& caps() const noexcept override { return caps_; }

 private:
  Network& network_;
  std::size_t host_;
  PortCaps caps_;
};

struct Host {
  Host(Network& network, std::size_t index, const HostOptions& o, Instant start);
  IpAddr address;
  WorkerCounters counters;
  BufferPool rx;
  SimPort port;
  Shard shard;
  std::map<std::uint64_t, Seq> right_edge;  ///< per connection, for the oracle
};

class Network {
 public:
  explicit Network(std::uint64_t seed);
  Host& add_host(const HostOptions& options);
  Host& host(std::size_t i) { return *hosts_[i]; }
  /// All paths from `host` (two hosts: the one direction).
  void set_link(std::size_t host, const LinkOptions& options);

  Instant now() const { return now_; }
  Random& random() { return random_; }
  /// Steps until `done`; throws Broken when `bound` passes first or nothing is due any more.
  void run_until(const std::function<bool()>& done, Duration bound, const char* what);
  /// One step; false when nothing is due ever.
  bool step();
  /// Nothing is in the air.
  bool quiet() const { return flights_.empty(); }

 private:
  friend class SimPort;
  struct Flight {
    Instant at;
    std::uint64_t order;
    std::size_t to;
    std::vector<std::uint8_t> octets;
    std::uint16_t segment_size;
    ChecksumState checksum;
    bool operator>(const Flight& o) const { return at != o.at ? at > o.at : order > o.order; }
  };
  struct Link {
    LinkOptions options;
    Instant wire_free{};
  };

  void send(std::size_t from, const TxPacket& packet);
  void send_split(std::size_t from, const std::vector<std::uint8_t>& whole, std::uint16_t size);
  void put(std::size_t from, std::vector<std::uint8_t> octets, std::uint16_t segment_size);
  std::size_t host_of(const IpAddr& a) const;
  Instant next_due() const;
  void deliver_due();
  void deliver(const Flight& f);
  void turn(std::size_t host);
  void check(Host& h) const;

  Random random_;
  Instant now_{Duration{1'000'000'000}};
  std::vector<std::unique_ptr<Host>> hosts_;
  std::vector<Link> links_;
  std::priority_queue<Flight, std::vector<Flight>, std::greater<>> flights_;
  std::string broken_;  ///< what a port saw
  std::uint64_t order_ = 0;
  std::uint64_t steps_here_ = 0;  ///< without the clock moving
};

}  // namespace pollux::sim
