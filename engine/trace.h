// The debug log of a teaching stack: each segment in and out as one readable line with connection,
// state and what was decided. Exists only at level debug and below.
#pragma once

#include "workers/shard.h"

namespace pollux {

class LogTrace final : public SegmentTrace {
 public:
  void segment(Instant now, bool incoming, const FlowKey& key, const wire::TcpHeader& h,
               std::uint32_t payload, const tcp::Conn* conn,
               std::optional<DropReason> dropped) override;
};

}  // namespace pollux
