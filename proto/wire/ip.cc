// IPv4 and IPv6 headers. Every length is checked against the packet before it is believed.
#include "proto/wire/ip.h"

#include <optional>

#include "proto/wire/checksum.h"

namespace pollux::wire {
namespace {

using ParsedIp = std::variant<IpHeader, DropReason>;

constexpr std::uint16_t kDontFragment = 0x4000;
constexpr std::uint16_t kMoreFragments = 0x2000;
constexpr std::uint16_t kFragmentOffset = 0x1fff;

/// Walks IPv4 options (RFC 791 3.1). Source routes are refused (RFC 7126 4.3, 4.4).
std::optional<DropReason> walk_v4_options(Bytes options) {
  constexpr std::uint8_t kEnd = 0, kNop = 1, kLooseRoute = 131, kStrictRoute = 137;
  while (!options.empty()) {
    const std::uint8_t kind = options[0];
    if (kind == kEnd) break;
    if (kind == kNop) {
      options = options.subspan(1);
      continue;
    }
    if (kind == kLooseRoute || kind == kStrictRoute) return DropReason::ip_source_route;
    if (options.size() < 2 || options[1] < 2 || options[1] > options.size()) {
      return DropReason::ip_malformed;
    }
    options = options.subspan(options[1]);
  }
  return std::nullopt;
}

ParsedIp parse_v4(Bytes packet, bool verify_checksum) {
  if (packet.size() < kIpv4HeaderSize) return DropReason::ip_malformed;
  const std::uint8_t* p = packet.data();
  const std::size_t header_size = static_cast<std::size_t>(p[0] & 0x0f) * 4;
  const std::size_t total = load_be16(p + 2);
  if (header_size < kIpv4HeaderSize || total < header_size || total > packet.size()) {
    return DropReason::ip_malformed;
  }
  if (verify_checksum && checksum_fold(packet.first(header_size)) != 0xffff) {
    return DropReason::ip_checksum;
  }
  if (header_size > kIpv4HeaderSize) {
    const Bytes options = packet.subspan(kIpv4HeaderSize, header_size - kIpv4HeaderSize);
    if (const auto reason = walk_v4_options(options)) return *reason;
  }

  IpHeader h;
  h.src = IpAddr::from_v4_octets(p + 12);
  h.dst = IpAddr::from_v4_octets(p + 16);
  h.protocol = p[9];
  h.hop_limit = p[8];
  h.tos = p[1];
  h.id = load_be16(p + 4);
  const std::uint16_t fragment = load_be16(p + 6);
  h.more_fragments = (fragment & kMoreFragments) != 0;
  h.fragment_offset = static_cast<std::uint16_t>((fragment & kFragmentOffset) << 3);
  h.header_size = static_cast<std::uint16_t>(header_size);
  h.payload_size = static_cast<std::uint16_t>(total - header_size);
  return h;
}

constexpr std::uint8_t kHopByHop = 0;
constexpr std::uint8_t kRouting = 43;
constexpr std::uint8_t kFragment = 44;
constexpr std::uint8_t kDestinationOptions = 60;

constexpr bool is_extension_header(std::uint8_t protocol) {
  return protocol == kHopByHop || protocol == kRouting || protocol == kFragment ||
         protocol == kDestinationOptions;
}

/// Options of a hop-by-hop or destination options header. No option is known here but padding, so
/// the two top bits of the type decide: 00 skip, anything else discard (RFC 8200 4.2).
bool v6_options_pass(Bytes options) {
  while (!options.empty()) {
    if (options[0] == 0) {  // Pad1
      options = options.subspan(1);
      continue;
    }
    if ((options[0] & 0xc0) != 0 || options.size() < 2) return false;
    const std::size_t size = std::size_t{2} + options[1];
    if (size > options.size()) return false;
    options = options.subspan(size);
  }
  return true;
}

/// Judges the extension header of `kind` in `header` (already cut to its own size, at least 8).
std::optional<DropReason> judge_extension(std::uint8_t kind, Bytes header) {
  if (kind == kRouting) {
    // Type 0 is dead (RFC 5095); of another type only a finished route may be skipped (RFC
    // 8200 4.4).
    if (header[2] == 0 || header[3] != 0) return DropReason::ip_source_route;
    return std::nullopt;
  }
  if (kind == kFragment) return std::nullopt;
  if (!v6_options_pass(header.subspan(2))) return DropReason::ip_extension_headers;
  return std::nullopt;
}

/// Walks the extension headers of `packet`; `h` has protocol and header_size of the fixed header
/// and gets those of the payload.
std::optional<DropReason> walk_extensions(Bytes packet, IpHeader& h) {
  for (unsigned n = 0; is_extension_header(h.protocol); ++n) {
    if (n == kMaxExtensionHeaders) return DropReason::ip_extension_headers;
    // Hop-by-hop is legal only directly behind the fixed header (RFC 8200 4.1).
    if (h.protocol == kHopByHop && n != 0) return DropReason::ip_extension_headers;
    const Bytes rest = packet.subspan(h.header_size);
    if (rest.size() < 8) return DropReason::ip_extension_headers;
    const std::size_t size = h.protocol == kFragment ? 8 : (std::size_t{rest[1]} + 1) * 8;
    if (size > rest.size()) return DropReason::ip_extension_headers;
    if (const auto reason = judge_extension(h.protocol, rest.first(size))) return reason;
    if (h.protocol == kFragment) {
      const std::uint16_t fragment = load_be16(&rest[2]);
      h.fragment_offset = fragment & 0xfff8;
      h.more_fragments = (fragment & 1) != 0;
      h.id = load_be32(&rest[4]);
    }
    h.protocol = rest[0];
    h.header_size = static_cast<std::uint16_t>(h.header_size + size);
    if (h.is_fragment()) break;  // what follows is a piece of the whole
  }
  return std::nullopt;
}

ParsedIp parse_v6(Bytes packet) {
  if (packet.size() < kIpv6HeaderSize) return DropReason::ip_malformed;
  const std::uint8_t* p = packet.data();
  const std::size_t total = kIpv6HeaderSize + load_be16(p + 4);
  if (total > packet.size()) return DropReason::ip_malformed;

  IpHeader h;
  h.src = IpAddr::from_v6_octets(p + 8);
  h.dst = IpAddr::from_v6_octets(p + 24);
  // Mapped addresses never travel (RFC 4942 2.2); let in, they would pass as IPv4 ones in here.
  if (h.src.is_v4() || h.dst.is_v4()) return DropReason::ip_malformed;
  h.protocol = p[6];
  h.hop_limit = p[7];
  h.tos = static_cast<std::uint8_t>((p[0] << 4) | (p[1] >> 4));
  h.header_size = kIpv6HeaderSize;
  if (is_extension_header(h.protocol)) {
    if (const auto reason = walk_extensions(packet.first(total), h)) return *reason;
  }
  h.payload_size = static_cast<std::uint16_t>(total - h.header_size);
  return h;
}

void emit_v4(const IpHeader& h, std::size_t payload_size, std::uint8_t* p) {
  p[0] = 0x45;
  p[1] = h.tos;
  store_be16(p + 2, static_cast<std::uint16_t>(kIpv4HeaderSize + payload_size));
  store_be16(p + 4, static_cast<std::uint16_t>(h.id));
  const int offset_and_more = h.fragment_offset >> 3 | (h.more_fragments ? kMoreFragments : 0);
  const bool whole = !h.is_fragment() && !h.may_fragment;
  store_be16(p + 6, static_cast<std::uint16_t>(whole ? kDontFragment : offset_and_more));
  p[8] = h.hop_limit;
  p[9] = h.protocol;
  store_be16(p + 10, 0);
  std::memcpy(p + 12, h.src.octets().data() + 12, 4);
  std::memcpy(p + 16, h.dst.octets().data() + 12, 4);
  const std::uint16_t sum = checksum_fold({p, kIpv4HeaderSize});
  store_be16(p + 10, static_cast<std::uint16_t>(~sum));
}

void emit_v6(const IpHeader& h, std::size_t payload_size, std::uint8_t* p) {
  const std::size_t behind = payload_size + (h.is_fragment() ? kIpv6FragmentHeaderSize : 0);
  store_be32(p, std::uint32_t{6} << 28 | std::uint32_t{h.tos} << 20);
  store_be16(p + 4, static_cast<std::uint16_t>(behind));
  p[6] = h.is_fragment() ? kFragment : h.protocol;
  p[7] = h.hop_limit;
  std::memcpy(p + 8, h.src.octets().data(), 16);
  std::memcpy(p + 24, h.dst.octets().data(), 16);
  if (!h.is_fragment()) return;
  p[40] = h.protocol;
  p[41] = 0;
  store_be16(p + 42, static_cast<std::uint16_t>(h.fragment_offset | (h.more_fragments ? 1 : 0)));
  store_be32(p + 44, h.id);
}

}  // namespace

std::variant<IpHeader, DropReason> parse_ip(Bytes packet, bool verify_checksum) {
  if (packet.empty()) return DropReason::ip_malformed;
  switch (packet[0] >> 4) {
    case 4:
      return parse_v4(packet, verify_checksum);
    case 6:
      return parse_v6(packet);
    default:
      return DropReason::ip_malformed;
  }
}

std::size_t emit_ip(const IpHeader& h, std::size_t payload_size, MutableBytes out) {
  if (h.is_v4()) {
    emit_v4(h, payload_size, out.data());
    return kIpv4HeaderSize;
  }
  emit_v6(h, payload_size, out.data());
  return h.is_fragment() ? fragment_header_size(false) : kIpv6HeaderSize;
}

}  // namespace pollux::wire
