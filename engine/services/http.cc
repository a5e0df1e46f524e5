#include "engine/services/http.h"

#include <algorithm>
#include <ctime>

#include "engine/services/discard.h"

namespace pollux {
namespace {

enum class Waiting : std::uint8_t { nothing, request, next_request, room, peer_close };

}  // namespace

struct HttpService::Connection final : Session {
  Connection(HttpContent& content, std::size_t room_when_empty)
      : talk(content), send_buffer(room_when_empty) {}

  /// Starts the time limit of `what`, unless it runs already: a request that trickles in does not
  /// move its own deadline.
  void wait_for(Stream& s, Waiting what, Duration limit) {
    if (what == waiting) return;
    waiting = what;
    s.set_timer(s.now() + limit);
  }

  HttpConversation talk;
  std::size_t send_buffer;  ///< octets of it when empty
  std::size_t room = 0;     ///< when Waiting::room was last armed
  Waiting waiting = Waiting::nothing;
};

void HttpService::on_open(Stream& s) {
  auto connection = std::make_unique<Connection>(content_, s.writable());
  connection->wait_for(s, Waiting::request, kHeaderTimeout);
  s.attach(std::move(connection));
}

/// Sends what is there; false when the send buffer is full.
bool HttpService::flush(Stream& s, Connection& c) {
  while (c.talk.has_output()) {
    const Bytes head = c.talk.head();
    const std::size_t n = head.empty() ? s.write(c.talk.body()) : s.write(head);
    if (n == 0) {
      c.room = s.writable();
      c.wait_for(s, Waiting::room, kStallTimeout);
      s.want_writable();
      return false;
    }
    c.talk.sent(n);
    if (c.waiting == Waiting::room) s.set_timer(s.now() + kStallTimeout);
  }
  return true;
}

void HttpService::pump(Stream& s) {
  auto& c = *s.session<Connection>();
  if (s.write_shut()) return discard_input(s);
  bool answered = false;
  while (flush(s, c)) {
    if (c.talk.closing()) return finish(s, c);
    const Slice in = s.peek();
    if (in.empty()) {
      if (s.peer_closed()) return finish(s, c);
      if (answered || c.waiting == Waiting::room) c.waiting = Waiting::nothing;
      if (c.talk.mid_request()) return c.wait_for(s, Waiting::request, kHeaderTimeout);
      // A connection without any request yet keeps the time limit that on_open set.
      if (c.waiting == Waiting::nothing) c.wait_for(s, Waiting::next_request, kIdleTimeout);
      return;
    }
    s.consume(c.talk.feed(in.bytes(), std::time(nullptr)));
    answered = answered || c.talk.has_output();
  }
}

/// Sends our FIN and reads on for a while: closing with unread data would reset the connection and
/// take the response with it (RFC 9112 9.6). What is still in the send buffer has its own time.
void HttpService::finish(Stream& s, Connection& c) {
  discard_input(s);
  const std::size_t queued = c.send_buffer - std::min(c.send_buffer, s.writable());
  s.shutdown_write();
  c.wait_for(s, Waiting::peer_close, kLingerTimeout + 1s * (queued / kSlowestDrain));
}

void HttpService::on_timer(Stream& s) {
  auto& c = *s.session<Connection>();
  if (c.waiting == Waiting::room && s.writable() > c.room) {
    c.room = s.writable();  // slow, but alive
    return s.set_timer(s.now() + kStallTimeout);
  }
  if (c.waiting == Waiting::room || c.waiting == Waiting::peer_close) return s.abort();
  c.talk.time_out(std::time(nullptr));
  if (flush(s, c)) finish(s, c);
}

}  // namespace pollux
