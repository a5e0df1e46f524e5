#include "bench/stubs/stub.h"

#include <poll.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <exception>
#include <map>
#include <nlohmann/json.hpp>

#include "engine/cpus.h"
#include "engine/vnet.h"
#include "workers/limits.h"

namespace pollux::stubs {
namespace {

volatile std::sig_atomic_t stop_asked = 0;

void take_signals() {
  struct sigaction action {};
  action.sa_handler = [](int) { stop_asked = 1; };
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

Instant now() { return std::chrono::steady_clock::now(); }

Prefix parse_prefix(const std::string& text) {
  const auto prefix = Prefix::parse(text);
  if (!prefix) throw CLI::ValidationError("address", "not an address: '" + text + "'");
  return *prefix;
}

/// Sleeps until a packet comes; at most so long that a time-out or the end is not missed.
void wait(int fd) {
  constexpr int kWaitMs = 20;
  pollfd one{fd, POLLIN, 0};
  poll(&one, 1, kWaitMs);
}

bool may_sleep(const Options& o, Instant last_work, Instant when) {
  return o.idle == Idle::block || (o.idle == Idle::adaptive && when - last_work >= o.spin);
}

/// Reads what is there, a batch at most, so that the stub's own turn comes as well.
bool read_batch(Line& line, Stub& stub) {
  Arrived in;
  for (std::size_t i = 0; i < limits::kBatch; ++i) {
    const Bytes packet = line.receive();
    if (packet.empty()) return i != 0;
    if (parse(packet, in)) stub.on_segment(in);
  }
  return true;
}

void print_report(const Line& line, const Stub& stub, const Stopwatch& watch) {
  nlohmann::json out{{"octets", watch.octets()},           {"seconds", watch.seconds()},
                     {"gbit_s", watch.gbit_s()},           {"packets_in", line.packets_in()},
                     {"packets_out", line.packets_out()},  {"refused", line.refused()},
                     {"offload", line.caps().segmentation}};
  stub.report(out);
  std::puts(out.dump().c_str());
}

}  // namespace

int parse_command_line(int argc, char** argv, const std::string& what, Options& o) {
  CLI::App app(what);
  app.footer("It prints `ready` when it serves and one line of JSON at its end.");
  std::vector<std::string> host{"198.18.0.1/32"};
  std::vector<std::string> own{"198.18.0.2/32"};
  const std::map<std::string, Idle> idles{
      {"poll", Idle::poll}, {"adaptive", Idle::adaptive}, {"block", Idle::block}};
  bool no_offload = false;
  unsigned spin_us = 50;
  app.add_option("--device", o.tun.name, "Name of the TUN device")->capture_default_str();
  app.add_option("--host-address", host, "The kernel's address on it")->capture_default_str();
  app.add_option("--address", own, "The stub's own, or a prefix")->capture_default_str();
  app.add_option("--mtu", o.tun.mtu)->check(CLI::Range(576, 65'535))->capture_default_str();
  app.add_option("--txqueuelen", o.tun.txqueuelen, "Packets that wait in the device")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  app.add_flag("--no-offload", no_offload, "No super-packets, full checksums");
  app.add_option("--idle", o.idle, "poll, adaptive or block")
      ->transform(CLI::CheckedTransformer(idles));
  app.add_option("--spin-us", spin_us, "How long `adaptive` spins")->capture_default_str();
  app.add_option("--window", o.window, "Octets that a peer may have in flight")
      ->check(CLI::Range(1 << 16, 16 << 20))
      ->capture_default_str();
  app.add_flag("--ack-batches", o.ack_batches,
               "Of the sink: one ACK for what a connection has in a batch of 64 packets");
  app.add_option("--cpu", o.cpu, "The CPU to run on");
  app.add_option("--seconds", o.seconds, "End by itself after this")->check(CLI::PositiveNumber);
  try {
    app.parse(argc, argv);
    for (const std::string& text : host) o.tun.host_addresses.push_back(parse_prefix(text));
    for (const std::string& text : own) o.tun.routes.push_back(parse_prefix(text));
  } catch (const CLI::ParseError& error) {
    const int status = app.exit(error);
    return status == 0 ? 0 : 2;
  }
  o.tun.offload = !no_offload;
  o.spin = std::chrono::microseconds(spin_us);
  return -1;
}

Line::Line(const Options& options)
    : device_(options.tun),
      queue_(device_.queue(0)),
      composer_(device_.caps()),
      room_(std::make_unique<Room>()) {}

Bytes Line::receive() {
  const ssize_t n = read(queue_.fd(), room_->octets.data(), room_->octets.size());
  if (n <= static_cast<ssize_t>(sizeof(vnet::Header))) return {};
  ++packets_in_;
  return Bytes(room_->octets).first(static_cast<std::size_t>(n)).subspan(sizeof(vnet::Header));
}

bool Line::send(const IpAddr& from, const IpAddr& to, const wire::TcpHeader& tcp, Bytes payload,
                std::uint16_t mss) {
  const bool sent = queue_.transmit(composer_.compose(from, to, tcp, payload, mss));
  ++(sent ? packets_out_ : refused_);
  return sent;
}

Self Line::self(std::uint32_t window) const {
  constexpr std::uint32_t kHeaders = wire::kIpv4HeaderSize + wire::kTcpHeaderSize;
  return {static_cast<std::uint16_t>(caps().mtu - kHeaders), window};
}

void Stopwatch::on_progress(std::uint64_t octets, Instant when) {
  if (octets_ == 0) {
    first_ = when;
    first_octets_ = octets;
  }
  octets_ = octets;
  last_ = when;
}

double Stopwatch::gbit_s() const {
  const double took = seconds();
  return took > 0 ? static_cast<double>(octets_ - first_octets_) * 8 / took / 1e9 : 0;
}

int run(Line& line, const Options& options, Stub& stub) {
  const Instant start = now();
  Instant last_work = start;
  Stopwatch watch;
  while (stop_asked == 0) {
    const bool arrived = read_batch(line, stub);
    const Instant when = now();
    const bool worked = stub.turn(when) || arrived;
    if (const std::uint64_t octets = stub.octets(); octets != watch.octets()) {
      watch.on_progress(octets, when);
    }
    if (worked) {
      last_work = when;
    } else if (may_sleep(options, last_work, when)) {
      wait(line.fd());
    }
    if (options.seconds > 0 && when - start > std::chrono::duration<double>(options.seconds)) break;
  }
  print_report(line, stub, watch);
  return 0;
}

int stub_main(int argc, char** argv, const std::string& what,
              std::unique_ptr<Stub> (*make)(Line&, const Options&)) {
  Options options;
  const int status = parse_command_line(argc, argv, what, options);
  if (status >= 0) return status;
  try {
    take_signals();
    if (options.cpu >= 0 && !pin_current_thread(options.cpu)) {
      std::fprintf(stderr, "%s: cannot run on CPU %d\n", argv[0], options.cpu);
      return 1;
    }
    Line line(options);
    const std::unique_ptr<Stub> stub = make(line, options);
    std::puts("ready");
    std::fflush(stdout);
    return run(line, options, *stub);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", argv[0], error.what());
    return 1;
  }
}

}  // namespace pollux::stubs
