// RFC 862: sends back what it receives, without copying it.
#pragma once

#include "workers/service.h"

namespace pollux {

class EchoService final : public Service {
 public:
  std::string_view name() const override { return "echo"; }
  void on_readable(Stream& s) override { pump(s); }
  void on_writable(Stream& s) override { pump(s); }
  /// What waits for room in the send buffer still goes back before our FIN.
  void on_peer_closed(Stream& s) override { pump(s); }
  bool takes_datagrams() const override { return true; }
  /// The same of datagrams: those that come together go back together.
  std::optional<DropReason> on_datagram(const Datagram& d) override;

 private:
  static void pump(Stream& s);
};

}  // namespace pollux
