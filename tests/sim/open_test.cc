// Rare ways to begin and to end: both ends open at once, and one end vanishes.
#include <gtest/gtest.h>

#include <algorithm>

#include "proto/base/siphash.h"
#include "tests/sim/scenario.h"
#include "tests/sim/sweep.h"
#include "tests/sim/trace.h"

namespace pollux::sim {
namespace {

// --- simultaneous open (RFC 9293 3.5, figure 7; MUST-10)

constexpr std::uint16_t kPorts[2] = {40000, 50000};

/// Lets connect() find no port but the one that the other end calls.
void pin_port(Scenario& s, std::size_t i) {
  const IpAddr own = *IpAddr::parse(s.host[i].address);
  const IpAddr other = *IpAddr::parse(s.host[1 - i].address);
  const FlowKey key{{own, kPorts[i]}, {other, kPorts[1 - i]}};
  const std::uint32_t hash = flow_hash(s.host[i].shard.secret, key);
  s.host[i].shard.worker_of = [hash](std::uint32_t h) -> std::size_t { return h == hash ? 0 : 1; };
}

struct Crossing {
  explicit Crossing(std::uint64_t seed) : net(seed), s(draw(net.random(), net.now())) {
    s.plan[1].wait_for_peer = false;
    if (s.plan[1].close == CloseWhen::abort) s.plan[1].close = CloseWhen::sent;
    s.aborts = false;
    s.connections = 1;
    marry(s.plan[0], s.plan[1]);
    for (std::size_t i = 0; i < 2; ++i) pin_port(s, i);
    for (std::size_t i = 0; i < 2; ++i) {
      host[i] = &net.add<Host>(s.host[i]);
      net.set_link(*host[i], s.link[i]);
      trace[i].watch(host[i]->shard);
    }
  }

  void live() {
    Peer peer[2] = {{s.plan[0], net.random()}, {s.plan[1], net.random()}};
    for (std::size_t i = 0; i < 2; ++i) {
      if (host[i]->connect({host[1 - i]->address, kPorts[1 - i]}, peer[i]) == nullptr) {
        throw Broken("no connection");
      }
    }
    const Instant heals = net.now() + s.heals_after;
    const auto done = [&] {
      return (peer[0].closed == 1 && peer[1].closed == 1) || !peer[0].broken.empty() ||
             !peer[1].broken.empty();
    };
    while (!done() && net.now() < heals) net.step();
    const Duration rto = std::max(host[0]->longest_rto(), host[1]->longest_rto());
    net.run_until(done, time_from_healing(s, rto), "exchange");
    for (const Peer& p : peer) {
      if (!p.broken.empty()) throw Broken(p.broken);
      if (p.opened != 1 || p.complete != 1) throw Broken("the exchange is not complete");
    }
    net.run_to(std::max(net.now(), heals) + 70s + time_from_healing(s, rto));
    for (Host* h : host) h->check_nothing_left();
  }

  Network net;
  Scenario s;
  Host* host[2];
  PrintTrace trace[2] = {PrintTrace(0), PrintTrace(1)};
};

TEST(Sweep, BothOpenAtOnce) {
  sweep(1000, [](std::uint64_t seed) {
    Crossing crossing(seed);
    crossing.live();
    return Lived{1, crossing.net.packets()};
  });
}

// --- an end that vanishes

Plan says(std::size_t octets, Duration read_pause) {
  Plan p;
  p.octets = p.peer_octets = octets;
  p.close = CloseWhen::peer_closed;
  p.read_pause = read_pause;
  return p;
}

HostOptions end(std::size_t i, const tcp::Options& tcp) {
  HostOptions o;
  o.address = "198.18.0." + std::to_string(i + 1);
  o.shard.secret = {i, 7};
  o.shard.tcp = tcp;
  return o;
}

/// Host 0, with these options, opens to host 1, and both say `octets`; neither closes.
struct Couple {
  explicit Couple(const tcp::Options& tcp, std::size_t octets, Duration read_pause = {})
      : client(says(octets, {}), net.random()),
        server(says(octets, read_pause), net.random()),
        host{&net.add<Host>(end(0, tcp)), &net.add<Host>(end(1, {.receive_buffer = 10000}))} {
    host[1]->shard.listen({{}, kPort}, true, server);
    host[0]->connect({host[1]->address, kPort}, client);
  }
  /// When host 0 gives up, from now on.
  Duration until_closed() {
    const Instant from = net.now();
    net.run_until([&] { return client.closed > 0; }, 1h, "giving up");
    EXPECT_EQ(client.reasons, std::vector{CloseReason::timeout});
    net.run_to(net.now() + 1s);
    EXPECT_EQ(host[0]->shard.connections(), 0U);
    return net.now() - from - 1s;
  }

  Network net{1};
  Peer client;
  Peer server;
  Host* host[2];
};

/// Late by an eighth at most, as the wheel may be.
#define EXPECT_ABOUT(duration, low, high) \
  EXPECT_GE(duration, Duration(low));     \
  EXPECT_LE(duration, Duration(high) * 9 / 8)

TEST(Vanishing, KeepAliveEndsAnIdleConnection) {
  tcp::Options tcp;
  tcp.keepalive = 10s;
  tcp.keepalive_interval = 5s;
  tcp.keepalive_probes = 4;
  Couple c(tcp, 100);
  c.net.run_to(c.net.now() + 200s);
  EXPECT_EQ(c.client.closed, 0U) << "probes that are answered keep it open";
  c.host[1]->gone = true;
  const Duration took = c.until_closed();
  EXPECT_ABOUT(took, 20s, 30s);  // the last answer came up to ten seconds before
}

TEST(Vanishing, WithoutKeepAliveAnIdleConnectionStays) {
  Couple c({}, 100);
  c.net.run_to(c.net.now() + 10s);
  c.host[1]->gone = true;
  c.net.run_to(c.net.now() + 24h);
  EXPECT_EQ(c.client.closed, 0U);  // MUST-25: it must default to off
}

TEST(Vanishing, UserTimeoutEndsATransfer) {
  tcp::Options tcp;
  tcp.user_timeout = 20s;
  Couple c(tcp, 100000);
  c.net.run_to(c.net.now() + 10ms);
  ASSERT_EQ(c.client.opened, 1U);
  c.host[1]->gone = true;
  const Duration took = c.until_closed();
  EXPECT_ABOUT(took, 20s, 41s);  // seen by the next time-out, which has doubled since
}

TEST(Vanishing, R2EndsATransfer) {
  Couple c({}, 100000);
  c.net.run_to(c.net.now() + 10ms);
  c.host[1]->gone = true;
  const Duration took = c.until_closed();
  EXPECT_ABOUT(took, 100s, tcp::kR2 + 130s);  // at least 100 s (SHLD-11)
}

TEST(Vanishing, ProbesOfAClosedWindowGiveUpToo) {
  tcp::Options tcp;
  tcp.user_timeout = 20s;
  Couple c(tcp, 100000, 1h);
  c.net.run_to(c.net.now() + 100s);
  EXPECT_EQ(c.client.closed, 0U) << "probes are answered: MUST-37";
  c.host[1]->gone = true;
  const Duration took = c.until_closed();
  EXPECT_ABOUT(took, 20s, 200s);
}

TEST(Vanishing, ASynIsGivenUp) {
  Couple c({}, 100);
  c.host[1]->gone = true;
  const Duration took = c.until_closed();
  EXPECT_EQ(c.client.opened, 0U);
  EXPECT_ABOUT(took, tcp::kR2Syn, 2 * tcp::kR2Syn);
}

TEST(Vanishing, WhoComesBackInTimeLosesNothing) {
  for (const Duration away : {1s, 7s, 60s}) {
    Couple c({}, 100000);
    c.net.run_to(c.net.now() + 10ms);
    c.host[1]->gone = true;
    c.net.run_to(c.net.now() + away);
    c.host[1]->gone = false;
    c.net.run_to(c.net.now() + away + 5s);
    c.host[0]->shard.begin_drain(c.net.now());
    c.net.run_until([&] { return c.client.closed + c.server.closed == 2; }, 90s, "the end");
    EXPECT_EQ(c.client.complete + c.server.complete, 2U);
    EXPECT_EQ(c.client.broken + c.server.broken, "");
  }
}

}  // namespace
}  // namespace pollux::sim
