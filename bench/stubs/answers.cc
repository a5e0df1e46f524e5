#include "bench/stubs/answers.h"

#include <algorithm>

namespace pollux::stubs {
namespace flag = wire::tcp_flag;
namespace {

constexpr std::uint32_t kWindowMax = 65'535;
/// PAWS only asks that it never goes back (RFC 7323 5.2).
constexpr std::uint32_t kTimestamp = 1;

}  // namespace

std::uint16_t Self::scaled_window() const {
  return static_cast<std::uint16_t>(std::min(window >> kScale, kWindowMax));
}

wire::TcpHeader answer_to(const Arrived& in, const Self& self) {
  wire::TcpHeader out;
  out.src_port = in.tcp.dst_port;
  out.dst_port = in.tcp.src_port;
  out.flags = flag::ack;
  out.window = self.scaled_window();
  if (in.tcp.options.timestamps) {
    out.options.timestamps = wire::TcpTimestamps{kTimestamp, in.tcp.options.timestamps->value};
  }
  return out;
}

wire::TcpHeader syn_ack(const Arrived& in, const Self& self) {
  wire::TcpHeader out = answer_to(in, self);
  out.flags = flag::syn | flag::ack;
  out.seq = Seq{Self::kIss};
  out.ack = in.tcp.seq + 1;
  out.window = static_cast<std::uint16_t>(std::min(self.window, kWindowMax));
  out.options.mss = self.mss;
  if (in.tcp.options.window_scale) out.options.window_scale = Self::kScale;
  return out;
}

bool Sink::on_segment(const Arrived& in, wire::TcpHeader& answer) {
  if (in.has(flag::rst)) return false;
  Seq& next = next_[in.tcp.src_port];
  if (in.has(flag::syn)) {
    next = in.tcp.seq + 1;
    answer = syn_ack(in, self_);
    return true;
  }
  if (in.end() == in.tcp.seq) return false;
  take(in, next);
  answer = answer_to(in, self_);
  answer.seq = Seq{Self::kIss} + 1;
  answer.ack = next;
  // Our FIN goes with the ACK of the peer's, and again should that one come again.
  if (in.has(flag::fin) && in.end() == next) answer.flags |= flag::fin;
  return true;
}

/// In order, or overlapping what is there; what leaves a gap is not kept.
void Sink::take(const Arrived& in, Seq& next) {
  if (in.tcp.seq != next) ++misplaced_;
  if (in.tcp.seq > next || in.end() <= next) return;
  octets_ += distance(next, in.end()) - (in.has(flag::fin) ? 1U : 0U);
  next = in.end();
}

bool echo(const Arrived& in, const Self& self, wire::TcpHeader& answer) {
  if (in.has(flag::rst)) return false;
  if (in.has(flag::syn)) {
    answer = syn_ack(in, self);
    return true;
  }
  if (in.end() == in.tcp.seq) return false;
  answer = answer_to(in, self);
  answer.seq = in.tcp.ack;
  answer.ack = in.end();
  if (!in.payload.empty()) answer.flags |= flag::psh;
  if (in.has(flag::fin)) answer.flags |= flag::fin;
  return true;
}

}  // namespace pollux::stubs
