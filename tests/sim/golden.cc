#include "tests/sim/golden.h"

#include <oneapi/tbb/parallel_for.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <numeric>

#include "tests/sim/bulk.h"
#include "tests/sim/controls.h"
#include "tests/sim/host.h"

namespace pollux::sim {

namespace {

constexpr std::size_t kFlows = 4;
constexpr std::uint16_t kPort = 9;
constexpr Duration kBetweenStarts = 100ms;
constexpr Duration kSettle = 3s;    // slow start is not measured
constexpr Duration kMeasure = 10s;  // long enough for some dozen rounds of the longest path
constexpr std::uint64_t kLeastQueue = 30000;

LinkOptions bottleneck(const Cell& c) {
  const std::uint64_t octets_per_s = std::uint64_t{c.mbit_per_s} * 125'000;
  const auto trip_us = static_cast<std::uint64_t>(to_us(c.round_trip));
  LinkOptions l;
  l.delay = c.round_trip / 2;
  l.octets_per_s = octets_per_s;
  // One bandwidth-delay product, and some packets where that is next to nothing.
  l.queue_octets = std::max(octets_per_s * trip_us / 1'000'000, kLeastQueue);
  l.loss = c.loss_per_mille / 1000.0;
  l.heals_at = kNever;
  return l;
}

HostOptions host_options(const char* address, const Cell& c) {
  HostOptions h;
  h.address = address;
  h.shard.secret = {1, 2};
  h.shard.tcp.congestion_control = c.control;
  return h;
}

std::string line_of(const Cell& c, const Figures& f) {
  char text[160];
  std::snprintf(text, sizeof text, "%-8s %5.1f %7lld %10u %14.2f %9.3f %15.2f\n",
                std::string(to_string(c.control)).c_str(), c.loss_per_mille / 10.0,
                static_cast<long long>(to_ms(c.round_trip)), c.mbit_per_s, f.goodput, f.fairness,
                f.retransmitted);
  return text;
}

}  // namespace

double jain(const std::vector<double>& shares) {
  double sum = 0, squares = 0;
  for (const double x : shares) {
    sum += x;
    squares += x * x;
  }
  return squares == 0 ? 0 : sum * sum / (static_cast<double>(shares.size()) * squares);
}

std::vector<Cell> all_cells() {
  std::vector<Cell> all;
  for (const tcp::CcKind control : all_congestion_controls()) {
    for (const unsigned loss : {0U, 1U, 10U, 50U}) {
      for (const Duration trip : {1ms, 20ms, 100ms}) {
        for (const unsigned rate : {10U, 100U}) all.push_back({control, loss, trip, rate});
      }
    }
  }
  return all;
}

Figures measure(const Cell& cell) {
  Network net(1);
  net.set_careful(false);
  Host& sender = net.add<Host>(host_options("198.18.0.1", cell));
  Host& receiver = net.add<Host>(host_options("198.18.0.2", cell));
  net.set_link(sender, bottleneck(cell));
  net.set_link(receiver, {.delay = cell.round_trip / 2});
  Source source;
  Sink sink;
  receiver.shard.listen({{}, kPort}, true, sink);
  for (std::size_t i = 0; i < kFlows; ++i) {
    sender.connect({receiver.address, kPort}, source);
    net.run_to(net.now() + kBetweenStarts);
  }
  net.run_to(net.now() + kSettle);
  std::vector<std::uint64_t> before = sink.taken;
  before.resize(kFlows);
  net.run_to(net.now() + kMeasure);
  sink.taken.resize(kFlows);
  std::vector<double> shares(kFlows);
  for (std::size_t i = 0; i < kFlows; ++i) {
    shares[i] = static_cast<double>(sink.taken[i] - before[i]);
  }
  const double seconds = static_cast<double>(kMeasure.count()) * 1e-9;
  const auto again = static_cast<double>(sender.counters.retransmitted_segments.get());
  const auto sent = static_cast<double>(sender.counters.tx_packets.get());
  return {.goodput = std::accumulate(shares.begin(), shares.end(), 0.0) * 8e-6 / seconds,
          .fairness = jain(shares),
          .retransmitted = 100 * again / sent};
}

std::string golden_table() {
  const std::vector<Cell> cells = all_cells();
  std::vector<std::string> lines(cells.size());
  tbb::parallel_for(std::size_t{0}, cells.size(),
                    [&](std::size_t i) { lines[i] = line_of(cells[i], measure(cells[i])); });
  std::string table = "control  loss%  rtt/ms rate/Mbps goodput/Mbps fairness retransmitted%\n";
  for (const std::string& l : lines) table += l;
  return table;
}

}  // namespace pollux::sim
