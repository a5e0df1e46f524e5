#include "engine/iperf3/traffic.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "engine/clock.h"
#include "engine/services/chargen.h"

namespace pollux::iperf3 {
namespace {

constexpr Duration kPublishInterval = 100ms;
constexpr Duration kLastAcks = 200us;  // between looks at what is not acknowledged yet, at the end
constexpr Duration kLinger = 30s;      // for the peer's FIN after the test, however busy it is
/// Of one write where no rate asks for less.
constexpr std::size_t kLargeWrite = 256U << 10U;
/// Datagrams that go together, where they fit.
constexpr std::size_t kDatagramsTogether = limits::kDatagramSegments;
constexpr std::size_t kSuperDatagram = 60'000;

/// A server sends datagrams until the client says that it has enough: they may be lost. With an
/// omitted time it is the client, too, who knows when counting began.
bool has_quota(const Test& test, bool omitting) {
  const Parameters& p = test.parameters;
  return share_of(p) != 0 && !omitting && !(test.server() && (p.udp || p.omit_s != 0));
}

Pacer pacer_for(const Test& test) {
  const Parameters& p = test.parameters;
  return {p.rate, p.block, p.burst, has_quota(test, p.omit_s != 0) ? share_of(p) : 0};
}

void limit_from_here(Pacer& pacer, const Test& test, const Slot& slot) {
  if (has_quota(test, false)) pacer.set_quota(slot.omitted.bytes + share_of(test.parameters));
}

}  // namespace

std::uint64_t octets_of(const Parameters& p) { return p.bytes != 0 ? p.bytes : p.blocks * p.block; }

std::uint64_t share_of(const Parameters& p) { return (octets_of(p) + p.parallel - 1) / p.parallel; }

std::uint64_t Pacer::due(Instant now) const {
  std::uint64_t most = rate_ == 0 ? std::max<std::uint64_t>(block_, kLargeWrite) : 0;
  if (rate_ != 0) {
    const double allowed =
        static_cast<double>(rate_) / 8 * std::chrono::duration<double>(now - start_).count();
    const double behind = allowed - static_cast<double>(sent_);
    if (behind < 0) return 0;
    const auto blocks = static_cast<std::uint64_t>(behind / static_cast<double>(block_)) + 1;
    most = std::max(blocks, burst_) * block_;
  }
  return quota_ == 0 ? most : std::min(most, quota_ - std::min(quota_, sent_));
}

Instant Pacer::next() const {
  const double seconds = static_cast<double>(sent_) * 8 / static_cast<double>(rate_);
  return start_ + std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds)) +
         1ns;
}

// --- TCP

TcpStream::TcpStream(Shard& shard, Stream stream, TestPtr test, Slot& slot, std::uint64_t written)
    : shard_(shard),
      stream_(stream),
      test_(std::move(test)),
      slot_(slot),
      pacer_(pacer_for(*test_)),
      written_before_(written),
      timer_([this](Instant) { pump(); }) {
  slot_.stream = this;
  const Parameters& p = test_->parameters;
  if (p.nodelay) stream_.set_nodelay(true);
  if (p.tos != 0) stream_.set_dscp(p.tos >> 2U);
  if (const auto kind = tcp::parse_cc(p.congestion)) stream_.set_congestion_control(*kind);
  if (p.window != 0) stream_.set_buffer_limit(p.window);
}

TcpStream::~TcpStream() { slot_.stream = nullptr; }

void TcpStream::start() {
  pacer_.start(stream_.now());
  started_ = true;
  pump();
  on_readable();
}

void TcpStream::on_readable() {
  const std::size_t n = stream_.readable();
  if (n == 0) return;
  const Phase phase = test_->phase();
  // What comes before the test runs is kept: it counts when it does.
  if (phase == Phase::gathering) return;
  stream_.consume(n);
  if (phase != Phase::over && !slot_.sends) slot_.counters.bytes.add(n);
}

void TcpStream::pump() {
  // The phase first: what is settled before the test runs may be read only then.
  const bool runs = started_ && test_->phase() == Phase::running;
  if (!runs || !slot_.sends || stream_.write_shut()) return;
  const Instant now = stream_.now();
  Instant wanted = now + kPublishInterval;
  bool full = false;
  while (!full && !pacer_.over()) {
    if (due_ == 0) due_ = pacer_.due(now);
    if (due_ == 0) {
      wanted = std::min(wanted, std::max(pacer_.next(), now + test_->parameters.pacing_timer));
      break;
    }
    const Slice piece = chargen_slice(0, due_);
    const std::size_t n = stream_.write(piece);
    pacer_.sent(n);
    due_ -= n;
    full = n < piece.size();
  }
  if (full) stream_.want_writable();
  publish();
  if (pacer_.over() && stream_.info().send_queue > 0) wanted = now + kLastAcks;
  shard_.arm(timer_, wanted);
}

void TcpStream::publish() {
  const StreamInfo i = stream_.info();
  StreamCounters& c = slot_.counters;
  // One that ends while others are still being made: home may settle the directions just now.
  if (test_->phase() != Phase::gathering && slot_.sends) {
    c.acked.set(i.bytes_acked - std::min(i.bytes_acked, written_before_));
    c.bytes.set(c.acked.get() + i.bytes_in_flight);
    c.retransmits.set(i.retransmits);
  }
  c.cwnd.set(i.cwnd);
  c.rtt_us.set(static_cast<std::uint64_t>(to_us(i.srtt)));
  c.rttvar_us.set(static_cast<std::uint64_t>(to_us(i.rttvar)));
  c.send_window.set(i.send_window);
  c.path_mtu.set(i.path_mtu);
}

void TcpStream::end_omission() {
  limit_from_here(pacer_, *test_, slot_);
  due_ = std::min(due_, pacer_.due(stream_.now()));  // of a burst that began before
}

void TcpStream::finish() {
  shard_.arm(timer_, kNever);
  publish();
  stream_.shutdown_write();
  stream_.set_timer(stream_.now() + kLinger);
}

void TcpStream::abort() { stream_.abort(); }

// --- UDP

UdpStream::UdpStream(Shard& shard, TestPtr test, Slot& slot)
    : shard_(shard),
      test_(std::move(test)),
      slot_(slot),
      pacer_(pacer_for(*test_)),
      timer_([this](Instant now) { pump(now); }) {
  slot_.stream = this;
}

UdpStream::~UdpStream() { slot_.stream = nullptr; }

void UdpStream::start() {
  if (!slot_.sends) return;
  const std::uint32_t block = test_->parameters.block;
  const std::size_t together =
      std::clamp<std::size_t>(kSuperDatagram / block, 1, kDatagramsTogether);
  out_.reserve(together * block);
  while (out_.size() < together * block) {
    const Slice more = chargen_slice(0, together * block - out_.size());
    out_.insert(out_.end(), more.data(), more.data() + more.size());
  }
  pacer_.start(shard_.now());
  pump(shard_.now());
}

void UdpStream::end_omission() { limit_from_here(pacer_, *test_, slot_); }

void UdpStream::finish() {
  shard_.arm(timer_, kNever);
  out_.clear();
}

void UdpStream::pump(Instant now) {
  if (test_->phase() != Phase::running || out_.empty() || pacer_.over()) return;
  const std::uint32_t block = test_->parameters.block;
  const std::uint64_t due = (pacer_.due(now) + block - 1) / block;
  const std::uint64_t n = std::min<std::uint64_t>(due, out_.size() / block);
  if (n != 0) send(n);
  // Without a rate, or behind it: at the next turn, after whatever else this worker has to do.
  const bool behind = n != 0 && (!pacer_.paced() || due > n);
  shard_.arm(timer_, behind ? now : std::max(pacer_.next(), now + test_->parameters.pacing_timer));
}

void UdpStream::send(std::size_t datagrams) {
  const Parameters& p = test_->parameters;
  const std::int64_t us = wall_clock_us();
  DatagramHead head{.seconds = static_cast<std::uint32_t>(us / 1'000'000),
                    .microseconds = static_cast<std::uint32_t>(us % 1'000'000)};
  const std::uint64_t before = slot_.counters.packets.get();
  for (std::size_t i = 0; i < datagrams; ++i) {
    head.number = before + i + 1;
    head.emit(p.wide_counters, MutableBytes{out_}.subspan(i * p.block));
  }
  const std::size_t octets = datagrams * p.block;
  pacer_.sent(octets);
  // One that the device refuses was sent as far as the numbers go: the receiver finds the gap.
  shard_.send_datagram(slot_.flow, Bytes{out_}.first(octets),
                       {.segment_size = static_cast<std::uint16_t>(p.block), .tos = p.tos});
  slot_.counters.packets.add(datagrams);
  slot_.counters.bytes.add(octets);
}

std::optional<DropReason> UdpStream::on_datagram(const Datagram& d) {
  const Phase phase = test_->phase();
  if (phase == Phase::over) return DropReason::udp_ignored;
  // To a client they may come before it has seen that the test runs, and are traffic all the same.
  const bool early = phase == Phase::gathering;
  if (early ? test_->server() : slot_.sends) return DropReason::udp_ignored;
  d.for_each([&](Bytes one) { count(one, d.at); });
  return std::nullopt;
}

/// Numbers and times as iperf3 takes them: a gap is lost until one of it comes late.
void UdpStream::count(Bytes datagram, Instant at) {
  StreamCounters& c = slot_.counters;
  c.bytes.add(datagram.size());
  const auto head = DatagramHead::parse(datagram, test_->parameters.wide_counters);
  if (!head) return;
  const std::uint64_t highest = c.packets.get();
  if (head->number > highest) {
    c.lost.add(head->number - highest - 1);
    c.packets.set(head->number);
  } else {
    c.out_of_order.add();
    if (c.lost.get() > 0) c.lost.sub();
  }
  const double sent = head->seconds + head->microseconds / 1e6;
  const double transit = std::chrono::duration<double>(at.time_since_epoch()).count() - sent;
  if (std::exchange(timed_, true)) {
    jitter_s_ += (std::abs(transit - transit_s_) - jitter_s_) / 16;  // RFC 1889 6.3.1
    c.jitter_ns.set(static_cast<std::uint64_t>(jitter_s_ * 1e9));
  }
  transit_s_ = transit;
}

}  // namespace pollux::iperf3
