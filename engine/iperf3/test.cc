#include "engine/iperf3/test.h"

#include <algorithm>

namespace pollux::iperf3 {

Sample Sample::of(const StreamCounters& c) {
  return {.bytes = c.bytes.get(),
          .packets = c.packets.get(),
          .lost = c.lost.get(),
          .out_of_order = c.out_of_order.get(),
          .jitter_ns = c.jitter_ns.get(),
          .retransmits = c.retransmits.get(),
          .cwnd = c.cwnd.get(),
          .rtt_us = c.rtt_us.get(),
          .rttvar_us = c.rttvar_us.get()};
}

void Test::settle() {
  std::stable_sort(slots.begin(), slots.end(), [](const auto& a, const auto& b) {
    return std::pair(a->opened_at, a->joined) < std::pair(b->opened_at, b->joined);
  });
  const std::size_t to_server = parameters.bidirectional ? parameters.parallel
                                : parameters.reverse     ? 0
                                                         : slots.size();
  for (std::size_t i = 0; i < slots.size(); ++i) {
    slots[i]->id = i == 0 ? 1 : static_cast<int>(i) + 2;  // 2 is never used
    slots[i]->sends = (i < to_server) != server_;
  }
}

}  // namespace pollux::iperf3
