// A UDP datagram as a service gets it, or many of one sender in one super-datagram.
#pragma once

#include <algorithm>
#include <cstdint>

#include "proto/base/addr.h"
#include "proto/base/buffer.h"
#include "proto/base/time.h"

namespace pollux {

struct Datagram {
  const FlowKey& flow;
  Slice payload;
  /// Octets of each datagram in `payload`, the last of which may be shorter; 0: it is one.
  std::uint16_t segment_size = 0;
  std::uint8_t tos = 0;  ///< DSCP and ECN as they came
  Instant at{};          ///< the instant of this turn

  /// Calls f(Bytes) with each datagram.
  template <class F>
  void for_each(F&& f) const {
    if (segment_size == 0) return f(payload.bytes());
    for (Bytes rest = payload.bytes(); !rest.empty();) {
      const std::size_t n = std::min<std::size_t>(segment_size, rest.size());
      f(rest.first(n));
      rest = rest.subspan(n);
    }
  }
  std::size_t count() const {
    return segment_size == 0 ? 1 : (payload.size() + segment_size - 1U) / segment_size;
  }
};

}  // namespace pollux
