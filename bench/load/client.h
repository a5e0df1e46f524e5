// The modes of the client: each runs its load for the time given and returns what it saw.
#pragma once

#include <chrono>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "bench/load/sockets.h"

namespace pollux::load {

struct Options {
  std::string address = "198.18.0.2";
  std::uint32_t addresses = 1;  ///< so many, from `address` on
  std::uint16_t port = 0;       ///< 0: what the mode's service usually has
  std::uint32_t connections = 1;
  std::uint32_t threads = 1;  ///< bulk only; the connections are dealt out to them
  std::uint32_t size = 64;    ///< octets of a request
  bool iperf3 = false;        ///< bulk only: the flows are streams of an iperf3 test
  bool http = false;          ///< idle only: after a request and its answer
  bool spin = false;          ///< never sleep in the kernel
  int cpu = -1;               ///< to run on; -1: any
  std::chrono::duration<double> warm_up{0.2};
  std::chrono::duration<double> seconds{2};

  sockaddr_in target(std::uint32_t connection) const {
    return address_of(address, port, connection % addresses);
  }
};

/// From the warm-up's end for the time of the measurement.
class Window {
 public:
  explicit Window(const Options& o)
      : begin_(Clock::now() + std::chrono::duration_cast<Clock::duration>(o.warm_up)),
        end_(begin_ + std::chrono::duration_cast<Clock::duration>(o.seconds)) {}
  bool begun(Instant now) const { return now >= begin_; }
  bool over(Instant now) const { return now >= end_; }
  Instant begin() const { return begin_; }

 private:
  Instant begin_;
  Instant end_;
};

nlohmann::json bulk_in(const Options& options);       ///< sends, to a discard service
nlohmann::json bulk_out(const Options& options);      ///< receives, from a chargen service
nlohmann::json round_trips(const Options& options);   ///< of `size` octets with an echo service
nlohmann::json connect_rate(const Options& options);  ///< connect, one octet there and back, close
/// Opens connections, prints how many at once, and holds them until standard input ends.
nlohmann::json idle(const Options& options);

}  // namespace pollux::load
