// What the workers' objects of one iperf3 service share, and how they reach each other.
#pragma once

#include <functional>
#include <vector>

#include "engine/config.h"
#include "engine/iperf3/registry.h"

namespace pollux {
class Iperf3Service;
}

namespace pollux::iperf3 {

struct ServerOptions {
  Limits limits;
  ReportForm output = ReportForm::text;  ///< a client that asks for a report does not say which
};

struct Group {
  explicit Group(const ServerOptions& o) : options(o), registry(o.limits) {}
  const ServerOptions options;
  Registry registry;
  std::vector<Iperf3Service*> members;  ///< by worker; settled before any of them works
};

}  // namespace pollux::iperf3
