// An engine under attack beside an innocent connection: nothing crashes, leaks, storms or stands
// still, and the innocent transfer stays byte-exact and as quick as if it were alone.
#include <gtest/gtest.h>

#include <string>

#include "tests/sim/adversary.h"
#include "tests/sim/scenario.h"
#include "tests/sim/sweep.h"
#include "tests/sim/trace.h"

namespace pollux::sim {
namespace {

constexpr std::uint16_t kPreyPort = 8;

/// Takes what comes and has always something to send; a glutton never reads.
class Prey final : public Service {
 public:
  explicit Prey(bool glutton) : glutton_(glutton) {}
  std::string_view name() const override { return "prey"; }
  void on_open(Stream& s) override { on_writable(s); }
  void on_readable(Stream& s) override {
    while (!glutton_ && s.readable() > 0) s.consume(s.peek().size());
  }
  void on_writable(Stream& s) override {
    while (s.write(Slice::from_static(pattern())) > 0) {
    }
    s.want_writable();
  }

 private:
  bool glutton_;
};

struct Siege {
  explicit Siege(std::uint64_t seed) : net(seed), prey(chance(net.random(), 0.3)) {
    Random& r = net.random();
    v4 = chance(r, 0.6);
    for (std::size_t i = 0; i < 2; ++i) {
      s.host[i] = draw_host(r, v4, i, false);
      s.link[i].delay = Duration(between(r, 10, 20000) * 1000);
      s.plan[i] = draw_plan(r);
    }
    marry(s.plan[0], s.plan[1]);
    ShardOptions& besieged = s.host[0].shard;
    besieged.tcp.receive_buffer = pick(r, {1000U, 20000U, 200000U, 1U << 20});
    besieged.tcp.send_buffer = std::min(besieged.tcp.send_buffer, 1U << 20);
    besieged.tcp.keepalive = chance(r, 0.5) ? Duration(2s) : Duration::zero();
    besieged.memory_limit = 4U << 20;
    o.address = v4 ? "198.18.0.66" : "2001:2::66";
    o.lines = static_cast<unsigned>(between(r, 1, 4));
    o.moves = static_cast<unsigned>(between(r, 20, 300));
    o.pace = pick<Duration>(r, {100us, 5ms, 50ms});
  }

  void live() {
    Host& host = net.add<Host>(s.host[0]);
    Host& friend_host = net.add<Host>(s.host[1]);
    net.set_link(host, s.link[0]);
    net.set_link(friend_host, s.link[1]);
    trace.watch(host.shard);
    o.target = {host.address, kPreyPort};
    Adversary& adversary = net.add<Adversary>(o);
    Peer server(s.plan[0], net.random());
    Peer client(s.plan[1], net.random());
    host.shard.listen({{}, kPort}, true, server);
    host.shard.listen({{}, kPreyPort}, true, prey);
    friend_host.connect({host.address, kPort}, client);
    // The innocent: no faults on its path, so no time-out may be in its way.
    net.run_until(
        [&] {
          return (client.closed > 0 && server.closed > 0) || !client.broken.empty() ||
                 !server.broken.empty();
        },
        time_from_healing(s, 1s), "the innocent transfer");
    if (!client.broken.empty()) throw Broken("innocent client: " + client.broken);
    if (!server.broken.empty()) throw Broken("innocent server: " + server.broken);
    if (client.complete != 1 || server.complete != 1) throw Broken("the innocent is not complete");
    net.run_until([&] { return adversary.silent(); }, 60s, "the siege");
    net.run_to(net.now() + 75s);
    // Each segment may be answered once, a gap by up to three duplicates, and probes come on top.
    if (adversary.answers() > 3 * adversary.sent() + 100) throw Broken("the engine storms");
    opened = adversary.opened();
    host.shard.abort_all(net.now());
    host.turn(net.now());  // they are gone after it
    net.run_to(net.now() + 5s);
    host.check_nothing_left();
    friend_host.check_nothing_left();
  }

  Network net;
  Scenario s;
  AdversaryOptions o;
  Prey prey;
  bool v4 = true;
  std::uint64_t opened = 0;
  PrintTrace trace{0};
};

TEST(Sweep, AdversaryDisturbsNobody) {
  sweep(600, [](std::uint64_t seed) {
    Siege siege(seed);
    siege.live();
    return Lived{siege.opened + 1, siege.net.packets()};
  });
}

}  // namespace
}  // namespace pollux::sim
