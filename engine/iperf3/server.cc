#include "engine/iperf3/server.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/services/discard.h"

namespace pollux::iperf3 {
namespace {

constexpr Duration kInterval = 1s;
constexpr Duration kQueueInterval = 20ms;
/// What was sent before the client's last word is under way until nothing came for this long.
constexpr Duration kQuiet = 15ms;
constexpr Duration kDrainStep = 5ms;
constexpr Duration kDrainTime = 1s;

double in_seconds(Duration d) { return std::chrono::duration<double>(d).count(); }
std::string describe(const Parameters& p) {
  const char* const direction = p.bidirectional ? "both ways" : p.reverse ? "to it" : "from it";
  std::string end = fmt::format("{} s", p.time_s);
  if (p.bytes != 0) end = fmt::format("{} octets", p.bytes);
  if (p.blocks != 0) end = fmt::format("{} blocks", p.blocks);
  return fmt::format("{}, {} stream{}, {}, {}", p.udp ? "UDP" : "TCP", p.streams(),
                     p.streams() == 1 ? "" : "s", direction, end);
}

}  // namespace

ServerControl::ServerControl(Iperf3Service& service, Stream stream)
    : service_(service), stream_(stream), tick_([this](Instant now) { tick(now); }) {
  spare_ = service_.spare_.insert(service_.spare_.end(), this);
  stream_.set_nodelay(true);
  stream_.set_timer(stream_.now() + kHelloTime);
}

// --- what the client says

void ServerControl::on_readable(Stream& s) {
  while (step(s)) {
  }
}

/// True when there may be more to read. False also when this object is gone.
bool ServerControl::step(Stream& s) {
  switch (step_) {
    case Step::cookie:
      return read_cookie(s);
    case Step::parameters:
      return read_parameters(s);
    case Step::results:
      return read_results(s);
    case Step::done:
      discard_input(s);
      return false;
    default:
      return read_state(s);
  }
}

bool ServerControl::read_cookie(Stream& s) {
  if (s.readable() < Cookie::kSize) return false;
  std::array<std::uint8_t, Cookie::kSize> octets;
  s.read(octets);
  const auto cookie = Cookie::parse(octets);
  if (!cookie) {
    deny("no iperf3 cookie");
    return false;
  }
  Registry& registry = service_.group().registry;
  switch (registry.meaning(*cookie)) {
    case Registry::Meaning::stream:
      if (service_.adopt(s, *cookie)) return false;  // this object is gone
      deny("a stream too many, or from another address");
      return false;
    case Registry::Meaning::refused:
      deny("a stream too many, or the cookie of another test");
      return false;
    case Registry::Meaning::control:
      break;
  }
  auto [test, refused] = registry.begin(*cookie, service_.worker(), s.remote().addr);
  if (!test) {
    deny(refused);
    return false;
  }
  test_ = std::move(test);
  matters();
  service_.add_control(*cookie, *this);
  step_ = Step::parameters;
  s.set_timer(s.now() + kHelloTime);
  send(State::param_exchange);
  return true;
}

bool ServerControl::read_parameters(Stream& s) {
  while (!message_.complete() && !message_.failed()) {
    const Slice in = s.peek();
    if (in.empty()) return false;
    s.consume(message_.feed(in.bytes()));
  }
  if (message_.failed()) {
    refuse({ErrorCode::receive_parameters, "parameters longer than 8 KiB"});
  } else {
    accept_parameters();
  }
  return true;
}

void ServerControl::accept_parameters() {
  const auto parsed = parse_parameters(message_.text(), stream_.info().mss);
  if (const auto* refusal = std::get_if<Refusal>(&parsed)) return refuse(*refusal);
  test_->parameters = std::get<Parameters>(parsed);
  Parameters& p = test_->parameters;
  const Limits& limits = service_.group().registry.limits();
  if (p.parallel > limits.max_parallel) {
    return refuse({ErrorCode::streams, fmt::format("more than {} streams", limits.max_parallel)});
  }
  if (p.time_s > limits.max_duration_s && p.time_s < 86400) {
    return refuse({ErrorCode::duration, fmt::format("longer than {} s", limits.max_duration_s)});
  }
  const bool v4 = stream_.remote().addr.is_v4();
  if (p.udp && p.block > Shard::max_datagram(v4)) {
    return refuse({ErrorCode::udp_block_size, "datagrams longer than they can be"});
  }
  if (!p.udp && !p.congestion.empty() && !tcp::parse_cc(p.congestion)) {
    service_.complain(stream_.remote(), "asks for congestion control " + p.congestion +
                                            ", which there is not: going on with the default");
  }
  test_->circumstances = Circumstances::of(stream_, p);
  gather();
}

void ServerControl::gather() {
  Shard& shard = service_.shard_of();
  if (!service_.group().registry.open(test_)) {
    if (std::exchange(step_, Step::queued) != Step::queued) {
      stream_.set_timer(stream_.now() + kGatherTime);
    }
    return shard.arm(tick_, shard.now() + kQueueInterval);
  }
  step_ = Step::gathering;
  stream_.set_timer(stream_.now() + kGatherTime);
  send(State::create_streams);
}

bool ServerControl::read_state(Stream& s) {
  std::uint8_t octet = 0;
  if (s.read(MutableBytes(&octet, 1)) == 0) return false;
  const auto state = static_cast<State>(octet);
  if (state == State::client_terminate) {
    spdlog::info("iperf3: {} ended its test early", s.remote().to_string());
    end();
  } else if (state == State::test_end && step_ == Step::running) {
    end_traffic(s.now());
  } else if (step_ == Step::running || step_ == Step::gathering || step_ == Step::queued) {
    service_.complain(s.remote(), fmt::format("says {} in the middle of a test", int{octet}));
    end();
  }
  return true;
}

bool ServerControl::read_results(Stream& s) {
  while (!message_.complete() && !message_.failed()) {
    const Slice in = s.peek();
    if (in.empty()) return false;
    s.consume(message_.feed(in.bytes()));
  }
  if (message_.failed() || !parse_results(message_.text())) {
    refuse({ErrorCode::receive_results, "results that cannot be read"});
    return true;
  }
  send_results();
  return true;
}

// --- streams and traffic

void ServerControl::on_complete() {
  if (step_ == Step::gathering) start_traffic();
}

void ServerControl::start_traffic() {
  const Instant now = service_.shard_of().now();
  const Parameters& p = test_->parameters;
  stream_.set_timer(kNever);
  test_->settle();
  test_->started = begun_ = last_data_ = now;
  omitting_ = p.omit_s != 0;
  recorder_.emplace(*test_);
  cpu_.start(now);
  step_ = Step::running;
  test_->enter(Phase::running);
  for (const auto& slot : test_->slots) {
    service_.post(slot->worker, [test = test_, at = slot.get()](Iperf3Service&) {
      if (at->stream != nullptr) at->stream->start();
    });
  }
  spdlog::info("iperf3: test from {}: {}", stream_.remote().to_string(), describe(p));
  if (p.get_server_output) {
    lines_ = fmt::format("Accepted connection from {}, port {}\n",
                         stream_.remote().addr.to_string(), stream_.remote().port) +
             text::connected(*test_) + text::header(*test_);
  }
  send(State::test_start);
  send(State::test_running);
  arm_tick(now);
}

void ServerControl::tick(Instant now) {
  if (step_ == Step::queued) return gather();
  if (step_ == Step::running) return tick_running(now);
  if (step_ == Step::draining) return tick_draining(now);
}

void ServerControl::tick_running(Instant now) {
  if (is_over(now)) return;
  if (omitting_ && now >= test_->started + std::chrono::seconds(test_->parameters.omit_s)) {
    note_interval(seconds(now));
    omitting_ = false;
    begun_ = now;
    intervals_ = 0;
    recorder_->end_omission();
  } else {
    ++intervals_;
    note_interval(seconds(now));
  }
  arm_tick(now);
}

/// For a client that wants our report: what came since the last time. A tenth of an interval is the
/// least, as the original has it, but for the first.
void ServerControl::note_interval(double end_s) {
  if (!test_->parameters.get_server_output) return;
  const auto& rows = recorder_->intervals();
  const bool follows = !rows.empty() && rows.back().omitted == omitting_;
  if (follows && end_s - rows.back().end_s < in_seconds(kInterval) / 10) return;
  lines_ += text::interval(*test_, recorder_->interval(end_s, omitting_));
  if (lines_.size() > kMaxResults / 2) lines_.erase(0, lines_.find('\n', kMaxResults / 4) + 1);
}

/// Guards against clients that never say that the test is over.
bool ServerControl::is_over(Instant now) {
  const Parameters& p = test_->parameters;
  if (const std::uint64_t n = received(); n != last_received_) {
    last_received_ = n;
    last_data_ = now;
  }
  if (!p.reverse && !p.bidirectional && now - last_data_ > kIdleTime) {
    refuse({ErrorCode::no_message, "no data for 120 s"});
    return true;
  }
  const Duration most = std::chrono::seconds(std::min(
      p.time_s != 0 ? p.time_s : UINT32_MAX, service_.group().registry.limits().max_duration_s));
  if (now - test_->started <= most + std::chrono::seconds(p.omit_s) + kOverTime) return false;
  refuse({ErrorCode::duration_expired, "the test goes on past its end"});
  return true;
}

void ServerControl::arm_tick(Instant now) {
  Instant next = begun_ + kInterval * static_cast<std::int64_t>(intervals_ + 1);
  if (omitting_) {
    next = std::min(next, test_->started + std::chrono::seconds(test_->parameters.omit_s));
  }
  service_.shard_of().arm(tick_, std::max(next, now));
}

/// The client's time is over. Senders stop; what is still on its way to receivers counts.
void ServerControl::end_traffic(Instant now) {
  step_ = Step::draining;
  ended_ = last_data_ = now;
  last_received_ = received();
  stream_.set_timer(stream_.now() + kResultsTime);
  test_->enter(Phase::ending);
  unfinished_ = test_->slots.size();
  finish(true);
  service_.shard_of().arm(tick_, now + kDrainStep);
}

void ServerControl::tick_draining(Instant now) {
  if (const std::uint64_t n = received(); n != last_received_) {
    last_received_ = n;
    last_data_ = now;
  }
  const bool receives = std::any_of(test_->slots.begin(), test_->slots.end(),
                                    [](const auto& s) { return !s->sends; });
  if (receives && now - last_data_ < kQuiet && now - ended_ < kDrainTime) {
    return service_.shard_of().arm(tick_, now + kDrainStep);
  }
  finish(false);
}

/// Asks the streams of one direction for their last word.
void ServerControl::finish(bool senders) {
  for (const auto& slot : test_->slots) {
    if (slot->sends != senders) continue;
    service_.post(slot->worker, [test = test_, at = slot.get()](Iperf3Service& there) {
      if (at->stream != nullptr) at->stream->finish();
      there.post(test->home(), [test](Iperf3Service& home) {
        if (ServerControl* control = home.control_of(test)) control->on_finished();
      });
    });
  }
}

void ServerControl::on_finished() {
  if (step_ != Step::draining || --unfinished_ != 0) return;
  test_->enter(Phase::over);
  step_ = Step::results;
  message_ = MessageReader(kMaxResults);
  stream_.set_timer(stream_.now() + kResultsTime);
  send(State::exchange_results);
}

void ServerControl::send_results() {
  const Instant now = service_.shard_of().now();
  const Parameters& p = test_->parameters;
  const double elapsed = in_seconds(std::max(ended_, last_data_) - begun_);
  const bool sends = p.reverse || p.bidirectional;
  const CpuUsage::Percent used = cpu_.until(now);
  Results r;
  r.cpu_total = used.total;
  r.cpu_user = used.user;
  r.cpu_system = used.system;
  r.sender_has_retransmits = !sends ? -1 : p.udp ? 0 : 1;
  if (!p.udp) r.congestion_used = test_->circumstances.congestion;
  note_interval(elapsed);
  r.streams = recorder_->results(elapsed);
  if (p.get_server_output) {
    const bool json = service_.group().options.output == ReportForm::json;
    Summary total = recorder_->summary(elapsed);
    total.local_cpu = used;
    (json ? r.server_output_json : r.server_output_text) = output(total);
  }
  std::uint64_t in = 0, out = 0;
  for (std::size_t i = 0; i < r.streams.size(); ++i) {
    (test_->slots[i]->sends ? out : in) += r.streams[i].bytes;
  }
  spdlog::info("iperf3: test from {} ended after {:.2f} s: {} in, {} out",
               stream_.remote().to_string(), elapsed,
               format_rate(static_cast<double>(in) * 8 / std::max(elapsed, 1e-6)),
               format_rate(static_cast<double>(out) * 8 / std::max(elapsed, 1e-6)));
  send(framed(to_text(r)));
  send(State::display_results);
  step_ = Step::done;
  release(Streams::left);
  spare_ = service_.spare_.insert(service_.spare_.end(), this);
  stream_.set_timer(stream_.now() + kResultsTime);
}

/// The server's own report, for a client that asks.
std::string ServerControl::output(const Summary& total) const {
  if (service_.group().options.output == ReportForm::text) {
    return lines_ + text::summary(*test_, total);
  }
  nlohmann::ordered_json j{{"start", start_json(*test_)},
                           {"intervals", nlohmann::ordered_json::array()}};
  for (const IntervalRow& row : recorder_->intervals()) {
    j["intervals"].push_back(interval_json(*test_, row));
  }
  j["end"] = end_json(*test_, total);
  keep_latest_intervals(j, kMaxResults);
  return j.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// --- ends

void ServerControl::make_room() {
  matters();
  step_ = Step::done;
  stream_.abort();
}

void ServerControl::matters() {
  if (spare_) service_.spare_.erase(*std::exchange(spare_, std::nullopt));
}

void ServerControl::on_timer(Stream& s) {
  if (step_ == Step::done) return s.abort();
  if (step_ == Step::cookie || step_ == Step::parameters) {
    service_.complain(s.remote(), "connected and said nothing for 10 s");
    return end();
  }
  if (step_ == Step::queued) {
    return refuse({ErrorCode::stream_connect, "other UDP tests of this address are beginning"});
  }
  if (step_ == Step::gathering) return refuse({ErrorCode::stream_connect, "streams did not come"});
  refuse({ErrorCode::receive_results, "results did not come"});
}

void ServerControl::on_peer_closed(Stream& s) {
  if (step_ == Step::running || step_ == Step::draining) {
    spdlog::info("iperf3: {} closed its control connection", s.remote().to_string());
  }
  end();
}

void ServerControl::on_closed(Stream&, CloseReason) {
  if (step_ != Step::done) release(Streams::aborted);
}

void ServerControl::terminate() {
  if (step_ == Step::cookie || step_ == Step::done) return;
  send(State::server_terminate);
  end(Streams::finished);  // a reset would be all that the client says of it
}

void ServerControl::refuse(const Refusal& refusal) {
  service_.complain(stream_.remote(), "is refused: " + refusal.why);
  std::array<char, 9> message{};
  message[0] = static_cast<char>(State::server_error);
  store_be32(reinterpret_cast<std::uint8_t*>(&message[1]),
             static_cast<std::uint32_t>(refusal.code));
  send({message.data(), message.size()});
  end();
}

void ServerControl::deny(const std::string& why) {
  service_.complain(stream_.remote(), "is denied: " + why);
  send(State::access_denied);
  end();
}

/// Whatever it was, it is over: our FIN, and a while for the client's.
void ServerControl::end(Streams streams) {
  matters();
  spare_ = service_.spare_.insert(service_.spare_.begin(), this);  // nothing depends on it
  if (step_ != Step::done) release(streams);
  step_ = Step::done;
  discard_input(stream_);
  stream_.shutdown_write();
  stream_.set_timer(stream_.now() + kLinger);
}

/// The test is nobody's any more.
void ServerControl::release(Streams streams) {
  if (!test_) return;
  service_.shard_of().arm(tick_, kNever);
  test_->enter(Phase::over);
  Registry& registry = service_.group().registry;
  registry.close(test_);  // nobody joins from here on
  for (const auto& slot : test_->slots) {
    service_.post(slot->worker, [test = test_, at = slot.get(), streams](Iperf3Service& there) {
      if (at->stream != nullptr && streams == Streams::aborted) at->stream->abort();
      if (at->stream != nullptr && streams == Streams::finished) at->stream->finish();
      if (test->parameters.udp) there.forget(at->flow);
    });
  }
  registry.end(test_);
  service_.remove_control(test_->cookie());
}

// --- helpers

void ServerControl::send(State state) {
  const char octet = static_cast<char>(state);
  send({&octet, 1});
}

void ServerControl::send(std::string_view octets) {
  unsent_ += octets;
  flush();
}

/// Results of many streams with the server's output may be longer than the send buffer is now.
void ServerControl::flush() {
  if (unsent_.empty()) return;
  const Bytes all{reinterpret_cast<const std::uint8_t*>(unsent_.data()), unsent_.size()};
  unsent_.erase(0, stream_.write(all));
  if (!unsent_.empty()) stream_.want_writable();
}

std::uint64_t ServerControl::received() const {
  std::uint64_t n = 0;
  for (const auto& slot : test_->slots) {
    if (!slot->sends) n += slot->counters.bytes.get();
  }
  return n;
}

double ServerControl::seconds(Instant now) const { return in_seconds(now - begun_); }

}  // namespace pollux::iperf3
