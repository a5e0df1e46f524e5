// What the hop looks at in a packet, and the one thing it changes: options of a SYN.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "proto/base/addr.h"
#include "proto/base/bytes.h"
#include "proto/base/seq.h"

namespace pollux::hop {

/// TCP option kinds that can be taken out of a SYN (RFC 2018, RFC 7323).
inline constexpr std::uint8_t kOptionSackPermitted = 4;
inline constexpr std::uint8_t kOptionTimestamps = 8;

struct TcpView {
  FlowKey flow;  ///< local: the sender, remote: the receiver
  Seq seq;
  std::uint8_t flags = 0;
  std::uint32_t payload = 0;   ///< octets
  std::size_t tcp_offset = 0;  ///< where the TCP header starts in the packet
  std::size_t tcp_size = 0;    ///< TCP header and payload

  bool has(std::uint8_t flag) const { return (flags & flag) != 0; }
};

/// Nothing for what is no whole, well-formed TCP segment. Checksums are not looked at.
std::optional<TcpView> view_tcp(Bytes packet);

/// Overwrites every option of this kind with NOPs and corrects the checksum. True when there was
/// one.
bool strip_option(MutableBytes packet, const TcpView& tcp, std::uint8_t kind);

}  // namespace pollux::hop
