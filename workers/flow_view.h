// Just enough of a packet to choose its worker. Nothing is judged here: what is malformed gets
// some worker, and that worker's parser drops and counts it.
#pragma once

#include <cstdint>

#include "proto/base/addr.h"
#include "proto/base/bytes.h"

namespace pollux {

struct FlowView {
  FlowKey key;  ///< local is the destination, or the source of what an ICMP error quotes
  /// TCP or UDP with its ports in sight, so that the flow hash is its name.
  bool transport = false;
};

/// The flow that `packet` belongs to. An ICMP error belongs to the flow of the packet that it
/// quotes (RFC 792; RFC 4443 2.4). All else, fragments included, goes by addresses alone, ports 0.
FlowView view_flow(Bytes packet);

}  // namespace pollux
