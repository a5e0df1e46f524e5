// The engine against a TCP that knows nothing newer than RFC 793, byte-exact both ways.
#include <gtest/gtest.h>

#include <string>

#include "tests/sim/naive_tcp.h"
#include "tests/sim/scenario.h"
#include "tests/sim/sweep.h"
#include "tests/sim/trace.h"

namespace pollux::sim {
namespace {

struct Pair {
  explicit Pair(std::uint64_t seed) : net(seed) {
    Random& r = net.random();
    const bool offload = chance(r, 0.3);
    const Duration heals_after(between(r, 0, 15000) * 1'000'000);
    heals = net.now() + heals_after;
    for (std::size_t i = 0; i < 2; ++i) {
      s.host[i] = draw_host(r, true, i, offload);
      s.link[i] = draw_link(r, heals);
      s.plan[i] = draw_plan(r);
      s.plan[i].octets = std::min<std::size_t>(s.plan[i].octets, 20000);
    }
    draw_faults();
    marry(s.plan[0], s.plan[1]);
    naive_opens = chance(r, 0.5);
    o.plan = s.plan[1];
    o.segments = pick(r, {1U, 2U, 4U, 8U});
    o.window = pick<std::uint16_t>(r, {536, 1000, 2048, 8192, 65535});
    o.rto = pick<Duration>(r, {300ms, 1000ms, 3000ms});
  }
  void draw_faults() {
    Random& r = net.random();
    MiddleboxOptions box = draw_middlebox(r);
    box.merge = 0;  // its oracle refuses segments beyond its MSS
    for (LinkOptions& l : s.link) {
      draw_more_faults(r, l, 0, true);
      l.split = true;  // it takes no super-packets
      l.box = box;
    }
  }

  /// On a healed path: go-back-N loses a whole window where a small queue overflows.
  Duration bound(Duration longest_rto) const {
    const Duration trip = s.link[0].delay + s.link[1].delay + s.host[0].shard.tcp.delayed_ack;
    const auto segments = static_cast<std::int64_t>(s.plan[1].octets / 500 + 2);
    const auto slow = std::min<std::size_t>(s.host[0].shard.tcp.receive_buffer, 500);
    const auto crumbs = static_cast<std::int64_t>(s.plan[1].octets / slow);
    return time_from_healing(s, std::max(longest_rto, 4 * o.rto)) + trip * segments * 4 +
           (trip + o.rto) * crumbs;
  }

  void live() {
    Host& host = net.add<Host>(s.host[0]);
    NaiveTcp& naive = net.add<NaiveTcp>(o);
    trace.watch(host.shard);
    net.set_link(host, s.link[0]);
    net.set_link(naive, s.link[1]);
    Peer peer(s.plan[0], net.random());
    if (naive_opens) {
      host.shard.listen({{}, kPort}, true, peer);
      naive.connect({host.address, kPort}, 5000);
    } else {
      naive.listen(kPort);
      host.connect({naive.address, kPort}, peer);
    }
    const auto done = [&] {
      return (naive.complete() && peer.closed > 0) || !peer.broken.empty() || naive.was_reset();
    };
    while (!done() && net.now() < heals) {
      if (!net.step()) throw Broken("nothing is due before the path heals");
    }
    net.run_until(done, bound(host.longest_rto()), "exchange");
    if (!peer.broken.empty()) throw Broken("engine: " + peer.broken);
    if (naive.was_reset()) throw Broken("the naive peer was reset");
    if (peer.complete != 1) throw Broken("the engine's end is not complete");
    net.run_until([&] { return host.shard.connections() == 0 && net.quiet(); },
                  70s + bound(host.longest_rto()), "after the close");
    host.check_nothing_left();
  }

  Network net;
  Scenario s;
  NaiveOptions o;
  Instant heals;
  bool naive_opens = false;
  PrintTrace trace{0};
};

TEST(Sweep, NaivePeerGetsEveryOctet) {
  sweep(1500, [](std::uint64_t seed) {
    Pair pair(seed);
    pair.live();
    return Lived{1, pair.net.packets()};
  });
}

}  // namespace
}  // namespace pollux::sim
