// What a conversation says, as a transport with room would take it.
#pragma once

#include <string>

#include "engine/services/http_conversation.h"

namespace pollux {

/// All that can be sent now.
inline std::string take_output(HttpConversation& c) {
  std::string out;
  while (c.has_output()) {
    const Slice body = c.head().empty() ? c.body() : Slice{};
    const Bytes piece = c.head().empty() ? body.bytes() : c.head();
    out.append(reinterpret_cast<const char*>(piece.data()), piece.size());
    c.sent(piece.size());
  }
  return out;
}

}  // namespace pollux
