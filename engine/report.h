// What `pollux show` prints, as JSON, out of a running engine. Control thread only. Field names are
// the interface's.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "engine/load_window.h"
#include "engine/runtime.h"

namespace pollux {

class Reporter {
 public:
  Reporter(Runtime& runtime, Instant started);
  nlohmann::json stats();
  nlohmann::json connections();
  nlohmann::json workers();
  nlohmann::json queues();
  /// stats(), with round trips of each worker, and the connections: of a bounded part of each
  /// worker's table, always the same one, so that two answers can be compared.
  nlohmann::json top();

 private:
  const LoadWindow& load(std::size_t worker);
  nlohmann::json rx_thread();
  Runtime& runtime_;
  Instant started_;
  std::vector<LoadWindow> loads_;
  LoadWindow rx_load_;
};

}  // namespace pollux
