#include "engine/services/echo.h"

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

}  // namespace pollux
