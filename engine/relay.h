// Joins two byte streams both ways, with back-pressure and each half closed by itself: a connection
// of the engine with a stream socket of the host, or two connections of one worker.
//
//   FIN of one side     -> after all that came before it, FIN to the other
//   RST, time-out       -> RST to the other; what had come before goes first, if it fits its window
//   a side that stalls  -> nothing more is taken from the other, whose window closes
//
// The service that owns the connections passes their events on. A connection that closed normally
// may leave data that its other side has not taken yet: the relay copies it and lives on.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "engine/host_poller.h"
#include "workers/service.h"

namespace pollux {

/// What a relay takes along for as long as it lives; a connection count, for example.
using RelayKeep = std::shared_ptr<void>;

/// Data of a connection that is gone: what it left unread.
class LeftOver {
 public:
  /// All that `s` has received and nobody consumed.
  void take(Stream& s);
  Bytes bytes() const { return Bytes(data_).subspan(at_); }
  bool empty() const { return at_ == data_.size(); }
  void consume(std::size_t n) { at_ += n; }

 private:
  std::vector<std::uint8_t> data_;
  std::size_t at_ = 0;
};

/// A connection of the engine and a connected, non-blocking stream socket of the host.
class HostRelay final : public HostHandler, public std::enable_shared_from_this<HostRelay> {
 public:
  /// `idle`: without an octet either way both are reset; zero: never.
  HostRelay(HostPoller& poller, OwnedFd fd, Duration idle, RelayKeep keep = {})
      : poller_(poller), fd_(std::move(fd)), idle_(idle), keep_(std::move(keep)) {}

  /// Begins with an open connection; what it has received already goes first. Aborts it when the
  /// socket cannot be watched.
  void start(Stream stream, Instant now);
  /// Another limit from here on.
  void set_idle(Duration idle, Instant now);

  // What happens to the connection.
  void on_stream_readable(Instant now) { pump_to_host(now); }  ///< or its peer closed
  void on_stream_writable(Instant now) { pump_from_host(now); }
  void on_stream_timer(Instant now);
  void on_stream_closed(Stream& s, CloseReason reason, Instant now);

  void on_ready(std::uint32_t events, Instant now) override;

 private:
  static constexpr std::size_t kPieces = 64;
  void pump_to_host(Instant now);
  void pump_from_host(Instant now);
  std::size_t pending(std::span<Bytes> pieces) const;
  void consume(std::size_t n);
  bool write_host(std::span<const Bytes> pieces, Instant now);
  bool read_host(std::size_t room, Instant now);
  void deliver(Buffer* buffer, std::size_t n);
  void on_host_end();
  void shut_host_if_over();
  void check_over();
  void break_both();
  void reset_host();
  void drop_host();
  void bound_orphan() const;

  HostPoller& poller_;
  OwnedFd fd_;
  HostPoller::Id id_ = HostPoller::kNone;
  std::optional<Stream> stream_;
  LeftOver rest_;
  Duration idle_;
  RelayKeep keep_;
  Instant moved_at_{};
  bool may_read_ = false;   ///< the socket has not said EAGAIN since
  bool may_write_ = false;  ///< likewise
  bool host_ends_ = false;  ///< its FIN is behind what can be read
  bool host_eof_ = false;   ///< its FIN was read
  bool host_shut_ = false;  ///< it has our FIN
};

/// Two connections of one worker; received slices go out as they are.
class StreamRelay {
 public:
  enum class Side : std::uint8_t { accepted, opened };

  explicit StreamRelay(Duration idle, RelayKeep keep = {}) : idle_(idle), keep_(std::move(keep)) {}

  /// `s` may not be open yet: what comes from the other side waits.
  void join(Side side, Stream s) { end(side).stream = s; }
  /// Both are open: data flows.
  void start(Instant now);
  bool is_started() const { return started_; }

  void on_readable(Side side, Instant now) { pump(side, now); }  ///< or its peer closed
  void on_writable(Side side, Instant now) { pump(other(side), now); }
  void on_timer(Instant now);
  void on_closed(Side side, Stream& s, CloseReason reason, Instant now);
  /// RST to what is left.
  void abort();

 private:
  struct End {
    std::optional<Stream> stream;
    LeftOver rest;
  };
  static Side other(Side s) { return s == Side::accepted ? Side::opened : Side::accepted; }
  End& end(Side s) { return ends_[static_cast<std::size_t>(s)]; }
  void pump(Side from, Instant now);
  bool pass(Stream& from, Stream& to);
  bool pass(LeftOver& from, Stream& to);
  void arm();

  std::array<End, 2> ends_;
  Duration idle_;
  RelayKeep keep_;
  Instant moved_at_{};
  bool started_ = false;
  bool broken_ = false;  ///< one is reset: the other will be, when this turn's data is out
};

}  // namespace pollux
