#include "bench/stubs/source_flow.h"

#include <algorithm>

namespace pollux::stubs {
namespace flag = wire::tcp_flag;
namespace {

constexpr std::uint32_t kPacketMax = 65'535;
constexpr std::uint16_t kTimestampsSize = 12;
constexpr std::uint16_t kDefaultMss = 536;  // RFC 9293 MUST-15
constexpr std::uint8_t kScaleMax = 14;      // RFC 7323 2.3

std::uint16_t segment_payload(const wire::TcpOptions& options, std::uint16_t device_mss) {
  const std::uint16_t mss = std::min(options.mss.value_or(kDefaultMss), device_mss);
  return static_cast<std::uint16_t>(mss - (options.timestamps ? kTimestampsSize : 0));
}

}  // namespace

SourceFlow::SourceFlow(const Arrived& syn, std::uint16_t device_mss, bool segmentation, Instant now)
    : first_(syn),
      mss_(segment_payload(syn.tcp.options, device_mss)),
      piece_max_(mss_),
      scale_(std::min(syn.tcp.options.window_scale.value_or(0), kScaleMax)),
      una_(Seq{Self::kIss} + 1),
      next_(una_),
      highest_(una_),
      resent_to_(una_),
      peer_next_(syn.tcp.seq + 1),
      progress_(now) {
  first_.payload = {};
  const std::uint32_t headers =
      static_cast<std::uint32_t>(wire::ip_header_size(syn.ip.is_v4()) + wire::kTcpHeaderSize +
                                 (syn.tcp.options.timestamps ? kTimestampsSize : 0U));
  if (segmentation) piece_max_ = (kPacketMax - headers) / mss_ * mss_;
}

void SourceFlow::on_segment(const Arrived& in, Instant now) {
  if (in.has(flag::rst)) {
    closed_ = true;
    return;
  }
  if (in.tcp.seq == peer_next_) {
    peer_next_ = in.end();
    finished_ = in.has(flag::fin);
  }
  first_.tcp.options.timestamps = in.tcp.options.timestamps;
  if (in.has(flag::ack)) on_ack(in, now);
}

void SourceFlow::on_ack(const Arrived& in, Instant now) {
  const Seq ack = in.tcp.ack;
  if (ack < una_ || ack > highest_) return;
  const std::uint32_t window = std::uint32_t{in.tcp.window} << scale_;
  const bool duplicate =
      established_ && ack == una_ && window == window_ && in.payload.empty() && next_ != una_;
  established_ = true;
  if (ack != una_ || window != window_) progress_ = now;
  acked_ += distance(una_, ack);
  if (ack != una_) duplicates_ = 0;
  una_ = ack;
  next_ = max(next_, una_);
  window_ = window;
  window_max_ = std::max(window_max_, window);
  if (duplicate && ++duplicates_ == kDuplicates && una_ >= resent_to_) go_back();
}

void SourceFlow::go_back() {
  resent_ += distance(una_, next_);
  resent_to_ = highest_;
  next_ = una_;
  duplicates_ = 0;
}

std::optional<SourceFlow::Piece> SourceFlow::next() {
  if (!established_ || finished_ || closed_) return std::nullopt;
  const std::int32_t room = (una_ + window_) - next_;
  if (probe_ && room <= 0) {
    probe_ = false;  // it goes again with what follows it, unless it is acknowledged
    highest_ = max(highest_, next_ + 1);
    return Piece{next_, 1};
  }
  if (room <= 0) return std::nullopt;
  const std::uint32_t size = std::min(static_cast<std::uint32_t>(room), piece_max_);
  const bool worth = size == piece_max_ || next_ == una_ || size >= window_max_ / 2;
  if (!worth) return std::nullopt;
  const Piece piece{next_, size};
  next_ += size;
  highest_ = max(highest_, next_);
  return piece;
}

void SourceFlow::on_time(Instant now) {
  if (closed_ || !established_ || now - progress_ < kPatience) return;
  progress_ = now;
  if (next_ != una_) {
    go_back();
  } else {
    probe_ = window_ == 0;
  }
}

wire::TcpHeader SourceFlow::header(Seq seq, const Self& self) const {
  wire::TcpHeader out = answer_to(first_, self);
  out.seq = seq;
  out.ack = peer_next_;
  return out;
}

}  // namespace pollux::stubs
