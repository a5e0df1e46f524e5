#include "engine/services/echo.h"

#include "engine/services/datagram_guard.h"
#include "engine/services/discard.h"

namespace pollux {

void EchoService::pump(Stream& s) {
  if (s.write_shut()) return discard_input(s);  // the engine drains: nothing can go back
  for (Slice in = s.peek(); !in.empty(); in = s.peek()) {
    const std::size_t n = s.write(in);
    s.consume(n);
    // Data that is not consumed closes the window: a client that never reads stops itself.
    if (n < in.size()) return s.want_writable();
  }
  if (s.peer_closed()) s.shutdown_write();
}

std::optional<DropReason> EchoService::on_datagram(const Datagram& d) {
  if (const auto reason = refuse_answer(shard(), d.flow)) return reason;
  shard().send_datagram(d.flow, d.payload.bytes(), {.segment_size = d.segment_size, .tos = d.tos});
  return std::nullopt;
}

}  // namespace pollux
