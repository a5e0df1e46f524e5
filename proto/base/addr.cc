// Text to addresses and back, by hand: proto sees no system header. Parsing is strict (RFC
// 4291 2.2, RFC 6943 3.1.1: no octal, no short dotted forms); printing is canonical (RFC 5952).
#include "proto/base/addr.h"

#include <charconv>

namespace pollux {
namespace {

constexpr unsigned kGroups = 8;
using Groups = std::array<std::uint16_t, kGroups>;

/// One decimal number of `text` up to `max`, without sign or leading zero.
std::optional<unsigned> parse_decimal(std::string_view text, unsigned max) {
  if (text.empty() || text.size() > 3 || (text.size() > 1 && text[0] == '0')) return std::nullopt;
  unsigned v = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    v = v * 10 + static_cast<unsigned>(c - '0');
  }
  if (v > max) return std::nullopt;
  return v;
}

std::optional<std::uint32_t> parse_v4(std::string_view text) {
  std::uint32_t v = 0;
  for (unsigned i = 0; i < 4; ++i) {
    const std::size_t dot = i < 3 ? text.find('.') : text.size();
    if (dot == std::string_view::npos) return std::nullopt;
    const auto octet = parse_decimal(text.substr(0, dot), 255);
    if (!octet) return std::nullopt;
    v = (v << 8) | *octet;
    if (i < 3) text.remove_prefix(dot + 1);
  }
  return v;
}

std::optional<std::uint16_t> parse_group(std::string_view text) {
  if (text.empty() || text.size() > 4) return std::nullopt;
  std::uint16_t v = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), v, 16);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return v;
}

/// Reads "h:h:..." into `out`; a dotted quad may stand in for the last two groups. Returns how
/// many groups there were (0 for empty text), or nullopt when malformed or more than eight.
std::optional<unsigned> parse_groups(std::string_view text, bool v4_tail, Groups& out) {
  unsigned n = 0;
  while (!text.empty()) {
    const std::size_t colon = text.find(':');
    const std::string_view part = text.substr(0, colon);
    const bool last = colon == std::string_view::npos;
    if (last && v4_tail && part.find('.') != std::string_view::npos) {
      const auto v4 = parse_v4(part);
      if (!v4 || n + 2 > kGroups) return std::nullopt;
      out[n++] = static_cast<std::uint16_t>(*v4 >> 16);
      out[n++] = static_cast<std::uint16_t>(*v4);
      return n;
    }
    const auto group = parse_group(part);
    if (!group || n == kGroups) return std::nullopt;
    out[n++] = *group;
    if (last) return n;
    text.remove_prefix(colon + 1);
    if (text.empty()) return std::nullopt;  // a single ':' at the end
  }
  return n;
}

IpAddr from_groups(const Groups& g) {
  std::array<std::uint8_t, 16> octets{};
  for (unsigned i = 0; i < kGroups; ++i) {
    octets[2 * i] = static_cast<std::uint8_t>(g[i] >> 8);
    octets[2 * i + 1] = static_cast<std::uint8_t>(g[i]);
  }
  return IpAddr::from_v6_octets(octets.data());
}

std::optional<IpAddr> parse_v6(std::string_view text) {
  const std::size_t gap = text.find("::");
  Groups head{};
  if (gap == std::string_view::npos) {
    const auto n = parse_groups(text, true, head);
    if (n != kGroups) return std::nullopt;
    return from_groups(head);
  }
  Groups tail{};
  const auto before = parse_groups(text.substr(0, gap), false, head);
  const auto after = parse_groups(text.substr(gap + 2), true, tail);
  // "::" stands for at least one group of zeros; a second "::" fails as an empty group.
  if (!before || !after || *before + *after >= kGroups) return std::nullopt;
  for (unsigned i = 0; i < *after; ++i) head[kGroups - *after + i] = tail[i];
  return from_groups(head);
}

std::string v4_to_string(std::uint32_t v) {
  std::string s;
  for (unsigned i = 0; i < 4; ++i) {
    if (i != 0) s += '.';
    s += std::to_string((v >> (24 - 8 * i)) & 0xff);
  }
  return s;
}

struct Run {
  unsigned start = kGroups;
  unsigned length = 0;
};

/// The longest run of at least two zero groups, the first of equals (RFC 5952 4.2).
Run longest_zero_run(const Groups& g) {
  Run best;
  for (unsigned i = 0; i < kGroups;) {
    unsigned end = i;
    while (end < kGroups && g[end] == 0) ++end;
    if (end - i >= 2 && end - i > best.length) best = {i, end - i};
    i = end + 1;
  }
  return best;
}

std::string v6_to_string(const std::array<std::uint8_t, 16>& octets) {
  Groups g{};
  for (unsigned i = 0; i < kGroups; ++i) {
    g[i] = static_cast<std::uint16_t>((octets[2 * i] << 8) | octets[2 * i + 1]);
  }
  const Run gap = longest_zero_run(g);
  std::string s;
  for (unsigned i = 0; i < kGroups; ++i) {
    if (i == gap.start) {
      s += "::";
      i += gap.length - 1;
      continue;
    }
    if (!s.empty() && s.back() != ':') s += ':';
    std::array<char, 4> hex{};
    const auto end = std::to_chars(hex.data(), hex.data() + hex.size(), g[i], 16).ptr;
    s.append(hex.data(), end);
  }
  return s;
}

}  // namespace

std::optional<IpAddr> IpAddr::parse(std::string_view text) {
  if (text.find(':') != std::string_view::npos) return parse_v6(text);
  const auto value = parse_v4(text);
  if (!value) return std::nullopt;
  return v4(*value);
}

bool IpAddr::is_never_source() const {
  if (is_v4()) return b_[12] == 0 || b_[12] == 127 || b_[12] >= 224;
  if (b_[0] == 0xff) return true;
  for (unsigned i = 0; i < 15; ++i) {
    if (b_[i] != 0) return false;
  }
  return b_[15] <= 1;
}

bool IpAddr::is_multicast_or_broadcast() const {
  if (!is_v4()) return b_[0] == 0xff;
  return (b_[12] & 0xf0) == 0xe0 || v4_value() == 0xffff'ffff;
}

std::string IpAddr::to_string() const {
  return is_v4() ? v4_to_string(v4_value()) : v6_to_string(b_);
}

std::string Endpoint::to_string() const {
  const std::string host = addr.is_v4() ? addr.to_string() : '[' + addr.to_string() + ']';
  return host + ':' + std::to_string(port);
}

bool Prefix::contains(const IpAddr& a) const {
  if (addr.is_v4() != a.is_v4()) return false;
  const unsigned bits = length + (addr.is_v4() ? 96U : 0U);
  const std::uint64_t high = addr.high() ^ a.high();
  const std::uint64_t low = addr.low() ^ a.low();
  if (bits <= 64) return bits == 0 || high >> (64U - bits) == 0;
  return high == 0 && low >> (128U - bits) == 0;
}

bool Prefix::is_group(const IpAddr& a) const {
  if (a.is_multicast_or_broadcast()) return true;
  return a.is_v4() && length < 31 && (a.v4_value() | ~(0xffff'ffffU >> length)) == 0xffff'ffff;
}

std::optional<Prefix> Prefix::parse(std::string_view text) {
  const std::size_t slash = text.find('/');
  const auto addr = IpAddr::parse(text.substr(0, slash));
  if (!addr) return std::nullopt;
  const unsigned max = addr->is_v4() ? 32 : 128;
  if (slash == std::string_view::npos) return Prefix{*addr, static_cast<std::uint8_t>(max)};
  const auto length = parse_decimal(text.substr(slash + 1), max);
  if (!length) return std::nullopt;
  return Prefix{*addr, static_cast<std::uint8_t>(*length)};
}

std::string Prefix::to_string() const { return addr.to_string() + '/' + std::to_string(length); }

}  // namespace pollux
