#include "workers/time_wait.h"

namespace pollux {

namespace {

// Eight units are the 500 ms of RFC 5961 7; 16 bits of them last longer than the longest 2 MSL.
constexpr Duration kChallengeUnit = 64ms;
constexpr std::uint16_t kChallengeUnits = 8;

}  // namespace

tcp::TimeWaitState TimeWaitTable::state_of(const TimeWait& r) {
  return {.snd_nxt = Seq{r.snd_nxt},
          .rcv_nxt = Seq{r.rcv_nxt},
          .ts_recent = r.ts_recent,
          .window = r.window,
          .timestamps = r.timestamps != 0};
}

void TimeWaitTable::add(std::uint32_t hash, const FlowKey& key, const tcp::TimeWaitState& state,
                        Instant since) {
  if (store_.full()) remove(queue_.head);
  const std::uint32_t n = store_.add(hash, key);
  now_ = std::max(now_, since);
  TimeWait& r = store_.at(n);
  r.snd_nxt = state.snd_nxt.raw();
  r.rcv_nxt = state.rcv_nxt.raw();
  r.ts_recent = state.ts_recent;
  r.window = state.window;
  r.timestamps = state.timestamps ? 1 : 0;
  r.since_ms = Ms::cut(since);
  store_.push_back(queue_, n);
}

void TimeWaitTable::remove(std::uint32_t n) {
  store_.unlink(queue_, n);
  store_.remove(n);
}

void TimeWaitTable::clear() {
  while (!queue_.empty()) remove(queue_.head);
}

/// RFC 5961 7. The first is always allowed: nothing was sent that it could repeat.
bool TimeWaitTable::may_challenge(TimeWait& r, Instant now) const {
  const auto unit = static_cast<std::uint16_t>((now.time_since_epoch() / kChallengeUnit) | 1);
  if (r.challenged != 0 && static_cast<std::uint16_t>(unit - r.challenged) <= kChallengeUnits) {
    return false;
  }
  r.challenged = unit;
  return true;
}

tcp::TimeWaitVerdict TimeWaitTable::on_segment(std::uint32_t n, const wire::TcpHeader& h,
                                               std::uint32_t payload, Instant now) {
  using Answer = tcp::TimeWaitVerdict::Answer;
  now_ = std::max(now_, now);
  TimeWait& r = store_.at(n);
  tcp::TimeWaitState state = state_of(r);
  tcp::TimeWaitVerdict v = tcp::judge_in_time_wait(state, h, payload);
  r.ts_recent = state.ts_recent;
  if (v.answer == Answer::challenge) {
    v.answer = may_challenge(r, now) ? Answer::ack : Answer::none;
  }
  if (v.restart) {
    r.since_ms = Ms::cut(now);
    store_.unlink(queue_, n);
    store_.push_back(queue_, n);
  }
  return v;
}

Instant TimeWaitTable::next_deadline() const {
  return queue_.empty() ? kNever : since(store_.at(queue_.head)) + two_msl_;
}

void TimeWaitTable::expire(Instant now, std::size_t most) {
  for (; most > 0 && next_deadline() <= now; --most) remove(queue_.head);
}

}  // namespace pollux
