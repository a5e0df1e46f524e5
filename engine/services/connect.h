// Connections that `pollux connect` has opened: each is joined to a socket of the command line's,
// and what becomes of it is told over the control socket.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>

#include "engine/control_link.h"
#include "engine/host_poller.h"
#include "engine/relay.h"
#include "workers/service.h"

namespace pollux {

/// One connection to open.
struct ConnectRequest {
  Endpoint remote;
  Duration timeout{};  ///< until it is open; zero: as TCP has it
  OwnedFd socket;      ///< the client's, a stream socket
  std::shared_ptr<engine::ControlLink> link;
};

/// One object for each worker. Lines on the link: {"connected": {"local", "remote"}}, then
/// {"closed": reason}, with more words where ICMP said why; or {"error": words}; then it is
/// finished.
class ConnectService final : public Service {
 public:
  explicit ConnectService(HostPoller& host) : host_(host) {}
  std::string_view name() const override { return "connect"; }
  /// `id` names it for abandon().
  void open(Shard& shard, std::uint64_t id, ConnectRequest request, Instant now);
  /// The client went away. What it said before still arrives; a peer that then neither closes nor
  /// speaks has a minute.
  void abandon(std::uint64_t id, Instant now);

  void on_open(Stream& s) override;
  void on_readable(Stream& s) override;
  void on_writable(Stream& s) override;
  void on_peer_closed(Stream& s) override { on_readable(s); }
  void on_timer(Stream& s) override;
  void on_soft_error(Stream& s, SoftError error) override;
  void on_closed(Stream& s, CloseReason reason) override;

 private:
  struct Call;
  HostPoller& host_;
  std::unordered_map<std::uint64_t, Stream> calls_;
};

}  // namespace pollux
