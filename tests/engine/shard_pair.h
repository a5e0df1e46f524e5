// Two shards that face each other in virtual time: what one sends, the other gets. One is the
// server, the other plays its clients.
#pragma once

#include <algorithm>
#include <deque>
#include <string>
#include <string_view>
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
    last = bytes;
    return true;
  }
  const PortCaps& caps() const noexcept override { return caps_; }
  std::deque<std::vector<std::uint8_t>> packets;
  std::vector<std::uint8_t> last;  ///< the latest packet of all

 private:
  PortCaps caps_;
};

/// Services and what else the shards use must outlive it: a base in front of this one.
class ShardPair {
 public:
  static constexpr IpAddr kServer = IpAddr::v4(0xc6120002);
  static constexpr IpAddr kClient = IpAddr::v4(0xc6120001);
  static constexpr std::size_t kBuffer = 256U << 10;  ///< of each connection, each way

  ShardPair()
      : server(options(kServer), to_client_, server_counters, now),
        client(options(kClient), to_server_, client_counters, now) {}
  virtual ~ShardPair() = default;
  ShardPair(const ShardPair&) = delete;
  ShardPair& operator=(const ShardPair&) = delete;

  Bytes last_of_client() const { return to_server_.last; }
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

 protected:
  /// What the server's worker serves beside packets, each turn; true: something moved.
  virtual bool beside() { return false; }

 private:
  static ShardOptions options(const IpAddr& own) {
    ShardOptions o;
    o.addresses = {{own, 32}};
    o.max_connections = 64;
    o.memory_limit = 64U << 20;
    o.tcp.receive_buffer = o.tcp.send_buffer = kBuffer;
    o.tcp.time_wait = 1s;
    return o;
  }
  bool turn() {
    bool moved = deliver(to_server_, server);
    moved = deliver(to_client_, client) || moved;
    server.on_timers(now);
    client.on_timers(now);
    moved = beside() || moved;
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
  Shard server;
  Shard client;
};

}  // namespace pollux
