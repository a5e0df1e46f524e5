// The control socket: a UNIX stream socket, one request line in ("show stats\n"), one JSON
// document out, then the connection closes. The server lives in the control thread's epoll loop and
// never blocks it.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace pollux::engine {

class ControlServer {
 public:
  using Handler = std::function<nlohmann::json(std::string_view command)>;

  /// Binds `path` with mode 0660, makes its folder, takes over a socket that nobody answers.
  /// Throws std::runtime_error (one line), also when another daemon answers there.
  explicit ControlServer(std::string path);
  /// Closes every client and removes the socket.
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

/// Asks the daemon at `path`. Throws std::runtime_error (one line) when none is there or it answers
/// with an error.
nlohmann::json control_request(const std::string& path, std::string_view command);

}  // namespace pollux::engine
