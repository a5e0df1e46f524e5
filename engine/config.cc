// The schema is a table: one row per key with the words for "expected" and a setter. Readers of
// single values (integers in a range, names of an enumeration, sizes, addresses) are shared.
#include "engine/config.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

#include <toml++/toml.h>

#include "engine/target.h"

namespace pollux {
namespace {

/// What a setter found wrong: nothing, or a node.
struct Fault {
  const toml::node* at = nullptr;
};

template <class E>
struct Name {
  std::string_view name;
  E value;
};

constexpr Name<RxMode> kRxModes[]{
    {"auto", RxMode::auto_}, {"dedicated", RxMode::dedicated}, {"inline", RxMode::inline_}};
constexpr Name<IdleMode> kIdleModes[]{
    {"poll", IdleMode::poll}, {"adaptive", IdleMode::adaptive}, {"block", IdleMode::block}};
constexpr Name<ChecksumMode> kChecksumModes[]{{"auto", ChecksumMode::auto_},
                                              {"always", ChecksumMode::always}};
constexpr Name<tcp::CookiePolicy> kSynCookies[]{{"auto", tcp::CookiePolicy::when_needed},
                                                {"always", tcp::CookiePolicy::always},
                                                {"never", tcp::CookiePolicy::never}};
constexpr Name<tcp::CcKind> kCongestion[]{
    {"reno", tcp::CcKind::reno}, {"cubic", tcp::CcKind::cubic}, {"bbr", tcp::CcKind::bbr}};
constexpr Name<bool> kVia[]{{"host", false}, {"engine", true}};
constexpr Name<LogLevel> kLevels[]{{"trace", LogLevel::trace}, {"debug", LogLevel::debug},
                                   {"info", LogLevel::info},   {"warn", LogLevel::warn},
                                   {"error", LogLevel::error}, {"off", LogLevel::off}};
constexpr Name<ReportForm> kReportForms[]{{"text", ReportForm::text}, {"json", ReportForm::json}};
constexpr Name<ServiceKind> kKinds[]{
    {"echo", ServiceKind::echo},         {"discard", ServiceKind::discard},
    {"chargen", ServiceKind::chargen},   {"http", ServiceKind::http},
    {"iperf3", ServiceKind::iperf3},     {"iperf2", ServiceKind::iperf2},
    {"pingpong", ServiceKind::pingpong}, {"forward", ServiceKind::forward}};

template <class E, std::size_t n>
std::string_view name_of(const Name<E> (&names)[n], E value) {
  for (const auto& [name, v] : names) {
    if (v == value) return name;
  }
  return "?";
}

// ---- readers of one value -----------------------------------------------------------------

std::optional<std::string> text_of(const toml::node& n) { return n.value_exact<std::string>(); }

bool is_text(const toml::node& n, std::string_view wanted) {
  const auto text = text_of(n);
  return text && *text == wanted;
}

std::optional<std::int64_t> integer(const toml::node& n, std::int64_t lo, std::int64_t hi) {
  const auto v = n.value_exact<std::int64_t>();
  if (!v || *v < lo || *v > hi) return std::nullopt;
  return v;
}

/// An integer or a std::chrono duration counted in the key's unit.
template <class T>
Fault set_integer(const toml::node& n, std::int64_t lo, std::int64_t hi, T& out) {
  const auto v = integer(n, lo, hi);
  if (!v) return {&n};
  if constexpr (std::is_integral_v<T>) {
    out = static_cast<T>(*v);
  } else {
    out = T{*v};
  }
  return {};
}

Fault set_auto_or(const toml::node& n, std::int64_t lo, std::int64_t hi,
                  std::optional<unsigned>& out) {
  out.reset();
  if (is_text(n, "auto")) return {};
  unsigned v = 0;
  const Fault fault = set_integer(n, lo, hi, v);
  if (fault.at == nullptr) out = v;
  return fault;
}

template <class E, std::size_t size>
Fault set_name(const toml::node& n, const Name<E> (&names)[size], E& out) {
  const auto text = text_of(n);
  if (!text) return {&n};
  for (const auto& [name, value] : names) {
    if (*text == name) {
      out = value;
      return {};
    }
  }
  return {&n};
}

Fault set_bool(const toml::node& n, bool& out) {
  const auto v = n.value_exact<bool>();
  if (!v) return {&n};
  out = *v;
  return {};
}

Fault set_text(const toml::node& n, std::string& out) {
  auto v = text_of(n);
  if (!v || v->find('\0') != std::string::npos) return {&n};
  out = std::move(*v);
  return {};
}

Fault set_size(const toml::node& n, std::uint64_t lo, std::uint64_t hi, std::uint64_t& out) {
  const auto text = text_of(n);
  const auto size = text ? parse_size(*text) : std::nullopt;
  if (!size || *size < lo || *size > hi) return {&n};
  out = *size;
  return {};
}

Fault set_prefixes(const toml::node& n, std::vector<Prefix>& out) {
  const toml::array* list = n.as_array();
  if (list == nullptr) return {&n};
  out.clear();
  for (const toml::node& element : *list) {
    const auto text = text_of(element);
    const auto prefix = text ? Prefix::parse(*text) : std::nullopt;
    if (!prefix) return {&element};
    out.push_back(*prefix);
  }
  return {};
}

Fault set_cores(const toml::node& n, std::optional<std::vector<unsigned>>& out) {
  out.reset();
  if (is_text(n, "auto")) return {};
  const toml::array* list = n.as_array();
  if (list == nullptr || list->empty()) return {&n};
  std::vector<unsigned> cores;
  for (const toml::node& element : *list) {
    const auto id = integer(element, 0, 1023);
    if (!id) return {&element};
    const auto core = static_cast<unsigned>(*id);
    if (std::find(cores.begin(), cores.end(), core) != cores.end()) return {&element};
    cores.push_back(core);
  }
  out = std::move(cores);
  return {};
}

/// An interface name that the kernel takes as it is: 1..15 octets, no '/', ':', '%' or space.
Fault set_interface(const toml::node& n, std::string& out) {
  const auto text = text_of(n);
  if (!text || text->empty() || text->size() > 15 || *text == "." || *text == "..") return {&n};
  const bool legal = std::all_of(text->begin(), text->end(), [](char c) {
    return c > ' ' && c < 0x7f && c != '/' && c != ':' && c != '%';
  });
  if (!legal) return {&n};
  out = *text;
  return {};
}

Fault set_socket(const toml::node& n, std::string& out) {
  std::string text;
  const Fault fault = set_text(n, text);
  if (fault.at != nullptr || text.size() > 107) return {&n};  // sockaddr_un.sun_path
  out = std::move(text);
  return {};
}

// ---- the schema ---------------------------------------------------------------------------

template <class Target>
struct Key {
  std::string_view section;
  std::string_view name;
  std::string_view expected;
  Fault (*set)(const toml::node&, Target&);
};

constexpr std::uint64_t kKiB = 1024;
constexpr std::uint64_t kGiB = kKiB * kKiB * kKiB;
constexpr std::string_view kBufferRange = R"(a size from "4KiB" to "1GiB")";
using N = const toml::node&;

constexpr Key<Config> kKeys[] = {
    {"engine", "workers", R"("auto" or 1..64)",
     [](N n, Config& c) { return set_auto_or(n, 1, 64, c.engine.workers); }},
    {"engine", "rx", R"("auto", "dedicated" or "inline")",
     [](N n, Config& c) { return set_name(n, kRxModes, c.engine.rx); }},
    {"engine", "cores", R"("auto" or a list of different CPU ids, 0..1023)",
     [](N n, Config& c) { return set_cores(n, c.engine.cores); }},
    {"engine", "idle", R"("poll", "adaptive" or "block")",
     [](N n, Config& c) { return set_name(n, kIdleModes, c.engine.idle); }},
    {"engine", "spin_us", "0..1000000 (microseconds)",
     [](N n, Config& c) { return set_integer(n, 0, 1'000'000, c.engine.spin); }},
    {"engine", "drain_s", "0..3600 (seconds)",
     [](N n, Config& c) { return set_integer(n, 0, 3600, c.engine.drain); }},
    {"tun", "name", "an interface name of 1..15 characters",
     [](N n, Config& c) { return set_interface(n, c.tun.name); }},
    {"tun", "queues", R"("auto" or 1..64)",
     [](N n, Config& c) { return set_auto_or(n, 1, 64, c.tun.queues); }},
    {"tun", "mtu", "576..65535 (octets)",
     [](N n, Config& c) { return set_integer(n, 576, 65535, c.tun.mtu); }},
    {"tun", "offload", "true or false", [](N n, Config& c) { return set_bool(n, c.tun.offload); }},
    {"tun", "verify_checksums", R"("auto" or "always")",
     [](N n, Config& c) { return set_name(n, kChecksumModes, c.tun.verify_checksums); }},
    {"tun", "host_address", R"(a list of addresses such as "198.18.0.1/32")",
     [](N n, Config& c) { return set_prefixes(n, c.tun.host_address); }},
    {"tun", "address", R"(a list of at least one address or prefix such as "198.18.0.2")",
     [](N n, Config& c) {
       const Fault fault = set_prefixes(n, c.tun.address);
       return fault.at == nullptr && c.tun.address.empty() ? Fault{&n} : fault;
     }},
    {"tun", "manage", "true or false", [](N n, Config& c) { return set_bool(n, c.tun.manage); }},
    {"tun", "txqueuelen", "1..1000000 (packets)",
     [](N n, Config& c) { return set_integer(n, 1, 1'000'000, c.tun.txqueuelen); }},
    {"tcp", "congestion_control", R"("reno", "cubic" or "bbr")",
     [](N n, Config& c) { return set_name(n, kCongestion, c.tcp.congestion_control); }},
    {"tcp", "receive_buffer", kBufferRange,
     [](N n, Config& c) { return set_size(n, 4 * kKiB, kGiB, c.tcp.receive_buffer); }},
    {"tcp", "send_buffer", kBufferRange,
     [](N n, Config& c) { return set_size(n, 4 * kKiB, kGiB, c.tcp.send_buffer); }},
    {"tcp", "memory_limit", R"(a size from "1MiB" to "1024GiB")",
     [](N n, Config& c) { return set_size(n, kKiB * kKiB, 1024 * kGiB, c.tcp.memory_limit); }},
    {"tcp", "syn_cookies", R"("auto", "always" or "never")",
     [](N n, Config& c) { return set_name(n, kSynCookies, c.tcp.syn_cookies); }},
    // RFC 9293 MUST-40: an ACK is never held back for half a second.
    {"tcp", "delayed_ack_ms", "0..499 (milliseconds)",
     [](N n, Config& c) { return set_integer(n, 0, 499, c.tcp.delayed_ack); }},
    {"tcp", "keepalive_s", "0..604800 (seconds, 0 is off)",
     [](N n, Config& c) { return set_integer(n, 0, 604'800, c.tcp.keepalive); }},
    {"tcp", "time_wait_s", "0..3600 (seconds)",
     [](N n, Config& c) { return set_integer(n, 0, 3600, c.tcp.time_wait); }},
    {"tcp", "user_timeout_s", "0..86400 (seconds, 0 is the default of RFC 9293)",
     [](N n, Config& c) { return set_integer(n, 0, 86'400, c.tcp.user_timeout); }},
    {"log", "level", R"("trace", "debug", "info", "warn", "error" or "off")",
     [](N n, Config& c) { return set_name(n, kLevels, c.log.level); }},
    {"log", "file", R"(a path, or "" for standard error)",
     [](N n, Config& c) { return set_text(n, c.log.file); }},
    {"control", "socket", R"(a path of at most 107 characters, or "" for none)",
     [](N n, Config& c) { return set_socket(n, c.control.socket); }},
};

constexpr Key<ServiceConfig> kServiceKeys[] = {
    {"service", "kind",
     R"("echo", "discard", "chargen", "http", "iperf3", "iperf2", "pingpong" or "forward")",
     [](N n, ServiceConfig& s) { return set_name(n, kKinds, s.kind); }},
    {"service", "port", "1..65535",
     [](N n, ServiceConfig& s) { return set_integer(n, 1, 65535, s.port); }},
    {"service", "address", R"(an address of the engine, or "" for all of them)",
     [](N n, ServiceConfig& s) {
       const auto text = text_of(n);
       if (!text) return Fault{&n};
       s.address = IpAddr::parse(*text);
       return !text->empty() && !s.address ? Fault{&n} : Fault{};
     }},
    {"service", "congestion_control", R"("reno", "cubic", "bbr", or "" for that of [tcp])",
     [](N n, ServiceConfig& s) {
       s.congestion_control.reset();
       if (is_text(n, "")) return Fault{};
       return set_name(n, kCongestion, s.congestion_control.emplace());
     }},
    {"service", "fast_open", "true or false",
     [](N n, ServiceConfig& s) { return set_bool(n, s.fast_open); }},
    {"service", "root", R"(a folder to serve, or "" for the built-in pages)",
     [](N n, ServiceConfig& s) { return set_text(n, s.root); }},
    {"service", "listing", "true or false",
     [](N n, ServiceConfig& s) { return set_bool(n, s.http.listing); }},
    {"service", "live", R"("auto", true or false)",
     [](N n, ServiceConfig& s) {
       s.http.live.reset();
       return is_text(n, "auto") ? Fault{} : set_bool(n, s.http.live.emplace());
     }},
    {"service", "to", R"("host:port", such as "198.18.0.1:8080", "[2001:2::1]:80" or "db:5432")",
     [](N n, ServiceConfig& s) {
       const Fault fault = set_text(n, s.forward.to);
       return fault.at == nullptr && !parse_target(s.forward.to) ? Fault{&n} : fault;
     }},
    {"service", "via", R"("host" or "engine")",
     [](N n, ServiceConfig& s) { return set_name(n, kVia, s.forward.via_engine); }},
    {"service", "max_connections", "1..1000000",
     [](N n, ServiceConfig& s) {
       const Fault fault = set_integer(n, 1, 1'000'000, s.forward.max_connections);
       s.http.max_connections = s.forward.max_connections;
       return fault;
     }},
    {"service", "allow", R"(a list of addresses or prefixes such as "127.0.0.1" or "10.0.0.0/8")",
     [](N n, ServiceConfig& s) { return set_prefixes(n, s.forward.allow); }},
    {"service", "connect_timeout_s", "1..3600 (seconds)",
     [](N n, ServiceConfig& s) { return set_integer(n, 1, 3600, s.forward.connect_timeout); }},
    {"service", "idle_timeout_s", "0..604800 (seconds, 0 is off)",
     [](N n, ServiceConfig& s) { return set_integer(n, 0, 604'800, s.forward.idle_timeout); }},
    {"service", "max_tests", "1..4096 (tests at once)",
     [](N n, ServiceConfig& s) { return set_integer(n, 1, 4096, s.iperf3.max_tests); }},
    {"service", "max_tests_per_client", "1..4096 (tests at once from one address)",
     [](N n, ServiceConfig& s) { return set_integer(n, 1, 4096, s.iperf3.max_tests_per_client); }},
    {"service", "max_parallel", "1..128 (streams of a test in each direction)",
     [](N n, ServiceConfig& s) { return set_integer(n, 1, 128, s.iperf3.max_parallel); }},
    {"service", "max_duration_s", "1..86400 (seconds)",
     [](N n, ServiceConfig& s) { return set_integer(n, 1, 86'400, s.max_duration); }},
    {"service", "server_output", R"("text" or "json")",
     [](N n, ServiceConfig& s) { return set_name(n, kReportForms, s.iperf3.server_output); }},
    {"service", "udp_reverse", "true or false",
     [](N n, ServiceConfig& s) { return set_bool(n, s.iperf2.udp_reverse); }},
    {"service", "max_flows", "1..1000000 (UDP tests remembered)",
     [](N n, ServiceConfig& s) { return set_integer(n, 1, 1'000'000, s.iperf2.max_flows); }},
    {"service", "max_senders", "1..4096 (tests at once in which the engine sends)",
     [](N n, ServiceConfig& s) { return set_integer(n, 1, 4096, s.iperf2.max_senders); }},
};

// ---- reading a file -----------------------------------------------------------------------

std::string in_quotes(std::string_view text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

/// What stands at a node, as its author wrote it (near enough).
std::string got(const toml::node& n) {
  if (const auto text = n.value_exact<std::string>()) return in_quotes(*text);
  if (n.is_array_of_tables()) return "a list of sections";
  if (n.is_table()) return "a table";
  std::ostringstream out;
  if (const toml::array* list = n.as_array()) {
    out << *list;
  } else {
    n.visit([&out](const auto& v) {
      if constexpr (toml::is_value<decltype(v)>) out << v;
    });
  }
  return one_line(out.str());
}

class Loader {
 public:
  explicit Loader(std::string_view source) : source_(source) {}

  ConfigResult load(std::string_view text, std::span<const std::string> overrides) {
    try {
      root_ = toml::parse(text, source_);
    } catch (const toml::parse_error& e) {
      mistake(place(e.source()), one_line(std::string(e.description())));
      return std::move(result_);
    }
    for (const std::string& item : overrides) apply_override(item);
    for (auto&& [key, node] : root_) read_top(key, node);
    check_together();
    return std::move(result_);
  }

 private:
  void mistake(const std::string& where, const std::string& what) {
    result_.mistakes.push_back(where + ": " + what);
  }

  std::string place(const toml::source_region& region) const {
    if (region.begin.line == 0) return source_;
    return source_ + ':' + std::to_string(region.begin.line) + ':' +
           std::to_string(region.begin.column);
  }

  /// "where: section.key", the front of every line; an override names itself once.
  std::string front(const toml::source_region& region, const std::string& path) const {
    if (overridden_.contains(path)) return "--set " + path;
    return place(region) + ": " + path;
  }

  void expected(const toml::source_region& region, const std::string& path, std::string_view wanted,
                const std::string& found) {
    mistake(front(region, path), "expected " + std::string(wanted) + ", got " + found);
  }

  template <class Target>
  void apply(const Key<Target>& key, const std::string& path, const toml::node& node,
             Target& target) {
    const Fault fault = key.set(node, target);
    if (fault.at == nullptr) return;
    places_.erase(path);
    expected(fault.at->source().begin.line ? fault.at->source() : node.source(), path, key.expected,
             got(*fault.at));
  }

  template <class Target, std::size_t n>
  static const Key<Target>* find(const Key<Target> (&keys)[n], std::string_view section,
                                 std::string_view name) {
    for (const auto& key : keys) {
      if (key.section == section && key.name == name) return &key;
    }
    return nullptr;
  }

  template <class Target, std::size_t n>
  static std::string names(const Key<Target> (&keys)[n], std::string_view section) {
    std::string out;
    for (const auto& key : keys) {
      if (key.section != section) continue;
      out += out.empty() ? "" : ", ";
      out += key.name;
    }
    return out;
  }

  static bool is_section(std::string_view name) {
    return std::any_of(std::begin(kKeys), std::end(kKeys),
                       [&](const auto& key) { return key.section == name; });
  }

  void apply_override(const std::string& item) {
    const std::size_t equals = item.find('=');
    const std::string path = item.substr(0, equals);
    const std::size_t dot = path.find('.');
    if (equals == std::string::npos || dot == std::string::npos) {
      return mistake("--set " + item, "expected section.key=VALUE");
    }
    const std::string section = path.substr(0, dot);
    const std::string name = path.substr(dot + 1);
    if (find(kKeys, section, name) == nullptr) {
      const std::string known = is_section(section) ? names(kKeys, section) : kSections;
      const char* what = is_section(section) ? "a key of this section (" : "a section (";
      return mistake("--set " + path, std::string("expected ") + what + known + ")");
    }
    toml::node* table = root_.get(section);
    if (table == nullptr) table = &root_.insert_or_assign(section, toml::table{}).first->second;
    if (!table->is_table()) return;  // read_top() reports it
    insert_value(*table->as_table(), name, item.substr(equals + 1));
    overridden_[path] = true;
  }

  /// VALUE as TOML; what is none ("6MiB", "reno", "/tmp/x") is a string.
  static void insert_value(toml::table& section, const std::string& name, const std::string& text) {
    try {
      toml::table parsed = toml::parse("v = " + text);
      if (parsed.size() == 1) {
        section.insert_or_assign(name, std::move(*parsed.get("v")));
        return;
      }
    } catch (const toml::parse_error&) {
    }
    section.insert_or_assign(name, text);
  }

  void read_top(const toml::key& key, const toml::node& node) {
    const std::string section(key.str());
    if (section == "service") return read_services(node);
    if (!is_section(section)) {
      return expected(key.source(), section, "one of the sections " + kSections,
                      "an unknown section or key");
    }
    const toml::table* table = node.as_table();
    if (table == nullptr) return expected(node.source(), section, "a section", got(node));
    for (auto&& [name, value] : *table) {
      const std::string path = section + '.' + std::string(name.str());
      const auto* row = find(kKeys, section, name.str());
      if (row == nullptr) {
        expected(name.source(), path, "one of the keys " + names(kKeys, section), "an unknown key");
        continue;
      }
      places_[path] = value.source();
      apply(*row, path, value, result_.config);
    }
  }

  void read_services(const toml::node& node) {
    const toml::array* list = node.as_array();
    if (list == nullptr) {
      return expected(node.source(), "service", "[[service]] in double brackets", got(node));
    }
    for (const toml::node& element : *list) {
      if (const toml::table* table = element.as_table()) {
        read_service(*table);
      } else {
        expected(element.source(), "service", "a [[service]] section", got(element));
      }
    }
  }

  void read_service(const toml::table& table) {
    ServiceConfig service;
    const std::size_t before = result_.mistakes.size();
    for (auto&& [name, value] : table) {
      const std::string path = "service." + std::string(name.str());
      const auto* row = find(kServiceKeys, "service", name.str());
      if (row == nullptr) {
        expected(name.source(), path, "one of the keys " + names(kServiceKeys, "service"),
                 "an unknown key");
        continue;
      }
      apply(*row, path, value, service);
    }
    for (const char* name : {"kind", "port"}) {
      if (table.contains(name)) continue;
      const std::string path = std::string("service.") + name;
      expected(table.source(), path, find(kServiceKeys, "service", name)->expected, "nothing");
    }
    check_kind_keys(table, service);
    if (result_.mistakes.size() != before) return;
    result_.config.services.push_back(std::move(service));
    service_tables_.push_back(&table);
  }

  void check_kind_keys(const toml::table& table, const ServiceConfig& service) {
    using Kind = ServiceKind;
    struct Owned {
      const char* name;
      Kind owner;
      std::optional<Kind> other = {};
    };
    const Owned only[] = {{"root", Kind::http},
                          {"listing", Kind::http},
                          {"live", Kind::http},
                          {"to", Kind::forward},
                          {"via", Kind::forward},
                          {"max_connections", Kind::forward, Kind::http},
                          {"allow", Kind::forward},
                          {"connect_timeout_s", Kind::forward},
                          {"idle_timeout_s", Kind::forward},
                          {"max_tests", Kind::iperf3},
                          {"max_tests_per_client", Kind::iperf3},
                          {"max_parallel", Kind::iperf3},
                          {"max_duration_s", Kind::iperf3, Kind::iperf2},
                          {"udp_reverse", Kind::iperf2},
                          {"max_flows", Kind::iperf2},
                          {"max_senders", Kind::iperf2},
                          {"server_output", Kind::iperf3}};
    const toml::node* kind = table.get("kind");
    if (kind == nullptr || !is_text(*kind, to_string(service.kind))) return;
    for (const auto& [name, owner, other] : only) {
      if (service.kind == owner || service.kind == other || !table.contains(name)) continue;
      const std::string second = other ? " or " + in_quotes(to_string(*other)) : "";
      expected(table.find(name)->first.source(), std::string("service.") + name,
               "this key only with kind " + in_quotes(to_string(owner)) + second,
               "kind " + in_quotes(to_string(service.kind)));
    }
    if (service.kind == ServiceKind::forward) check_target(table, service.forward);
  }

  /// A name is looked up when the daemon starts.
  void check_target(const toml::table& table, const ForwardConfig& forward) {
    const toml::node* to = table.get("to");
    if (to == nullptr) {
      return expected(table.source(), "service.to", find(kServiceKeys, "service", "to")->expected,
                      "nothing");
    }
    const auto target = parse_target(forward.to);
    const auto address = target ? target->address() : std::nullopt;
    if (!address || may_reach(*address, forward.allow)) return;
    const std::string wanted = forward.allow.empty()
                                   ? "an address beyond this host and its links, or allow = [" +
                                         in_quotes(address->to_string()) + "]"
                                   : "an address within service.allow";
    expected(to->source(), "service.to", wanted, got(*to));
  }

  // ---- rules that hold between keys ----

  void check_together() {
    check_mtu();
    check_cores();
    for (std::size_t i = 0; i < result_.config.services.size(); ++i) {
      check_service_address(i);
      check_service_port(i);
      check_loop(i);
    }
  }

  /// The place of a key that was read without a mistake; the whole file where it is a default.
  toml::source_region place_of(const std::string& path) const {
    const auto it = places_.find(path);
    return it == places_.end() ? toml::source_region{} : it->second;
  }

  void check_mtu() {
    const TunConfig& tun = result_.config.tun;
    const bool v6 = std::any_of(tun.address.begin(), tun.address.end(),
                                [](const Prefix& p) { return !p.addr.is_v4(); });
    if (v6 && tun.mtu < 1280) {  // RFC 8200 5
      expected(place_of("tun.mtu"), "tun.mtu", "1280..65535 (tun.address has an IPv6 address)",
               std::to_string(tun.mtu));
    }
  }

  void check_cores() {
    const EngineConfig& engine = result_.config.engine;
    if (!engine.cores || !engine.workers) return;
    const std::size_t needed = *engine.workers + (engine.rx == RxMode::dedicated ? 1U : 0U);
    if (engine.cores->size() >= needed) return;
    expected(place_of("engine.cores"), "engine.cores",
             "at least " + std::to_string(needed) + " CPU ids (one per thread)",
             std::to_string(engine.cores->size()));
  }

  void check_service_address(std::size_t i) {
    const ServiceConfig& service = result_.config.services[i];
    if (!service.address) return;
    const auto& own = result_.config.tun.address;
    const bool ours = std::any_of(own.begin(), own.end(),
                                  [&](const Prefix& p) { return p.contains(*service.address); });
    if (ours) return;
    expected(service_tables_[i]->get("address")->source(), "service.address",
             "an address within tun.address", in_quotes(service.address->to_string()));
  }

  void check_service_port(std::size_t i) {
    const auto& services = result_.config.services;
    for (std::size_t j = 0; j < i; ++j) {
      const bool overlap = !services[i].address || !services[j].address ||
                           *services[i].address == *services[j].address;
      if (services[i].port != services[j].port || !overlap) continue;
      const auto line = service_tables_[j]->get("port")->source().begin.line;
      return expected(service_tables_[i]->get("port")->source(), "service.port",
                      "a port that no other service has",
                      std::to_string(services[i].port) + ", the port of the " +
                          std::string(to_string(services[j].kind)) + " service in line " +
                          std::to_string(line));
    }
  }

  /// A forward service must not lead back to itself, and the engine does not connect to itself.
  void check_loop(std::size_t i) {
    const ServiceConfig& service = result_.config.services[i];
    const auto target = parse_target(service.forward.to);
    const auto address = target ? target->address() : std::nullopt;
    if (service.kind != ServiceKind::forward || !address) return;
    const auto& own = result_.config.tun.address;
    const bool ours =
        std::any_of(own.begin(), own.end(), [&](const Prefix& p) { return p.contains(*address); });
    if (!ours || (!service.forward.via_engine && target->port != service.port)) return;
    expected(service_tables_[i]->get("to")->source(), "service.to",
             service.forward.via_engine ? "an address beyond tun.address with via = \"engine\""
                                        : "an endpoint other than the service's own",
             in_quotes(service.forward.to));
  }

  inline static const std::string kSections = "engine, tun, tcp, log, control, service";
  std::string source_;
  toml::table root_;
  ConfigResult result_;
  std::map<std::string, bool> overridden_;
  std::map<std::string, toml::source_region> places_;
  std::vector<const toml::table*> service_tables_;
};

// ---- writing ------------------------------------------------------------------------------

using Json = nlohmann::ordered_json;

template <class T>
Json auto_or(const std::optional<T>& v) {
  return v ? Json(*v) : Json("auto");
}

Json prefixes(const std::vector<Prefix>& list) {
  Json out = Json::array();
  for (const Prefix& p : list) out.push_back(p.to_string());
  return out;
}

Json service_json(const ServiceConfig& s) {
  Json out{{"kind", to_string(s.kind)},
           {"port", s.port},
           {"address", s.address ? s.address->to_string() : ""},
           {"congestion_control",
            s.congestion_control ? name_of(kCongestion, *s.congestion_control) : ""},
           {"fast_open", s.fast_open}};
  if (s.kind == ServiceKind::http) {
    out["root"] = s.root;
    out["listing"] = s.http.listing;
    out["live"] = auto_or(s.http.live);
    out["max_connections"] = s.http.max_connections;
  }
  if (s.kind == ServiceKind::iperf3) {
    out["max_tests"] = s.iperf3.max_tests;
    out["max_tests_per_client"] = s.iperf3.max_tests_per_client;
    out["max_parallel"] = s.iperf3.max_parallel;
    out["max_duration_s"] = s.max_duration.count();
    out["server_output"] = name_of(kReportForms, s.iperf3.server_output);
  }
  if (s.kind == ServiceKind::iperf2) {
    out["udp_reverse"] = s.iperf2.udp_reverse;
    out["max_flows"] = s.iperf2.max_flows;
    out["max_senders"] = s.iperf2.max_senders;
    out["max_duration_s"] = s.max_duration.count();
  }
  if (s.kind != ServiceKind::forward) return out;
  out["to"] = s.forward.to;
  out["via"] = name_of(kVia, s.forward.via_engine);
  out["max_connections"] = s.forward.max_connections;
  out["allow"] = prefixes(s.forward.allow);
  out["connect_timeout_s"] = s.forward.connect_timeout.count();
  out["idle_timeout_s"] = s.forward.idle_timeout.count();
  return out;
}

/// JSON's scalars and lists of them are TOML's too, DEL apart.
void write_section(std::string& out, const std::string& header, const Json& section) {
  out += (out.empty() ? "" : "\n") + header + '\n';
  for (const auto& [key, value] : section.items()) {
    std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
    for (std::size_t at; (at = text.find('\x7f')) != std::string::npos;) {
      text.replace(at, 1, "\\u007f");
    }
    out += key + " = " + text + '\n';
  }
}

}  // namespace

Config::Config() {
  // 198.18.0.1 and .2 (RFC 2544), 2001:2::1 and ::2 (RFC 5180): they collide with no private
  // network.
  std::array<std::uint8_t, 16> v6{0x20, 0x01, 0x00, 0x02};
  v6[15] = 1;
  tun.host_address = {{IpAddr::v4(0xC6120001), 32}, {IpAddr::from_v6_octets(v6.data()), 128}};
  v6[15] = 2;
  tun.address = {{IpAddr::v4(0xC6120002), 32}, {IpAddr::from_v6_octets(v6.data()), 128}};
}

std::string_view to_string(ServiceKind kind) { return name_of(kKinds, kind); }

std::optional<std::uint64_t> parse_size(std::string_view text) {
  std::uint64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc{}) return std::nullopt;
  constexpr std::pair<std::string_view, unsigned> units[] = {
      {"B", 0}, {"KiB", 10}, {"MiB", 20}, {"GiB", 30}};
  for (const auto& [unit, shift] : units) {
    if (std::string_view(rest, static_cast<std::size_t>(end - rest)) != unit) continue;
    if (number > (UINT64_MAX >> shift)) return std::nullopt;
    return number << shift;
  }
  return std::nullopt;
}

std::string format_size(std::uint64_t octets) {
  const char* const units[] = {"B", "KiB", "MiB", "GiB"};
  unsigned unit = 0;
  while (unit < 3 && octets != 0 && octets % 1024 == 0) {
    octets /= 1024;
    ++unit;
  }
  return std::to_string(octets) + units[unit];
}

ConfigResult parse_config(std::string_view text, std::string_view source,
                          std::span<const std::string> overrides) {
  return Loader(source).load(text, overrides);
}

ConfigResult load_config(const std::string& path, std::span<const std::string> overrides) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  // Reading a folder opens well and fails at the first octet; an empty file is no failure.
  if (!file || (file.peek() != std::ifstream::traits_type::eof() && !(text << file.rdbuf())) ||
      file.bad()) {
    ConfigResult result;
    const int error = errno;
    result.mistakes.push_back(path + ": cannot read the configuration: " +
                              (error != 0 ? std::strerror(error) : "unknown error"));
    return result;
  }
  return parse_config(text.str(), path, overrides);
}

Json to_json(const Config& c) {
  Json out;
  out["engine"] = {
      {"workers", auto_or(c.engine.workers)}, {"rx", name_of(kRxModes, c.engine.rx)},
      {"cores", auto_or(c.engine.cores)},     {"idle", name_of(kIdleModes, c.engine.idle)},
      {"spin_us", c.engine.spin.count()},     {"drain_s", c.engine.drain.count()}};
  out["tun"] = {{"name", c.tun.name},
                {"queues", auto_or(c.tun.queues)},
                {"mtu", c.tun.mtu},
                {"offload", c.tun.offload},
                {"verify_checksums", name_of(kChecksumModes, c.tun.verify_checksums)},
                {"host_address", prefixes(c.tun.host_address)},
                {"address", prefixes(c.tun.address)},
                {"manage", c.tun.manage},
                {"txqueuelen", c.tun.txqueuelen}};
  out["tcp"] = {{"congestion_control", name_of(kCongestion, c.tcp.congestion_control)},
                {"receive_buffer", format_size(c.tcp.receive_buffer)},
                {"send_buffer", format_size(c.tcp.send_buffer)},
                {"memory_limit", format_size(c.tcp.memory_limit)},
                {"syn_cookies", name_of(kSynCookies, c.tcp.syn_cookies)},
                {"delayed_ack_ms", c.tcp.delayed_ack.count()},
                {"keepalive_s", c.tcp.keepalive.count()},
                {"time_wait_s", c.tcp.time_wait.count()},
                {"user_timeout_s", c.tcp.user_timeout.count()}};
  out["log"] = {{"level", name_of(kLevels, c.log.level)}, {"file", c.log.file}};
  out["control"] = {{"socket", c.control.socket}};
  out["service"] = Json::array();
  for (const ServiceConfig& s : c.services) out["service"].push_back(service_json(s));
  return out;
}

std::string to_toml(const Config& config) {
  std::string out;
  const Json document = to_json(config);
  for (const auto& [name, section] : document.items()) {
    if (section.is_object()) {
      write_section(out, '[' + name + ']', section);
      continue;
    }
    for (const Json& element : section) write_section(out, "[[" + name + "]]", element);
  }
  return out;
}

}  // namespace pollux
