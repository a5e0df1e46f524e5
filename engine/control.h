// The control socket: a UNIX stream socket, one request line in ("show stats\n"). Most requests are
// answered by one JSON document and the connection closes. A request may open a session instead:
// then lines of JSON follow for as long as the session lasts; it ends when the client goes, and is
// asked to come to its end when the client says anything more ("stop\n"). The server lives in the
// control thread's epoll loop and never blocks it.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "engine/control_link.h"
#include "engine/owned_fd.h"

namespace pollux::engine {

/// One request as its handler sees it; valid while the handler runs.
class ControlRequest {
 public:
  /// What a session's client does; both are called on the control thread.
  struct Events {
    /// Once, when the client leaves or is too slow before everything up to finish() was written;
    /// not when the server itself goes.
    std::function<void()> on_gone;
    /// The client wants what there is so far, and the end. Perhaps more than once.
    std::function<void()> on_stop = [] {};
  };
  /// Makes a session of the client; see open_session().
  using Opener = std::function<std::shared_ptr<ControlLink>(Events)>;
  ControlRequest(std::string_view command, OwnedFd& passed, Opener open)
      : command_(command), passed_(passed), open_(std::move(open)) {}

  std::string_view command() const { return command_; }
  /// The descriptor that came with the request (SCM_RIGHTS); not open when none did.
  OwnedFd take_fd() { return std::move(passed_); }
  /// The connection stays open after the handler returned and takes the link's lines; what the
  /// handler returns goes first, null is left out. Throws std::runtime_error when there are too
  /// many sessions.
  std::shared_ptr<ControlLink> open_session(Events events) { return open_(std::move(events)); }

 private:
  std::string_view command_;
  OwnedFd& passed_;
  Opener open_;
};

class ControlServer {
 public:
  using Handler = std::function<nlohmann::json(ControlRequest&)>;

  /// Binds `path` with mode 0660, makes its folder, takes over a socket that nobody answers.
  /// Throws std::runtime_error (one line), also when another daemon answers there.
  explicit ControlServer(std::string path);
  /// Sends what the sessions' clients take at once, closes every client and removes the socket.
  ~ControlServer();
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;

  /// Readable when on_ready() has something to do: one descriptor for listener, clients and
  /// their time limits.
  int fd() const;
  /// What `handler` throws is answered as {"error": "..."}.
  void on_ready(const Handler& handler);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace pollux::engine
