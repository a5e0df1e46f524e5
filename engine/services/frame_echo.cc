#include "engine/services/frame_echo.h"

#include <algorithm>

#include "engine/services/discard.h"

namespace pollux {

void FrameEcho::begin_with(Bytes octets) {
  std::copy(octets.begin(), octets.end(), head_.begin());
  head_read_ = octets.size();
}

bool FrameEcho::pump(Stream& s) {
  if (s.write_shut()) {  // the engine drains: nothing can go back
    discard_input(s);
    return true;
  }
  for (;;) {
    if (!flush_head(s)) return true;
    const Step step = body_left_ > 0 ? take_body(s) : take_head(s);
    if (step == Step::refused) return false;
    if (step == Step::wait) break;
  }
  if (s.peer_closed() && s.readable() == 0) s.shutdown_write();
  return true;
}

FrameEcho::Step FrameEcho::take_head(Stream& s) {
  head_read_ += s.read(MutableBytes(head_).subspan(head_read_, head_size_ - head_read_));
  if (head_read_ < head_size_) return Step::wait;
  const auto verdict = judge_(MutableBytes(head_).first(head_size_));
  if (!verdict || verdict->length < head_size_) return Step::refused;
  answer_ = verdict->answer;
  body_left_ = verdict->length - static_cast<std::uint32_t>(head_size_);
  head_read_ = 0;
  head_unsent_ = answer_ ? head_size_ : 0;
  return Step::on;
}

FrameEcho::Step FrameEcho::take_body(Stream& s) {
  if (!answer_) {
    const std::size_t n = std::min<std::size_t>(s.readable(), body_left_);
    s.consume(n);
    body_left_ -= static_cast<std::uint32_t>(n);
    return body_left_ == 0 ? Step::on : Step::wait;
  }
  Slice in = s.peek();
  if (in.empty()) return Step::wait;
  in.truncate(std::min(in.size(), body_left_));
  const std::size_t n = s.write(in);
  s.consume(n);
  body_left_ -= static_cast<std::uint32_t>(n);
  if (n == in.size()) return Step::on;
  s.want_writable();
  return Step::wait;
}

/// False: no room.
bool FrameEcho::flush_head(Stream& s) {
  while (head_unsent_ > 0) {
    const std::size_t n = s.write(Bytes(head_).subspan(head_size_ - head_unsent_, head_unsent_));
    if (n == 0) {
      s.want_writable();
      return false;
    }
    head_unsent_ -= n;
  }
  return true;
}

}  // namespace pollux
