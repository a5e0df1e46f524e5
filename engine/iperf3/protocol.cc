#include "engine/iperf3/protocol.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

namespace pollux::iperf3 {
namespace {

/// In the order in which it was written. Each look for a member goes through all of them: objects
/// with more than kMaxMembers are refused before.
using json = nlohmann::ordered_json;

constexpr std::string_view kAlphabet = "abcdefghijklmnopqrstuvwxyz234567";
constexpr std::uint32_t kMaxTime = 86400;  // MAX_TIME
constexpr std::uint32_t kMaxOmit = 600;    // MAX_OMIT_TIME
constexpr std::uint32_t kMaxBurst = 1000;  // MAX_BURST
constexpr std::size_t kMaxText = 1024;     // of a title and the like
constexpr std::size_t kMaxMembers = 64;    // of one object; iperf3's have about 30
constexpr int kMaxDepth = 32;

/// A whole number as iperf3's own JSON writes it: -1 may come as 18446744073709551615, and a large
/// one as a floating-point number.
std::optional<std::int64_t> whole(const json& v) {
  if (v.is_number_unsigned()) return static_cast<std::int64_t>(v.get<std::uint64_t>());
  if (v.is_number_integer()) return v.get<std::int64_t>();
  if (!v.is_number_float()) return std::nullopt;
  const double d = v.get<double>();
  if (!(d > -9.2e18 && d < 9.2e18)) return std::nullopt;
  return static_cast<std::int64_t>(d);
}

/// Whether a document is neither nested deeper nor has more members in one object than anything
/// sensible: what walks a document recurses, and looks members up one by one.
bool is_modest(std::string_view text) {
  std::array<std::size_t, kMaxDepth> commas{};  // of the open containers
  std::size_t depth = 0;
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted && c == '\\') ++i;
    if (c == '"') quoted = !quoted;
    if (quoted) continue;
    if (c == '{' || c == '[') {
      if (depth == kMaxDepth) return false;
      // An array may be long: what it counts down from is never reached.
      commas[depth++] = c == '{' ? kMaxMembers : text.size() + 1;
    }
    if ((c == '}' || c == ']') && depth > 0) --depth;
    if (c == ',' && depth > 0 && --commas[depth - 1] == 0) return false;
  }
  return true;
}

/// Discarded when it is no JSON that we want.
json parse_json(std::string_view text) {
  return is_modest(text) ? json::parse(text, nullptr, false) : json(json::value_t::discarded);
}

/// A name that may go into a report; else "".
std::string name_in(const json& j, const char* member) {
  constexpr std::size_t kLongestName = 32;
  const auto at = j.find(member);
  if (at == j.end() || !at->is_string()) return {};
  const auto& name = at->get_ref<const std::string&>();
  const bool plain = std::ranges::all_of(name, [](char c) { return c > ' ' && c < 127; });
  return plain && name.size() <= kLongestName ? name : std::string();
}

/// Reads members; the first that is of a wrong type or out of its range is remembered.
class Members {
 public:
  explicit Members(const json& object) : object_(object) {}

  /// A number in [0, max], or `fallback` where it is left out.
  template <class T>
  T number(const char* name, std::uint64_t max, T fallback, ErrorCode code) {
    const auto at = object_.find(name);
    if (at == object_.end()) return fallback;
    const auto v = whole(*at);
    if (v && *v >= 0 && static_cast<std::uint64_t>(*v) <= max) return static_cast<T>(*v);
    refuse(code, std::string(name) + " is out of range");
    return fallback;
  }
  /// true, or a number that is not 0; false where it is left out.
  bool flag(const char* name) const {
    const auto at = object_.find(name);
    if (at == object_.end()) return false;
    return at->is_boolean() ? at->get<bool>() : whole(*at).value_or(0) != 0;
  }
  std::string text(const char* name) {
    const auto at = object_.find(name);
    if (at == object_.end()) return {};
    if (!at->is_string() || at->get_ref<const std::string&>().size() > kMaxText) {
      refuse(ErrorCode::receive_parameters, std::string(name) + " is no text, or a long one");
      return {};
    }
    return at->get<std::string>();
  }
  void refuse(ErrorCode code, std::string why) {
    if (!refusal_) refusal_ = Refusal{code, std::move(why)};
  }
  const std::optional<Refusal>& refusal() const { return refusal_; }

 private:
  const json& object_;
  std::optional<Refusal> refusal_;
};

void read_ends(Members& m, Parameters& p) {
  constexpr auto kAny = static_cast<std::uint64_t>(INT64_MAX);
  p.omit_s = m.number("omit", kMaxOmit, 0U, ErrorCode::omit);
  p.time_s = m.number("time", kMaxTime, 0U, ErrorCode::duration);
  p.bytes = m.number<std::uint64_t>("num", kAny, 0, ErrorCode::receive_parameters);
  p.blocks = m.number<std::uint64_t>("blockcount", kAny, 0, ErrorCode::receive_parameters);
}

void read_traffic(Members& m, std::uint32_t mss, Parameters& p) {
  p.udp = m.flag("udp");
  if (m.flag("sctp")) m.refuse(ErrorCode::no_sctp, "SCTP is not there");
  p.parallel = m.number("parallel", kMaxParallel, 1U, ErrorCode::streams);
  if (p.parallel == 0) m.refuse(ErrorCode::streams, "no streams");
  p.reverse = m.flag("reverse");
  p.bidirectional = m.flag("bidirectional");
  if (p.udp) {
    p.block = m.number("len", kMaxUdpBlock, mss, ErrorCode::udp_block_size);
    if (p.block < kMinUdpBlock && p.block != mss) {
      m.refuse(ErrorCode::udp_block_size, "datagrams of less than 16 octets");
    }
  } else {
    p.block = m.number("len", kMaxBlock, kDefaultBlock, ErrorCode::block_size);
    if (p.block == 0) p.block = kDefaultBlock;
  }
  if (p.block != 0 && p.blocks > INT64_MAX / p.block) {
    m.refuse(ErrorCode::receive_parameters, "more octets than can be counted");
  }
  constexpr std::uint64_t kMaxRate = 1'000'000'000'000'000;
  // Left out it is 0, no limit: the default of UDP is the client's affair.
  p.rate = m.number<std::uint64_t>("bandwidth", kMaxRate, 0, ErrorCode::receive_parameters);
  const auto fq = m.number<std::uint64_t>("fqrate", kMaxRate, 0, ErrorCode::receive_parameters);
  if (fq != 0 && (p.rate == 0 || fq < p.rate)) p.rate = fq;
  p.burst = m.number("burst", kMaxBurst, 0U, ErrorCode::burst);
  const auto us = m.number("pacing_timer", 1'000'000, 1000U, ErrorCode::receive_parameters);
  p.pacing_timer = std::chrono::microseconds(std::max(us, 50U));
}

void read_options(Members& m, Parameters& p) {
  p.mss = m.number("MSS", 65535, 0U, ErrorCode::receive_parameters);
  p.nodelay = m.flag("nodelay");
  p.window = m.number("window", 1U << 30U, 0U, ErrorCode::receive_parameters);
  p.tos = m.number<std::uint8_t>("TOS", 255, 0, ErrorCode::bad_tos);
  p.congestion = m.text("congestion");
  p.title = m.text("title");
  p.extra_data = m.text("extra_data");
  p.client_version = m.text("client_version");
  p.get_server_output = m.flag("get_server_output");
  p.wide_counters = m.flag("udp_counters_64bit");
}

StreamResult read_stream(const json& s) {
  const auto number = [&](const char* name) { return whole(s.value(name, json(0))).value_or(0); };
  const auto count = [&](const char* name) {
    return static_cast<std::uint64_t>(std::max<std::int64_t>(number(name), 0));
  };
  const auto seconds = [&](const char* name) {
    const json v = s.value(name, json(0));
    const double d = v.is_number() ? v.get<double>() : 0;
    return d > 0 ? std::min(d, 1e6) : 0;  // not a number: 0
  };
  constexpr std::int64_t kMost = 1'000'000'000'000'000;
  StreamResult r;
  r.id = static_cast<int>(std::clamp<std::int64_t>(number("id"), -1, 1'000'000));
  r.bytes = count("bytes");
  r.retransmits = std::clamp<std::int64_t>(number("retransmits"), -1, kMost);
  r.jitter_s = seconds("jitter");
  r.lost = count("errors");
  r.packets = count("packets");
  r.omitted_lost = count("omitted_errors");
  r.omitted_packets = count("omitted_packets");
  r.tells_omitted = s.contains("omitted_packets");
  r.seconds = seconds("end_time");
  return r;
}

json write_stream(const StreamResult& s) {
  return {{"id", s.id},
          {"bytes", s.bytes},
          {"retransmits", s.retransmits},
          {"jitter", s.jitter_s},
          {"errors", s.lost},
          {"omitted_errors", s.omitted_lost},
          {"packets", s.packets},
          {"omitted_packets", s.omitted_packets},
          {"start_time", 0},
          {"end_time", s.seconds}};
}

std::string dump(const json& document) {
  return document.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace

std::optional<Cookie> Cookie::parse(Bytes octets) {
  Cookie c;
  for (std::size_t i = 0; i < kSize - 1; ++i) {
    const char character = static_cast<char>(octets[i]);
    if (kAlphabet.find(character) == std::string_view::npos) return std::nullopt;
    c.text_[i] = character;
  }
  if (octets[kSize - 1] != 0) return std::nullopt;
  return c;
}

Cookie Cookie::make(const std::array<std::uint8_t, kSize - 1>& entropy) {
  Cookie c;
  for (std::size_t i = 0; i < entropy.size(); ++i) c.text_[i] = kAlphabet[entropy[i] % 32];
  return c;
}

Bytes Cookie::octets() const {
  return {reinterpret_cast<const std::uint8_t*>(text_.data()), text_.size()};
}

std::variant<Parameters, Refusal> parse_parameters(std::string_view text, std::uint32_t mss) {
  const json document = parse_json(text);
  if (!document.is_object()) return Refusal{ErrorCode::receive_parameters, "no JSON object"};
  Members m(document);
  Parameters p;
  read_ends(m, p);
  read_traffic(m, mss, p);
  read_options(m, p);
  if (p.time_s == 0 && p.bytes == 0 && p.blocks == 0) p.time_s = kMaxTime;  // -t 0: no end
  if (m.refusal()) return *m.refusal();
  return p;
}

std::string to_text(const Parameters& p) {
  json j = {{p.udp ? "udp" : "tcp", true},
            {"omit", p.omit_s},
            {"time", p.time_s},
            {"num", p.bytes},
            {"blockcount", p.blocks},
            {"parallel", p.parallel},
            {"len", p.block},
            {"pacing_timer", to_us(p.pacing_timer)},
            {"client_version", p.client_version}};
  const auto set = [&j](const char* name, auto value) {
    if (value) j[name] = value;
  };
  set("MSS", p.mss);
  set("nodelay", p.nodelay);
  set("reverse", p.reverse);
  set("bidirectional", p.bidirectional);
  set("window", p.window);
  set("bandwidth", p.rate);
  set("burst", p.burst);
  set("TOS", p.tos);
  set("get_server_output", p.get_server_output ? 1 : 0);
  set("udp_counters_64bit", p.wide_counters ? 1 : 0);
  if (!p.congestion.empty()) j["congestion"] = p.congestion;
  if (!p.title.empty()) j["title"] = p.title;
  if (!p.extra_data.empty()) j["extra_data"] = p.extra_data;
  return dump(j);
}

std::optional<Results> parse_results(std::string_view text) {
  const json j = parse_json(text);
  if (!j.is_object() || !j.contains("streams") || !j["streams"].is_array()) return std::nullopt;
  if (j["streams"].size() > 2 * std::size_t{kMaxParallel}) return std::nullopt;
  Results r;
  const auto percent = [&j](const char* name) {
    const json v = j.value(name, json(0));
    return v.is_number() ? v.get<double>() : 0.0;
  };
  r.cpu_total = percent("cpu_util_total");
  r.cpu_user = percent("cpu_util_user");
  r.cpu_system = percent("cpu_util_system");
  r.sender_has_retransmits =
      static_cast<int>(whole(j.value("sender_has_retransmits", json(-1))).value_or(-1));
  r.congestion_used = name_in(j, "congestion_used");
  for (const json& s : j["streams"]) {
    if (!s.is_object()) return std::nullopt;
    r.streams.push_back(read_stream(s));
  }
  const json output = j.value("server_output_text", json(""));
  if (output.is_string()) r.server_output_text = output.get<std::string>();
  if (const auto at = j.find("server_output_json"); at != j.end()) r.server_output_json = dump(*at);
  return r;
}

std::string to_text(const Results& r) {
  json j = {{"cpu_util_total", r.cpu_total},
            {"cpu_util_user", r.cpu_user},
            {"cpu_util_system", r.cpu_system},
            {"sender_has_retransmits", r.sender_has_retransmits},
            {"streams", json::array()}};
  if (!r.congestion_used.empty()) j["congestion_used"] = r.congestion_used;
  if (!r.server_output_text.empty()) j["server_output_text"] = r.server_output_text;
  if (!r.server_output_json.empty()) {
    j["server_output_json"] = json::parse(r.server_output_json, nullptr, false);
  }
  for (const StreamResult& s : r.streams) j["streams"].push_back(write_stream(s));
  return dump(j);
}

std::string framed(std::string_view text) {
  std::string out(4, '\0');
  store_be32(reinterpret_cast<std::uint8_t*>(out.data()), static_cast<std::uint32_t>(text.size()));
  return out.append(text);
}

std::size_t MessageReader::feed(Bytes in) {
  std::size_t used = 0;
  while (!have_length() && used < in.size()) head_[head_size_++] = in[used++];
  if (!have_length() || failed_) return used;
  length_ = load_be32(head_.data());
  if (length_ > limit_) {
    failed_ = true;
    return used;
  }
  const Bytes rest = in.subspan(used);
  const std::size_t n = std::min(rest.size(), length_ - text_.size());
  text_.append(reinterpret_cast<const char*>(rest.data()), n);
  return used + n;
}

std::optional<DatagramHead> DatagramHead::parse(Bytes datagram, bool wide) {
  if (datagram.size() < size(wide)) return std::nullopt;
  Reader r(datagram);
  DatagramHead h;
  h.seconds = r.be32();
  h.microseconds = r.be32();
  h.number = r.be32();
  if (wide) h.number = h.number << 32U | r.be32();
  return h;
}

void DatagramHead::emit(bool wide, MutableBytes out) const {
  store_be32(&out[0], seconds);
  store_be32(&out[4], microseconds);
  if (!wide) return store_be32(&out[8], static_cast<std::uint32_t>(number));
  store_be32(&out[8], static_cast<std::uint32_t>(number >> 32U));
  store_be32(&out[12], static_cast<std::uint32_t>(number));
}

}  // namespace pollux::iperf3
