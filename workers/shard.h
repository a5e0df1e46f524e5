// One worker's share of the network: its connections, listeners, timers and buffers. It runs
// proto/ over what a port brings and sends what proto/ wants. Single-threaded, no clock, no file
// descriptor: the simulator drives it exactly as a worker thread does.
//
//   on_packet()* -> on_timers() -> finish_turn()     one turn
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "proto/base/siphash.h"
#include "proto/icmp/icmp.h"
#include "proto/tcp/conn.h"
#include "proto/wire/ip.h"
#include "workers/counters.h"
#include "workers/limits.h"
#include "workers/packet.h"
#include "workers/pinned.h"
#include "workers/pool.h"
#include "workers/port.h"
#include "workers/service.h"
#include "workers/table.h"
#include "workers/token_bucket.h"
#include "workers/wheel.h"

namespace pollux {

struct ShardOptions {
  tcp::Options tcp;
  HashKey secret;                           ///< per boot; flows, ISNs, timestamp offsets
  std::vector<Prefix> addresses;            ///< the engine's own
  bool verify_checksums_always = false;     ///< else what the kernel marks is trusted
  std::uint64_t memory_limit = 2ULL << 30;  ///< octets held by all connections of this shard
  std::size_t max_connections = limits::kMaxConnections;
  std::size_t syn_backlog = limits::kSynBacklog;
  /// True when packets of a flow with this hash come to this shard; for active opens.
  std::function<bool(std::uint32_t)> owns_hash = [](std::uint32_t) { return true; };
};

/// A connection's place in the wheel, with the way back to it.
struct ConnTimer : TimerNode {
  ConnEntry* owner = nullptr;
};

/// One connection with all that the shard keeps about it.
struct ConnEntry : FlowEntry {
  ConnEntry(const tcp::Conn& c, Service& s) : tcp(c), service(&s) { timer.owner = this; }
  tcp::Conn tcp;
  Service* service;
  std::unique_ptr<Session> session;
  ConnTimer timer;
  Instant armed_for = kNever;   ///< where the wheel has it; never later than its deadline
  Instant user_timer = kNever;  ///< Stream::set_timer
  Instant opened_at{};
  std::uint64_t id = 0;
  bool dirty = false;
  bool opened = false;    ///< on_open was called
  bool finished = false;  ///< on_closed was called
};

/// Sees every segment, in and out; for the debug log. Null in normal operation.
class SegmentTrace {
 public:
  virtual void segment(Instant now, bool incoming, const FlowKey& key, const wire::TcpHeader& h,
                       std::uint32_t payload, const tcp::Conn* conn,
                       std::optional<DropReason> dropped) = 0;

 protected:
  ~SegmentTrace() = default;
};

class Shard {
 public:
  Shard(const ShardOptions& options, TxPort& port, WorkerCounters& counters, Instant start);
  ~Shard();
  Shard(const Shard&) = delete;
  Shard& operator=(const Shard&) = delete;

  /// Accepts connections to `local` (an empty address: every address of the engine) for `service`,
  /// which must outlive the shard. MUST-41: existing connections are not disturbed.
  void listen(const Endpoint& local, bool any_address, Service& service);
  /// Opens a connection to `remote` from `local_address`; nullptr when the remote address cannot
  /// be opened to (MUST-46) or no port or memory is free.
  ConnEntry* connect(Instant now, const IpAddr& local_address, const Endpoint& remote,
                     Service& service);

  /// Takes over the descriptor's reference.
  void on_packet(Instant now, const RxPacket& packet);
  void on_timers(Instant now);
  /// Services, then transmissions. True when something was done.
  bool finish_turn(Instant now);
  /// When on_timers() is wanted next.
  Instant next_deadline() const { return wheel_.next_deadline(); }
  /// Work is left over from finish_turn (a quantum ran out): do not sleep.
  bool has_work() const { return !dirty_.empty(); }

  /// Stops listening and sends FIN on every connection.
  void begin_drain(Instant now);
  /// RST on every connection; they are gone after the next finish_turn().
  void abort_all(Instant now);
  std::size_t connections() const { return table_.size(); }
  std::uint64_t open_connections() const { return counters_.connections_open.get(); }
  template <class F>
  void for_each(F&& f) const {
    table_.for_each([&](FlowEntry& e) { f(static_cast<ConnEntry&>(e)); });
  }
  void set_trace(SegmentTrace* trace) { trace_ = trace; }
  WorkerCounters& counters() { return counters_; }
  const ShardOptions& options() const { return options_; }

  // For Stream
  void mark_dirty(ConnEntry& e);
  Instant now() const { return now_; }
  std::size_t write_copy(ConnEntry& e, Bytes data);
  void set_user_timer(ConnEntry& e, Instant deadline);

 private:
  struct Listener {
    Endpoint local;
    bool any;
    Service* service;
  };
  void drop(DropReason r) { counters_.drop(r); }
  bool is_ours(const IpAddr& a) const;
  bool must_verify(const RxPacket& packet) const {
    return options_.verify_checksums_always || packet.checksum == ChecksumState::unverified;
  }
  std::optional<DropReason> check_addresses(const wire::IpHeader& ip) const;
  void on_tcp(const wire::IpHeader& ip, const RxPacket& packet, Bytes segment);
  void on_icmp(const wire::IpHeader& ip, const RxPacket& packet, Bytes message);
  void on_known(ConnEntry& e, const wire::TcpHeader& h, Slice payload, std::uint16_t seg_size);
  /// `used`: the end of what an earlier connection of this flow has used of the sequence space.
  void on_unknown(const FlowKey& key, std::uint32_t hash, const wire::TcpHeader& h,
                  std::uint32_t payload, std::optional<Seq> used);
  void accept(const FlowKey& key, std::uint32_t hash, const wire::TcpHeader& syn, Service& s,
              std::optional<Seq> used);
  Service* find_listener(const Endpoint& local) const;
  ConnEntry* add(const FlowKey& key, std::uint32_t hash, const tcp::Conn& c, Service& s);
  tcp::Setup setup_for(const FlowKey& key) const;
  Slice hold(const RxPacket& packet, Bytes payload);
  void send_reset(const FlowKey& key, const wire::TcpHeader& h, std::uint32_t payload);
  void dispatch(ConnEntry& e);
  bool flush(ConnEntry& e);
  void transmit(const FlowKey& key, tcp::SegmentOut& out);
  void rearm(ConnEntry& e);
  void finish(ConnEntry& e, CloseReason reason);
  void remove(ConnEntry& e);
  void update_memory();

  ShardOptions options_;
  TxPort& port_;
  WorkerCounters& counters_;
  SegmentTrace* trace_ = nullptr;
  Instant now_;
  TimerWheel wheel_;
  FlowTable table_;
  BufferPool small_;
  BufferPool medium_;
  PinnedPackets pinned_;
  TokenBucket reset_bucket_;
  TokenBucket icmp_bucket_;
  std::vector<Listener> listeners_;
  std::vector<ConnEntry*> dirty_;
  std::vector<ConnEntry*> turn_;
  std::uint64_t next_id_ = 1;
  std::size_t half_open_ = 0;
  bool draining_ = false;
  bool memory_short_ = false;
  tcp::SegmentOut out_;
};

}  // namespace pollux
