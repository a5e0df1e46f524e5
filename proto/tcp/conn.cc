// Making a connection, the user's calls, and what the other parts share.
#include "proto/tcp/conn.h"

#include <algorithm>
#include <cassert>

namespace pollux::tcp {

Conn::Conn(const Options& o, const Setup& s)
    : mss_(s.mss),
      own_mss_(s.mss),
      max_payload_(s.max_payload),
      ts_offset_(s.ts_offset),
      opt_(&o),
      keepalive_(o.keepalive),
      cc_(o.congestion_control, s.mss),
      user_timeout_(o.user_timeout),
      keepalive_interval_(o.keepalive_interval),
      default_mss_(s.default_mss) {
  snd_.iss = snd_.una = snd_.nxt = s.iss;
  recover_ = s.iss;
  round_end_raw_ = s.iss.raw();
  rcv_.limit = std::min(kInitialReceiveWindow, o.receive_buffer);
}

Conn Conn::active(const Options& o, const Setup& s, Instant now) {
  Conn c(o, s);
  c.move_to(State::syn_sent);
  c.syn_pending_ = true;
  c.ecn_on_ = o.ecn_request;
  (void)now;
  return c;
}

Conn Conn::passive(const Options& o, const Setup& s, const wire::TcpHeader& syn, Instant now) {
  Conn c(o, s);
  c.passive_ = true;
  c.rcv_.irs = syn.seq;
  c.rcv_.nxt = c.rcv_.acked = c.rcv_.edge = c.rcv_.trip_mark = syn.seq + 1;
  c.take_syn_options(syn);
  c.ts_recent_at_ = now;
  c.snd_.wnd = c.snd_.max_wnd = syn.window;
  c.snd_.wl1 = syn.seq;
  c.move_to(State::syn_received);
  c.syn_pending_ = true;
  return c;
}

void Conn::open_fast(Instant now, Slice data) {
  assert(state_ == State::syn_received && syn_pending_);
  fast_open_ = true;
  rcv_.edge = rcv_.nxt + std::min(rcv_.limit, 65535U);  // what the SYN-ACK will offer
  if (data.size() > distance(rcv_.nxt, rcv_.edge)) data.truncate(distance(rcv_.nxt, rcv_.edge));
  events_ |= event::opened;
  if (!data.empty()) deliver(now, std::move(data));
}

/// Smallest shift that lets the window field express the receive buffer (RFC 7323 2.3).
std::uint8_t Conn::own_shift() const {
  std::uint8_t shift = 0;
  while (shift < 14 && (opt_->receive_buffer >> shift) > 65535U) ++shift;
  return shift;
}

void Conn::take_syn_options(const wire::TcpHeader& syn) {
  const wire::TcpOptions& o = syn.options;
  scaling_on_ = opt_->window_scaling && o.window_scale.has_value();
  if (scaling_on_) {
    snd_.shift = std::min<std::uint8_t>(*o.window_scale, 14);
    rcv_.shift = own_shift();
  } else {
    rcv_.limit = std::min(rcv_.limit, 65535U);
  }
  sack_on_ = opt_->sack && o.sack_permitted;
  ts_on_ = opt_->timestamps && o.timestamps.has_value();
  if (ts_on_) ts_recent_ = o.timestamps->value;
  const std::uint32_t peer = o.mss ? std::max<std::uint32_t>(*o.mss, kMinPeerMss) : default_mss_;
  const std::uint32_t options = ts_on_ ? std::uint32_t{wire::kTcpTimestampsSize}
                                       : 0U;  // MUST-16: less the options of every segment
  mss_ = static_cast<std::uint16_t>(std::min<std::uint32_t>(peer, own_mss_) - options);
  cc_ = CongestionControl(cc_.kind(), mss_);
  constexpr std::uint8_t kAsks = wire::tcp_flag::ece | wire::tcp_flag::cwr;
  const bool passive = !syn.has(wire::tcp_flag::ack);
  if (passive) ecn_on_ = opt_->ecn && passive_ && (syn.flags & kAsks) == kAsks;
}

void Conn::move_to(State next) {
  assert(next == State::closed || edge_exists(state_, next));
  state_ = next;
}

void Conn::close_with(CloseCause cause) {
  if (is_closed()) return;
  cause_ = cause;
  move_to(State::closed);
  events_ |= event::closed;
  rtx_at_ = ack_at_ = keepalive_at_ = kNever;
  pace_blocked_ = tail_probe_pending_ = false;
  send_queue_.clear();
  board_.clear();
  assembler_.clear();
  // What came before a peer's reset was acknowledged, and is the application's.
  if (cause != CloseCause::normal && cause != CloseCause::reset) rcv_queue_.clear();
}

void Conn::enter_time_wait(Instant now) {
  move_to(State::time_wait);
  rtx_at_ = kNever;
  pace_blocked_ = tail_probe_pending_ = false;
  keepalive_at_ = now + opt_->time_wait;
  send_queue_.clear();
  board_.clear();
  assembler_.clear();
}

std::size_t Conn::send_room() const {
  if (write_shut()) return 0;
  const std::size_t limit = send_limit();
  return send_queue_.size() >= limit ? 0 : limit - send_queue_.size();
}

std::size_t Conn::send_limit() const {
  const std::uint64_t windows = std::uint64_t{cc_.cwnd()} * (growth_allowed_ ? 4U : 1U);
  const auto want = std::max<std::uint64_t>(growth_allowed_ ? kInitialSendBuffer : 0, windows);
  return std::min<std::uint64_t>(send_bound(), want);
}

std::size_t Conn::queue(Slice data) {
  const std::size_t n = std::min<std::size_t>(send_room(), data.size());
  if (n == 0) return 0;
  data.truncate(static_cast<std::uint32_t>(n));
  send_queue_.push(std::move(data));
  return n;
}

std::size_t Conn::queue_into_tail(Bytes data) {
  return send_queue_.append_copy(data.first(std::min(send_room(), data.size())));
}

void Conn::mark_urgent() {
  if (write_shut() || send_queue_.empty()) return;
  snd_.up = data_una() + static_cast<std::uint32_t>(send_queue_.size());
  snd_.urgent = true;
}

/// Sequence number of the first octet that was not consumed.
Seq Conn::read_position() const {
  return rcv_.nxt - static_cast<std::uint32_t>(rcv_queue_.size() + (fin_received_ ? 1U : 0U));
}

std::uint32_t Conn::urgent_remaining() const {
  if (!rcv_.urgent) return 0;
  const std::uint32_t n = distance(read_position(), rcv_.up);
  // No octet follows a FIN, whatever the pointer says.
  return fin_received_ ? std::min(n, static_cast<std::uint32_t>(rcv_queue_.size())) : n;
}

void Conn::consume(std::size_t n) {
  rcv_queue_.pop(std::min(n, rcv_queue_.size()));
  rcv_.urgent = rcv_.urgent && rcv_.up > read_position();
  if (!may_receive(state_)) return;
  const auto queued = static_cast<std::uint32_t>(rcv_queue_.size());
  if (queued >= rcv_.limit) return;
  const Seq edge = rcv_.nxt + (rcv_.limit - queued);
  const bool was_closed = distance(rcv_.nxt, rcv_.edge) < own_mss_;
  const std::uint32_t step =
      was_closed ? std::min<std::uint32_t>(own_mss_, rcv_.limit / 2) : rcv_.limit / 4;
  if (edge > rcv_.edge && distance(rcv_.edge, edge) >= step) ack_now_ = true;
}

/// Auto-tuning to the bandwidth-delay product: twice what came in a round trip, and twice its
/// growth on top so that slow start is never held, to the connection's bound and only while memory
/// allows and the application keeps up. Peers on this machine share the device's queue: the more
/// there are, the less has each. An offered edge is never taken back.
void Conn::grow_receive_window(Instant now) {
  const Duration trip = rtt_.has_sample() ? std::max<Duration>(rtt_.srtt(), kLeastTrip) : 100ms;
  if (now - rcv_.trip_began < trip) return;
  const std::uint32_t came = distance(rcv_.trip_mark, rcv_.nxt);
  const std::uint32_t grown = came > rcv_.last_trip ? came - rcv_.last_trip : 0;
  rcv_.trip_began = now;
  rcv_.trip_mark = rcv_.nxt;
  rcv_.last_trip = came;
  const bool keeps_up = rcv_queue_.size() <= came / 2;
  if (!growth_allowed_ || !keeps_up || rcv_.shift == 0) return;
  const std::uint64_t want = 2 * (std::uint64_t{came} + grown);
  std::uint32_t most = std::max(rcv_.limit, receive_bound());
  if (trip == kLeastTrip) most = std::min(most, local_window_);
  rcv_.limit = static_cast<std::uint32_t>(
      std::min<std::uint64_t>(std::max<std::uint64_t>(rcv_.limit, want), most));
}

void Conn::set_buffer_limit(std::uint32_t octets) {
  buffer_limit_ = std::max(octets, least_buffer(own_mss_));
  rcv_.limit = std::min(rcv_.limit, receive_bound());
}

void Conn::shutdown_write() {
  if (fin_queued_) return;
  switch (state_) {
    case State::syn_sent:
      return close_with(CloseCause::aborted);
    case State::syn_received:
      fin_queued_ = true;
      return;
    case State::established:
      fin_queued_ = true;
      return move_to(State::fin_wait_1);
    case State::close_wait:
      fin_queued_ = true;
      return move_to(State::last_ack);
    default:
      return;
  }
}

void Conn::abort() {
  if (is_closed()) return rcv_queue_.clear();
  rst_pending_ = state_ != State::syn_sent && state_ != State::time_wait;
  close_with(CloseCause::aborted);
}

Conn::Info Conn::info(Instant now) const {
  Info i;
  i.mss = mss_;
  i.cwnd = window();
  i.ssthresh = cc_.ssthresh();
  i.send_window = snd_.wnd;
  i.receive_window = distance(rcv_.nxt, rcv_.edge);
  i.send_bound = send_bound();
  i.receive_bound = receive_bound();
  i.own_mss = own_mss_;
  i.in_flight = board_.pipe();
  i.sacked = board_.sacked();
  i.lost = board_.lost();
  i.bytes_sent = bytes_sent_;
  i.bytes_received = bytes_received_;
  i.bytes_acked = send_queue_.begin();
  i.bytes_retransmitted = losses_->bytes_retransmitted;
  i.retransmits = retransmits_;
  i.bytes_lost = losses_->bytes_lost;
  i.timeouts = losses_->timeouts;
  i.recoveries = losses_->recoveries;
  i.spurious_recoveries = losses_->spurious;
  i.loss_probes = losses_->probes;
  i.dsacks = losses_->dsacks;
  i.delivery_rate = stats_.delivery_rate;
  i.delivery_app_limited = rate_app_limited_;
  i.pacing_rate = pacing_rate_;
  i.out_of_order_bytes = assembler_.bytes();
  i.send_queue = send_queue_.size();
  i.receive_queue = rcv_queue_.size();
  i.unsent = is_synchronized(state_) && !is_closed() ? unsent() : 0;
  i.rto = rtt_.rto();
  i.srtt = rtt_.srtt();
  i.rttvar = rtt_.rttvar();
  i.min_rtt = rtt_.min_rtt();
  i.reordering_window =
      rack_.window(i.min_rtt, i.srtt, in_recovery_ || rto_recovery_, board_.sacked() / mss_);
  const LimitTimes times = limit_times(now);
  i.busy = times.busy;
  i.window_limited = times.window;
  i.buffer_limited = times.buffer;
  i.back_offs = rtt_.back_offs();
  i.sack = sack_on_;
  i.timestamps = ts_on_;
  i.ecn = ecn_on_;
  i.reordering_seen = rack_.reordering_seen();
  i.in_recovery = in_recovery_;
  i.in_timeout = rto_recovery_;
  return i;
}

void Conn::check_invariants() const {
  assert(snd_.una <= snd_.nxt);
  assert(rcv_.nxt <= rcv_.edge);
  assert(cc_.cwnd() >= mss_ || is_closed());
  assert(board_.pipe() + board_.sacked() + board_.lost() == distance(snd_.una, snd_.nxt) ||
         is_closed() || state_ == State::time_wait);
  assert(board_.empty() || rtx_at_ != kNever || syn_pending_ || tail_probe_pending_ ||
         board_.lost() > 0 || is_closed());
}

}  // namespace pollux::tcp
