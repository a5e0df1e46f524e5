// A node that is a whole engine: one shard with its port, and the laws that must hold for each of
// its connections after each turn.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>

#include "tests/sim/network.h"
#include "tests/sim/watcher.h"
#include "workers/shard.h"

namespace pollux::sim {

struct HostOptions {
  std::string address = "198.18.0.1";
  PortCaps caps;
  ShardOptions shard;  ///< address is added
};

class Host;

/// The port of one host: copies each packet into the link.
class SimPort final : public TxPort {
 public:
  SimPort(Host& host, const PortCaps& caps) : host_(host), caps_(caps) {}
  bool transmit(const TxPacket& packet) noexcept override;
  const PortCaps& caps() const noexcept override { return caps_; }

 private:
  Host& host_;
  PortCaps caps_;
};

class Host final : public Node {
 public:
  Host(Network& network, std::size_t index, const HostOptions& options);
  ~Host() override;
  void receive(Instant now, const Packet& p) override;
  void turn(Instant now) override;
  Instant next_due(Instant now) const override;
  void check(Instant now) override;

  /// Opens a connection from this host's address.
  ConnEntry* connect(const Endpoint& remote, Service& service) {
    return shard.connect(network_.now(), address, remote, service);
  }
  /// The longest retransmission time-out of all connections now.
  Duration longest_rto() const;
  /// Throws Broken when anything is held: connections, receive buffers, slots.
  void check_nothing_left() const;
  /// What the port was given.
  void transmit(const TxPacket& packet);

  WorkerCounters counters;
  BufferPool rx;
  SimPort port;
  Shard shard;

 private:
  void check(ConnEntry& e);
  Watcher watcher_;
  std::unordered_map<std::uint64_t, Seq> right_edge_;  ///< per connection
};

}  // namespace pollux::sim
