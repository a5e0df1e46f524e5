// RFC 863: throws away what it receives.
#pragma once

#include "workers/service.h"

namespace pollux {

class DiscardService final : public Service {
 public:
  std::string_view name() const override { return "discard"; }
  void on_readable(Stream& s) override;
  bool takes_datagrams() const override { return true; }
  std::optional<DropReason> on_datagram(const Datagram& d) override;
};

/// Consumes everything that waits.
void discard_input(Stream& s);

}  // namespace pollux
