// The server side of sockperf: messages of a sequence number, flags and their length; those that
// ask for it go back with the mark of the client taken out. Over TCP and UDP.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "workers/limits.h"
#include "workers/service.h"

namespace pollux {

namespace sockperf {
inline constexpr std::size_t kHeaderSize = 14;  ///< u64 sequence, u16 flags, u32 length
/// Octets of the longest message, its header included.
inline constexpr std::uint32_t kMaxMessage = (1U << 20) - 1;
inline constexpr std::uint16_t kClient = 1, kPongRequest = 2, kWarmup = 4;  // flags
}  // namespace sockperf

class PingPongService final : public Service {
 public:
  std::string_view name() const override { return "pingpong"; }
  void on_open(Stream& s) override;
  void on_readable(Stream& s) override { pump(s); }
  void on_writable(Stream& s) override { pump(s); }
  void on_peer_closed(Stream& s) override { pump(s); }
  bool takes_datagrams() const override { return true; }
  /// One message for each datagram. Those of a super-datagram that want an answer get it in one.
  std::optional<DropReason> on_datagram(const Datagram& d) override;

 private:
  static void pump(Stream& s);
  std::array<std::uint8_t, limits::kMaxPacket> answers_;
};

}  // namespace pollux
