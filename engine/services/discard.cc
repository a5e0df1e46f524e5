#include "engine/services/discard.h"

namespace pollux {

void discard_input(Stream& s) {
  if (const std::size_t n = s.readable(); n != 0) s.consume(n);
}

void DiscardService::on_readable(Stream& s) { discard_input(s); }

std::optional<DropReason> DiscardService::on_datagram(const Datagram&) { return std::nullopt; }

}  // namespace pollux
