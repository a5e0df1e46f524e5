// Thousands of small lives of connections, each from one seed, on bad networks. A failure prints
// its seed; POLLUX_SEED=n runs that one alone.
#include <gtest/gtest.h>

#include <unistd.h>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "tests/sim/network.h"
#include "tests/sim/peer.h"

namespace pollux::sim {
namespace {

constexpr std::uint16_t kPort = 7;

std::uint64_t running_seed = 0;

/// An assertion of the engine ends the process: say with which seed.
void tell_seed(int) {
  char text[80];
  const int n = std::snprintf(text, sizeof text, "\nPOLLUX_SEED=%llu\n",
                              static_cast<unsigned long long>(running_seed));
  if (write(STDERR_FILENO, text, static_cast<std::size_t>(n)) < 0) std::_Exit(3);
  std::signal(SIGABRT, SIG_DFL);
}

template <class T>
T pick(Random& r, std::initializer_list<T> of) {
  return of.begin()[below(r, of.size())];
}

struct Scenario {
  HostOptions host[2];
  LinkOptions link[2];
  Plan plan[2];
  std::size_t connections = 1;
  Duration heals_after{};
  bool aborts = false;
};

HostOptions draw_host(Random& r, bool v4, std::size_t index, bool offload) {
  HostOptions h;
  h.address = (v4 ? "198.18.0." : "2001:2::") + std::to_string(index + 1);
  h.caps.mtu = v4 ? pick(r, {296U, 576U, 1280U, 1500U, 9000U}) : pick(r, {1280U, 1500U, 9000U});
  h.caps.checksum = h.caps.segmentation = offload;
  h.shard.secret = {r(), r()};
  tcp::Options& t = h.shard.tcp;
  t.congestion_control = pick(r, {tcp::CcKind::reno, tcp::CcKind::cubic});
  t.sack = chance(r, 0.6);
  t.timestamps = chance(r, 0.6);
  t.window_scaling = chance(r, 0.8);
  t.delayed_ack = pick<Duration>(r, {1ms, 40ms, 200ms});
  t.receive_buffer = pick(r, {300U, 1000U, 3000U, 10000U, 65535U, 200000U, 6U << 20});
  t.send_buffer = pick(r, {500U, 3000U, 20000U, 100000U, 6U << 20});
  return h;
}

LinkOptions draw_link(Random& r, Instant heals_at) {
  LinkOptions l;
  l.delay = Duration(between(r, 10, 100000) * 1000);
  if (chance(r, 0.3)) l.delay = Duration(between(r, 10, 500) * 1000);
  if (chance(r, 0.5)) {
    l.octets_per_s = between(r, 20, 10000) * 1000;
    l.queue_octets = between(r, 3000, 100000);
  }
  l.split = chance(r, 0.5);
  l.heals_at = heals_at;
  if (chance(r, 0.25)) return l;
  if (chance(r, 0.7)) l.loss = pick(r, {0.01, 0.05, 0.1, 0.3});
  if (chance(r, 0.3)) l.duplicate = 0.05;
  if (chance(r, 0.3)) l.reorder = pick(r, {0.05, 0.3});
  if (chance(r, 0.3)) l.corrupt = 0.05;
  l.jitter = l.delay + 5ms;
  return l;
}

Plan draw_plan(Random& r) {
  Plan p;
  p.octets = chance(r, 0.15) ? 0 : between(r, 1, pick(r, {100U, 5000U, 50000U}));
  p.salt = below(r, kPatternSize / 2);
  p.max_write = pick(r, {10U, 700U, 5000U, 50000U});
  if (p.octets > 5000) p.max_write = std::max<std::size_t>(p.max_write, 500);
  p.zero_copy = chance(r, 0.5);
  p.nodelay = chance(r, 0.3);
  p.close = chance(r, 0.6) ? CloseWhen::sent : CloseWhen::peer_closed;
  if (chance(r, 0.2)) {
    p.read_quota = between(r, 1, 3000);
    if (chance(r, 0.2)) p.read_quota = between(r, 1, 100);
    p.read_every = Duration(between(r, 1, 100) * 1'000'000);
  }
  if (chance(r, 0.15)) p.read_pause = Duration(between(r, 1, 20000) * 1'000'000);
  return p;
}

Scenario draw(Random& r, Instant start) {
  Scenario s;
  const bool v4 = chance(r, 0.7);
  const bool offload = chance(r, 0.5);
  s.heals_after = Duration(between(r, 0, 20000) * 1'000'000);
  for (std::size_t i = 0; i < 2; ++i) {
    s.host[i] = draw_host(r, v4, i, offload);
    s.link[i] = draw_link(r, start + s.heals_after);
    s.plan[i] = draw_plan(r);
    if (offload) s.link[i].corrupt = 0;
  }
  Plan& a = s.plan[0];
  Plan& b = s.plan[1];
  // Both waiting for the other would be a deadlock of the plan's own making.
  if (a.close == CloseWhen::peer_closed) b.close = CloseWhen::sent;
  b.wait_for_peer = a.close == CloseWhen::sent && chance(r, 0.3);
  if (chance(r, 0.05)) b.close = CloseWhen::abort;
  s.aborts = b.close == CloseWhen::abort;
  // The one RST of an abort may be lost, and who waits in FIN-WAIT-2 sends nothing.
  if (s.aborts) s.host[0].shard.tcp.keepalive = 20s;
  a.peer_octets = b.octets;
  a.peer_salt = b.salt;
  b.peer_octets = a.octets;
  b.peer_salt = a.salt;
  s.connections = chance(r, 0.8) ? 1 : between(r, 2, 4);
  return s;
}

/// POLLUX_TRACE=1 with POLLUX_SEED prints every segment as its receiver or sender sees it.
class PrintTrace final : public SegmentTrace {
 public:
  explicit PrintTrace(int host) : host_(host) {}
  void segment(Instant now, bool incoming, const FlowKey&, const wire::TcpHeader& h,
               std::uint32_t payload, const tcp::Conn* c,
               std::optional<DropReason> dropped) override {
    std::printf("%11.6f host %d %s %-12s seq %10u ack %10u win %5u len %5u sacks %d  %s%s",
                static_cast<double>(now.time_since_epoch().count()) * 1e-9, host_,
                incoming ? "<-" : "->", wire::tcp_flags_to_string(h.flags).c_str(), h.seq.raw(),
                h.ack.raw(), h.window, payload, h.options.sack_count,
                c == nullptr ? "" : std::string(to_string(c->state())).c_str(),
                dropped ? (" DROP " + std::string(to_string(*dropped))).c_str() : "");
    if (c != nullptr) {
      const auto i = c->info();
      std::printf("  cwnd %u flight %u wnd %u rcvq %zu sndq %zu ooo %zu", i.cwnd, i.in_flight,
                  i.send_window, i.receive_queue, i.send_queue, i.out_of_order_bytes);
    }
    std::printf("\n");
  }

 private:
  int host_;
};

/// How long it may take: what the path's rate, its round trips and slow readers ask for, and room
/// for time-outs that had backed off when the path healed.
Duration bound_of(const Scenario& s) {
  Duration d = s.heals_after + 240s + (s.aborts ? 900s : 0s);
  for (std::size_t i = 0; i < 2; ++i) {
    const Plan& p = s.plan[i];
    const auto octets = static_cast<std::int64_t>(p.octets * s.connections);
    d += p.read_pause;
    if (p.read_quota != 0) {
      d += p.read_every * (p.peer_octets / p.read_quota + 1) * 2;
    }
    const tcp::Options& t = s.host[1 - i].shard.tcp;
    const auto window = std::min({t.receive_buffer, s.host[i].shard.tcp.send_buffer, 200U});
    const Duration trip = s.link[0].delay + s.link[1].delay + t.delayed_ack;
    d += trip * (octets / window) * 2;
    if (s.link[i].octets_per_s != 0) {
      d += Duration(octets * 1'000'000'000 / static_cast<std::int64_t>(s.link[i].octets_per_s)) * 4;
    }
  }
  return d;
}

void judge(const Peer& client, const Peer& server, const Scenario& s) {
  const std::size_t n = s.connections;
  ASSERT_EQ(client.broken, "");
  ASSERT_EQ(server.broken, "");
  ASSERT_EQ(client.opened, client.closed);
  ASSERT_EQ(server.opened, server.closed);
  if (s.aborts) return;
  ASSERT_EQ(client.opened, n);
  ASSERT_EQ(server.opened, n);
  ASSERT_EQ(client.complete, n);
  ASSERT_EQ(server.complete, n);
}

void expect_nothing_left(Network& net) {
  for (std::size_t i = 0; i < 2; ++i) {
    Host& h = net.host(i);
    ASSERT_EQ(h.shard.connections(), 0U);
    ASSERT_EQ(h.shard.open_connections(), 0U);
    ASSERT_EQ(h.rx.in_use(), 0U) << "receive buffers are held";
    ASSERT_EQ(h.counters.memory_bytes.get(), 0U) << "the shard's slots are held";
  }
}

void live(std::uint64_t seed) {
  Network net(seed);
  const Scenario s = draw(net.random(), net.now());
  for (const HostOptions& h : s.host) net.add_host(h);
  for (std::size_t i = 0; i < 2; ++i) net.set_link(i, s.link[i]);
  PrintTrace trace[2] = {PrintTrace(0), PrintTrace(1)};
  if (std::getenv("POLLUX_TRACE") != nullptr) {
    for (std::size_t i = 0; i < 2; ++i) net.host(i).shard.set_trace(&trace[i]);
  }
  Peer client(s.plan[0], net.random());
  Peer server(s.plan[1], net.random());
  net.host(1).shard.listen({{}, kPort}, true, server);
  for (std::size_t i = 0; i < s.connections; ++i) {
    ASSERT_NE(net.host(0).shard.connect(net.now(), net.host(0).address,
                                        {net.host(1).address, kPort}, client),
              nullptr);
  }
  net.run_until(
      [&] {
        return (client.closed == s.connections && server.closed == server.opened) ||
               !client.broken.empty() || !server.broken.empty();
      },
      bound_of(s), "exchange");
  ASSERT_NO_FATAL_FAILURE(judge(client, server, s));
  // TIME-WAIT, and time-outs of an end whose peer is gone.
  net.run_until(
      [&] {
        return net.host(0).shard.connections() == 0 && net.host(1).shard.connections() == 0 &&
               net.quiet();
      },
      600s, "after the close");
  judge(client, server, s);
  expect_nothing_left(net);
}

void run_seed(std::uint64_t seed) {
  running_seed = seed;
  std::signal(SIGABRT, tell_seed);
  try {
    live(seed);
  } catch (const Broken& b) {
    ADD_FAILURE() << b.what();
  }
  if (testing::Test::HasFailure())
    std::printf("POLLUX_SEED=%llu\n", static_cast<unsigned long long>(seed));
}

/// POLLUX_SEEDS=n runs n seeds in each of the twenty tests.
std::uint64_t seeds_per_test() {
  const char* n = std::getenv("POLLUX_SEEDS");
  return n == nullptr ? 100 : std::strtoull(n, nullptr, 10);
}

class Simulation : public testing::TestWithParam<int> {};

TEST_P(Simulation, EveryOctetArrivesAndNothingStays) {
  if (const char* one = std::getenv("POLLUX_SEED")) {
    if (GetParam() == 0) run_seed(std::strtoull(one, nullptr, 10));
    return;
  }
  const auto first = static_cast<std::uint64_t>(GetParam()) * seeds_per_test() + 1;
  for (std::uint64_t seed = first; seed < first + seeds_per_test(); ++seed) {
    run_seed(seed);
    if (HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, Simulation, testing::Range(0, 20));

}  // namespace
}  // namespace pollux::sim
