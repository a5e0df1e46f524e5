// POLLUX_TRACE=1 with POLLUX_SEED prints every segment as its receiver or sender sees it.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>

#include "workers/shard.h"

namespace pollux::sim {

class PrintTrace final : public SegmentTrace {
 public:
  explicit PrintTrace(int host) : host_(host) {}
  /// Only when the environment asks for it.
  void watch(Shard& shard) {
    if (std::getenv("POLLUX_TRACE") != nullptr) shard.set_trace(this);
  }
  void segment(Instant now, bool incoming, const FlowKey& key, const wire::TcpHeader& h,
               std::uint32_t payload, const tcp::Conn* c,
               std::optional<DropReason> dropped) override {
    std::printf("%11.6f host %d:%u %s %-12s seq %10u ack %10u win %5u len %5u sacks %d  %s%s",
                static_cast<double>(now.time_since_epoch().count()) * 1e-9, host_, key.local.port,
                incoming ? "<-" : "->", wire::tcp_flags_to_string(h.flags).c_str(), h.seq.raw(),
                h.ack.raw(), h.window, payload, h.options.sack_count,
                c == nullptr ? "" : std::string(to_string(c->state())).c_str(),
                dropped ? (" DROP " + std::string(to_string(*dropped))).c_str() : "");
    if (c != nullptr) {
      const auto i = c->info();
      std::printf("  cwnd %u flight %u wnd %u rcvq %zu sndq %zu ooo %zu", i.cwnd, i.in_flight,
                  i.send_window, i.receive_queue, i.send_queue, i.out_of_order_bytes);
    }
    std::printf("\n");
  }

 private:
  int host_;
};

}  // namespace pollux::sim
