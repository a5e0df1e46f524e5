#include "engine/iperf3/client_run.h"

#include <fmt/format.h>
#include <sys/random.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "engine/services/discard.h"
#include "workers/crew.h"

namespace pollux::iperf3 {
namespace {

using Json = nlohmann::ordered_json;

constexpr Duration kAnswerTime = 30s;  ///< for whatever the server says next
constexpr Duration kLook = 500us;      ///< between looks at whether all octets are through
constexpr const char* kInterrupted = "the client has terminated";
constexpr Duration kLinger = 5s;  ///< for the server's FIN after ours

double in_seconds(Duration d) { return std::chrono::duration<double>(d).count(); }

Cookie random_cookie() {
  std::array<std::uint8_t, Cookie::kSize - 1> entropy;
  if (getrandom(entropy.data(), entropy.size(), 0) != static_cast<ssize_t>(entropy.size())) {
    throw std::runtime_error("cannot get randomness from the kernel");
  }
  return Cookie::make(entropy);
}

/// What a server's number means, for those that it is likely to send.
std::string error_text(std::uint32_t code) {
  switch (static_cast<ErrorCode>(code)) {
    case ErrorCode::duration:
      return "the server refuses a test of that duration";
    case ErrorCode::streams:
      return "the server refuses that many streams";
    case ErrorCode::block_size:
    case ErrorCode::udp_block_size:
      return "the server refuses that block size";
    case ErrorCode::no_message:
      return "the server got no data for too long";
    case ErrorCode::duration_expired:
      return "the server ended the test: it went on past its end";
    case ErrorCode::receive_parameters:
      return "the server cannot read the parameters";
    default:
      return fmt::format("the server reports error {}", code);
  }
}

std::string ended_text(CloseReason reason, bool opened) {
  if (opened) return "control socket has closed unexpectedly";
  switch (reason) {
    case CloseReason::refused:
      return "unable to connect to server: Connection refused";
    case CloseReason::unreachable:
      return "unable to connect to server: No route to host";
    default:
      return "unable to connect to server: Connection timed out";
  }
}

class ControlParty final : public Party {
 public:
  explicit ControlParty(ClientRun& run) : run_(run) {}
  void on_open(Stream& s) override { run_.on_open(s); }
  void on_readable(Stream& s) override { run_.on_readable(s); }
  void on_timer(Stream&) override { run_.on_timeout(); }
  void on_peer_closed(Stream&) override { run_.on_peer_closed(); }
  void on_closed(Stream&, CloseReason reason) override { run_.on_closed(reason); }

 private:
  ClientRun& run_;
};

/// What is left of a control connection when its run is over.
class LingeringParty final : public Party {
 public:
  void on_readable(Stream& s) override { discard_input(s); }
};

}  // namespace

ClientRun::ClientRun(Iperf3ClientService& service, std::uint64_t id, ClientRequest request)
    : service_(service),
      id_(id),
      request_(std::move(request)),
      test_(std::make_shared<Test>(random_cookie(), service.worker(), request_.server.addr, false)),
      recorder_(*test_),
      tick_([this](Instant now) { tick(now); }) {
  test_->parameters = request_.parameters;
  test_->rate_unit = request_.rate_unit;
  test_->verbose = request_.verbose;
}

// --- the control connection

void ClientRun::connect() {
  Shard& shard = service_.shard_of();
  ConnEntry* e = shard.connect(shard.now(), request_.bind, request_.server, service_);
  if (e == nullptr && request_.bind != IpAddr{}) {
    return fail("cannot connect from " + request_.bind.to_string() +
                ": it is not the engine's, or of another family, or no port is free");
  }
  if (e == nullptr) return fail("no address of the server's family, or no port is free");
  control_.emplace(shard, *e);
  control_->attach(std::make_unique<ControlParty>(*this));
  control_->set_nodelay(true);
  control_->set_timer(shard.now() + request_.connect_time);
}

void ClientRun::on_open(Stream& s) {
  opened_ = true;
  s.set_timer(s.now() + kAnswerTime);
  const bool choose = test_->parameters.udp && test_->parameters.block == 0;
  if (choose) test_->parameters.block = s.info().mss;
  const Parameters& p = test_->parameters;
  const std::size_t most = Shard::max_datagram(request_.server.addr.is_v4());
  if (p.udp && p.block > most) {
    return fail(fmt::format("datagrams of {} octets cannot be: at most {}", p.block, most));
  }
  test_->circumstances = Circumstances::of(s, p);
  test_->circumstances.chose_block = choose;
  say(text::opening(*test_));
  s.write(test_->cookie().octets());
}

void ClientRun::on_timeout() {
  fail(opened_ ? "the server does not answer" : ended_text(CloseReason::timeout, false));
}

void ClientRun::on_peer_closed() { fail(ended_text(CloseReason::normal, true)); }

void ClientRun::on_readable(Stream& s) {
  while (step(s)) {
  }
}

/// True when there may be more to read. False also when this object is gone.
bool ClientRun::step(Stream& s) {
  if (step_ == Step::done) {
    discard_input(s);
    return false;
  }
  if (step_ == Step::error) return read_error(s);
  if (step_ == Step::server_results && !message_.complete()) return read_results(s);
  std::uint8_t octet = 0;
  if (s.read(MutableBytes(&octet, 1)) == 0) return false;
  return on_state(static_cast<State>(octet));
}

bool ClientRun::on_state(State state) {
  if (step_ != Step::running) control_->set_timer(control_->now() + kAnswerTime);
  const bool talking = step_ == Step::talking;
  switch (state) {
    case State::param_exchange: {
      if (!talking || std::exchange(asked_, true)) break;
      const std::string text = framed(to_text(test_->parameters));
      control_->write(Bytes{reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
      return true;
    }
    case State::create_streams:
      if (!talking || !asked_ || !test_->slots.empty()) break;
      next_stream();
      return true;
    case State::test_start:
      if (!talking) break;
      return true;
    case State::test_running:
      if (!talking || told_to_run_) break;
      // What a stream's worker has to tell of the last one may come a moment later.
      told_to_run_ = true;
      if (test_->slots.size() == test_->parameters.streams()) return start_traffic();
      fail("the server starts without all streams");
      return false;
    case State::exchange_results:
      if (step_ != Step::ending) break;
      step_ = Step::own_results;
      if (unpublished_ == 0) send_results();
      return true;
    case State::display_results:
      if (step_ != Step::server_results) break;
      if (const auto theirs = parse_results(message_.text())) {
        report(*theirs);
      } else {
        fail("unable to receive results");
      }
      return false;
    case State::access_denied:
      fail("the server is busy running a test. try again later");
      return false;
    case State::server_terminate:
      fail("the server has terminated");
      return false;
    case State::server_error:
      step_ = Step::error;
      return true;
    default:
      break;
  }
  fail(fmt::format("unknown control message {} from the server", static_cast<int>(state)));
  return false;
}

bool ClientRun::read_error(Stream& s) {
  if (s.readable() < 8) return false;
  std::array<std::uint8_t, 8> octets;
  s.read(octets);
  fail(error_text(load_be32(octets.data())));
  return false;
}

bool ClientRun::read_results(Stream& s) {
  const Slice in = s.peek();
  if (in.empty()) return false;
  s.consume(message_.feed(in.bytes()));
  if (!message_.failed()) return true;
  fail("unable to receive results");
  return false;
}

// --- streams

/// One after the other: the server numbers them as they come.
void ClientRun::next_stream() {
  auto slot = std::make_unique<Slot>();
  slot->joined = test_->slots.size();
  Endpoint local{request_.bind, 0};
  if (request_.cport == 0) {
    slot->worker = (service_.worker() + test_->slots.size()) % service_.workers();
  } else {
    local.port = static_cast<std::uint16_t>(request_.cport + test_->slots.size());
    slot->worker = service_.shard_of().owner_of(local, request_.server);
  }
  Slot* const at = slot.get();
  test_->slots.push_back(std::move(slot));
  service_.post(at->worker, [id = id_, test = test_, at, local,
                             server = request_.server](Iperf3ClientService& there) {
    there.open_stream(id, test, *at, local, server);
  });
}

void ClientRun::on_joined() {
  if (step_ != Step::talking) return;
  if (++joined_ < test_->parameters.streams()) return next_stream();
  start_traffic();
}

void ClientRun::each_stream(const std::function<void(DataStream&)>& errand) {
  for (const auto& slot : test_->slots) {
    service_.post(slot->worker, [test = test_, at = slot.get(), errand](Iperf3ClientService&) {
      if (at->stream != nullptr) errand(*at->stream);
    });
  }
}

/// Once the server has said so and all streams are there. Always true: there may be more to read.
bool ClientRun::start_traffic() {
  if (step_ != Step::talking || !told_to_run_ || joined_ != test_->parameters.streams())
    return true;
  const Instant now = service_.shard_of().now();
  step_ = Step::running;
  control_->set_timer(kNever);
  test_->settle();
  test_->started = begun_ = now;
  omitting_ = test_->parameters.omit_s != 0;
  cpu_.start(now);
  test_->enter(Phase::running);
  each_stream([](DataStream& s) { s.start(); });
  say(text::connected(*test_) + text::header(*test_));
  arm_tick(now);
  return true;
}

// --- time

void ClientRun::tick(Instant now) {
  if (step_ != Step::running) return;
  const bool over = is_over(now);
  const Instant next = begun_ + request_.interval * static_cast<std::int64_t>(intervals_ + 1);
  if (omitting_ && now >= test_->started + std::chrono::seconds(test_->parameters.omit_s)) {
    take_interval(now);
    omitting_ = false;
    begun_ = now;
    intervals_ = 0;
    recorder_.end_omission();
    each_stream([](DataStream& s) { s.end_omission(); });
  } else if (over || (request_.interval > Duration::zero() && now >= next)) {
    ++intervals_;
    take_interval(now);
  }
  if (over) return end_traffic(now);
  arm_tick(now);
}

bool ClientRun::is_over(Instant now) const {
  const Parameters& p = test_->parameters;
  if (p.bytes == 0 && p.blocks == 0) {
    return !omitting_ && now >= begun_ + std::chrono::seconds(p.time_s);
  }
  if (omitting_) return false;
  std::uint64_t sent = 0, received = 0;
  for (const auto& slot : test_->slots) {
    const StreamCounters& c = slot->counters;
    const std::uint64_t n = (p.udp || !slot->sends ? c.bytes : c.acked).get();
    (slot->sends ? sent : received) += n - std::min(n, slot->omitted.bytes);
  }
  return std::max(sent, received) >= octets_of(p);
}

void ClientRun::arm_tick(Instant now) {
  const Parameters& p = test_->parameters;
  Instant next = kNever;
  if (request_.interval > Duration::zero()) {
    next = begun_ + request_.interval * static_cast<std::int64_t>(intervals_ + 1);
  }
  if (omitting_) {
    next = std::min(next, test_->started + std::chrono::seconds(p.omit_s));
  } else if (p.bytes == 0 && p.blocks == 0) {
    next = std::min(next, begun_ + std::chrono::seconds(p.time_s));
  }
  if (p.bytes != 0 || p.blocks != 0) next = std::min(next, now + kLook);
  service_.shard_of().arm(tick_, std::max(next, now));
}

void ClientRun::take_interval(Instant now) {
  const IntervalRow& row = recorder_.interval(in_seconds(now - begun_), omitting_);
  const bool wanted = request_.interval > Duration::zero() && row.end_s - row.start_s > 0.001;
  if (wanted) say(text::interval(*test_, row));
}

/// Of a test that ends early: not where the one before ended just now.
void ClientRun::take_last_interval(Instant now) {
  const auto& rows = recorder_.intervals();
  const bool follows = !rows.empty() && rows.back().omitted == omitting_;
  const double least = std::max(in_seconds(request_.interval) / 10, 0.001);
  if (!follows || in_seconds(now - begun_) - rows.back().end_s >= least) take_interval(now);
}

/// The traffic is over: what this end has counted.
void ClientRun::take_stock(Instant now) {
  test_->enter(Phase::over);
  elapsed_ = in_seconds(now - begun_);
  used_ = cpu_.until(now);
  sum_up();
}

void ClientRun::sum_up() {
  results_ = recorder_.results(elapsed_);
  own_ = recorder_.summary(elapsed_);
  own_.local_cpu = used_;
}

void ClientRun::end_traffic(Instant now) {
  step_ = Step::ending;
  take_stock(now);
  collect();
  control_->set_timer(control_->now() + kAnswerTime);
  send(State::test_end);
}

/// Asks all workers for the last counts.
void ClientRun::collect() {
  unpublished_ = test_->slots.size();
  for (const auto& slot : test_->slots) {
    service_.post(slot->worker,
                  [id = id_, test = test_, at = slot.get()](Iperf3ClientService& there) {
                    if (at->stream != nullptr) at->stream->publish();
                    there.tell(test->home(), id, [](ClientRun& run) { run.on_published(); });
                  });
  }
}

void ClientRun::on_published() {
  if (--unpublished_ != 0 || step_ == Step::done) return;
  if (step_ == Step::stopping) return fail(kInterrupted);
  sum_up();
  if (step_ == Step::own_results) send_results();
}

void ClientRun::send_results() {
  const Parameters& p = test_->parameters;
  Results r;
  r.cpu_total = used_.total;
  r.cpu_user = used_.user;
  r.cpu_system = used_.system;
  r.sender_has_retransmits = p.reverse ? -1 : p.udp ? 0 : 1;
  if (!p.udp) r.congestion_used = test_->circumstances.congestion;
  r.streams = results_;
  const std::string text = framed(to_text(r));
  control_->write(Bytes{reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
  step_ = Step::server_results;
}

/// By our own count; servers before 3.14 do not tell theirs.
std::uint64_t ClientRun::omitted_packets(int id) const {
  const auto at = std::find_if(test_->slots.begin(), test_->slots.end(),
                               [id](const auto& slot) { return slot->id == id; });
  return at == test_->slots.end() ? 0 : (*at)->omitted.packets;
}

/// Puts the server's counts beside our own and prints; the run is over.
void ClientRun::report(const Results& theirs) {
  for (StreamSummary& s : own_.streams) {
    const auto at = std::find_if(theirs.streams.begin(), theirs.streams.end(),
                                 [&](const StreamResult& r) { return r.id == s.id; });
    if (at == theirs.streams.end()) continue;
    StreamResult r = *at;
    if (!r.tells_omitted) r.omitted_packets = omitted_packets(s.id);
    r.lost -= std::min(r.lost, r.omitted_lost);
    r.packets -= std::min(r.packets, r.omitted_packets);
    if (r.seconds <= 0) r.seconds = elapsed_;
    if (!s.sender) {  // what a sender says of these it has from us
      r.lost = 0;
      r.jitter_s = 0;
    }
    (s.sender ? s.received : s.sent) = r;
  }
  own_.remote_cpu = {theirs.cpu_total, theirs.cpu_user, theirs.cpu_system};
  own_.remote_congestion = theirs.congestion_used;
  send(State::iperf_done);
  // A server may still be sending what another client asked for.
  const bool asked = test_->parameters.get_server_output;
  if (request_.json) {
    Json j = document();
    if (asked && !theirs.server_output_text.empty()) {
      j["server_output_text"] = theirs.server_output_text;
    }
    if (asked && !theirs.server_output_json.empty()) {
      j["server_output_json"] = Json::parse(theirs.server_output_json, nullptr, false);
    }
    send_document(std::move(j));
  } else {
    say(text::summary(*test_, own_));
    if (asked && !theirs.server_output_text.empty()) {
      say("\nServer output:\n" + theirs.server_output_text + "\n");
    }
    say("\niperf Done.\n");
  }
  release();
}

/// The report in JSON, as far as the run has come.
Json ClientRun::document() const {
  Json j{{"start", start_json(*test_)}, {"intervals", Json::array()}, {"end", Json::object()}};
  if (test_->phase() == Phase::gathering) return j;
  for (const IntervalRow& row : recorder_.intervals()) {
    j["intervals"].push_back(interval_json(*test_, row));
  }
  j["end"] = end_json(*test_, own_);
  return j;
}

void ClientRun::send_document(Json document) {
  keep_latest_intervals(document, engine::ControlLink::kMaxBacklog / 2);
  request_.link->send({{"json", std::move(document)}});
}

// --- ends

void ClientRun::on_closed(CloseReason reason) {
  control_.reset();
  fail(ended_text(reason, opened_));
}

/// Tells what was measured until now, then why that is all.
void ClientRun::fail(const std::string& cause) {
  if (step_ == Step::done) return;
  // A server that hears of an interruption may close before all counts are there.
  const std::string why = step_ == Step::stopping ? kInterrupted : cause;
  const bool begun = test_->phase() != Phase::gathering;
  if (test_->phase() == Phase::running) {
    const Instant now = service_.shard_of().now();
    take_last_interval(now);
    take_stock(now);
  } else if (step_ == Step::stopping) {
    take_last_interval(stopped_);
    sum_up();
  }
  if (request_.json) {
    Json j = document();
    j["error"] = why;
    send_document(std::move(j));
  } else {
    if (begun) say(text::summary(*test_, own_));
    request_.link->send({{"error", why}});
  }
  release();
}

void ClientRun::interrupt() {
  if (step_ == Step::done) return;
  if (opened_ && control_) send(State::client_terminate);
  if (step_ != Step::running) return fail(kInterrupted);
  step_ = Step::stopping;
  stopped_ = service_.shard_of().now();
  take_stock(stopped_);
  collect();
}

void ClientRun::on_stream_closed() {
  if (step_ == Step::talking) fail("unable to connect stream");
  if (step_ == Step::running) fail("a stream has closed unexpectedly");
}

void ClientRun::cancel() {
  if (step_ == Step::done) return;
  if (opened_ && control_) send(State::client_terminate);
  release();
}

/// The end of this object: the streams are reset, the control connection has a moment for its FIN.
void ClientRun::release() {
  request_.link->finish();
  test_->enter(Phase::over);
  for (const auto& slot : test_->slots) {
    service_.post(slot->worker, [test = test_, at = slot.get()](Iperf3ClientService& there) {
      if (at->stream != nullptr) at->stream->abort();
      if (test->parameters.udp) there.close_datagrams(at->flow);
    });
  }
  if (control_) {
    control_->attach(std::make_unique<LingeringParty>());
    if (!opened_) control_->abort();
    control_->shutdown_write();
    control_->set_timer(control_->now() + kLinger);
  }
  // Not now: this may be one of its own callbacks.
  service_.post(service_.worker(), [id = id_](Iperf3ClientService& s) { s.remove(id); });
  step_ = Step::done;
}

void ClientRun::say(std::string lines) {
  if (!request_.json && !lines.empty()) request_.link->send({{"text", std::move(lines)}});
}

void ClientRun::send(State state) {
  const auto octet = static_cast<std::uint8_t>(state);
  control_->write(Bytes(&octet, 1));
}

}  // namespace pollux::iperf3
