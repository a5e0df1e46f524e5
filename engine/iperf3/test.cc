#include "engine/iperf3/test.h"

#include <algorithm>

#include "engine/clock.h"
#include "proto/tcp/conn.h"

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
          .rttvar_us = c.rttvar_us.get(),
          .send_window = c.send_window.get(),
          .path_mtu = c.path_mtu.get()};
}

Circumstances Circumstances::of(const Stream& control, const Parameters& p) {
  const StreamInfo i = control.info();
  const std::uint32_t mss = p.mss != 0 ? std::min(p.mss, i.own_mss) : i.own_mss;
  const std::uint32_t window =
      p.window != 0 ? std::max(p.window, tcp::least_buffer(mss)) : UINT32_MAX;
  const tcp::CcKind kind = tcp::parse_cc(p.congestion).value_or(i.congestion_control);
  return {.began_at = wall_clock_us() / 1'000'000,
          .control_peer = control.remote(),
          .control_mss = i.mss,
          .chose_block = false,
          .send_buffer = std::min(window, i.send_bound),
          .receive_buffer = std::min(window, i.receive_bound),
          .congestion = std::string(tcp::to_string(kind))};
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
