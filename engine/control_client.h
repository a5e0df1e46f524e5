// The other end of the control socket: what the command line asks a running daemon.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "engine/owned_fd.h"

namespace pollux::engine {

/// Asks the daemon at `path` for one document. Throws std::runtime_error (one line) when none is
/// there or it answers with an error.
nlohmann::json control_request(const std::string& path, std::string_view command);

/// A request that stays open. The daemon ends the session when this object goes.
class ControlCall {
 public:
  /// `pass`: a descriptor that the daemon gets a copy of; -1: none. Throws as control_request().
  ControlCall(const std::string& path, std::string_view command, int pass = -1);

  /// Readable when next() has something.
  int fd() const { return fd_.get(); }
  /// Asks for what there is so far, and the end.
  void stop() const noexcept;
  /// next() has a line without waiting.
  bool has_line() const { return received_.find('\n') != std::string::npos; }
  /// The next line, waiting for it; nullopt: the daemon has closed. Throws std::runtime_error with
  /// its words when the line is an error.
  std::optional<nlohmann::ordered_json> next();

 private:
  std::string path_;
  OwnedFd fd_;
  std::string received_;
};

}  // namespace pollux::engine
