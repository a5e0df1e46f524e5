// A network in one thread and virtual time, from one seed: nodes (engines, and peers of other
// makes), and a link from each to all. One step: the clock moves to the next thing due, packets
// arrive, the nodes that are concerned take their turn, and the invariants are checked.
//
//   node 0: Host (a shard) -- link 0 --> node 1: Host, NaiveTcp, Adversary ...
//                          <-- link 1 --
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "proto/base/addr.h"
#include "proto/base/time.h"
#include "tests/sim/link.h"
#include "tests/sim/packet.h"
#include "tests/sim/random.h"

namespace pollux::sim {

class Network;

/// Whatever has an address.
class Node {
 public:
  Node(Network& network, std::size_t index, const IpAddr& a)
      : address(a), network_(network), index_(index) {}
  virtual ~Node() = default;
  virtual void receive(Instant now, const Packet& p) = 0;
  /// What time does, then what is to be sent.
  virtual void turn(Instant now) = 0;
  virtual Instant next_due(Instant now) const = 0;
  /// Throws Broken when a law does not hold; after each turn of a careful network.
  virtual void check(Instant) {}

  std::size_t index() const { return index_; }
  const IpAddr address;
  bool gone = false;  ///< it vanished: it sends, gets and does nothing any more

 protected:
  Network& network_;

 private:
  friend class Network;
  std::size_t index_;
  bool touched_ = false;
};

class Network {
 public:
  explicit Network(std::uint64_t seed) : random_(seed) {}
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  /// Makes an N(network, index, arguments...) and gives it a link of its own.
  template <class N, class... A>
  N& add(A&&... arguments) {
    auto node = std::make_unique<N>(*this, nodes_.size(), std::forward<A>(arguments)...);
    N& made = *node;
    nodes_.push_back(std::move(node));
    links_.emplace_back();
    last_to_.push_back(0);
    return made;
  }
  /// The path from `node` to everybody.
  void set_link(const Node& node, const LinkOptions& options) {
    links_[node.index()] = Link(options);
  }
  /// Careful (the default) checks every law at every step; measurements do without.
  void set_careful(bool on) { careful_ = on; }
  bool careful() const { return careful_; }

  Instant now() const { return now_; }
  Random& random() { return random_; }
  /// Steps until `done`; throws Broken when `bound` passes first or nothing is due any more.
  void run_until(const std::function<bool()>& done, Duration bound, const char* what);
  /// Steps through all that is due up to `until`, and sets the clock to it.
  void run_to(Instant until);
  /// One step; false when nothing is due ever.
  bool step();
  /// Nothing is in the air.
  bool quiet() const { return flights_.empty(); }

  /// From a node into its link.
  void send(std::size_t from, Packet p);
  /// Of every packet and time so far: two runs of one seed have the same.
  std::uint64_t fingerprint() const { return fingerprint_; }
  std::uint64_t packets() const { return packets_; }
  /// Remembers what broke where nothing may be thrown; step() throws it.
  void broke(const std::string& what) {
    if (broken_.empty()) broken_ = what;
  }

 private:
  struct Flight {
    Instant at;
    std::uint64_t order;
    std::size_t to;
    Packet packet;
    bool operator>(const Flight& o) const { return at != o.at ? at > o.at : order > o.order; }
  };

  std::size_t node_of(const Packet& p) const;
  void launch(std::vector<Arrival>& arrivals, std::size_t to);
  Instant next_due() const;
  void deliver_due();
  void mix(std::uint64_t v);
  void mix(const Packet& p);

  Random random_;
  Instant now_{Duration{1'000'000'000}};
  std::vector<std::unique_ptr<Node>> nodes_;
  std::vector<Link> links_;
  std::vector<std::size_t> last_to_;  ///< per link: where its last packet, the one it holds, goes
  std::vector<Flight> flights_;       ///< a heap, the earliest on top
  std::vector<Arrival> out_, back_;
  std::string broken_;
  std::uint64_t order_ = 0;
  std::uint64_t packets_ = 0;
  std::uint64_t fingerprint_ = 0;
  std::uint64_t steps_here_ = 0;  ///< without the clock moving
  bool careful_ = true;
};

}  // namespace pollux::sim
