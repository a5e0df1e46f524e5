// The configuration: TOML in, plain values out. Every mistake is collected, each as one line with
// its place, its key, what was expected and what was there; nothing is silently corrected.
#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proto/base/addr.h"
#include "proto/tcp/congestion.h"
#include "proto/tcp/syn_cookie.h"

namespace pollux {

enum class RxMode : std::uint8_t { auto_, dedicated, inline_ };
enum class IdleMode : std::uint8_t { poll, adaptive, block };
enum class ChecksumMode : std::uint8_t { auto_, always };
enum class LogLevel : std::uint8_t { trace, debug, info, warn, error, off };
enum class ServiceKind : std::uint8_t {
  echo,
  discard,
  chargen,
  http,
  iperf3,
  iperf2,
  pingpong,
  forward
};
std::string_view to_string(ServiceKind kind);
enum class ReportForm : std::uint8_t { text, json };

struct EngineConfig {
  std::optional<unsigned> workers;  ///< nullopt: "auto"
  RxMode rx = RxMode::auto_;
  std::optional<std::vector<unsigned>> cores;  ///< CPU ids; nullopt: "auto"
  IdleMode idle = IdleMode::adaptive;
  std::chrono::microseconds spin{50};
  std::chrono::seconds drain{5};
};

struct TunConfig {
  std::string name = "pollux0";
  std::optional<unsigned> queues;  ///< nullopt: one per worker
  unsigned mtu = 1500;
  bool offload = true;
  ChecksumMode verify_checksums = ChecksumMode::auto_;
  std::vector<Prefix> host_address;  ///< set on the interface
  std::vector<Prefix> address;       ///< the engine's own; never empty
  bool manage = true;
  unsigned txqueuelen = 1000;
};

struct TcpConfig {
  tcp::CcKind congestion_control = tcp::CcKind::cubic;
  std::uint64_t receive_buffer = 6ULL << 20;  ///< octets, upper bound per connection
  std::uint64_t send_buffer = 6ULL << 20;     ///< octets, upper bound per connection
  std::uint64_t memory_limit = 2ULL << 30;    ///< octets, all connections together
  tcp::CookiePolicy syn_cookies = tcp::CookiePolicy::when_needed;
  std::chrono::milliseconds delayed_ack{40};
  std::chrono::seconds keepalive{0};  ///< 0: off
  std::chrono::seconds time_wait{60};
  std::chrono::seconds user_timeout{0};  ///< 0: R2 of RFC 9293 decides
};

struct LogConfig {
  LogLevel level = LogLevel::info;
  std::string file;  ///< "": standard error
};

struct ControlConfig {
  std::string socket = "/run/pollux/pollux.sock";  ///< "": no control socket
};

/// What kind = "forward" takes.
struct ForwardConfig {
  std::string to = {};      ///< "host:port"
  bool via_engine = false;  ///< the second connection is the engine's, not the host's
  std::size_t max_connections = 1024;
  std::vector<Prefix> allow = {};  ///< addresses that `to` may be; empty: see may_reach()
  std::chrono::seconds connect_timeout{10};
  std::chrono::seconds idle_timeout{3600};  ///< 0: off
};

struct Iperf3Config {
  unsigned max_tests = 64;                      ///< at once
  unsigned max_tests_per_client = 32;           ///< of them, from one address
  unsigned max_parallel = 128;                  ///< streams of one test in each direction
  ReportForm server_output = ReportForm::text;  ///< for clients that ask for it
};

/// Of http, beside its root.
struct HttpConfig {
  bool listing = false;                     ///< a directory without index.html is listed
  std::optional<bool> live = {};            ///< the live page; nullopt: where there is no root
  std::size_t max_connections = 1'000'000;  ///< at once, of all workers
};

struct Iperf2Config {
  bool udp_reverse = false;   ///< UDP tests in which the engine sends are served
  unsigned max_flows = 1024;  ///< UDP tests remembered, per worker
  unsigned max_senders = 64;  ///< tests at once in which the engine sends, per worker
};

struct ServiceConfig {
  ServiceKind kind = ServiceKind::echo;
  std::uint16_t port = 0;
  std::optional<IpAddr> address = {};                  ///< nullopt: every address of the engine
  std::optional<tcp::CcKind> congestion_control = {};  ///< nullopt: that of [tcp]
  bool fast_open = true;                               ///< data in a SYN is taken (RFC 7413)
  std::string root = {};  ///< http: folder to serve, "" for the built-in pages
  HttpConfig http = {};
  ForwardConfig forward = {};
  Iperf3Config iperf3 = {};
  Iperf2Config iperf2 = {};
  std::chrono::seconds max_duration{86400};  ///< iperf3 and iperf2: of one test
};

/// The sections of the file. A default one has the documented addresses and no services.
struct Config {
  Config();
  EngineConfig engine;
  TunConfig tun;
  TcpConfig tcp;
  LogConfig log;
  ControlConfig control;
  std::vector<ServiceConfig> services;
};

/// A configuration, or why there is none: `config` counts only when `mistakes` is empty.
struct ConfigResult {
  Config config;
  std::vector<std::string> mistakes;  ///< `file:line:column: section.key: expected ..., got ...`
  bool ok() const { return mistakes.empty(); }
};

/// `overrides` are `section.key=VALUE` (VALUE in TOML, quotes around a string may be left out);
/// they replace what the file says, the last one of a key wins.
ConfigResult parse_config(std::string_view text, std::string_view source,
                          std::span<const std::string> overrides = {});
ConfigResult load_config(const std::string& path, std::span<const std::string> overrides = {});

/// The effective configuration, every key spelled out; to_toml() parses back to the same values.
std::string to_toml(const Config& config);
nlohmann::ordered_json to_json(const Config& config);

/// "6MiB" -> 6291456; nullopt without a unit of B, KiB, MiB, GiB or beyond 64 bits.
std::optional<std::uint64_t> parse_size(std::string_view text);
std::string format_size(std::uint64_t octets);

}  // namespace pollux
