// Stream: the handle that services use, in terms of the connection and its shard.
#include <algorithm>
#include <cstring>

#include "proto/wire/ip.h"
#include "workers/shard.h"

namespace pollux {

std::string_view to_string(CloseReason r) {
  constexpr std::string_view names[] = {"normal",  "reset",   "timeout",
                                        "refused", "aborted", "unreachable"};
  return names[static_cast<std::size_t>(r)];
}

Slice Stream::peek() const { return entry_->tcp.peek(); }

std::size_t Stream::peek(std::span<Bytes> pieces) const { return entry_->tcp.peek(pieces); }

void Stream::consume(std::size_t n) {
  entry_->tcp.consume(n);
  shard_->mark_dirty(*entry_);
}

std::size_t Stream::readable() const { return entry_->tcp.readable(); }

std::size_t Stream::read(MutableBytes out) {
  std::size_t got = 0;
  while (got < out.size()) {
    const Slice s = peek();
    if (s.empty()) break;
    const std::size_t n = std::min<std::size_t>(s.size(), out.size() - got);
    std::memcpy(out.data() + got, s.data(), n);
    got += n;
    consume(n);
  }
  return got;
}

std::size_t Stream::write(const Slice& data) {
  shard_->mark_dirty(*entry_);
  return entry_->tcp.queue(data);
}

std::size_t Stream::write(Bytes data) {
  shard_->mark_dirty(*entry_);
  return shard_->write_copy(*entry_, data);
}

std::size_t Stream::write_urgent(Bytes data) {
  const std::size_t n = write(data);
  if (n > 0) entry_->tcp.mark_urgent();
  return n;
}

std::uint32_t Stream::urgent_remaining() const { return entry_->tcp.urgent_remaining(); }

std::size_t Stream::writable() const { return entry_->tcp.send_room(); }
void Stream::want_writable() { entry_->tcp.want_writable(); }

void Stream::shutdown_write() {
  entry_->tcp.shutdown_write();
  shard_->mark_dirty(*entry_);
}

void Stream::abort() {
  entry_->tcp.abort();
  shard_->mark_dirty(*entry_);
}

bool Stream::peer_closed() const { return entry_->tcp.peer_closed(); }
bool Stream::write_shut() const { return entry_->tcp.write_shut(); }
void Stream::set_nodelay(bool on) { entry_->tcp.set_nodelay(on); }
void Stream::set_congestion_control(tcp::CcKind kind) { entry_->tcp.set_congestion_control(kind); }
void Stream::set_buffer_limit(std::uint32_t octets) { entry_->tcp.set_buffer_limit(octets); }
void Stream::set_user_timeout(Duration d) { entry_->tcp.set_user_timeout(d); }

void Stream::set_keepalive(Duration idle, Duration interval) {
  entry_->tcp.set_keepalive(shard_->now(), idle, interval);
  shard_->mark_dirty(*entry_);
}

void Stream::set_soft_errors(bool reported) { entry_->tcp.set_soft_errors(reported); }
void Stream::set_dscp(std::uint8_t dscp) { entry_->marks.dscp = dscp & 63U; }
std::uint8_t Stream::received_dscp() const { return entry_->received_dscp; }
void Stream::set_hop_limit(std::uint8_t limit) { entry_->marks.hop_limit = limit; }
void Stream::set_timer(Instant deadline) { shard_->set_user_timer(*entry_, deadline); }
StreamInfo Stream::info() const {
  const tcp::Conn::Info i = entry_->tcp.info();
  const std::size_t headers = wire::ip_header_size(entry_->key.remote.addr.is_v4()) +
                              wire::kTcpHeaderSize + (i.timestamps ? wire::kTcpTimestampsSize : 0);
  return {.bytes_acked = i.bytes_acked,
          .bytes_in_flight = i.send_queue - i.unsent,
          .retransmits = i.retransmits,
          .mss = i.mss,
          .path_mtu = i.mss + static_cast<std::uint32_t>(headers),
          .cwnd = i.cwnd,
          .send_window = i.send_window,
          .send_bound = i.send_bound,
          .receive_bound = i.receive_bound,
          .own_mss = i.own_mss,
          .congestion_control = entry_->tcp.congestion_control(),
          .send_queue = i.send_queue,
          .srtt = i.srtt,
          .rttvar = i.rttvar};
}

Instant Stream::opened_at() const { return entry_->opened_at; }
Instant Stream::now() const { return shard_->now(); }
const Endpoint& Stream::local() const { return entry_->key.local; }
const Endpoint& Stream::remote() const { return entry_->key.remote; }
std::uint64_t Stream::id() const { return entry_->id; }
void Stream::attach(std::unique_ptr<Session> session) { entry_->session = std::move(session); }
Session* Stream::session_base() const { return entry_->session.get(); }

}  // namespace pollux
