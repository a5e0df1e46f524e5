#include "engine/services/pingpong.h"

#include <algorithm>

#include "engine/services/datagram_guard.h"
#include "engine/services/frame_echo.h"

namespace pollux {
namespace {

constexpr std::size_t kFlagsAt = 8, kLengthAt = 10;

std::optional<FrameEcho::Verdict> judge(MutableBytes head) {
  const std::uint16_t flags = load_be16(&head[kFlagsAt]);
  const std::uint32_t length = load_be32(&head[kLengthAt]);
  if (length < sockperf::kHeaderSize || length > sockperf::kMaxMessage) return std::nullopt;
  constexpr std::uint16_t wanted = sockperf::kClient | sockperf::kPongRequest;
  const bool answer = (flags & (wanted | sockperf::kWarmup)) == wanted;
  store_be16(&head[kFlagsAt], static_cast<std::uint16_t>(flags & ~sockperf::kClient));
  return FrameEcho::Verdict{.length = length, .answer = answer};
}

struct PingPongSession final : Session {
  FrameEcho messages{sockperf::kHeaderSize, judge};
};

}  // namespace

void PingPongService::on_open(Stream& s) {
  s.set_nodelay(true);  // an answer that waits for an ACK measures nothing
  s.attach(std::make_unique<PingPongSession>());
}

void PingPongService::pump(Stream& s) {
  if (!s.session<PingPongSession>()->messages.pump(s)) s.abort();
}

std::optional<DropReason> PingPongService::on_datagram(const Datagram& d) {
  std::size_t size = 0;
  bool good = false;
  d.for_each([&](Bytes message) {
    if (message.size() < sockperf::kHeaderSize) return;
    const MutableBytes copy = MutableBytes(answers_).subspan(size, message.size());
    std::copy(message.begin(), message.end(), copy.begin());
    const auto verdict = judge(copy);
    if (!verdict || verdict->length != message.size()) return;
    good = true;
    if (verdict->answer) size += message.size();
  });
  if (!good) return DropReason::udp_ignored;
  if (size == 0) return std::nullopt;
  if (const auto reason = refuse_answer(shard(), d.flow)) return reason;
  // All but the last have the same size, so what was left out leaves no trace.
  shard().send_datagram(d.flow, Bytes(answers_).first(size),
                        {.segment_size = d.segment_size, .tos = d.tos});
  return std::nullopt;
}

}  // namespace pollux
