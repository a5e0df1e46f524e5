#include "proto/tcp/time_wait.h"

namespace pollux::tcp {

namespace {

namespace flag = wire::tcp_flag;
using Answer = TimeWaitVerdict::Answer;

/// Positive when `h` carries a later timestamp than any before, 0 when the same or none.
std::int32_t timestamp_age(const TimeWaitState& s, const wire::TcpHeader& h) {
  if (!s.timestamps || !h.options.timestamps) return 0;
  return static_cast<std::int32_t>(h.options.timestamps->value - s.ts_recent);
}

/// RFC 6191 2: a later timestamp shows a new incarnation; without one a higher ISN has to
/// (RFC 9293 3.10.7.4 MAY-2).
bool may_reopen(const TimeWaitState& s, const wire::TcpHeader& syn) {
  const std::int32_t age = timestamp_age(s, syn);
  return age != 0 ? age > 0 : syn.seq > s.rcv_nxt;
}

/// What occupies sequence space: nothing behind the peer's FIN is new.
TimeWaitVerdict judge_text(const TimeWaitState& s, const wire::TcpHeader& h,
                           std::uint32_t payload) {
  const bool fin = h.has(flag::fin);
  const Seq end = h.seq + payload + (fin ? 1U : 0U);
  if (end > s.rcv_nxt) return {.dropped = DropReason::tcp_closed, .answer = Answer::challenge};
  // "The only thing that can arrive in this state is a retransmission of the remote FIN.
  // Acknowledge it, and restart the 2 MSL timeout."
  return {.dropped = DropReason::tcp_duplicate, .answer = Answer::ack, .restart = fin};
}

}  // namespace

TimeWaitVerdict judge_in_time_wait(TimeWaitState& s, const wire::TcpHeader& h,
                                   std::uint32_t payload) {
  if (h.has(flag::rst)) return {.dropped = DropReason::tcp_time_wait};  // RFC 1337 F1
  if (h.has(flag::syn) && !h.has(flag::ack) && may_reopen(s, h))
    return {.dropped = {}, .reopen = true};
  if (s.timestamps && !h.options.timestamps) return {.dropped = DropReason::tcp_paws};
  if (timestamp_age(s, h) < 0) {
    return {.dropped = DropReason::tcp_paws, .answer = Answer::challenge};
  }
  if (h.has(flag::syn)) {
    return {.dropped = DropReason::tcp_blind_syn, .answer = Answer::challenge};
  }
  if (payload > 0 || h.has(flag::fin)) return judge_text(s, h, payload);
  if (h.seq < s.rcv_nxt || h.seq > s.rcv_nxt + s.window) {
    return {.dropped = DropReason::tcp_out_of_window, .answer = Answer::challenge};
  }
  if (timestamp_age(s, h) > 0 && h.seq <= s.rcv_nxt) s.ts_recent = h.options.timestamps->value;
  if (!h.has(flag::ack)) return {.dropped = DropReason::tcp_bad_flags};
  if (h.ack > s.snd_nxt) {
    return {.dropped = DropReason::tcp_bad_ack, .answer = Answer::challenge};
  }
  return {};
}

wire::TcpHeader time_wait_ack(const TimeWaitState& s) {
  wire::TcpHeader h;
  h.seq = s.snd_nxt;
  h.ack = s.rcv_nxt;
  h.flags = flag::ack;
  h.window = s.window;
  if (s.timestamps) h.options.timestamps = wire::TcpTimestamps{0, s.ts_recent};
  return h;
}

}  // namespace pollux::tcp
