// What a connection of iperf3 is at the moment: the control connection of a test, or a stream.
#pragma once

#include "workers/service.h"

namespace pollux::iperf3 {

class Party : public Session {
 public:
  virtual void on_open(Stream&) {}
  virtual void on_readable(Stream& s) = 0;
  virtual void on_writable(Stream&) {}
  virtual void on_timer(Stream& s) { s.abort(); }
  virtual void on_peer_closed(Stream& s) { s.shutdown_write(); }
  virtual void on_closed(Stream&, CloseReason) {}
};

/// A service whose connections are parties, each by itself.
class PartyService : public Service {
 public:
  void on_open(Stream& s) override { s.session<Party>()->on_open(s); }
  void on_readable(Stream& s) override { s.session<Party>()->on_readable(s); }
  void on_writable(Stream& s) override { s.session<Party>()->on_writable(s); }
  void on_timer(Stream& s) override { s.session<Party>()->on_timer(s); }
  void on_peer_closed(Stream& s) override { s.session<Party>()->on_peer_closed(s); }
  void on_closed(Stream& s, CloseReason reason) override {
    if (auto* party = s.session<Party>()) party->on_closed(s, reason);
  }
};

}  // namespace pollux::iperf3
