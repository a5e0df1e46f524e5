#include "engine/services/iperf2.h"

#include <algorithm>
#include <array>
#include <utility>

#include "engine/clock.h"
#include "engine/services/chargen.h"
#include "engine/services/datagram_guard.h"
#include "engine/services/discard.h"
#include "engine/services/frame_echo.h"

namespace pollux {

using namespace iperf2;

namespace {

constexpr Duration kPace = 10ms;              // between pieces of a sender with a rate
constexpr std::uint64_t kBurst = 128 * 1024;  // octets that it may be ahead
/// Where clients listen, and no services do: what we connect to is the client's word alone.
constexpr std::uint16_t kFirstClientPort = 1024;

std::optional<FrameEcho::Verdict> judge_bounce(MutableBytes head) {
  const auto length = bounce_length(head);
  if (!length) return std::nullopt;
  stamp_bounce(head, wall_clock_us());
  return FrameEcho::Verdict{.length = *length, .answer = true};
}

}  // namespace

struct Iperf2Service::Connection final : Session {
  std::array<std::uint8_t, kTestHead> head{};
  std::size_t head_read = 0;
  std::optional<Test> test;  ///< once the head is there
  FrameEcho bounce{kBounceHead, judge_bounce};

  Permit permit;  ///< to send; before that, of one that we open, to dial
  bool sending = false;
  Instant started{};
  Instant end{};
  std::uint64_t left = 0;  ///< octets
  std::uint64_t sent = 0;  ///< octets

  /// Of one that we open, to the client: from where to where, and until when we try again.
  IpAddr from;
  Endpoint to;
  Instant give_up{};

  /// Of a test with trip times: its bursts, one behind the other.
  Burst burst;
  std::uint64_t burst_left = 0;  ///< octets
};

Iperf2Service::Iperf2Service(const Iperf2Options& options)
    : options_(options),
      free_senders_(options.max_senders),
      free_dials_(options.max_senders),
      senders_(*this),
      redial_([this](Instant now) { redial(now); }) {}

Iperf2Service::~Iperf2Service() = default;

void Iperf2Service::on_listen(Shard& shard) {
  Service::on_listen(shard);
  senders_.set_shard(shard);
  flows_.emplace(shard.options().secret, options_.max_flows);
}

// --- TCP

void Iperf2Service::on_open(Stream& s) {
  if (auto* const back = s.session<Connection>()) {  // connect_back() made it
    back->permit = Permit();
    s.set_dscp(back->test->dscp());
    // A test head of zeros, which says nothing: the client's listener reads one.
    constexpr std::array<std::uint8_t, kMinTestHead> plain{};
    back->sent = s.write(Bytes(plain));
    return start_sending(s, *back);
  }
  s.attach(std::make_unique<Connection>());
  s.set_timer(s.now() + kHeadTimeout);
}

void Iperf2Service::on_peer_closed(Stream& s) {
  auto& c = *s.session<Connection>();
  pump(s);
  if (c.test && c.test->connect_back && !c.test->connect_back_now) connect_back(s, c);
}

void Iperf2Service::pump(Stream& s) {
  auto& c = *s.session<Connection>();
  if (!c.test) {
    if (!read_head(s, c)) {
      if (s.peer_closed()) s.shutdown_write();
      return;
    }
    begin(s, c);
  }
  if (c.test->kind == Test::Kind::bounce) {
    s.set_nodelay(true);
    if (!c.bounce.pump(s)) s.abort();
    return;
  }
  discard_input(s);
  if (c.sending) return send(s, c);
  if (s.peer_closed() && !s.write_shut()) s.shutdown_write();
}

/// False: it is not all there.
bool Iperf2Service::read_head(Stream& s, Connection& c) {
  for (;;) {
    const std::size_t wanted =
        c.head_read < kMinTestHead ? kMinTestHead : test_head_size(Bytes(c.head));
    if (c.head_read >= wanted) return true;
    const std::size_t n = s.read(MutableBytes(c.head).subspan(c.head_read, wanted - c.head_read));
    if (n == 0) return false;
    c.head_read += n;
  }
}

void Iperf2Service::begin(Stream& s, Connection& c) {
  const Bytes head = Bytes(c.head).first(c.head_read);
  c.test = parse_test(head);
  s.set_timer(kNever);
  s.set_dscp(c.test->dscp());
  if (c.test->kind == Test::Kind::bounce) return c.bounce.begin_with(head);
  if (c.test->wants_ack) {
    std::array<std::uint8_t, kMaxAck> ack;
    s.write(Bytes(ack).first(emit_ack(*c.test, wall_clock_us(), ack)));
  }
  if (c.test->kind != Test::Kind::sink) return start_sending(s, c);
  // Write-shut: it came with a reset.
  if (c.test->connect_back && c.test->connect_back_now && !s.write_shut()) connect_back(s, c);
}

void Iperf2Service::start_sending(Stream& s, Connection& c) {
  if (free_senders_ == 0) return s.abort();
  c.permit = Permit(free_senders_);
  const Test& test = *c.test;
  c.sending = true;
  c.started = s.now();
  c.end = s.now() + std::min(test.time.value_or(options_.max_duration), options_.max_duration);
  c.left = test.time ? UINT64_MAX : test.octets - std::min(test.octets, c.sent);
  s.set_timer(c.end);
  if (test.trip_times) begin_bursts(s, c);
  send(s, c);
}

void Iperf2Service::begin_bursts(Stream& s, Connection& c) {
  c.burst.started_us = wall_clock_us();
  c.burst.size = c.test->block != 0 ? c.test->block : kDefaultBurst;
  c.burst.size = std::max<std::uint32_t>(c.burst.size, kBurstHead);
  std::array<std::uint8_t, kTestHead> head;
  emit_test_head(c.burst.started_us, head);
  s.write(Bytes(head));
}

/// Writes the head of the next burst, in one piece: there is room for it. Returns its octets.
std::size_t Iperf2Service::begin_burst(Stream& s, Connection& c) {
  c.burst.sent_us = wall_clock_us();
  ++c.burst.id;
  c.burst.sequence += c.burst.size;
  std::array<std::uint8_t, kBurstHead> head;
  emit_burst(c.burst, head);
  c.burst_left = c.burst.size;
  return s.write(Bytes(head));
}

/// As much as there is room, time and, where the client asked for one, rate for.
void Iperf2Service::send(Stream& s, Connection& c) {
  if (s.write_shut() || s.now() >= c.end) return finish(s, c);
  std::uint64_t may = c.left;
  if (c.test->rate != 0) {
    const double seconds = std::chrono::duration<double>(s.now() - c.started).count();
    const auto due = static_cast<std::uint64_t>(seconds * static_cast<double>(c.test->rate) / 8);
    may = std::min(may, due + kBurst - std::min(due + kBurst, c.sent));
    s.set_timer(std::min(c.end, s.now() + kPace));
  }
  const bool bursts = c.test->trip_times;
  while (may > 0) {
    const bool begins = bursts && c.burst_left == 0;
    if (begins && s.writable() < kBurstHead) return s.want_writable();
    const Slice piece = chargen_slice(c.sent, bursts ? std::min(may, c.burst_left) : may);
    const std::size_t n = begins ? begin_burst(s, c) : s.write(piece);
    c.sent += n;
    c.left -= std::min<std::uint64_t>(c.left, n);
    may -= std::min<std::uint64_t>(may, n);
    if (bursts) c.burst_left -= n;
    if (n < piece.size()) return s.want_writable();
  }
  if (c.left == 0) finish(s, c);
}

void Iperf2Service::finish(Stream& s, Connection& c) {
  c.sending = false;
  c.permit = Permit();
  if (!s.write_shut()) s.shutdown_write();
  s.set_timer(s.now() + kLinger);
}

void Iperf2Service::on_timer(Stream& s) {
  auto& c = *s.session<Connection>();
  // Else the time of the head, of the handshake or of the end is over.
  c.sending ? send(s, c) : s.abort();
}

/// -d and -r: the other direction has a connection of its own, to a port that the client names and
/// to no other address than its own.
void Iperf2Service::connect_back(Stream& s, Connection& c) {
  if (c.test->back_port < kFirstClientPort || free_dials_ == 0) return;
  auto back = std::make_unique<Connection>();
  back->test = *c.test;
  back->test->kind = Test::Kind::full_duplex;
  back->test->connect_back = false;
  back->test->trip_times = false;
  back->permit = Permit(free_dials_);
  c.test->connect_back = false;  // one is enough
  back->from = s.local().addr;
  back->to = {s.remote().addr, back->test->back_port};
  back->give_up = s.now() + kRedialTime;
  dial(std::move(back), s.now());
}

void Iperf2Service::dial(std::unique_ptr<Connection> back, Instant now) {
  ConnEntry* const entry = shard().connect(now, back->from, back->to, *this);
  if (entry == nullptr) return;
  Stream opening(shard(), *entry);
  opening.set_timer(now + kConnectTimeout);
  opening.attach(std::move(back));
}

/// A client of -d begins to listen after it has connected: who comes before is refused.
void Iperf2Service::on_closed(Stream& s, CloseReason reason) {
  auto& c = *s.session<Connection>();
  if (reason != CloseReason::refused || s.now() + kRedial >= c.give_up) return;
  auto again = std::make_unique<Connection>();
  again->test = c.test;
  again->permit = std::move(c.permit);
  again->from = c.from;
  again->to = c.to;
  again->give_up = c.give_up;
  refused_.push_back(std::move(again));
  if (!redial_.armed()) shard().arm(redial_, s.now() + kRedial);
}

void Iperf2Service::redial(Instant now) {
  for (auto& back : std::exchange(refused_, {})) dial(std::move(back), now);
}

void Iperf2Service::on_drain() {
  refused_.clear();
  senders_.stop_all(shard().now());
}

// --- UDP

std::optional<DropReason> Iperf2Service::on_datagram(const Datagram& d) {
  Flows::Flow* flow = flows_->find(d.flow, d.at);
  bool good = false;
  bool over = false;
  d.for_each([&](Bytes datagram) {
    if (datagram.size() < kDatagramHead) return;
    good = true;
    flow = flow_of(d, datagram, flow);
    const auto head = *parse_datagram(datagram, flow->wide_sequence);
    flow->receiver.take(head, datagram.size(), d.at);
    flow->unanswered += datagram.size();
    over = over || head.id < 0;
  });
  if (!good) return DropReason::udp_ignored;
  return over ? send_report(d, *flow) : std::nullopt;
}

/// The flow that a datagram is of; one that begins a test may make us send.
Flows::Flow* Iperf2Service::flow_of(const Datagram& d, Bytes datagram, Flows::Flow* known) {
  if (known != nullptr) {
    const auto head = *parse_datagram(datagram, known->wide_sequence);
    if (!known->receiver.is_over_for(head, d.at)) return known;
  }
  const Bytes rest = datagram.subspan(kDatagramHead);
  const Test test = rest.size() >= kMinTestHead ? parse_test(rest) : Test{};
  const bool sends = test.kind == Test::Kind::reverse || test.kind == Test::Kind::full_duplex;
  if (sends && options_.udp_reverse && free_senders_ > 0 && !senders_.is_sending(d.flow) &&
      !refuse_answer(shard(), d.flow)) {
    senders_.start(d.flow, test, options_.max_duration, Permit(free_senders_), d.at);
  }
  if (known == nullptr) return &flows_->add(d.flow, test.wide_sequence, d.at);
  known->wide_sequence = test.wide_sequence;
  known->receiver = Receiver(d.at);
  return known;
}

/// To the last datagram of a test, as often as it comes; but a flow never gets more octets than it
/// has sent.
std::optional<DropReason> Iperf2Service::send_report(const Datagram& d, Flows::Flow& flow) {
  if (const auto reason = refuse_answer(shard(), d.flow)) return reason;
  if (flow.unanswered < kReport) return DropReason::udp_reflection;
  flow.unanswered = 0;
  std::array<std::uint8_t, kReport> report;
  emit_report(flow.receiver.report(), report);
  shard().send_datagram(d.flow, report);
  return std::nullopt;
}

void Iperf2Service::on_datagram_error(const FlowKey& flow, bool hard) {
  if (hard) senders_.stop(flow);
}

}  // namespace pollux
