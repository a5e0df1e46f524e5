// One connection of the source: how much may go out by the peer's window, and what is to be sent
// again. No congestion control: the way is one memory copy long.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "bench/stubs/answers.h"

namespace pollux::stubs {

class SourceFlow {
 public:
  struct Piece {
    Seq seq;
    std::uint32_t size = 0;
  };

  /// From the peer's SYN. `device_mss`: what fits the device, without options.
  SourceFlow(const Arrived& syn, std::uint16_t device_mss, bool segmentation, Instant now);

  void on_segment(const Arrived& in, Instant now);
  /// What to send next; nothing while the window has no room for a piece worth sending
  /// (RFC 9293 3.8.6.2.1). What is returned counts as sent.
  std::optional<Piece> next();
  /// Goes back to SND.UNA when nothing was acknowledged for a while, or looks into a window that
  /// stays shut (RFC 9293 3.8.6.1).
  void on_time(Instant now);

  /// Sequence numbers, ports and timestamps of whatever goes to this peer.
  wire::TcpHeader header(Seq seq, const Self& self) const;
  Seq reset_seq() const { return next_; }
  const IpAddr& own() const { return first_.ip.dst; }
  const IpAddr& peer() const { return first_.ip.src; }
  std::uint16_t mss() const { return mss_; }
  bool closed() const { return closed_; }
  bool peer_finished() const { return finished_; }
  std::uint64_t octets_acked() const { return acked_; }
  std::uint64_t octets_resent() const { return resent_; }

 private:
  void on_ack(const Arrived& in, Instant now);
  void go_back();

  static constexpr auto kPatience = std::chrono::milliseconds(200);
  static constexpr unsigned kDuplicates = 3;

  Arrived first_;  ///< the latest of the peer, for the answer's ports and timestamps
  std::uint16_t mss_ = 0;
  std::uint32_t piece_max_ = 0;
  std::uint8_t scale_ = 0;
  Seq una_;
  Seq next_;
  Seq highest_;    ///< one past what was sent at least once
  Seq resent_to_;  ///< no second way back before this is acknowledged
  Seq peer_next_;
  std::uint32_t window_ = 0;
  std::uint32_t window_max_ = 0;
  unsigned duplicates_ = 0;
  bool established_ = false;
  bool finished_ = false;
  bool closed_ = false;
  bool probe_ = false;
  Instant progress_;
  std::uint64_t acked_ = 0;
  std::uint64_t resent_ = 0;
};

}  // namespace pollux::stubs
