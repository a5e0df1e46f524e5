// SipHash (Aumasson, Bernstein): the keyed hash behind the ISN (RFC 6528), timestamp offsets
// and the flow hash. The key is entropy from outside; proto never makes its own.
#pragma once

#include <cstdint>

#include "proto/base/addr.h"
#include "proto/base/bytes.h"

namespace pollux {

struct HashKey {
  std::uint64_t k0 = 0;
  std::uint64_t k1 = 0;
};

/// SipHash-2-4 of `data`: 64 bits, a PRF.
std::uint64_t siphash24(const HashKey& key, Bytes data);

/// SipHash-1-3 of a flow, for tables and worker choice.
std::uint32_t flow_hash(const HashKey& key, const FlowKey& flow);

/// SipHash-2-4 of a flow and a purpose tag, for ISNs and timestamp offsets.
std::uint64_t flow_prf(const HashKey& key, const FlowKey& flow, std::uint64_t purpose);

}  // namespace pollux
