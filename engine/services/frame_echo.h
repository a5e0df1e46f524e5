// Messages that say their own length, of which some are answered with themselves: what the
// services for sockperf and for iperf2's bounce-back have in common. The head of a message is
// copied and changed, its body goes back as it came; no message is held, so one that is larger than
// the window works too, and an answer begins before its message has ended.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "workers/service.h"

namespace pollux {

/// Where one connection is in its messages.
class FrameEcho {
 public:
  static constexpr std::size_t kMaxHead = 48;

  struct Verdict {
    std::uint32_t length = 0;  ///< octets of the whole message, at least those of its head
    bool answer = false;
  };
  /// Looks at the head of a message, and makes it that of its answer. nullopt: this is none.
  using Judge = std::optional<Verdict> (*)(MutableBytes head);

  /// `head_size` octets begin each message, kMaxHead at most.
  FrameEcho(std::size_t head_size, Judge judge) : head_size_(head_size), judge_(judge) {}

  /// The first octets of the first message, where somebody else has read them; fewer than a head.
  void begin_with(Bytes octets);
  /// Takes what has come and answers as far as there is room: what is not taken closes the window,
  /// so a client that never reads stops itself. Sends our FIN after the answer to the last octet.
  /// False: the judge refused; the connection is of no use any more.
  [[nodiscard]] bool pump(Stream& s);

 private:
  enum class Step : std::uint8_t { on, wait, refused };
  Step take_head(Stream& s);
  Step take_body(Stream& s);
  bool flush_head(Stream& s);

  std::size_t head_size_;
  Judge judge_;
  std::array<std::uint8_t, kMaxHead> head_{};
  std::size_t head_read_ = 0;
  std::size_t head_unsent_ = 0;
  std::uint32_t body_left_ = 0;
  bool answer_ = false;
};

}  // namespace pollux
