#include "engine/services/echo.h"

namespace pollux {

void EchoService::pump(Stream& s) {
  for (Slice in = s.peek(); !in.empty(); in = s.peek()) {
    const std::size_t n = s.write(in);
    s.consume(n);
    // Data that is not consumed closes the window: a client that never reads stops itself.
    if (n < in.size()) return s.want_writable();
  }
  if (s.peer_closed() && !s.write_shut()) s.shutdown_write();
}

}  // namespace pollux
