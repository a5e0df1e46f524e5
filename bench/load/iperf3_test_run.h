// Bulk flows as the streams of an iperf3 test: the control connection and cookies, around the same
// loops that load the plain services. What differs then is the service, not the client.
#pragma once

#include <string>

#include "bench/load/client.h"

namespace pollux::load {

class Iperf3TestRun {
 public:
  /// Begins a test; throws when the server refuses it. `sends`: this end does.
  Iperf3TestRun(bool sends, const Options& options);
  Iperf3TestRun(const Iperf3TestRun&) = delete;
  Iperf3TestRun& operator=(const Iperf3TestRun&) = delete;
  /// Tells the server that it is over.
  ~Iperf3TestRun();
  /// The next stream; start() when all are there.
  Fd stream();
  void start();

 private:
  void expect(unsigned char state);
  const Options& options_;
  std::string cookie_;
  Fd control_;
};

}  // namespace pollux::load
