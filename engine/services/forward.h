// Leads each connection on to one target, through the host's kernel or through the engine: the
// engine in front of an existing server. The client's handshake comes first; what it sends before
// the target answered waits.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/config.h"
#include "engine/host_poller.h"
#include "engine/relay.h"
#include "workers/service.h"
#include "workers/token_bucket.h"

namespace pollux {

/// What the workers' objects of one service share: read-only but for the count.
class ForwardPlan;

class ForwardService final : public Service {
 public:
  /// `host` serves the worker that this object is for; not needed with `via = "engine"`.
  ForwardService(std::shared_ptr<ForwardPlan> plan, HostPoller* host);
  ~ForwardService() override;
  std::string_view name() const override { return "forward"; }
  void on_open(Stream& s) override;
  void on_readable(Stream& s) override;
  void on_writable(Stream& s) override;
  void on_peer_closed(Stream& s) override { on_readable(s); }
  void on_timer(Stream& s) override;
  void on_closed(Stream& s, CloseReason reason) override;

 private:
  struct Leg;
  void begin(Stream& s, RelayKeep keep);
  void dial_host(Stream& s, Leg& leg);
  void on_dialled(Stream s, Leg& leg, OwnedFd fd, int error, Instant now);
  bool dial_engine(Leg& leg, Instant now);
  void on_leg_closed(Stream& s, Leg& leg, CloseReason reason);
  void refuse(Stream& s, const std::string& why);
  void warn(Instant now, const std::string& what);

  std::shared_ptr<ForwardPlan> plan_;
  HostPoller* host_;
  TokenBucket warnings_;
  std::uint64_t unsaid_ = 0;  ///< warnings that the bucket refused
};

/// Resolves the target; throws std::runtime_error (one line) when it cannot be resolved or may not
/// be reached.
std::shared_ptr<ForwardPlan> plan_forward(const ServiceConfig& config);

}  // namespace pollux
