#include "tests/sim/naive_tcp.h"

#include <algorithm>

namespace pollux::sim {

namespace {

constexpr std::uint8_t kFin = 1, kSyn = 2, kRst = 4, kAck = 16;
constexpr std::size_t kMss = 536;
constexpr std::size_t kIp = 20, kTcp = 20;

/// RFC 1071 by the book, two octets at a time.
std::uint32_t add_up(const std::uint8_t* p, std::size_t n, std::uint32_t sum) {
  for (std::size_t i = 0; i + 1 < n; i += 2) sum += std::uint32_t{p[i]} << 8 | p[i + 1];
  if (n % 2 != 0) sum += std::uint32_t{p[n - 1]} << 8;
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return sum;
}

std::uint32_t tcp_sum(const std::uint8_t* ip, std::size_t segment) {
  return add_up(ip + kIp, segment, add_up(ip + 12, 8, 6 + static_cast<std::uint32_t>(segment)));
}

std::int32_t ahead(std::uint32_t a, std::uint32_t b) { return static_cast<std::int32_t>(a - b); }

}  // namespace

struct NaiveTcp::In {
  std::uint32_t from = 0;
  std::uint16_t src = 0, dst = 0, window = 0;
  std::uint32_t seq = 0, ack = 0;
  std::uint8_t flags = 0;
  const std::uint8_t* text = nullptr;
  std::size_t octets = 0;
  bool has(std::uint8_t f) const { return (flags & f) != 0; }
};

NaiveTcp::NaiveTcp(Network& network, std::size_t index, const NaiveOptions& options)
    : Node(network, index, *IpAddr::parse(options.address)),
      o_(options),
      own_address_(address.v4_value()) {}

void NaiveTcp::listen(std::uint16_t port) {
  port_ = port;
  state_ = State::listen;
}

void NaiveTcp::connect(const Endpoint& remote, std::uint16_t local_port) {
  port_ = local_port;
  peer_port_ = remote.port;
  peer_address_ = remote.addr.v4_value();
  state_ = State::syn_sent;
  iss_ = una_ = nxt_ = static_cast<std::uint32_t>(network_.random()());
  due_ = network_.now();
}

bool NaiveTcp::take_apart(const Packet& p, In& in) const {
  const std::uint8_t* b = p.octets.data();
  const std::size_t n = p.octets.size();
  if (n < kIp + kTcp || b[0] != 0x45 || b[9] != 6) return false;
  const std::size_t total = load_be16(b + 2);
  const std::size_t header = static_cast<std::size_t>(b[kIp + 12] >> 4) * 4;
  if (total > n || header < kTcp || kIp + header > total) return false;
  const bool trusted = p.checksum == ChecksumState::trusted;
  if (!trusted && (add_up(b, kIp, 0) != 0xffff || tcp_sum(b, total - kIp) != 0xffff)) return false;
  in.from = load_be32(b + 12);
  in.src = load_be16(b + kIp);
  in.dst = load_be16(b + kIp + 2);
  in.seq = load_be32(b + kIp + 4);
  in.ack = load_be32(b + kIp + 8);
  in.flags = b[kIp + 13];
  in.window = load_be16(b + kIp + 14);
  in.text = b + kIp + header;
  in.octets = total - kIp - header;
  return in.dst == port_;
}

void NaiveTcp::open(const In& in, Instant now) {
  if (state_ == State::listen && in.has(kSyn) && !in.has(kAck | kRst)) {
    peer_address_ = in.from;
    peer_port_ = in.src;
    iss_ = una_ = nxt_ = static_cast<std::uint32_t>(network_.random()());
    state_ = State::syn_received;
    due_ = now;
  } else if (state_ == State::syn_sent && in.has(kSyn) && in.has(kAck) && in.ack == iss_ + 1) {
    state_ = State::open;
    una_ = nxt_ = iss_ + 1;
    ack_owed_ = true;
  } else {
    return;
  }
  rcv_nxt_ = in.seq + 1;
  peer_window_ = in.window;
}

void NaiveTcp::receive(Instant now, const Packet& p) {
  In in;
  if (!take_apart(p, in)) return;
  if (state_ == State::listen || state_ == State::syn_sent) return open(in, now);
  if (state_ == State::closed || in.src != peer_port_ || in.from != peer_address_) return;
  if (in.has(kRst)) {
    // A connection that is over for us may be unknown to the peer already.
    reset_ |= !complete() && in.seq == rcv_nxt_;
    return;
  }
  if (in.octets > kMss && p.segment_size == 0)
    throw Broken("more than the default MSS in a segment");
  if (in.has(kSyn)) {  // its SYN again: our answer was lost
    ack_owed_ = state_ == State::open;
    due_ = state_ == State::syn_received ? now : due_;
    return;
  }
  if (in.has(kAck)) take_ack(in);
  if (state_ == State::open) take_text(in);
}

void NaiveTcp::take_ack(const In& in) {
  if (state_ == State::syn_received && in.ack == iss_ + 1) {
    state_ = State::open;
    una_ = nxt_ = iss_ + 1;
  }
  if (state_ != State::open) return;
  const std::uint32_t most = may_fin() ? end() + 1 : end();
  if (ahead(in.ack, una_) < 0) return;
  if (ahead(in.ack, most) > 0) throw Broken("an ACK for what was never sent");
  peer_window_ = in.window;
  if (in.ack == una_) return;
  una_ = in.ack;
  if (ahead(nxt_, una_) < 0) nxt_ = una_;
  due_ = kNever;
}

/// Only what comes next; the rest comes again.
void NaiveTcp::take_text(const In& in) {
  if (in.octets == 0 && !in.has(kFin)) {
    ack_owed_ |= in.seq != rcv_nxt_;  // a probe
    return;
  }
  ack_owed_ = true;
  const std::int32_t old = ahead(rcv_nxt_, in.seq);
  if (old < 0 || static_cast<std::size_t>(old) > in.octets || fin_received_) return;
  const std::size_t n = in.octets - static_cast<std::size_t>(old);
  if (read_ + n > o_.plan.peer_octets) throw Broken("naive: more octets than were sent");
  const auto* expected = pattern().data() + o_.plan.peer_salt + read_;
  if (!std::equal(in.text + old, in.text + in.octets, expected))
    throw Broken("naive: wrong octets");
  read_ += n;
  rcv_nxt_ += static_cast<std::uint32_t>(n);
  if (!in.has(kFin)) return;
  if (read_ != o_.plan.peer_octets) throw Broken("naive: the FIN came before the data");
  ++rcv_nxt_;
  fin_received_ = true;
}

bool NaiveTcp::anything_left() const {
  if (state_ == State::syn_sent || state_ == State::syn_received) return true;
  return state_ == State::open && !reset_ && una_ != (may_fin() ? end() + 1 : end());
}

void NaiveTcp::turn(Instant now) {
  if (due_ <= now) {
    due_ = kNever;
    timed_out_ = true;
    nxt_ = una_;  // go back
  }
  if (state_ == State::open) {
    send_all(now);
  } else if (timed_out_ && state_ == State::syn_sent) {
    emit(iss_, kSyn, 0, 0);
  } else if (timed_out_ && state_ == State::syn_received) {
    emit(iss_, kSyn | kAck, 0, 0);
  }
  timed_out_ = false;
  if (anything_left() && due_ == kNever) due_ = now + o_.rto;
}

void NaiveTcp::send_all(Instant) {
  const std::uint32_t last = may_fin() ? end() + 1 : end();
  std::size_t window = std::min<std::size_t>(peer_window_, o_.segments * kMss);
  if (window == 0 && timed_out_) window = 1;  // a probe
  while (!reset_ && ahead(nxt_, last) < 0) {
    const std::size_t flight = nxt_ - una_;
    if (flight >= window) break;
    const std::size_t at = nxt_ - (iss_ + 1);
    const std::size_t left = at < o_.plan.octets ? o_.plan.octets - at : 0;
    const std::size_t n = std::min({left, kMss, window - flight});
    const bool fin = n == left && may_fin();
    emit(nxt_, static_cast<std::uint8_t>(kAck | (fin ? kFin : 0)), at, n);
    nxt_ += static_cast<std::uint32_t>(n) + (fin ? 1U : 0U);
  }
  if (ack_owed_) emit(nxt_, kAck, 0, 0);
}

void NaiveTcp::emit(std::uint32_t seq, std::uint8_t flags, std::size_t from, std::size_t octets) {
  Packet p;
  p.octets.assign(kIp + kTcp + octets, 0);
  std::uint8_t* b = p.octets.data();
  b[0] = 0x45;
  store_be16(b + 2, static_cast<std::uint16_t>(p.octets.size()));
  b[8] = 64;
  b[9] = 6;
  store_be32(b + 12, own_address_);
  store_be32(b + 16, peer_address_);
  store_be16(b + 10, static_cast<std::uint16_t>(~add_up(b, kIp, 0)));
  store_be16(b + kIp, port_);
  store_be16(b + kIp + 2, peer_port_);
  store_be32(b + kIp + 4, seq);
  if ((flags & kAck) != 0) store_be32(b + kIp + 8, rcv_nxt_);
  b[kIp + 12] = 0x50;
  b[kIp + 13] = flags;
  store_be16(b + kIp + 14, o_.window);
  std::copy_n(pattern().data() + o_.plan.salt + from, octets, b + kIp + kTcp);
  store_be16(b + kIp + 16, static_cast<std::uint16_t>(~tcp_sum(b, kTcp + octets)));
  ack_owed_ = false;
  network_.send(index(), std::move(p));
}

}  // namespace pollux::sim
