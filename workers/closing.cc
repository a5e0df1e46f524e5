// The end of connections: the last call to the application, TIME-WAIT records, and RST for what
// belongs to nobody.
#include "workers/shard.h"

namespace pollux {

namespace {

CloseReason reason_of(const tcp::Conn& c) { return static_cast<CloseReason>(c.close_cause()); }

}  // namespace

void Shard::finish(ConnEntry& e, CloseReason reason) {
  e.finished = true;
  counters_.connections_open.sub();
  counters_.connections_closed.add();
  Stream s(*this, e);
  e.service->on_closed(s, reason);
  e.session.reset();
}

void Shard::remove(ConnEntry& e) {
  if (e.opened && !e.finished) finish(e, reason_of(e.tcp));
  if (!e.opened && !e.tcp.passive_open()) {
    Stream s(*this, e);
    e.service->on_closed(s, reason_of(e.tcp));
  }
  wheel_.cancel(e);
  table_.erase(&e);
  if (e.dirty) std::erase(dirty_, &e);
  bookkeeping_ -= e.bookkeeping;
  settle_fast_open(e);
  delete &e;
}

// --- TIME-WAIT

/// The application has read all and was told; only 2 MSL are left to wait.
bool Shard::may_retire(const ConnEntry& e) const {
  return e.tcp.state() == tcp::State::time_wait && e.finished;
}

void Shard::retire(ConnEntry& e) {
  const tcp::TimeWaitState state{.snd_nxt = e.tcp.snd_nxt(),
                                 .rcv_nxt = e.tcp.rcv_nxt(),
                                 .ts_recent = e.tcp.ts_recent(),
                                 .window = e.tcp.window_field(),
                                 .timestamps = e.tcp.info().timestamps};
  const Instant since = std::min(now_, e.tcp.deadline() - options_.tcp.time_wait);
  time_wait_.add(e.hash, e.key, state, since);
  remove(e);
}

void Shard::on_time_wait(std::uint32_t n, const Segment& s) {
  if (s.h.has(wire::tcp_flag::rst)) counters_.resets_received.add();
  const tcp::TimeWaitVerdict v = time_wait_.on_segment(n, s.h, s.size(), now_);
  if (v.reopen) {
    on_unknown(s, Seq{time_wait_.at(n).snd_nxt});
    // A SYN that was refused changes nothing.
    if (half_open_.find(s.hash, s.key) != HalfOpenTable::kNone) time_wait_.remove(n);
    return;
  }
  trace_in(s, nullptr, v.dropped);
  if (v.dropped) drop(*v.dropped);
  if (v.answer == tcp::TimeWaitVerdict::Answer::ack) answer_time_wait(n);
}

void Shard::answer_time_wait(std::uint32_t n) {
  const TimeWait& r = time_wait_.at(n);
  wire::TcpHeader h = tcp::time_wait_ack(TimeWaitTable::state_of(r));
  if (auto& t = h.options.timestamps) {
    t->value = tcp::timestamp_at(now_, setup_for(r.key).ts_offset);
  }
  transmit_bare(r.key, h);
}

/// A SYN for a connection in TIME-WAIT whose application has not read everything.
void Shard::reopen(ConnEntry& e, const Segment& s) {
  const Seq used = e.tcp.snd_nxt();
  if (!e.finished) finish(e, CloseReason::normal);
  e.tcp.abort();
  remove(e);
  on_unknown(s, used);
}

void Shard::expire_time_wait() {
  const std::size_t before = time_wait_.size();
  time_wait_.expire(now_, limits::kExpirePerTurn);
  records_moved_ |= time_wait_.size() != before;
}

void Shard::send_reset(const Segment& s) {
  wire::TcpHeader reset;
  if (!tcp::make_reset(s.h, s.size(), reset) || !reset_bucket_.take(now_)) return;
  transmit_bare(s.key, reset);
}

}  // namespace pollux
