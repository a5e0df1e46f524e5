#include "engine/ping_command.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <exception>
#include <nlohmann/json.hpp>
#include <ostream>

#include "engine/control_client.h"
#include "engine/interruption.h"
#include "proto/base/addr.h"

namespace pollux::engine {
namespace {

using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

constexpr int kAnswered = 0, kNoAnswer = 1, kError = 2;
constexpr std::size_t kIcmpHeader = 8;

/// As many digits as ping gives it.
std::string milliseconds(double ms) {
  if (ms >= 100) return fmt::format("{:.0f}", ms);
  if (ms >= 10) return fmt::format("{:.1f}", ms);
  return ms >= 1 ? fmt::format("{:.2f}", ms) : fmt::format("{:.3f}", ms);
}

/// `texts[code]`, else `otherwise` with the code.
template <std::size_t N>
std::string text_of(const std::array<std::string_view, N>& texts, unsigned code,
                    std::string_view otherwise) {
  if (code < N && !texts[code].empty()) return std::string(texts[code]);
  return fmt::format("{}{}", otherwise, code);
}

std::string describe_v4(unsigned type, unsigned code, unsigned mtu) {
  constexpr unsigned kUnreachable = 3, kTimeExceeded = 11, kTooLong = 4;
  constexpr std::array<std::string_view, 14> unreachable{
      "Destination Net Unreachable",
      "Destination Host Unreachable",
      "Destination Protocol Unreachable",
      "Destination Port Unreachable",
      "",
      "Source Route Failed",
      "Destination Net Unknown",
      "Destination Host Unknown",
      "",
      "Destination Net Prohibited",
      "Destination Host Prohibited",
      "Destination Net Unreachable for Type of Service",
      "Destination Host Unreachable for Type of Service",
      "Packet filtered"};
  constexpr std::array<std::string_view, 2> exceeded{"Time to live exceeded",
                                                     "Frag reassembly time exceeded"};
  if (type == kUnreachable && code == kTooLong) {
    return fmt::format("Frag needed and DF set (mtu = {})", mtu);
  }
  if (type == kUnreachable) return text_of(unreachable, code, "Dest Unreachable, Bad Code: ");
  if (type == kTimeExceeded) return text_of(exceeded, code, "Time exceeded, Bad Code: ");
  return "Parameter problem";
}

std::string describe_v6(unsigned type, unsigned code, unsigned mtu) {
  constexpr unsigned kUnreachable = 1, kTooBig = 2, kTimeExceeded = 3;
  constexpr std::array<std::string_view, 5> unreachable{"No route", "Administratively prohibited",
                                                        "Beyond scope of source address",
                                                        "Address unreachable", "Port unreachable"};
  constexpr std::array<std::string_view, 2> exceeded{"Hop limit", "Defragmentation failure"};
  if (type == kUnreachable) {
    return "Destination unreachable: " + text_of(unreachable, code, "Unknown code ");
  }
  if (type == kTooBig) return fmt::format("Packet too big: mtu={}", mtu);
  if (type == kTimeExceeded) return "Time exceeded: " + text_of(exceeded, code, "code ");
  return "Parameter problem";
}

/// An ICMP error, in ping's words.
std::string describe(bool v4, unsigned type, unsigned code, unsigned mtu) {
  return v4 ? describe_v4(type, code, mtu) : describe_v6(type, code, mtu);
}

/// What has been heard, and what is printed of it.
class Session {
 public:
  Session(const PingCommand& command, std::ostream& out) : command_(command), out_(out) {}

  void take(const Json& line) {
    last_ = Clock::now();
    if (line.contains("start")) return start(line.at("start"));
    if (line.contains("sent")) transmitted_ = line.at("sent").get<std::uint64_t>();
    if (line.contains("answer")) answer(line.at("answer"));
    if (line.contains("failure")) failure(line.at("failure"));
  }
  int finish() {
    command_.json ? print_json() : print_text();
    return received_ > 0 ? kAnswered : kNoAnswer;
  }

 private:
  void start(const Json& s) {
    first_ = last_;
    local_ = s.at("local").get<std::string>();
    remote_ = s.at("remote").get<std::string>();
    if (command_.json) return;
    if (IpAddr::parse(remote_)->is_v4()) {
      out_ << fmt::format("PING {} ({}) from {}: {}({}) bytes of data.\n", command_.address,
                          remote_, local_, command_.size, command_.size + kIcmpHeader + 20);
    } else {
      out_ << fmt::format("PING {}({}) from {} {} data bytes\n", command_.address, remote_, local_,
                          command_.size);
    }
    out_ << std::flush;
  }

  void answer(const Json& a) {
    const double ms = a.at("time_us").get<double>() / 1000;
    const bool duplicate = a.at("duplicate").get<bool>();
    duplicate ? ++duplicates_ : ++received_;
    least_ = received_ + duplicates_ == 1 ? ms : std::min(least_, ms);
    most_ = std::max(most_, ms);
    sum_ += ms;
    squares_ += ms * ms;
    if (command_.json) {
      replies_.push_back(Json{{"icmp_seq", a.at("number")},
                              {"ttl", a.at("ttl")},
                              {"bytes", a.at("octets")},
                              {"time_ms", ms},
                              {"duplicate", duplicate}});
      return;
    }
    out_ << fmt::format("{} bytes from {}: icmp_seq={} ttl={} time={} ms{}\n",
                        a.at("octets").get<std::size_t>(), remote_,
                        a.at("number").get<std::uint64_t>(), a.at("ttl").get<int>(),
                        milliseconds(ms), duplicate ? " (DUP!)" : "")
         << std::flush;
  }

  void failure(const Json& f) {
    ++errors_;
    const std::string from = f.at("from").get<std::string>();
    const std::string why = describe(IpAddr::parse(from)->is_v4(), f.at("type").get<unsigned>(),
                                     f.at("code").get<unsigned>(), f.at("mtu").get<unsigned>());
    if (command_.json) {
      failures_.push_back(Json{{"icmp_seq", f.at("number")},
                               {"from", from},
                               {"type", f.at("type")},
                               {"code", f.at("code")},
                               {"text", why}});
      return;
    }
    out_ << fmt::format("From {} icmp_seq={} {}\n", from, f.at("number").get<std::uint64_t>(), why)
         << std::flush;
  }

  std::int64_t time_ms() const {
    return std::chrono::duration_cast<std::chrono::milliseconds>(last_ - first_).count();
  }
  double loss_percent() const {
    if (transmitted_ == 0) return 0;
    return 100.0 * static_cast<double>(transmitted_ - received_) /
           static_cast<double>(transmitted_);
  }
  double mean() const { return sum_ / static_cast<double>(received_ + duplicates_); }
  double deviation() const {
    const double mean_square = squares_ / static_cast<double>(received_ + duplicates_);
    return std::sqrt(std::max(0.0, mean_square - mean() * mean()));
  }

  void print_text() const {
    out_ << fmt::format("\n--- {} ping statistics ---\n", command_.address)
         << fmt::format("{} packets transmitted, {} received,{}{} {:.6g}% packet loss, time {}ms\n",
                        transmitted_, received_,
                        duplicates_ > 0 ? fmt::format(" +{} duplicates,", duplicates_) : "",
                        errors_ > 0 ? fmt::format(" +{} errors,", errors_) : "", loss_percent(),
                        time_ms());
    if (received_ > 0) {
      out_ << fmt::format("rtt min/avg/max/mdev = {:.3f}/{:.3f}/{:.3f}/{:.3f} ms\n", least_, mean(),
                          most_, deviation());
    }
    out_ << std::flush;
  }

  void print_json() const {
    Json j{{"address", command_.address},    {"local", local_},       {"size", command_.size},
           {"transmitted", transmitted_},    {"received", received_}, {"duplicates", duplicates_},
           {"loss_percent", loss_percent()}, {"time_ms", time_ms()}};
    j["rtt_ms"] =
        received_ == 0
            ? Json(nullptr)
            : Json{{"min", least_}, {"avg", mean()}, {"max", most_}, {"mdev", deviation()}};
    j["replies"] = replies_;
    j["errors"] = failures_;
    out_ << j.dump(2) << std::endl;
  }

  const PingCommand& command_;
  std::ostream& out_;
  std::string local_, remote_;
  Clock::time_point first_ = Clock::now(), last_ = first_;
  std::uint64_t transmitted_ = 0, received_ = 0, duplicates_ = 0, errors_ = 0;
  double least_ = 0, most_ = 0, sum_ = 0, squares_ = 0;  ///< of round trips, ms
  Json replies_ = Json::array();
  Json failures_ = Json::array();
};

nlohmann::json request_of(const PingCommand& c) {
  return {{"address", c.address},
          {"count", c.count},
          {"interval_us", std::llround(c.interval_s * 1e6)},
          {"wait_us", std::llround(c.wait_s * 1e6)},
          {"size", c.size}};
}

int ping(const PingCommand& command, std::ostream& out) {
  const Interruption interruption;
  ControlCall call(command.control, "ping " + request_of(command).dump());
  Session session(command, out);
  while (interruption.wait_for_line(call)) {
    const auto line = call.next();
    if (!line) break;
    session.take(*line);
  }
  return session.finish();
}

}  // namespace

int run_ping(const PingCommand& command, std::ostream& out, std::ostream& err) {
  try {
    return ping(command, out);
  } catch (const std::exception& e) {
    err << "pollux: " << e.what() << '\n';
    return kError;
  }
}

}  // namespace pollux::engine
