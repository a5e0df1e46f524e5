// The frame of a stub: command line, TUN device, loop, and the line of JSON at its end.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "bench/stubs/answers.h"
#include "engine/tun.h"

namespace pollux::stubs {

enum class Idle { poll, adaptive, block };

struct Options {
  TunOptions tun;
  Idle idle = Idle::adaptive;
  std::chrono::microseconds spin{50};
  std::uint32_t window = 6 << 20;
  bool ack_batches = false;  ///< of the sink: one ACK for all that a flow has in a batch
  int cpu = -1;              ///< to run on; -1: any
  double seconds = 0;        ///< ends by itself after this; 0: at a signal
};

/// -1 to go on, else the exit code.
int parse_command_line(int argc, char** argv, const std::string& what, Options& options);

/// One queue of the device and all that goes through it.
class Line {
 public:
  explicit Line(const Options& options);

  /// Octets of the next packet, none when there is none now. Valid until the next call.
  Bytes receive();
  bool send(const IpAddr& from, const IpAddr& to, const wire::TcpHeader& tcp, Bytes payload,
            std::uint16_t mss);
  int fd() const { return queue_.fd(); }
  const PortCaps& caps() const { return device_.caps(); }
  /// What to say about oneself on this device to a peer over IPv4.
  Self self(std::uint32_t window) const;
  std::uint64_t packets_in() const { return packets_in_; }
  std::uint64_t packets_out() const { return packets_out_; }
  std::uint64_t refused() const { return refused_; }  ///< by the kernel, of those to send

 private:
  TunDevice device_;
  TunQueue& queue_;
  Composer composer_;
  std::uint64_t packets_in_ = 0;
  std::uint64_t packets_out_ = 0;
  std::uint64_t refused_ = 0;
  struct alignas(64) Room {
    std::array<std::uint8_t, 66'048> octets;
  };
  std::unique_ptr<Room> room_;
};

/// When octets moved first and last.
class Stopwatch {
 public:
  void on_progress(std::uint64_t octets, Instant now);
  double seconds() const { return std::chrono::duration<double>(last_ - first_).count(); }
  double gbit_s() const;
  std::uint64_t octets() const { return octets_; }

 private:
  Instant first_;
  Instant last_;
  std::uint64_t first_octets_ = 0;
  std::uint64_t octets_ = 0;
};

/// What makes one stub different from another.
class Stub {
 public:
  virtual ~Stub() = default;
  virtual void on_segment(const Arrived& in) = 0;
  /// After every batch; true when it did something.
  virtual bool turn(Instant) { return false; }
  /// Octets of data so far.
  virtual std::uint64_t octets() const = 0;
  /// More figures for the report.
  virtual void report(nlohmann::json&) const {}
};

/// Runs until SIGINT, SIGTERM or the time is over, then prints its figures. Returns the exit code.
int run(Line& line, const Options& options, Stub& stub);

/// A whole main(): `make` builds the stub around its line.
int stub_main(int argc, char** argv, const std::string& what,
              std::unique_ptr<Stub> (*make)(Line&, const Options&));

}  // namespace pollux::stubs
