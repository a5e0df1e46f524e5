// What every service that answers UDP datagrams asks first. A source address is easily forged, so
// an answer may go to somebody who asked for nothing (RFC 4732 3.1). Two rules make the engine
// useless for that: no answer is longer than what it answers, which is for each service to keep,
// and no answer goes where it would be answered in turn, which is here.
#pragma once

#include <optional>

#include "workers/shard.h"

namespace pollux {

/// Why a datagram of this flow gets no answer: it came from a port below 1024, where services are
/// (echo, chargen, DNS) and no clients, or from one where this engine answers datagrams itself: two
/// such services would talk to each other for ever.
inline std::optional<DropReason> refuse_answer(const Shard& shard, const FlowKey& flow) {
  constexpr std::uint16_t kFirstClientPort = 1024;
  const std::uint16_t port = flow.remote.port;
  if (port < kFirstClientPort || shard.takes_datagrams(port)) return DropReason::udp_reflection;
  return std::nullopt;
}

}  // namespace pollux
