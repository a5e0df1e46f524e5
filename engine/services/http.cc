#include "engine/services/http.h"

#include <algorithm>
#include <ctime>
#include <utility>

#include "engine/services/discard.h"

namespace pollux {
namespace {

enum class Waiting : std::uint8_t {
  nothing,
  request,       ///< the rest of a head
  next_request,  ///< its first octet
  rest,          ///< the same, for longer
  body,          ///< more of the request's body
  room,          ///< in the send buffer
  pace,          ///< time, for a response that is sent slowly
  peer_close
};

}  // namespace

HttpCommon::HttpCommon(HttpOptions options, std::size_t workers, std::shared_ptr<LiveStats> live)
    : options_(std::move(options)), live_(std::move(live)), lanes_(workers) {
  if (!live_) options_.live = false;
}

std::uint64_t HttpCommon::connections() const {
  std::uint64_t n = 0;
  for (const Lane& lane : lanes_) n += lane.connections.get();
  return n;
}

std::uint64_t HttpCommon::watchers() const {
  std::uint64_t n = 0;
  for (const Lane& lane : lanes_) n += lane.watchers.get();
  return n;
}

struct HttpService::Connection final : Session {
  explicit Connection(std::size_t room_when_empty) : send_buffer(room_when_empty) {}

  /// Starts the time limit of `what`, unless it runs already: a request that trickles in does not
  /// move its own deadline.
  void wait_for(Stream& s, Waiting what, Duration limit) {
    if (what == waiting) return;
    waiting = what;
    moved = 0;
    room = s.writable();
    s.set_timer(s.now() + limit);
  }
  /// Octets of events and responses that the peer has not taken.
  std::size_t queued(const Stream& s) const {
    return send_buffer - std::min(send_buffer, s.writable());
  }

  std::unique_ptr<HttpConversation> talk;  ///< nullptr: nothing was said yet, or for kRestTime
  std::size_t send_buffer;                 ///< octets of it when empty
  std::size_t room = 0;                    ///< when this waiting began
  std::uint64_t moved = 0;                 ///< octets of bodies since then
  Waiting waiting = Waiting::nothing;
  int events_missed = 0;  ///< one after the other
  bool counted = false;   ///< among the connections
  bool watching = false;  ///< among the watchers
};

HttpService::HttpService(std::shared_ptr<HttpCommon> common, std::size_t worker)
    : common_(std::move(common)), lane_(common_->lane(worker)), content_(common_->options()) {}

void HttpService::on_open(Stream& s) {
  auto connection = std::make_unique<Connection>(s.writable());
  Connection& c = *connection;
  s.attach(std::move(connection));
  const std::size_t most = common_->options().max_connections;
  if (most != 0 && common_->connections() >= most) return s.abort();
  c.counted = true;
  lane_.connections.add();
  c.wait_for(s, Waiting::request, kHeaderTimeout);
}

void HttpService::on_closed(Stream& s, CloseReason) {
  const auto* c = s.session<Connection>();
  if (c == nullptr) return;
  if (c->counted) lane_.connections.sub();
  if (c->watching) lane_.watchers.sub();
}

/// Sends what is there; false when the send buffer is full.
bool HttpService::flush(Stream& s, Connection& c) {
  while (c.talk->has_output()) {
    const Bytes head = c.talk->head();
    const std::size_t n = head.empty() ? s.write(c.talk->body()) : s.write(head);
    if (n == 0) {
      c.wait_for(s, Waiting::room, kStallTimeout);
      s.want_writable();
      return false;
    }
    c.talk->sent(n);
    c.moved += n;
  }
  return true;
}

void HttpService::pump(Stream& s) {
  auto& c = *s.session<Connection>();
  if (s.write_shut()) return discard_input(s);
  if (!c.talk) {
    if (s.peek().empty()) return s.peer_closed() ? finish(s, c) : void();
    c.talk = std::make_unique<HttpConversation>(content_);
  }
  c.talk->at({std::time(nullptr), s.now()});
  bool answered = false;
  while (flush(s, c)) {
    if (const auto until = c.talk->resumes_at()) return pause(s, c, *until);
    if (c.talk->closing()) return finish(s, c);
    const Slice in = s.peek();
    if (in.empty()) {
      if (s.peer_closed()) return finish(s, c);
      return await(s, c, answered);
    }
    const std::size_t n = c.talk->feed(in);
    c.moved += n;
    s.consume(n);
    answered = answered || c.talk->has_output() || c.talk->resumes_at();
  }
}

/// Nothing to send and nothing to read.
void HttpService::await(Stream& s, Connection& c, bool answered) {
  if (c.talk->mid_body()) return c.wait_for(s, Waiting::body, kStallTimeout);
  if (answered || c.waiting == Waiting::room || c.waiting == Waiting::pace ||
      c.waiting == Waiting::body) {
    c.waiting = Waiting::nothing;
  }
  if (c.talk->mid_request()) return c.wait_for(s, Waiting::request, kHeaderTimeout);
  // A connection without any request yet keeps the time limit that on_open set.
  if (c.waiting == Waiting::nothing) c.wait_for(s, Waiting::next_request, kRestTime);
}

void HttpService::pause(Stream& s, Connection& c, Instant until) {
  if (c.talk->streams_events()) {
    // A stream without an end has had all its answer when its reader closes.
    if (s.peer_closed()) return finish(s, c);
    if (c.watching) {
      if (c.waiting == Waiting::room) c.wait_for(s, Waiting::pace, LiveStats::kInterval);
      return;
    }
    if (common_->watchers() >= kMaxWatchers) return s.abort();
    c.watching = true;
    lane_.watchers.add();
    return c.wait_for(s, Waiting::pace, 0s);
  }
  c.waiting = Waiting::nothing;
  c.wait_for(s, Waiting::pace, std::max(until - s.now(), kLeastPause));
}

/// The next event, unless the watcher has left too much unread; one that goes on like that ends.
void HttpService::tell(Stream& s, Connection& c) {
  if (s.write_shut()) return discard_input(s);
  c.waiting = Waiting::nothing;
  if (c.queued(s) > kMaxUnread) {
    if (++c.events_missed * LiveStats::kInterval > kStallTimeout) return s.abort();
    return c.wait_for(s, Waiting::pace, LiveStats::kInterval);
  }
  c.events_missed = 0;
  LiveStats& live = *common_->live();
  if (Crew* crew = shard_->options().crew) live.refresh(*crew, s.now());
  c.talk->say_event(live.json(s.now()));
  if (flush(s, c)) c.wait_for(s, Waiting::pace, LiveStats::kInterval);
}

/// Sends our FIN and reads on for a while: closing with unread data would reset the connection and
/// take the response with it (RFC 9112 9.6). What is still in the send buffer has its own time.
void HttpService::finish(Stream& s, Connection& c) {
  discard_input(s);
  const std::size_t queued = c.queued(s);
  s.shutdown_write();
  c.wait_for(s, Waiting::peer_close, kLingerTimeout + 1s * (queued / kSlowestDrain));
}

void HttpService::on_timer(Stream& s) {
  auto& c = *s.session<Connection>();
  if (c.waiting == Waiting::next_request) {
    c.talk.reset();
    return c.wait_for(s, Waiting::rest, kIdleTimeout - kRestTime);
  }
  if (c.waiting == Waiting::peer_close) return s.abort();
  if (!c.talk) return finish(s, c);
  c.talk->at({std::time(nullptr), s.now()});
  if (c.waiting == Waiting::pace) {
    return c.talk->streams_events() && c.watching ? tell(s, c) : pump(s);
  }
  if (c.waiting == Waiting::room || c.waiting == Waiting::body) {
    const std::size_t drained = s.writable() - std::min(c.room, s.writable());
    if (c.moved + drained >= kLeastProgress) {  // slow, but alive
      const Waiting what = std::exchange(c.waiting, Waiting::nothing);
      return c.wait_for(s, what, kStallTimeout);
    }
  }
  if (c.waiting == Waiting::room) return s.abort();
  c.talk->time_out();
  if (flush(s, c)) finish(s, c);
}

std::vector<std::unique_ptr<Service>> make_http_services(const HttpOptions& options,
                                                         std::size_t workers,
                                                         std::shared_ptr<LiveStats> live) {
  const auto common = std::make_shared<HttpCommon>(options, workers, std::move(live));
  std::vector<std::unique_ptr<Service>> all;
  for (std::size_t i = 0; i < workers; ++i) all.push_back(std::make_unique<HttpService>(common, i));
  return all;
}

}  // namespace pollux
