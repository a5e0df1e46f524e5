// Logging: spdlog's asynchronous default logger, so that no thread of the engine ever waits for a
// disk or a terminal. Everybody logs with spdlog::info() and its siblings.
#pragma once

#include "engine/config.h"

namespace pollux::engine {

/// Installs the default logger of [log]; the destructor flushes and stops its thread.
class Logging {
 public:
  /// Throws std::runtime_error (one line) when the file cannot be opened.
  explicit Logging(const LogConfig& config);
  ~Logging();
  Logging(const Logging&) = delete;
  Logging& operator=(const Logging&) = delete;
};

}  // namespace pollux::engine
