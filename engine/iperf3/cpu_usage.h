// How much CPU time the whole process took during a test, in percent of one CPU. A worker that
// spins takes all of it: that is what the machine pays.
#pragma once

#include <sys/resource.h>

#include <algorithm>

#include "proto/base/time.h"

namespace pollux::iperf3 {

class CpuUsage {
 public:
  struct Percent {
    double total = 0, user = 0, system = 0;
  };
  void start(Instant now) { from_ = Reading::at(now); }
  Percent until(Instant now) const {
    const Reading to = Reading::at(now);
    const double wall = std::max(std::chrono::duration<double>(to.now - from_.now).count(), 1e-6);
    const double user = 100 * (to.user - from_.user) / wall;
    const double system = 100 * (to.system - from_.system) / wall;
    return {.total = user + system, .user = user, .system = system};
  }

 private:
  struct Reading {
    double user = 0, system = 0;
    Instant now{};
    static double seconds(const timeval& t) {
      return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
    }
    static Reading at(Instant now) {
      rusage used{};
      getrusage(RUSAGE_SELF, &used);
      return {.user = seconds(used.ru_utime), .system = seconds(used.ru_stime), .now = now};
    }
  };
  Reading from_;
};

}  // namespace pollux::iperf3
