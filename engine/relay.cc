#include "engine/relay.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace pollux {
namespace {

/// What is read in smaller pieces is copied, so that it does not hold a buffer of 64 KiB.
constexpr std::size_t kCopied = 16U << 10;

bool would_block() { return errno == EAGAIN || errno == EWOULDBLOCK; }

}  // namespace

void LeftOver::take(Stream& s) {
  data_.resize(s.readable());
  at_ = 0;
  s.read(data_);
}

// --- a connection and a socket

void HostRelay::start(Stream stream, Instant now) {
  stream_ = stream;
  moved_at_ = now;
  id_ = poller_.add(fd_.get(), shared_from_this());
  if (id_ == HostPoller::kNone) return break_both();
  stream.set_timer(idle_ > Duration::zero() ? now + idle_ : kNever);
}

void HostRelay::set_idle(Duration idle, Instant now) {
  idle_ = idle;
  if (stream_) stream_->set_timer(std::max(now, moved_at_ + idle_));
}

void HostRelay::on_stream_timer(Instant now) {
  if (!stream_ || idle_ == Duration::zero()) return;
  if (now - moved_at_ >= idle_) return break_both();
  stream_->set_timer(moved_at_ + idle_);
}

void HostRelay::on_ready(std::uint32_t events, Instant now) {
  if ((events & EPOLLERR) != 0) {
    int error = 0;
    socklen_t size = sizeof error;
    (void)getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) return break_both();
  }
  host_ends_ |= (events & (EPOLLRDHUP | EPOLLHUP)) != 0;
  may_read_ |= (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP)) != 0;
  may_write_ |= (events & EPOLLOUT) != 0;
  pump_from_host(now);
  pump_to_host(now);
}

// --- towards the host

std::size_t HostRelay::pending(std::span<Bytes> pieces) const {
  if (stream_) return stream_->peek(pieces);
  pieces[0] = rest_.bytes();
  return rest_.empty() ? 0 : 1;
}

void HostRelay::consume(std::size_t n) {
  if (stream_) {
    stream_->consume(n);
  } else {
    rest_.consume(n);
  }
}

void HostRelay::pump_to_host(Instant now) {
  std::array<Bytes, kPieces> pieces;
  while (id_ != HostPoller::kNone) {
    const std::size_t count = pending(pieces);
    if (count == 0) return shut_host_if_over();
    if (!may_write_ || !write_host(std::span(pieces).first(count), now)) return;
  }
}

/// False when the socket takes no more for now, or broke.
bool HostRelay::write_host(std::span<const Bytes> pieces, Instant now) {
  std::array<iovec, kPieces> parts;
  std::size_t total = 0;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    parts[i] = {const_cast<std::uint8_t*>(pieces[i].data()), pieces[i].size()};
    total += pieces[i].size();
  }
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = pieces.size();
  const ssize_t n = sendmsg(fd_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (n < 0 && errno == EINTR) return true;
  if (n < 0) {
    may_write_ = false;
    if (!would_block()) break_both();
    return false;
  }
  moved_at_ = now;
  consume(static_cast<std::size_t>(n));
  may_write_ = static_cast<std::size_t>(n) == total;  // epoll(7): less means that it is full
  return may_write_;
}

void HostRelay::shut_host_if_over() {
  if (host_shut_ || (stream_ && !stream_->peer_closed())) return;
  host_shut_ = true;
  (void)shutdown(fd_.get(), SHUT_WR);
  check_over();
}

// --- from the host

void HostRelay::pump_from_host(Instant now) {
  while (id_ != HostPoller::kNone && stream_ && may_read_ && !host_eof_) {
    if (stream_->write_shut()) return;  // a drain began: nothing can be delivered any more
    const std::size_t room = stream_->writable();
    if (room == 0) return stream_->want_writable();
    if (!read_host(room, now)) return;
  }
}

/// False when the socket has no more for now, ended or broke.
bool HostRelay::read_host(std::size_t room, Instant now) {
  Buffer* const buffer = poller_.buffers().alloc();
  if (buffer == nullptr) {  // ACKs bring some home, and turns
    poller_.again(id_);
    return false;
  }
  const Slice whole(buffer, Bytes{buffer->data, buffer->capacity});
  const std::size_t wanted = std::min<std::size_t>(room, buffer->capacity);
  const ssize_t n = recv(fd_.get(), buffer->data, wanted, MSG_DONTWAIT);
  if (n < 0 && errno == EINTR) return true;
  if (n < 0) {
    may_read_ = false;
    if (!would_block()) break_both();
    return false;
  }
  moved_at_ = now;
  if (n == 0) {
    on_host_end();
    return false;
  }
  deliver(buffer, static_cast<std::size_t>(n));
  // epoll(7): less means that there is no more; but a FIN that was announced is still to be read.
  may_read_ = static_cast<std::size_t>(n) == wanted || host_ends_;
  return may_read_;
}

/// There is room for all of it.
void HostRelay::deliver(Buffer* buffer, std::size_t n) {
  const Bytes data{buffer->data, n};
  const std::size_t copied = n <= kCopied ? stream_->write(data) : 0;
  if (copied < n) stream_->write(Slice(buffer, data.subspan(copied)));
}

void HostRelay::on_host_end() {
  host_eof_ = true;
  stream_->shutdown_write();
  check_over();
}

// --- the end

/// Both directions of the socket are over; the connection sees to its own.
void HostRelay::check_over() {
  if (host_shut_ && (host_eof_ || !stream_)) drop_host();
}

void HostRelay::on_stream_closed(Stream& s, CloseReason reason, Instant now) {
  if (id_ == HostPoller::kNone || reason != CloseReason::normal) {
    stream_.reset();
    return reset_host();
  }
  pump_to_host(now);
  rest_.take(s);
  stream_.reset();
  bound_orphan();
  pump_to_host(now);
  check_over();
}

/// No connection's timer watches over it from here on: the kernel gives up a peer that takes
/// nothing for as long as the relay may be idle.
void HostRelay::bound_orphan() const {
  if (id_ == HostPoller::kNone || idle_ == Duration::zero()) return;
  const auto ms = static_cast<unsigned>(idle_ / 1ms);
  (void)setsockopt(fd_.get(), IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof ms);
}

void HostRelay::break_both() {
  reset_host();
  if (stream_) stream_->abort();
}

void HostRelay::reset_host() {
  if (!fd_.is_open()) return;
  const linger now{.l_onoff = 1, .l_linger = 0};
  (void)setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
  drop_host();
}

void HostRelay::drop_host() {
  if (id_ != HostPoller::kNone) poller_.remove(std::exchange(id_, HostPoller::kNone), fd_.get());
  fd_ = {};
}

// --- two connections

void StreamRelay::start(Instant now) {
  started_ = true;
  moved_at_ = now;
  arm();
  pump(Side::accepted, now);
  pump(Side::opened, now);
}

void StreamRelay::arm() {
  for (End& e : ends_) {
    if (e.stream) e.stream->set_timer(idle_ > Duration::zero() ? moved_at_ + idle_ : kNever);
  }
}

void StreamRelay::on_timer(Instant now) {
  if (broken_) return abort();
  if (!started_ || idle_ == Duration::zero()) return;
  if (now - moved_at_ >= idle_) return abort();
  arm();
}

void StreamRelay::abort() {
  for (End& e : ends_) {
    if (e.stream) e.stream->abort();
  }
}

void StreamRelay::pump(Side from, Instant now) {
  End& source = end(from);
  End& sink = end(other(from));
  if (!started_ || broken_ || !sink.stream) return;  // no FIN for what a reset has cut
  const bool all =
      source.stream ? pass(*source.stream, *sink.stream) : pass(source.rest, *sink.stream);
  moved_at_ = now;
  if (all && (!source.stream || source.stream->peer_closed())) sink.stream->shutdown_write();
}

/// True when all went. A drain that began has shut the sink: then it goes nowhere.
bool StreamRelay::pass(Stream& from, Stream& to) {
  for (Slice in = from.peek(); !in.empty(); in = from.peek()) {
    const std::size_t n = to.write_shut() ? in.size() : to.write(in);
    from.consume(n);
    if (n == in.size()) continue;
    to.want_writable();
    return false;
  }
  return true;
}

bool StreamRelay::pass(LeftOver& from, Stream& to) {
  while (!from.empty() && !to.write_shut()) {
    const std::size_t n = to.write(from.bytes());
    from.consume(n);
    if (n > 0) continue;
    to.want_writable();
    return false;
  }
  return true;
}

void StreamRelay::on_closed(Side side, Stream& s, CloseReason reason, Instant now) {
  End& closed = end(side);
  End& left = end(other(side));
  closed.stream.reset();
  if (!left.stream) return;
  if (!started_) return left.stream->abort();
  if (reason != CloseReason::normal) {
    // What came in one batch with the reset was passed on in this turn, and goes out at its end.
    broken_ = true;
    return left.stream->set_timer(now);
  }
  closed.rest.take(s);
  pump(side, now);
}

}  // namespace pollux
