// A server and a client in virtual time, each a shard of its own, for services that speak TCP and
// UDP and may open connections themselves.
#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "workers/pool.h"
#include "workers/shard.h"

namespace pollux {

inline Bytes bytes_of(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}
inline std::string text_of(Bytes b) { return {reinterpret_cast<const char*>(b.data()), b.size()}; }

/// What one shard sends, waiting for the other.
class Cable final : public TxPort {
 public:
  bool transmit(const TxPacket& packet) noexcept override {
    auto& bytes = packets.emplace_back();
    for (const Bytes part : packet.parts) bytes.insert(bytes.end(), part.begin(), part.end());
    return true;
  }
  const PortCaps& caps() const noexcept override { return caps_; }
  std::deque<std::vector<std::uint8_t>> packets;

 private:
  PortCaps caps_;
};

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

class TwoShards {
 public:
  static constexpr IpAddr kServer = IpAddr::v4(0xc6120002);
  static constexpr IpAddr kClient = IpAddr::v4(0xc6120001);
  static constexpr std::uint16_t kPort = 5000;

  explicit TwoShards(Service& service)
      : server(options(kServer), to_client_, server_counters, now),
        client(options(kClient), to_server_, client_counters, now) {
    server.listen({kServer, kPort}, true, service);
  }

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
  /// Runs both until nothing moves and `time` has passed.
  void run(Duration time) {
    const Instant end = now + time;
    for (;;) {
      while (turn()) {
      }
      const Instant next = std::min(server.next_deadline(), client.next_deadline());
      if (next > end) break;
      now = std::max(next, now + 1ms);
    }
    now = std::max(now, end);
  }

 private:
  static ShardOptions options(const IpAddr& own) {
    ShardOptions o;
    o.addresses = {{own, 32}};
    o.max_connections = 64;
    o.memory_limit = 64U << 20;
    o.tcp.receive_buffer = 256U << 10;
    o.tcp.send_buffer = 256U << 10;
    return o;
  }
  bool turn() {
    bool moved = deliver(to_server_, server);
    moved = deliver(to_client_, client) || moved;
    server.on_timers(now);
    client.on_timers(now);
    moved = server.finish_turn(now) || moved;
    moved = client.finish_turn(now) || moved;
    return moved || !to_server_.packets.empty() || !to_client_.packets.empty();  // of timers
  }
  bool deliver(Cable& cable, Shard& to) {
    const bool any = !cable.packets.empty();
    for (; !cable.packets.empty(); cable.packets.pop_front()) {
      const auto& bytes = cable.packets.front();
      Buffer* b = packets_.alloc();
      if (b == nullptr) continue;  // lost
      std::copy(bytes.begin(), bytes.end(), b->data);
      b->refs = 1;
      to.on_packet(now, {.buffer = b, .length = static_cast<std::uint32_t>(bytes.size())});
    }
    return any;
  }

  Cable to_server_, to_client_;
  BufferPool packets_{{.slot_size = 2048, .max_slots = 1 << 16}};

 public:
  Instant now{1h};
  WorkerCounters server_counters, client_counters;
  Collector app;
  Shard server;
  Shard client;
};

}  // namespace pollux
