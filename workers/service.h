// The API that applications see: a Service is told what happens on its connections, a Stream is
// one connection. Everything runs on the worker that owns the connection; one Service object per
// worker, so nothing here is shared.
//
// An echo server:
//
//   class Echo final : public Service {
//     void on_readable(Stream& s) override {
//       while (!s.peek().empty()) {
//         const std::size_t n = s.write(s.peek());   // zero-copy, as much as fits
//         if (n == 0) return s.want_writable();       // on_writable comes when there is room
//         s.consume(n);
//       }
//       if (s.peer_closed()) s.shutdown_write();      // half-close: after all data went back
//     }
//     void on_writable(Stream& s) override { on_readable(s); }
//   };
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "proto/base/addr.h"
#include "proto/base/buffer.h"
#include "proto/base/drop.h"
#include "proto/base/time.h"
#include "proto/tcp/congestion.h"
#include "workers/datagram.h"
#include "workers/shared_line.h"

namespace pollux {

class Shard;
struct ConnEntry;
namespace icmp {
struct EchoReply;
struct EchoError;
}  // namespace icmp

/// Per-connection state of a service; destroyed after on_closed.
class Session {
 public:
  virtual ~Session() = default;
};

/// Why a connection ended (RFC 9293 MUST-12: the application learns close from abort).
enum class CloseReason : std::uint8_t {
  normal,       ///< both sides closed
  reset,        ///< the peer sent RST
  timeout,      ///< R2, user timeout or keep-alive gave up
  refused,      ///< active open answered by RST
  aborted,      ///< abort() or the end of a drain
  unreachable,  ///< hard ICMP error while opening
};
std::string_view to_string(CloseReason r);

/// What does not end a connection and may interest its application (RFC 9293 3.9.1.8).
enum class SoftError : std::uint8_t {
  delivery,  ///< R1: three retransmissions in a row brought nothing (3.8.3)
  path,      ///< an ICMP error about what is in flight (3.9.2.2)
};

/// How a connection is doing: what a service may want to report.
struct StreamInfo {
  std::uint64_t bytes_acked = 0;      ///< of ours, by the peer
  std::uint64_t bytes_in_flight = 0;  ///< transmitted and not acknowledged
  std::uint64_t retransmits = 0;      ///< segments
  std::uint32_t mss = 0;
  std::uint32_t path_mtu = 0;     ///< octets of the packets of full segments, as far as it is known
  std::uint32_t cwnd = 0;         ///< octets
  std::uint32_t send_window = 0;  ///< octets, the peer's
  std::uint32_t send_bound = 0, receive_bound = 0;  ///< octets, of the buffers
  std::uint32_t own_mss = 0;                        ///< octets, of what the peer sends
  tcp::CcKind congestion_control{};
  std::size_t send_queue = 0;  ///< octets written and not acknowledged
  Duration srtt{};             ///< zero: no sample yet
  Duration rttvar{};
};

/// One connection, as its service sees it. A Stream is a handle: valid inside callbacks and until
/// on_closed returned.
class Stream {
 public:
  Stream(Shard& shard, ConnEntry& entry) : shard_(&shard), entry_(&entry) {}

  /// The first contiguous piece of received data that was not consumed; empty when there is none.
  Slice peek() const;
  /// The first contiguous pieces, as many as there are and `pieces` takes; returns how many. They
  /// are good until consume().
  std::size_t peek(std::span<Bytes> pieces) const;
  /// Gives back `n` octets (at most what was received); the window opens by that much.
  void consume(std::size_t n);
  /// Received octets that wait.
  std::size_t readable() const;
  /// Copies up to out.size() octets out and consumes them.
  std::size_t read(MutableBytes out);

  /// Queues as much of `data` as the send buffer takes, without copying; returns octets taken, 0
  /// when the buffer is full or the write side is shut.
  std::size_t write(const Slice& data);
  /// The same, copying.
  std::size_t write(Bytes data);
  /// Octets that write() would take now.
  std::size_t writable() const;
  /// Asks for one on_writable when a good part of the send buffer is free again.
  void want_writable();

  /// Sends FIN after what is queued; reading goes on.
  void shutdown_write();
  /// RST now; on_closed follows with `aborted`.
  void abort();
  /// The peer's FIN has arrived and all data before it is in the receive queue.
  bool peer_closed() const;
  bool write_shut() const;

  /// The same as write(), and all written so far is urgent (MUST-30). New applications should not
  /// use it (SHLD-13, RFC 6093): middleboxes clear the pointer and receivers disagree about it.
  std::size_t write_urgent(Bytes data);
  /// Octets from the next to be read to the end of the peer's urgent data, arrived or not; 0: there
  /// is none. They are read in line with all others (RFC 6093).
  std::uint32_t urgent_remaining() const;

  void set_nodelay(bool on);  ///< Nagle off (MUST-17)
  /// How long data may stay unacknowledged before the connection ends with `timeout` (R2, MUST-21);
  /// zero: five minutes.
  void set_user_timeout(Duration d);
  /// Probes an idle connection (MUST-24): first after `idle` (zero: off), then every `interval`.
  void set_keepalive(Duration idle = std::chrono::hours(2), Duration interval = 75s);
  /// False: no on_soft_error (SHLD-20).
  void set_soft_errors(bool reported);
  /// The six bits of RFC 2474 for all that is sent from here on (MUST-48). It may change, and best
  /// does not while data is in flight: classes overtake each other (SHLD-23).
  void set_dscp(std::uint8_t dscp);
  std::uint8_t received_dscp() const;  ///< of the last segment that came (MAY-9)
  /// TTL or hop limit of all that is sent from here on (MUST-49); 0: that of the shard.
  void set_hop_limit(std::uint8_t limit);
  /// Another algorithm from here on. It begins anew, with the initial window.
  void set_congestion_control(tcp::CcKind kind);
  /// A bound in octets for each of its buffers, below the configured ones.
  void set_buffer_limit(std::uint32_t octets);
  /// One on_timer at `deadline` (kNever cancels); one timer per connection.
  void set_timer(Instant deadline);
  StreamInfo info() const;
  /// When the SYN of this connection went out, or the SYN-ACK that its peer acknowledged.
  Instant opened_at() const;
  /// The instant of this turn of the loop.
  Instant now() const;

  const Endpoint& local() const;
  const Endpoint& remote() const;
  std::uint64_t id() const;  ///< unique within the worker

  void attach(std::unique_ptr<Session> session);
  /// The attached session, or nullptr. The service knows its own type.
  template <class T>
  T* session() const {
    return static_cast<T*>(session_base());
  }

 private:
  Session* session_base() const;
  Shard* shard_;
  ConnEntry* entry_;
};

/// One object for each worker, on lines of its own: it may keep what it likes.
class alignas(kSharedLine) Service {
 public:
  virtual ~Service() = default;
  virtual std::string_view name() const = 0;
  /// First call: the shard listens for this service from now on, and outlives all its callbacks.
  /// One that overrides it calls this.
  virtual void on_listen(Shard& shard) { shard_ = &shard; }
  virtual void on_open(Stream&) {}
  /// There is data to peek(), or the peer closed. Once more also where a reset came right behind
  /// data: then nothing can be sent any more, and on_closed follows.
  virtual void on_readable(Stream&) {}
  virtual void on_writable(Stream&) {}
  /// The peer's FIN came (once, after the on_readable for the data before it). The default closes
  /// the other direction too.
  virtual void on_peer_closed(Stream& s) { s.shutdown_write(); }
  /// Also while an active open goes on, before on_open.
  virtual void on_timer(Stream&) {}
  /// The peer has urgent data, or more than before: Stream::urgent_remaining() (MUST-32).
  virtual void on_urgent(Stream&) {}
  /// Also while an active open goes on, before on_open (MUST-47).
  virtual void on_soft_error(Stream&, SoftError) {}
  /// Last call. Nothing can be sent any more.
  virtual void on_closed(Stream&, CloseReason) {}

  /// The engine drains: what its peers should hear goes out now, before the FINs.
  virtual void on_drain() {}

  /// True: UDP datagrams to the address and port of this service are for it too.
  virtual bool takes_datagrams() const { return false; }
  /// One came, or a super-datagram. Answers go out by Shard::send_datagram(). Returns nullopt, or
  /// the reason that it counts as dropped.
  virtual std::optional<DropReason> on_datagram(const Datagram&) { return DropReason::udp_ignored; }
  /// ICMP said about a flow of Shard::open_datagrams() that what was sent did not arrive; `hard`:
  /// nobody is there.
  virtual void on_datagram_error(const FlowKey&, bool /*hard*/) {}
  /// An answer to Shard::send_echo() of a flow of Shard::open_echo().
  virtual void on_echo_reply(const icmp::EchoReply&) {}
  /// Somebody on the way says that a request will have no answer.
  virtual void on_echo_error(const icmp::EchoError&) {}

  /// What connections of this service begin with; nullopt: what the shard's options say.
  void set_congestion_control(std::optional<tcp::CcKind> kind) { congestion_control_ = kind; }
  std::optional<tcp::CcKind> congestion_control() const { return congestion_control_; }
  /// Whether data in a SYN with a cookie is taken at once (RFC 7413). It may come twice, in two
  /// connections, when a network duplicates SYNs.
  void set_fast_open(bool on) { fast_open_ = on; }
  bool fast_open() const { return fast_open_; }

 protected:
  /// Whose service this is, from on_listen() on.
  Shard& shard() const { return *shard_; }

 private:
  std::optional<tcp::CcKind> congestion_control_;
  bool fast_open_ = true;
  Shard* shard_ = nullptr;
};
static_assert(kOwnLine<Service>);

}  // namespace pollux
