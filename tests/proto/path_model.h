// A path in virtual time for tests of congestion control: one bottleneck with a bounded queue, a
// fixed delay, random losses and ACKs that may come in bunches. The sender paces super-packets as
// a connection does, and feeds the algorithm through RateSampler.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <random>
#include <utility>

#include "proto/tcp/congestion.h"
#include "proto/tcp/rate.h"

namespace pollux::tcp {

struct PathOptions {
  std::uint64_t rate = 12'500'000;  ///< octets per second at the bottleneck
  Duration rtt = 20ms;              ///< without queueing
  std::uint64_t queue = 0;          ///< octets; 0: four bandwidth-delay products and 1 MiB
  unsigned loss_per_mille = 0;      ///< of segments, at random
  Duration ack_every{};             ///< ACKs wait for the next multiple of this
  Duration burst{}, pause{};        ///< nonzero: the application sends and is silent in turn
};

class PathModel {
 public:
  static constexpr std::uint32_t kMss = 1460;

  explicit PathModel(const PathOptions& o) : o_(o), algorithm_(kMss) {}

  PathOptions& path() { return o_; }
  Bbr& bbr() { return algorithm_; }
  Instant now() const { return now_; }
  std::uint64_t delivered() const { return sampler_.delivered(); }
  std::uint64_t bdp() const {
    return o_.rate * static_cast<std::uint64_t>(o_.rtt.count()) / 1'000'000'000;
  }
  /// Of the queue's octets, since the last call.
  std::uint64_t take_max_queue() { return std::exchange(max_queue_, std::uint64_t{0}); }
  /// Of the octets sent within a millisecond, since the last call.
  std::uint64_t take_max_burst() { return std::exchange(max_burst_, std::uint64_t{0}); }
  /// The path takes nothing for a while; everything is lost.
  void black_hole(bool on) { black_hole_ = on; }
  std::uint32_t in_flight() const { return in_flight_; }
  unsigned time_outs() const { return time_outs_; }
  bool visited(Bbr::State s) const { return (visited_ >> static_cast<unsigned>(s) & 1) != 0; }
  void forget_visits() { visited_ = 0; }

  /// Octets per second delivered over `time`.
  std::uint64_t run(Duration time) {
    const std::uint64_t before = delivered();
    const Instant end = now_ + time;
    while (step(end)) visited_ |= 1U << static_cast<unsigned>(algorithm_.state());
    return (delivered() - before) * 1'000'000'000 / static_cast<std::uint64_t>(time.count());
  }

 private:
  struct Packet {
    std::uint64_t number = 0;
    Instant sent, answered;
    std::uint32_t size = 0, lost = 0;
    RateStamp stamp;
  };

  /// Advances to the next event; false at `end`.
  bool step(Instant end) {
    const auto live = std::find_if(packets_.begin(), packets_.end(),
                                   [](const Packet& p) { return p.lost != p.size; });
    const Instant ack = live == packets_.end() ? kNever : live->answered;
    const Instant time_out = packets_.empty() || ack != kNever ? kNever : time_out_at_;
    const Instant send = may_send() ? std::max({next_send_, now_, busy_application()}) : kNever;
    const Instant next = std::min({ack, send, time_out});
    if (next >= end) {
      now_ = end;
      return false;
    }
    now_ = std::max(now_, next);
    if (ack == next) {
      on_ack(static_cast<std::size_t>(live - packets_.begin()));
    } else if (time_out == next) {
      on_time_out();
    } else {
      transmit();
    }
    return true;
  }

  /// When the application has data: now, or at the end of its pause.
  Instant busy_application() const {
    if (o_.pause == Duration::zero()) return now_;
    const Instant at = std::max(next_send_, now_);
    const Duration cycle = o_.burst + o_.pause;
    const Duration into = at.time_since_epoch() % cycle;
    return into < o_.burst ? at : at + (cycle - into);
  }

  bool may_send() {
    if (in_flight_ + kMss <= algorithm_.cwnd()) return true;
    cwnd_limited_ = true;
    return in_flight_ == 0;
  }

  void transmit() {
    if (busy_application() > now_) return;
    if (in_flight_ == 0 && sampler_.delivered() != 0) {
      algorithm_.on_idle(now_ - last_sent_, 200ms);
    }
    const std::uint64_t room = algorithm_.cwnd() > in_flight_ ? algorithm_.cwnd() - in_flight_ : 0;
    const std::uint64_t most = std::min<std::uint64_t>(room, algorithm_.send_quantum());
    const auto segments = static_cast<std::uint32_t>(std::max<std::uint64_t>(most / kMss, 1));
    Packet p;
    p.number = next_number_++;
    p.sent = now_;
    p.size = segments * kMss;
    p.stamp = sampler_.stamp(now_, in_flight_, p.size);
    p.lost = cross_bottleneck(segments, p);
    in_flight_ += p.size;
    packets_.push_back(p);
    last_sent_ = now_;
    pace(p.size);
    set_timer();
    // The last segment before a pause: what is in flight no longer measures the path.
    if (o_.pause != Duration::zero() && busy_application() > std::max(now_, next_send_)) {
      sampler_.on_app_limited(in_flight_);
    }
  }

  void pace(std::uint32_t size) {
    const std::uint64_t rate = algorithm_.pacing_rate();
    const std::uint64_t gap = std::uint64_t{size} * 1'000'000'000 / rate;
    next_send_ = std::max(next_send_, now_) + Duration(static_cast<std::int64_t>(gap));
    const Instant slot{std::chrono::floor<std::chrono::milliseconds>(now_.time_since_epoch())};
    if (slot != burst_slot_) burst_ = 0;
    burst_slot_ = slot;
    burst_ += size;
    max_burst_ = std::max(max_burst_, burst_);
  }

  /// Octets of the packet that are lost; sets when its ACK comes.
  std::uint32_t cross_bottleneck(std::uint32_t segments, Packet& p) {
    const std::uint64_t limit = o_.queue != 0 ? o_.queue : 4 * bdp() + (1U << 20);
    std::uint64_t queued = queue();
    std::uint32_t lost = 0;
    for (std::uint32_t i = 0; i < segments; ++i) {
      if (black_hole_ || random_() % 1000 < o_.loss_per_mille || queued + kMss > limit) {
        lost += kMss;
      } else {
        queued += kMss;
      }
    }
    max_queue_ = std::max(max_queue_, queued);
    busy_until_ = now_ + transmission(queued);
    Instant at = std::max(busy_until_ + o_.rtt, last_answer_);
    if (o_.ack_every > Duration::zero()) {
      const Duration over = at.time_since_epoch() % o_.ack_every;
      if (over > Duration::zero()) at += o_.ack_every - over;
    }
    p.answered = last_answer_ = at;
    return lost;
  }

  std::uint64_t queue() const {
    if (busy_until_ <= now_) return 0;
    const auto ns = static_cast<std::uint64_t>((busy_until_ - now_).count());
    return ns / 1000 * o_.rate / 1'000'000;
  }

  Duration transmission(std::uint64_t octets) const {
    return Duration(static_cast<std::int64_t>(octets * 1'000'000 / o_.rate * 1000 +
                                              octets * 1'000'000 % o_.rate * 1000 / o_.rate));
  }

  /// All packets answered now make one ACK: it also tells of the `unanswered` ones before them.
  void on_ack(std::size_t unanswered) {
    AckEvent e{.now = now_, .in_flight = in_flight_};
    Packet newest;
    for (; !packets_.empty(); packets_.pop_front()) {
      const Packet& p = packets_.front();
      if (unanswered == 0 && p.answered > now_) break;
      if (unanswered != 0) --unanswered;
      e.lost += p.lost;
      e.acked += p.size - p.lost;
      in_flight_ -= p.size;
      if (p.lost != p.size) newest = p;
    }
    if (e.lost != 0) sampler_.on_lost(e.lost);
    e.pipe = in_flight_;
    measure(e, newest);
    recover(e, newest);
    e.cwnd_limited = std::exchange(cwnd_limited_, false);
    algorithm_.on_ack(e);
    back_off_ = 1;
    set_timer();
  }

  void measure(AckEvent& e, const Packet& newest) {
    e.rtt = now_ - newest.sent;
    min_rtt_ = std::min(min_rtt_, e.rtt);
    e.min_rtt = min_rtt_;
    e.srtt = e.rtt;
    e.rate = sampler_.on_delivered(now_, e.acked, newest.stamp, newest.sent, min_rtt_);
  }

  void recover(AckEvent& e, const Packet& newest) {
    if (in_recovery_ && newest.number >= recover_) in_recovery_ = false;
    if (!in_recovery_ && e.lost != 0) {
      in_recovery_ = true;
      recover_ = next_number_;
      algorithm_.on_loss(now_, e.in_flight);
    }
    e.in_recovery = in_recovery_;
  }

  void set_timer() { time_out_at_ = now_ + back_off_ * std::max<Duration>(200ms, 2 * o_.rtt); }

  /// Nothing that is in flight arrived.
  void on_time_out() {
    ++time_outs_;
    back_off_ = std::min(2 * back_off_, 64);
    in_recovery_ = true;
    recover_ = next_number_;
    algorithm_.on_rto(now_, in_flight_);
    sampler_.on_lost(in_flight_);
    in_flight_ = 0;
    packets_.clear();
  }

  PathOptions o_;
  Instant now_{1s};
  Bbr algorithm_;
  RateSampler sampler_;
  std::deque<Packet> packets_;
  std::mt19937 random_{1};
  Instant next_send_{}, last_sent_{}, busy_until_{}, last_answer_{}, burst_slot_{};
  Instant time_out_at_{};
  Duration min_rtt_ = Duration::max();
  std::uint64_t next_number_ = 0, recover_ = 0, max_queue_ = 0, burst_ = 0, max_burst_ = 0;
  std::uint32_t in_flight_ = 0;
  unsigned visited_ = 0, time_outs_ = 0;
  int back_off_ = 1;
  bool cwnd_limited_ = false, in_recovery_ = false, black_hole_ = false;
};

}  // namespace pollux::tcp
