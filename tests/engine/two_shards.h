// A shard with a service, and one whose application is scripted by the test: for services that
// speak TCP and UDP and may open connections themselves.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/engine/shard_pair.h"

namespace pollux {

/// The client's applications: what came on each of its connections, by its own port.
class Collector final : public Service {
 public:
  struct Side {
    std::string received;
    bool open = false, peer_closed = false, closed = false;
    CloseReason reason{};
  };
  std::string_view name() const override { return "collector"; }
  void on_open(Stream& s) override { at(s).open = true; }
  void on_readable(Stream& s) override {
    while (reading && s.readable() > 0) {
      const Slice in = s.peek();
      at(s).received += text_of(in.bytes());
      s.consume(in.size());
    }
  }
  void on_peer_closed(Stream& s) override {
    at(s).peer_closed = true;
    if (closes) s.shutdown_write();
  }
  void on_closed(Stream& s, CloseReason r) override {
    at(s).closed = true;
    at(s).reason = r;
  }
  bool takes_datagrams() const override { return true; }
  std::optional<DropReason> on_datagram(const Datagram& d) override {
    d.for_each([&](Bytes b) { datagrams.push_back(text_of(b)); });
    return std::nullopt;
  }

  bool reading = true;
  bool closes = true;  ///< answers a FIN with one
  std::map<std::uint16_t, Side> sides;
  std::vector<std::string> datagrams;

 private:
  Side& at(Stream& s) { return sides[s.local().port]; }
};

struct HasCollector {
  Collector app;
};

class TwoShards : public HasCollector, public ShardPair {
 public:
  static constexpr std::uint16_t kPort = 5000;

  explicit TwoShards(Service& service) { server.listen({kServer, kPort}, true, service); }

  /// A connection of the client; its port is still good when it is over.
  struct Opened : Stream {
    std::uint16_t port;
  };

  Opened connect() {
    ConnEntry* const e = client.connect(now, kClient, {kServer, kPort}, app);
    const std::uint16_t port = e->key.local.port;
    run(100ms);
    return {Stream(client, *e), port};
  }
  /// Writes all of it, as long as the connection lasts.
  void send(Opened s, std::string_view text) {
    while (!text.empty() && !app.sides[s.port].closed) {
      const std::size_t n = s.write(bytes_of(text));
      text.remove_prefix(n);
      run(n == 0 ? 10ms : 0ms);
    }
    run(100ms);
  }
  void send_datagram(const FlowKey& flow, std::string_view text, std::uint16_t segment_size = 0) {
    client.send_datagram(flow, bytes_of(text), {.segment_size = segment_size});
    run(0ms);
  }
  FlowKey open_flow() { return *client.open_datagrams(kClient, {kServer, kPort}, app); }
  std::uint64_t drops(DropReason r) const {
    return server_counters.drops[static_cast<std::size_t>(r)].get();
  }
};

}  // namespace pollux
