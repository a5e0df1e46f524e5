// Thousands of small lives of connections between two engines, each from one seed, on bad networks.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

#include "tests/sim/scenario.h"
#include "tests/sim/sweep.h"
#include "tests/sim/trace.h"

namespace pollux::sim {
namespace {

void require(bool holds, const char* law) {
  if (!holds) throw Broken(law);
}

void judge(const Peer& client, const Peer& server, const Scenario& s) {
  if (!client.broken.empty()) throw Broken("client: " + client.broken);
  if (!server.broken.empty()) throw Broken("server: " + server.broken);
  require(client.opened == client.closed, "the client has unclosed connections");
  require(server.opened == server.closed, "the server has unclosed connections");
  if (s.aborts) return;
  const std::size_t n = s.connections;
  require(client.opened == n && server.opened == n, "not every connection opened");
  require(client.complete == n && server.complete == n, "not every exchange is complete");
}

/// Two engines and the whole of their lives.
struct Life {
  explicit Life(std::uint64_t seed) : net(seed), s(draw(net.random(), net.now())) {
    for (std::size_t i = 0; i < 2; ++i) {
      host[i] = &net.add<Host>(s.host[i]);
      net.set_link(*host[i], s.link[i]);
      trace[i].watch(host[i]->shard);
    }
    host[1]->shard.listen({{}, kPort}, true, server);
  }

  bool exchanged() const {
    return (client.closed == s.connections && server.closed == server.opened) ||
           !client.broken.empty() || !server.broken.empty();
  }
  bool over() const {
    return host[0]->shard.connections() == 0 && host[1]->shard.connections() == 0 && net.quiet();
  }
  Duration longest_rto() const { return std::max(host[0]->longest_rto(), host[1]->longest_rto()); }

  /// Runs until `done`, with a bound that counts from when the path has healed; returns how much of
  /// it was used.
  template <class Done>
  double run(Done done, Instant heals, Duration more, const char* what) {
    while (!done() && net.now() < heals) {
      if (!net.step()) throw Broken(std::string(what) + ": nothing is due before the path heals");
    }
    const Instant from = net.now();
    const Duration bound = more + time_from_healing(s, longest_rto());
    net.run_until(done, bound, what);
    return static_cast<double>((net.now() - from).count()) / static_cast<double>(bound.count());
  }

  void live() {
    for (std::size_t i = 0; i < s.connections; ++i) {
      require(host[0]->connect({host[1]->address, kPort}, client) != nullptr, "no connection");
    }
    const Instant heals = net.now() + s.heals_after;
    used = run([&] { return exchanged(); }, heals, Duration::zero(), "exchange");
    judge(client, server, s);
    // TIME-WAIT of 60 s, for which the wheel may be late by an eighth, and an end whose peer is
    // gone.
    run([&] { return over(); }, heals, 70s, "after the close");
    judge(client, server, s);
    for (Host* h : host) h->check_nothing_left();
  }

  Network net;
  Scenario s;
  Peer client{s.plan[0], net.random()};
  Peer server{s.plan[1], net.random()};
  Host* host[2];
  PrintTrace trace[2] = {PrintTrace(0), PrintTrace(1)};
  double used = 0;  ///< of the time that the exchange may take
};

TEST(Sweep, EveryOctetArrivesAndNothingStays) {
  sweep(4000, [](std::uint64_t seed) {
    Life life(seed);
    life.live();
    if (std::getenv("POLLUX_USED") != nullptr && life.used > 0.3) {
      std::printf("seed %llu used %.2f\n", static_cast<unsigned long long>(seed), life.used);
    }
    return Lived{life.s.connections, life.net.packets()};
  });
}

/// Of each packet, its octets and its time; so nothing of a life depends on memory or threads.
TEST(Sweep, OneSeedIsOneLife) {
  sweep(150, [](std::uint64_t seed) {
    Life once(seed);
    Life again(seed);
    once.live();
    again.live();
    require(once.net.fingerprint() == again.net.fingerprint(), "the same seed, another life");
    Life other(seed + 1'000'000);
    require(other.net.fingerprint() == 0, "a fingerprint before the first packet");
    other.live();
    require(once.net.fingerprint() != other.net.fingerprint(), "another seed, the same life");
    return Lived{3, once.net.packets() * 2 + other.net.packets()};
  });
}

}  // namespace
}  // namespace pollux::sim
