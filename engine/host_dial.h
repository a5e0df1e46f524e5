// Connects to the first of some endpoints that answers, through the host's kernel, without waiting.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "engine/host_poller.h"
#include "proto/base/addr.h"

namespace pollux {

class HostDial final : public HostHandler, public std::enable_shared_from_this<HostDial> {
 public:
  /// A connected non-blocking socket, or why the last endpoint had none (errno).
  using Done = std::function<void(OwnedFd fd, int error, Instant now)>;

  HostDial(HostPoller& poller, std::vector<Endpoint> targets, Done done)
      : poller_(poller), targets_(std::move(targets)), done_(std::move(done)) {}

  /// Begins; `done` is called once, from within when nothing could even be tried.
  void start(Instant now) { try_next(now, 0); }
  /// Ends it without a call of `done`.
  void cancel();
  void on_ready(std::uint32_t events, Instant now) override;

 private:
  void try_next(Instant now, int last_error);
  bool try_one(const Endpoint& target, int& error);
  void finish(OwnedFd fd, int error, Instant now);

  HostPoller& poller_;
  std::vector<Endpoint> targets_;
  std::size_t next_ = 0;
  Done done_;
  OwnedFd fd_;
  HostPoller::Id id_ = HostPoller::kNone;
};

}  // namespace pollux
