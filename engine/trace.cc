#include "engine/trace.h"

#include <spdlog/spdlog.h>

namespace pollux {

namespace {

std::string options_text(const wire::TcpOptions& o) {
  std::string s;
  if (o.mss) s += fmt::format(" mss {}", *o.mss);
  if (o.window_scale) s += fmt::format(" wscale {}", *o.window_scale);
  if (o.sack_permitted) s += " sackOK";
  for (unsigned i = 0; i < o.sack_count; ++i) {
    s += fmt::format(" sack {}-{}", o.sack[i].begin.raw(), o.sack[i].end.raw());
  }
  return s;
}

std::string verdict_text(bool incoming, const wire::TcpHeader& h, const tcp::Conn* conn,
                         std::optional<DropReason> dropped) {
  if (dropped) return fmt::format("dropped: {}", to_string(*dropped));
  if (!incoming) return conn == nullptr && h.has(wire::tcp_flag::rst) ? "reset" : "sent";
  if (conn == nullptr) return "no connection";
  return conn->keeps_out_of_order() ? "kept out of order" : "accepted";
}

}  // namespace

void LogTrace::segment(Instant, bool incoming, const FlowKey& key, const wire::TcpHeader& h,
                       std::uint32_t payload, const tcp::Conn* conn,
                       std::optional<DropReason> dropped) {
  const auto state = conn != nullptr ? tcp::to_string(conn->state()) : "-";
  const std::uint32_t rcv = conn != nullptr ? conn->rcv_nxt_relative() : 0;
  const std::uint32_t una = conn != nullptr ? conn->snd_una_relative() : 0;
  const std::uint32_t nxt = conn != nullptr ? conn->snd_nxt_relative() : 0;
  spdlog::debug(
      "{} {} {} {} [{}] seq {} ack {} len {} win {}{} | rcv.nxt {} snd.una {} snd.nxt {} | {}",
      key.local.to_string(), incoming ? "<-" : "->", key.remote.to_string(), state,
      wire::tcp_flags_to_string(h.flags), h.seq.raw(), h.ack.raw(), payload, h.window,
      options_text(h.options), rcv, una, nxt, verdict_text(incoming, h, conn, dropped));
}

}  // namespace pollux
