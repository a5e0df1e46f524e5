// How many seconds of virtual time pass in one of the processor, with a hundred connections.
#include <cstdio>
#include <ctime>

#include "tests/sim/bulk.h"
#include "tests/sim/host.h"

namespace {

using namespace pollux;
using namespace pollux::sim;

constexpr int kConnections = 100;
constexpr std::uint16_t kPort = 9;

HostOptions host_options(const char* address) {
  HostOptions h;
  h.address = address;
  h.shard.secret = {1, 2};
  return h;
}

void run(const char* what, Service& client, Service& server, unsigned mbit_per_s, double loss,
         Duration length, bool careful) {
  Network net(1);
  net.set_careful(careful);
  Host& a = net.add<Host>(host_options("198.18.0.1"));
  Host& b = net.add<Host>(host_options("198.18.0.2"));
  LinkOptions l{.delay = 10ms, .octets_per_s = std::uint64_t{mbit_per_s} * 125'000};
  l.loss = loss;
  l.heals_at = kNever;
  net.set_link(a, l);
  net.set_link(b, l);
  b.shard.listen({{}, kPort}, true, server);
  for (int i = 0; i < kConnections; ++i) a.connect({b.address, kPort}, client);
  const std::clock_t begin = std::clock();  // of the processor: others may use the machine
  net.run_to(net.now() + length);
  const double real = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  const double seconds = static_cast<double>(length.count()) * 1e-9;
  std::printf("%-34s %-8s %9.0f %14.0f %12.0f\n", what, careful ? "yes" : "no", seconds / real,
              static_cast<double>(net.packets()) / seconds,
              real * 1e9 / static_cast<double>(net.packets()));
}

}  // namespace

int main() {
  std::printf("%-34s %-8s %9s %14s %12s\n", "100 connections", "checked", "virtual/s",
              "packets/virt.s", "ns/packet");
  for (const bool careful : {false, true}) {
    Source source;
    Sink sink;
    Chatter client(1000, 1s), server(1000, 1s);
    run("1000 octets a second, both ways", client, server, 100, 0, 200s, careful);
    run("the same with 1 % loss", client, server, 100, 0.01, 200s, careful);
    run("bulk through 10 Mbit/s", source, sink, 10, 0, careful ? 2s : 100s, careful);
    run("bulk through 100 Mbit/s, 1 % loss", source, sink, 100, 0.01, careful ? 1s : 20s, careful);
  }
}
