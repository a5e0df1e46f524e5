// RFC 863: throws away what it receives.
#pragma once

#include "workers/service.h"

namespace pollux {

class DiscardService final : public Service {
 public:
  std::string_view name() const override { return "discard"; }
  void on_readable(Stream& s) override;
};

/// Consumes everything that waits.
void discard_input(Stream& s);

}  // namespace pollux
