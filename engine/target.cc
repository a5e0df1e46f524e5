#include "engine/target.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <memory>
#include <stdexcept>

namespace pollux {
namespace {

constexpr std::size_t kMaxName = 253;  // RFC 1035 2.3.4

std::optional<std::uint16_t> parse_port(std::string_view text) {
  std::uint16_t port = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, port);
  if (error != std::errc{} || rest != end || port == 0) return std::nullopt;
  return port;
}

bool is_name(std::string_view host) {
  return !host.empty() && host.size() <= kMaxName &&
         std::all_of(host.begin(), host.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '.' || c == '_';
         });
}

/// 0/8 and :: lead to the host itself on Linux, as loopback does; link-local is where clouds keep
/// their credentials.
const std::array<Prefix, 6>& denied() {
  static const std::array<Prefix, 6> list = {
      *Prefix::parse("0.0.0.0/8"), *Prefix::parse("127.0.0.0/8"), *Prefix::parse("169.254.0.0/16"),
      *Prefix::parse("::/128"),    *Prefix::parse("::1/128"),     *Prefix::parse("fe80::/10")};
  return list;
}

IpAddr address_of(const sockaddr& a) {
  if (a.sa_family == AF_INET) {
    const auto& in = reinterpret_cast<const sockaddr_in&>(a);
    return IpAddr::v4(ntohl(in.sin_addr.s_addr));
  }
  return IpAddr::from_v6_octets(reinterpret_cast<const sockaddr_in6&>(a).sin6_addr.s6_addr);
}

}  // namespace

std::optional<Target> parse_target(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  const auto port = parse_port(text.substr(colon + 1));
  std::string_view host = text.substr(0, colon);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  const auto address = IpAddr::parse(host);
  const bool fits = bracketed ? address && host.find(':') != std::string_view::npos : is_name(host);
  if (!port || !fits) return std::nullopt;
  return Target{std::string(host), *port};
}

bool may_reach(const IpAddr& a, const std::vector<Prefix>& allow) {
  const auto contains = [&](const Prefix& p) { return p.contains(a); };
  if (!allow.empty()) return std::any_of(allow.begin(), allow.end(), contains);
  return !a.is_multicast_or_broadcast() && std::none_of(denied().begin(), denied().end(), contains);
}

std::vector<Endpoint> resolve(const Target& target) {
  if (const auto address = target.address()) return {{*address, target.port}};
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(target.host.c_str(), nullptr, &hints, &found); error != 0) {
    throw std::runtime_error("cannot resolve \"" + target.host + "\": " + gai_strerror(error));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> list(found, &freeaddrinfo);
  std::vector<Endpoint> all;
  for (const addrinfo* a = found; a != nullptr; a = a->ai_next) {
    if (a->ai_family != AF_INET && a->ai_family != AF_INET6) continue;
    all.push_back({address_of(*a->ai_addr), target.port});
  }
  return all;
}

}  // namespace pollux
