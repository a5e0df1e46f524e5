// Passive opens (RFC 9293 3.10.7.2, SYN-RECEIVED of 3.10.7.4): half-open records, and SYN cookies
// when there are too many of them.
//
//   SYN ──► record (64 octets) ──ACK──► connection        the record is thawed, segment by segment
//   SYN ──► cookie, nothing kept ──ACK──► connection      the ACK brings back what the SYN said
#include "proto/tcp/fast_open.h"
#include "workers/shard.h"

namespace pollux {

namespace {

namespace flag = wire::tcp_flag;

constexpr Duration kResetCounts = 60s;     // of a pending Fast Open
constexpr std::uint32_t kIssStep = 65536;  // between a reopened flow and its last octet

}  // namespace

void Shard::listen(const Endpoint& local, bool any_address, Service& service) {
  listeners_.push_back(
      {.local = local, .any = any_address, .accepting = true, .service = &service});
  service.on_listen(*this);
}

Service* Shard::find_listener(const Endpoint& local) const {
  for (const Listener& l : listeners_) {
    if (l.accepting && l.is_at(local)) return l.service;
  }
  return nullptr;
}

Service* Shard::service_at(const Endpoint& local) const {
  for (const Listener& l : listeners_) {
    if (l.is_at(local)) return l.service;
  }
  return nullptr;
}

// --- LISTEN

void Shard::on_unknown(const Segment& s, std::optional<Seq> used) {
  std::optional<DropReason> dropped;
  Service* service = find_listener(s.key.local);
  const auto verdict = service == nullptr ? tcp::ListenVerdict::reset : tcp::judge_in_listen(s.h);
  if (verdict == tcp::ListenVerdict::reset) {
    if (service != nullptr && try_cookie(s, *service)) return;
    dropped = DropReason::tcp_no_listener;
    send_reset(s);
  } else if (verdict == tcp::ListenVerdict::drop) {
    dropped = DropReason::tcp_bad_flags;
  } else {
    dropped = on_syn(s, used, *service);
  }
  if (!dropped) return;
  drop(*dropped);
  trace_in(s, nullptr, dropped);
}

/// A flow that left TIME-WAIT never gets a cookie: its ISN must lie above what it has used.
std::optional<DropReason> Shard::on_syn(const Segment& s, std::optional<Seq> used,
                                        Service& service) {
  if (!has_room()) return DropReason::tcp_connection_limit;
  if (!used && wants_cookie()) {
    send_cookie(s);
    return std::nullopt;
  }
  if (!used && open_fast(s, service)) return std::nullopt;
  Seq iss = setup_for(s.key).iss;
  // RFC 9293 3.10.7.4 MAY-2: a reopened flow begins above all that it used before, also when it was
  // faster than the clock of the ISN.
  if (used) iss = max(iss, *used + kIssStep);
  const std::uint32_t n = half_open_.add(s.hash, s.key, s.h, iss, now_);
  if (n == HalfOpenTable::kNone) return DropReason::tcp_backlog_full;
  records_moved_ = true;
  const tcp::Conn c = thaw(half_open_.at(n));
  trace_in(s, &c, std::nullopt);
  // Who asks gets a cookie, who has a wrong one the right one; the data comes again (RFC 7413 4.2).
  if (service.fast_open() && s.h.options.fast_open) {
    out_.header.options.fast_open = tcp::fast_open_cookie(options_.secret, s.key.remote.addr);
  }
  transmit(s.key, &c, out_);
  return std::nullopt;
}

bool Shard::has_room() const {
  return !memory_short_ && table_.size() + half_open_.size() < options_.max_connections;
}

// --- Fast Open (RFC 7413)

/// A SYN with data and a valid cookie is a whole connection at once, in SYN-RECEIVED. False: the
/// ordinary handshake.
bool Shard::open_fast(const Segment& s, Service& service) {
  if (!service.fast_open() || s.payload.empty() || fast_opens() >= limits::kFastOpens) return false;
  if (!tcp::has_fast_open_cookie(options_.secret, s.key.remote.addr, s.h)) return false;
  const auto c = tcp::Conn::passive(options_.tcp, setup_for(s.key), s.h, now_);
  ConnEntry* e = add(s.key, s.hash, c, service);
  if (e == nullptr) return false;
  e->fast_opening = true;
  ++fast_opens_;
  e->tcp.open_fast(now_, hold(e->tcp, s, nullptr));
  trace_in(s, &e->tcp, std::nullopt);
  mark_dirty(*e);
  return true;
}

/// How many are pending. One that a RST ended goes on counting for a while: it may have been a
/// stranger's answer to a SYN that an attacker sent in its name (RFC 7413 5.1).
std::size_t Shard::fast_opens() {
  while (!fast_opens_reset_.empty() && fast_opens_reset_.front() <= now_) {
    fast_opens_reset_.pop_front();
  }
  return fast_opens_ + fast_opens_reset_.size();
}

void Shard::settle_fast_open(ConnEntry& e) {
  if (!e.fast_opening || e.tcp.state() == tcp::State::syn_received) return;
  e.fast_opening = false;
  --fast_opens_;
  const bool reset = e.tcp.is_closed() && e.tcp.close_cause() == tcp::CloseCause::reset;
  if (reset) fast_opens_reset_.push_back(now_ + kResetCounts);
}

// --- cookies

bool Shard::wants_cookie() const {
  if (options_.syn_cookies == tcp::CookiePolicy::never) return false;
  const std::size_t backlog = options_.syn_backlog;
  return options_.syn_cookies == tcp::CookiePolicy::always ||
         half_open_.size() >= backlog - backlog / 4;
}

void Shard::send_cookie(const Segment& s) {
  tcp::Setup setup = setup_for(s.key);
  const tcp::CookieSyn cookie = tcp::make_cookie(options_.secret, s.key, s.h, setup.default_mss,
                                                 options_.tcp.timestamps, now_);
  setup.iss = cookie.iss;
  tcp::Conn c = tcp::Conn::passive(options_.tcp, setup, cookie.syn, now_);
  trace_in(s, &c, std::nullopt);
  c.poll_tx(now_, out_);
  if (auto& t = out_.header.options.timestamps) {
    t->value = tcp::cookie_timestamp(t->value, cookie.syn);
  }
  counters_.syn_cookies_sent.add();
  cookies_until_ = now_ + tcp::kCookieLifetime;
  transmit(s.key, &c, out_);
}

/// True when the ACK brought a cookie back, whatever became of it. Outside of a flood this is one
/// comparison, and forged ACKs never cost more than the MAC.
bool Shard::try_cookie(const Segment& s, Service& service) {
  if (now_ > cookies_until_ || s.h.has(flag::syn)) return false;
  const bool timestamps = options_.tcp.timestamps;
  const auto syn = tcp::open_cookie(options_.secret, s.key, s.h, timestamps, now_);
  if (!syn) return false;
  counters_.syn_cookies_validated.add();
  if (!has_room()) {
    drop(DropReason::tcp_connection_limit);
    return true;
  }
  tcp::Setup setup = setup_for(s.key);
  setup.iss = s.h.ack - 1;
  Instant sent = now_;
  bool timed = false;
  if (syn->options.timestamps) {
    // The echo is at most 63 ms too early: good enough for a first round trip.
    const std::uint32_t clock = tcp::timestamp_at(now_, setup.ts_offset);
    const std::chrono::milliseconds age{clock - s.h.options.timestamps->echo};
    timed = age <= tcp::kCookieLifetime;
    if (timed) sent = now_ - age;
  }
  tcp::Conn c = answered(setup, *syn, sent, !timed);
  feed(c, s);
  if (tcp::is_synchronized(c.state())) establish(c, s, service, now_);
  return true;
}

// --- SYN-RECEIVED

/// A connection right after its SYN-ACK, which is left in `out_`. `twice`: which of its SYN-ACKs
/// will be acknowledged is not known, so there is no round trip to be had (Karn, RFC 6298 (3)); a
/// duplicate of the SYN tells the connection so.
tcp::Conn Shard::answered(const tcp::Setup& setup, const wire::TcpHeader& syn, Instant sent,
                          bool twice) {
  tcp::Conn c = tcp::Conn::passive(options_.tcp, setup, syn, sent);
  c.poll_tx(sent, out_);
  if (twice) {
    (void)c.on_segment(sent, syn, {}, 0);
    c.poll_tx(sent, out_);
  }
  return c;
}

tcp::Conn Shard::thaw(const HalfOpen& r) {
  tcp::Setup setup = setup_for(r.key);
  setup.iss = Seq{r.iss};
  return answered(setup, r.syn(), half_open_.sent_at(r), r.ambiguous());
}

void Shard::on_half_open(std::uint32_t n, const Segment& s) {
  HalfOpen& r = half_open_.at(n);
  tcp::Conn c = thaw(r);
  const auto dropped = feed(c, s);
  if (c.state() == tcp::State::syn_received) {
    if (dropped == DropReason::tcp_bad_ack) return send_reset(s);
    return answer_half_open(r, c);
  }
  const Instant opened_at = half_open_.sent_at(r);
  forget_half_open(n);
  Service* service = service_at(s.key.local);
  if (!c.is_closed() && service != nullptr) establish(c, s, *service, opened_at);
}

/// A duplicate SYN gets its SYN-ACK again, what is not acceptable a challenge; each once in the
/// time of one attempt, so that nobody is flooded through us.
void Shard::answer_half_open(HalfOpen& r, tcp::Conn& c) {
  if (!c.poll_tx(now_, out_)) return;
  if (out_.header.has(flag::syn)) {
    if (r.answered != 0) return;
    r.answered = 1;
  } else {
    if (r.challenged != 0) return;
    r.challenged = 1;
  }
  transmit(r.key, &c, out_);
}

void Shard::establish(const tcp::Conn& c, const Segment& s, Service& service, Instant opened_at) {
  ConnEntry* e = add(s.key, s.hash, c, service);
  if (e == nullptr) return;
  e->opened_at = opened_at;
  e->received_dscp = s.tos >> 2;
  mark_dirty(*e);
}

void Shard::forget_half_open(std::uint32_t n) {
  half_open_.remove(n);
  records_moved_ = true;
}

void Shard::retransmit_syn_acks() {
  const std::size_t before = half_open_.size();
  for (std::size_t i = 0; i < limits::kSynAcksPerTurn; ++i) {
    const std::uint32_t n = half_open_.next_due(now_);
    if (n == HalfOpenTable::kNone) break;
    const HalfOpen& r = half_open_.at(n);
    const tcp::Conn c = thaw(r);
    transmit(r.key, &c, out_);
  }
  records_moved_ |= half_open_.size() != before;
}

void Shard::abort_half_open() {
  half_open_.for_each([&](const HalfOpen& r) {
    tcp::Conn c = thaw(r);
    c.abort();
    if (c.poll_tx(now_, out_)) transmit(r.key, &c, out_);
  });
  half_open_.clear();
  records_moved_ = true;
}

}  // namespace pollux
