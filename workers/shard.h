// One worker's share of the network: its connections, listeners, timers and buffers. It runs
// proto/ over what a port brings and sends what proto/ wants. Single-threaded, no clock, no file
// descriptor: the simulator drives it exactly as a worker thread does.
//
//   on_packet()* -> on_timers() -> finish_turn()     one turn
//
// A flow is in one of three places: the half-open records until the peer's ACK (handshake.cc), the
// table of connections, and the TIME-WAIT records (closing.cc).
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "proto/base/siphash.h"
#include "proto/icmp/icmp.h"
#include "proto/ip/reassembly.h"
#include "proto/tcp/conn.h"
#include "proto/tcp/syn_cookie.h"
#include "proto/wire/ip.h"
#include "proto/wire/udp.h"
#include "workers/active_flows.h"
#include "workers/counters.h"
#include "workers/half_open.h"
#include "workers/limits.h"
#include "workers/packet.h"
#include "workers/pinned.h"
#include "workers/pool.h"
#include "workers/port.h"
#include "workers/service.h"
#include "workers/stage_clock.h"
#include "workers/table.h"
#include "workers/task_timers.h"
#include "workers/time_wait.h"
#include "workers/token_bucket.h"
#include "workers/wheel.h"

namespace pollux {

class Crew;

struct ShardOptions {
  tcp::Options tcp;
  HashKey secret;                           ///< per boot; flows, ISNs, timestamp offsets
  std::vector<Prefix> addresses;            ///< the engine's own
  bool verify_checksums_always = false;     ///< else what the kernel marks is trusted
  std::uint64_t memory_limit = 2ULL << 30;  ///< octets held by all connections of this shard
  std::size_t max_connections = limits::kMaxConnections;
  std::size_t syn_backlog = limits::kSynBacklog;
  tcp::CookiePolicy syn_cookies = tcp::CookiePolicy::when_needed;
  std::size_t max_time_wait = limits::kTimeWait;
  std::uint8_t hop_limit = 64;  ///< of all packets sent (MUST-49)
  std::size_t worker = 0;       ///< which of the crew this shard's is
  std::size_t workers = 1;      ///< of the crew
  Crew* crew = nullptr;         ///< nullptr: there is no other worker
  /// Which worker the packets of a flow with this hash come to; none: this one.
  std::function<std::size_t(std::uint32_t)> worker_of;
  bool owns(std::uint32_t hash) const { return !worker_of || worker_of(hash) == worker; }
};

/// What is special about a connection that is opened.
struct ConnectOptions {
  /// 0: one that is free. Another port's flow may belong to another shard, see owner_of().
  std::uint16_t local_port = 0;
  std::uint16_t mss = 0;  ///< octets of a segment each way, at most; 0: what the MTU allows
  std::uint32_t buffer_limit = 0;  ///< see Stream::set_buffer_limit(); 0: none
};

/// What a connection's IP headers say beside the addresses.
struct IpMarks {
  std::uint8_t dscp = 0;       ///< RFC 2474
  std::uint8_t hop_limit = 0;  ///< 0: that of the shard
};

/// One connection with all that the shard keeps about it.
struct ConnEntry : FlowEntry, TimerNode {
  /// From the begin: what a segment of data or an ACK touches. Worth fetching ahead.
  static constexpr std::size_t kHotOctets = 640;

  ConnEntry(const tcp::Conn& c, Service& s) : service(&s), tcp(c) {
    if (s.congestion_control()) tcp.set_congestion_control(*s.congestion_control());
  }
  Service* service;
  Instant armed_for = kNever;     ///< where the wheel has it; never later than its deadline
  Instant user_timer = kNever;    ///< Stream::set_timer
  std::uint32_t bookkeeping = 0;  ///< octets of its lists, as the shard counted them
  std::uint32_t active_mark = 0;  ///< of ActiveFlows
  IpMarks marks;
  std::uint8_t received_dscp = 0;  ///< of the last segment
  bool dirty = false;
  bool opened = false;        ///< on_open was called
  bool finished = false;      ///< on_closed was called
  bool fast_opening = false;  ///< counts as a pending Fast Open
  Slice crumbs;               ///< a slot that tiny pieces ahead of a gap share
  tcp::Conn tcp;
  std::unique_ptr<Session> session;
  Instant opened_at{};
  std::uint64_t id = 0;
};

struct DatagramOptions {
  std::uint16_t segment_size = 0;  ///< payload is datagrams of that many octets; 0: it is one
  std::uint8_t tos = 0;            ///< DSCP and ECN
};

/// A ping under way: the identifier tells its answers from those of others.
struct EchoFlow {
  IpAddr local;
  IpAddr remote;
  std::uint16_t id = 0;
};

/// Type and code of an ICMP error.
struct IcmpKind {
  std::uint8_t type;
  std::uint8_t code;
};

/// How much of reassembled packets is on its way from one shard to others.
struct HandOvers;

/// Sees every segment, in and out; for the debug log. Null in normal operation.
class SegmentTrace {
 public:
  virtual void segment(Instant now, bool incoming, const FlowKey& key, const wire::TcpHeader& h,
                       std::uint32_t payload, const tcp::Conn* conn,
                       std::optional<DropReason> dropped) = 0;

 protected:
  ~SegmentTrace() = default;
};

class alignas(kSharedLine) Shard {
 public:
  Shard(const ShardOptions& options, TxPort& port, WorkerCounters& counters, Instant start);
  ~Shard();
  Shard(const Shard&) = delete;
  Shard& operator=(const Shard&) = delete;

  /// Accepts connections to `local` (an empty address: every address of the engine) for `service`,
  /// which must outlive the shard. MUST-41: existing connections are not disturbed.
  void listen(const Endpoint& local, bool any_address, Service& service);
  /// Whether `a` is an address of the engine, and no other host's within a prefix that it owns.
  bool is_own_host(const IpAddr& a) const;
  /// Opens a connection to `remote` from `local_address`, or from the engine's first address of
  /// that family when it is empty (MUST-43, MUST-44); nullptr when the remote address cannot be
  /// opened to (MUST-46) or is the engine's own, the local address is not the engine's, it has none
  /// of that family, or no port or memory is free.
  ConnEntry* connect(Instant now, const IpAddr& local_address, const Endpoint& remote,
                     Service& service, const ConnectOptions& options = {});
  /// The worker whose shard can open a flow from that address (as with connect()) and port.
  std::size_t owner_of(const Endpoint& local, const Endpoint& remote) const;

  // Datagrams (datagrams.cc). Nothing is queued: what is sent goes to the device at once.

  /// Sends `payload` (several datagrams where options say so) from the local to the remote end.
  /// False when the device refused a part of it, or when a datagram is longer than max_datagram():
  /// counted in tx_drops. One that is longer than max_unfragmented() goes in fragments. `payload`
  /// is not kept.
  bool send_datagram(const FlowKey& flow, Bytes payload, DatagramOptions options = {});
  /// Whether some service takes datagrams to `port` of some address.
  bool takes_datagrams(std::uint16_t port) const;
  /// Payload octets of the largest datagram; of a ping as well.
  static constexpr std::size_t max_datagram(bool v4) {
    // The length of an IPv4 packet counts its header, that of an IPv6 packet does not.
    return limits::kMaxPacket - (v4 ? wire::kIpv4HeaderSize : 0) - wire::kUdpHeaderSize;
  }
  /// Payload octets of the largest datagram that goes out in one piece; of a ping as well.
  std::size_t max_unfragmented(bool v4) const;
  /// A flow to `remote` whose datagrams come to this shard, and to `service`, until it is closed;
  /// addresses, ports and nullopt as with connect(), also beyond limits::kDatagramFlows.
  std::optional<FlowKey> open_datagrams(const IpAddr& local_address, const Endpoint& remote,
                                        Service& service, std::uint16_t local_port = 0);
  /// Binds a flow that came to a listener of this shard to `service`: ICMP errors about it go there
  /// from now on, until it is closed. False beyond limits::kDatagramFlows.
  bool claim_datagrams(const FlowKey& flow, Service& service);
  void close_datagrams(const FlowKey& flow);
  /// A ping to `remote`: nullopt when its answers would go to another shard (ask that one), when
  /// it is no address to send to, or beyond limits::kEchoFlows.
  std::optional<EchoFlow> open_echo(const IpAddr& remote, Service& service);
  void close_echo(const EchoFlow& flow);
  /// One echo request with `data` behind its header; false when the device refused it.
  bool send_echo(const EchoFlow& flow, std::uint16_t sequence, Bytes data);

  /// Arms or moves a timer that no connection carries; kNever cancels.
  void arm(TaskTimer& timer, Instant deadline) { tasks_.arm(timer, deadline); }

  /// Asks for the memory that the connections of a batch need, all at once: what would be a wait
  /// for each line becomes one for many. Only worth it before on_packet() of the same packets.
  void prefetch(std::span<const RxPacket> batch) const;
  /// Takes over the descriptor's reference.
  void on_packet(Instant now, const RxPacket& packet);
  void on_timers(Instant now);
  /// Errands of others come next; their time is that of this turn, too.
  void begin_errands(Instant now) { now_ = now; }
  /// Services, then transmissions. True when something was done. `burst`: more packets wait to be
  /// taken; ACKs that can wait for them do, limits::kAckHold at most.
  bool finish_turn(Instant now, bool burst = false);
  /// When on_timers() is wanted next.
  Instant next_deadline() const {
    return std::min({wheel_.next_deadline(), half_open_.next_deadline(), time_wait_.next_deadline(),
                     tasks_.next_deadline(), reassembler_.next_deadline()});
  }
  /// Something waits for finish_turn (a quantum ran out, records came or went): do not sleep.
  bool has_work() const { return !dirty_.empty() || records_moved_; }

  /// Stops listening and sends FIN on every connection.
  void begin_drain(Instant now);
  /// RST on every connection; they are gone after the next finish_turn().
  void abort_all(Instant now);
  /// In any state, half-open and TIME-WAIT included.
  std::size_t connections() const { return table_.size() + half_open_.size() + time_wait_.size(); }
  std::uint64_t open_connections() const { return counters_.connections_open.get(); }
  template <class F>
  void for_each(F&& f) const {
    table_.for_each([&](FlowEntry& e) { f(static_cast<ConnEntry&>(e)); });
  }
  /// Some of for_each(), for as long as `f` returns true: FlowTable::for_some().
  template <class F>
  std::size_t for_some(std::size_t at, std::size_t places, F&& f) const {
    return table_.for_some(at, places,
                           [&](const FlowEntry& e) { return f(static_cast<const ConnEntry&>(e)); });
  }
  template <class F>
  void for_each_half_open(F&& f) const {
    half_open_.for_each([&](const HalfOpen& r) { f(r, half_open_.sent_at(r)); });
  }
  template <class F>
  void for_each_time_wait(F&& f) const {
    time_wait_.for_each([&](const TimeWait& r) { f(r, time_wait_.since(r)); });
  }
  /// Who accepts (or accepted, before a drain) connections to `local`; nullptr: nobody.
  Service* service_at(const Endpoint& local) const;
  void set_trace(SegmentTrace* trace) { trace_ = trace; }
  /// Measures the stages of each turn from now on; one that is off by default.
  void set_stage_clock(StageClock& clock) { stages_ = &clock; }
  StageClock& stage_clock() { return *stages_; }
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
    bool accepting;  ///< false after a drain began: half-open connections still need the service
    Service* service;
    bool is_at(const Endpoint& e) const {
      return local.port == e.port && (any || local.addr == e.addr);
    }
  };
  /// A segment whose checksum is right, and where it came from.
  struct Segment {
    const FlowKey& key;
    std::uint32_t hash;
    const wire::TcpHeader& h;
    Bytes payload;
    const RxPacket& packet;
    std::uint8_t tos;
    std::uint32_t size() const { return static_cast<std::uint32_t>(payload.size()); }
  };
  void drop(DropReason r) { counters_.drop(r); }
  void deliver(const wire::IpHeader& ip, const RxPacket& packet);
  bool is_ours(const IpAddr& a) const;
  IpAddr source_for(const IpAddr& remote) const;
  bool must_verify(const RxPacket& packet) const {
    return options_.verify_checksums_always || packet.checksum == ChecksumState::unverified;
  }
  std::optional<DropReason> check_addresses(const wire::IpHeader& ip) const;
  void on_tcp(const wire::IpHeader& ip, const RxPacket& packet, Bytes segment);
  void on_icmp(const wire::IpHeader& ip, const RxPacket& packet, Bytes message);
  void answer_echo(const wire::IpHeader& ip, const icmp::EchoRequest& echo, Bytes message);
  void on_icmp_error(const icmp::Error& error, bool v4);
  void on_known(ConnEntry& e, const Segment& s);
  std::optional<DropReason> feed(tcp::Conn& c, const Segment& s, Slice* crumbs = nullptr);
  void trace_in(const Segment& s, const tcp::Conn* conn, std::optional<DropReason> dropped);

  // datagrams.cc
  void on_udp(const wire::IpHeader& ip, const RxPacket& packet, Bytes datagram);
  void on_datagram_error(const icmp::Error& error);
  void on_echo_reply(const icmp::EchoReply& reply);
  void on_echo_error(const icmp::EchoError& error);
  /// Who sent the request; nullptr: nobody.
  Service* echo_sender(std::uint16_t id, const IpAddr& local, const IpAddr& remote) const;
  Service* find_datagram_service(const FlowKey& flow) const;
  bool emit_datagram(const FlowKey& flow, Bytes payload, DatagramOptions options);
  void send_port_unreachable(const wire::IpHeader& cause, Bytes packet);
  /// About `packet`, which begins with the header `cause`, to its sender, unless it is too much.
  void send_icmp_error(const wire::IpHeader& cause, IcmpKind for_v4, IcmpKind for_v6, Bytes packet);
  bool send_icmp(const wire::IpHeader& ip, MutableBytes head, std::span<const Bytes> parts);

  // fragments.cc
  void on_fragment(const wire::IpHeader& ip, Bytes payload);
  void account_for_fragments();
  void hand_over(std::size_t worker, std::uint32_t hash, ip::Reassembler::Octets whole);
  void on_whole(std::uint32_t hash, ip::Reassembler::Octets whole);
  void expire_fragments();
  bool is_too_long(std::size_t packet) const { return packet > port_.caps().mtu; }
  /// Octets of a full fragment behind its IP headers.
  std::uint16_t fragment_size(bool v4) const;
  void emit_cuttable(wire::IpHeader ip, std::size_t payload_size, MutableBytes head);
  std::uint32_t next_fragment_id(const wire::IpHeader& ip);
  bool send_fragments(wire::IpHeader ip, std::span<const Bytes> parts);

  // handshake.cc: LISTEN and SYN-RECEIVED
  /// `used`: the end of what an earlier connection of this flow has used of the sequence space.
  void on_unknown(const Segment& s, std::optional<Seq> used);
  std::optional<DropReason> on_syn(const Segment& s, std::optional<Seq> used, Service& service);
  bool open_fast(const Segment& s, Service& service);
  std::size_t fast_opens();
  void settle_fast_open(ConnEntry& e);
  bool has_room() const;
  bool wants_cookie() const;
  void send_cookie(const Segment& s);
  bool try_cookie(const Segment& s, Service& service);
  tcp::Conn answered(const tcp::Setup& setup, const wire::TcpHeader& syn, Instant sent, bool twice);
  tcp::Conn thaw(const HalfOpen& r);
  void on_half_open(std::uint32_t n, const Segment& s);
  void answer_half_open(HalfOpen& r, tcp::Conn& c);
  void establish(const tcp::Conn& c, const Segment& s, Service& service, Instant opened_at);
  void forget_half_open(std::uint32_t n);
  void retransmit_syn_acks();
  void abort_half_open();
  Service* find_listener(const Endpoint& local) const;

  // closing.cc: TIME-WAIT and RST
  void on_time_wait(std::uint32_t n, const Segment& s);
  void answer_time_wait(std::uint32_t n);
  void reopen(ConnEntry& e, const Segment& s);
  bool may_retire(const ConnEntry& e) const;
  void retire(ConnEntry& e);
  void expire_time_wait();
  void send_reset(const Segment& s);
  void finish(ConnEntry& e, CloseReason reason);
  void remove(ConnEntry& e);

  ConnEntry* add(const FlowKey& key, std::uint32_t hash, const tcp::Conn& c, Service& s);
  bool is_known(std::uint32_t hash, const FlowKey& key) const;
  tcp::Setup setup_for(const FlowKey& key) const;
  using IsFree = std::function<bool(std::uint32_t hash, const FlowKey&)>;
  std::optional<FlowKey> pick_flow(const Endpoint& local, const Endpoint& remote,
                                   const IsFree& is_free) const;
  void dispatch(ConnEntry& e);
  bool flush(ConnEntry& e, bool burst);
  /// Where the transport header is, and what goes out by its rules.
  struct Seal {
    std::uint16_t segment_size = 0;
    std::uint16_t checksum_start = 0;
    std::uint16_t checksum_offset = 0;
    bool pseudo_header = true;
    bool may_be_partial = true;
  };
  bool send(const TxPacket& packet, std::size_t octets);
  bool send_sealed(const wire::IpHeader& ip, MutableBytes head, std::span<const Bytes> parts,
                   const Seal& seal);
  void transmit(const FlowKey& key, const tcp::Conn* conn, tcp::SegmentOut& out,
                IpMarks marks = {});
  void transmit_bare(const FlowKey& key, const wire::TcpHeader& h);
  void rearm(ConnEntry& e);

  // memory.cc
  static PoolOptions small_slots(std::uint64_t memory);
  static PoolOptions medium_slots(std::uint64_t memory);
  Slice hold(tcp::Conn& c, const Segment& s, Slice* crumbs);
  Slice hold_crumb(Slice& crumbs, Bytes payload);
  void account(ConnEntry& e);
  std::uint64_t held() const;
  void update_memory();
  std::uint32_t share_of_queue() const;

  ShardOptions options_;
  TxPort& port_;
  WorkerCounters& counters_;
  SegmentTrace* trace_ = nullptr;
  StageClock* stages_ = &StageClock::off();
  Instant now_;
  TimerWheel wheel_;
  FlowTable table_;
  HalfOpenTable half_open_;
  TimeWaitTable time_wait_;
  TaskTimers tasks_;
  ip::Reassembler reassembler_;
  std::shared_ptr<HandOvers> hand_overs_;
  BufferPool small_;
  BufferPool medium_;
  PinnedPackets pinned_;
  TokenBucket reset_bucket_;
  TokenBucket icmp_bucket_;
  ActiveFlows active_;
  std::uint32_t local_window_ = UINT32_MAX;  ///< of each peer in this turn
  std::vector<Listener> listeners_;
  struct FlowHasher {
    HashKey key;
    std::size_t operator()(const FlowKey& flow) const { return flow_hash(key, flow); }
  };
  std::unordered_map<FlowKey, Service*, FlowHasher> datagram_flows_;
  std::unordered_map<std::uint16_t, std::pair<EchoFlow, Service*>> echo_flows_;  ///< by identifier
  std::vector<ConnEntry*> dirty_;
  std::vector<ConnEntry*> turn_;
  std::size_t fast_opens_ = 0;            ///< connections in SYN-RECEIVED
  std::deque<Instant> fast_opens_reset_;  ///< when those that a RST ended no longer count
  std::uint64_t next_id_ = 1;
  std::array<std::uint32_t, 256> fragmented_{};  ///< datagrams, by the hash of both addresses
  std::uint64_t bookkeeping_ = 0;                ///< of all connections
  Instant burst_since_{};                        ///< since when ACKs are held
  Instant cookies_until_{};                      ///< cookies sent before are good until then
  bool records_moved_ = false;  ///< half-open or TIME-WAIT records came or went in this turn
  bool draining_ = false;
  bool memory_short_ = false;
  tcp::SegmentOut out_;
};
static_assert(kOwnLine<Shard>);

}  // namespace pollux
