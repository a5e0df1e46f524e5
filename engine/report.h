// What `pollux show` prints, as JSON, out of a running engine. Control thread only. Field names are
// the interface's.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "engine/runtime.h"

namespace pollux {

class Reporter {
 public:
  Reporter(Runtime& runtime, Instant started);
  nlohmann::json stats();
  nlohmann::json connections();
  nlohmann::json workers();
  nlohmann::json queues();

 private:
  struct Load {
    std::uint64_t busy = 0, idle = 0;
    double ratio = 0;
  };
  /// Share of time spent on work since the last question at least 100 ms ago.
  double busy_ratio(std::size_t worker);
  Runtime& runtime_;
  Instant started_;
  std::vector<Load> loads_;
};

}  // namespace pollux
