#include "workers/half_open.h"

#include "proto/tcp/conn.h"

namespace pollux {

namespace {

namespace flag = wire::tcp_flag;

constexpr std::uint32_t kNoScale = 15;
constexpr std::uint8_t kEcnSetup = flag::ece | flag::cwr;  // RFC 3168 6.1.1

}  // namespace

void HalfOpen::keep(const wire::TcpHeader& syn) {
  const wire::TcpOptions& o = syn.options;
  irs = syn.seq.raw();
  window = syn.window;
  mss = o.mss ? std::max<std::uint16_t>(*o.mss, 1) : std::uint16_t{0};
  scale = (o.window_scale ? std::min<std::uint32_t>(*o.window_scale, 14) : kNoScale) & 15U;
  sack = o.sack_permitted ? 1 : 0;
  timestamps = o.timestamps ? 1 : 0;
  ts_recent = o.timestamps ? o.timestamps->value : 0;
  ecn = (syn.flags & kEcnSetup) == kEcnSetup ? 1 : 0;
}

wire::TcpHeader HalfOpen::syn() const {
  wire::TcpHeader h;
  h.src_port = key.remote.port;
  h.dst_port = key.local.port;
  h.seq = Seq{irs};
  h.flags = ecn != 0 ? flag::syn | kEcnSetup : flag::syn;
  h.window = window;
  if (mss != 0) h.options.mss = mss;
  if (scale != kNoScale) h.options.window_scale = static_cast<std::uint8_t>(scale);
  h.options.sack_permitted = sack != 0;
  if (timestamps != 0) h.options.timestamps = wire::TcpTimestamps{ts_recent, 0};
  return h;
}

HalfOpenTable::HalfOpenTable(const HashKey& secret, std::size_t backlog, Duration user_timeout)
    : store_(secret, backlog) {
  // R2 counts from the first time-out (RFC 9293 3.8.3).
  const Duration limit = user_timeout > Duration::zero() ? user_timeout : tcp::kR2Syn;
  Duration waited = Duration::zero();
  for (std::size_t i = 0; i < kWait.size(); ++i) {
    if (i > 0) waited += kWait[i];
    if (waited >= limit) {
      last_attempt_ = i;
      return;
    }
  }
}

std::uint32_t HalfOpenTable::add(std::uint32_t hash, const FlowKey& key, const wire::TcpHeader& syn,
                                 Seq iss, Instant now) {
  const std::uint32_t n = store_.add(hash, key);
  if (n == kNone) return kNone;
  now_ = std::max(now_, now);
  HalfOpen& r = store_.at(n);
  r.keep(syn);
  r.iss = iss.raw();
  r.sent_us = Us::cut(now);
  store_.push_back(queues_[0], n);
  return n;
}

void HalfOpenTable::remove(std::uint32_t n) {
  store_.unlink(queues_[store_.at(n).attempt], n);
  store_.remove(n);
}

void HalfOpenTable::clear() {
  for (const Store::Queue& q : queues_) {
    while (!q.empty()) remove(q.head);
  }
}

Instant HalfOpenTable::due(std::size_t attempt) const {
  const Store::Queue& q = queues_[attempt];
  return q.empty() ? kNever : sent_at(store_.at(q.head)) + kWait[attempt];
}

Instant HalfOpenTable::next_deadline() const {
  Instant earliest = kNever;
  if (store_.size() == 0) return earliest;
  for (std::size_t i = 0; i <= last_attempt_; ++i) earliest = std::min(earliest, due(i));
  return earliest;
}

std::uint32_t HalfOpenTable::next_due(Instant now) {
  while (due(last_attempt_) <= now) remove(queues_[last_attempt_].head);
  for (std::size_t i = 0; i < last_attempt_; ++i) {
    if (due(i) > now) continue;
    const std::uint32_t n = queues_[i].head;
    HalfOpen& r = store_.at(n);
    store_.unlink(queues_[i], n);
    now_ = std::max(now_, now);
    r.attempt = static_cast<std::uint32_t>(i + 1) & 15U;
    r.answered = r.challenged = 0;
    r.sent_us = Us::cut(now);
    store_.push_back(queues_[i + 1], n);
    return n;
  }
  return kNone;
}

}  // namespace pollux
