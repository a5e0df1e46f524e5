// TCP segments: fixed header, options, checksum.
#include "proto/wire/tcp.h"

#include <algorithm>

#include "proto/wire/checksum.h"
#include "proto/wire/ip.h"

namespace pollux::wire {
namespace {

namespace option {
constexpr std::uint8_t end = 0, nop = 1, mss = 2, window_scale = 3, sack_permitted = 4, sack = 5,
                       timestamps = 8, user_timeout = 28, fast_open = 34;
}

constexpr std::size_t kMaxOptions = kTcpMaxHeaderSize - kTcpHeaderSize;
constexpr std::size_t kMaxSackBlocks = 4;
constexpr std::uint16_t kMinutes = 0x8000;  // the user timeout counts minutes (RFC 5482 2)
/// NOP, NOP, kind 8, length 10: what nearly every data segment carries (RFC 7323 appendix A).
constexpr std::uint32_t kPaddedTimestamps = 0x0101080a;

void reset(TcpOptions& o) {  // leaves the SACK array: sack_count says how much of it holds
  o.mss.reset();
  o.window_scale.reset();
  o.sack_permitted = false;
  o.timestamps.reset();
  o.user_timeout_s.reset();
  o.fast_open.reset();
  o.sack_count = 0;
}

bool parse_sack(Bytes body, TcpOptions& out) {
  if (body.empty() || body.size() % 8 != 0 || body.size() / 8 > kMaxSackBlocks) return false;
  out.sack_count = static_cast<std::uint8_t>(body.size() / 8);
  for (std::size_t i = 0; i < out.sack_count; ++i) {
    const std::uint8_t* p = body.data() + 8 * i;
    out.sack[i] = {Seq{load_be32(p)}, Seq{load_be32(p + 4)}};
  }
  return true;
}

/// Zero means nothing (RFC 5482 2).
bool parse_user_timeout(Bytes body, TcpOptions& out) {
  if (body.size() != 2) return false;
  const std::uint32_t n = load_be16(body.data());
  const std::uint32_t seconds = (n & kMinutes) != 0 ? (n & ~std::uint32_t{kMinutes}) * 60 : n;
  if (seconds != 0) out.user_timeout_s = seconds;
  return true;
}

/// A request, or a cookie of 4 to 16 octets, an even number; another is as good as none (RFC 7413
/// 4.1.1).
void parse_fast_open(Bytes body, TcpOptions& out) {
  if (!body.empty() && (body.size() < 4 || body.size() > 16 || body.size() % 2 != 0)) return;
  out.fast_open.emplace();
  out.fast_open->size = static_cast<std::uint8_t>(body.size());
  std::copy(body.begin(), body.end(), out.fast_open->octets.begin());
}

/// One option with its body. False when a known one has an illegal length (MUST-7); an unknown one
/// is skipped (MUST-6).
bool parse_option(std::uint8_t kind, Bytes body, bool syn, TcpOptions& out) {
  switch (kind) {
    case option::mss:
      if (body.size() != 2) return false;
      if (syn) out.mss = load_be16(body.data());  // MUST-65: means nothing without SYN
      return true;
    case option::window_scale:
      if (body.size() != 1) return false;
      if (syn) out.window_scale = body[0];  // RFC 7323 2.2: ignored without SYN
      return true;
    case option::sack_permitted:
      if (!body.empty()) return false;
      out.sack_permitted = syn;  // RFC 2018 2: not on other than SYN
      return true;
    case option::sack:
      return parse_sack(body, out);
    case option::timestamps:
      if (body.size() != 8) return false;
      out.timestamps = TcpTimestamps{load_be32(body.data()), load_be32(body.data() + 4)};
      return true;
    case option::user_timeout:
      return parse_user_timeout(body, out);
    case option::fast_open:
      if (syn) parse_fast_open(body, out);
      return true;
    default:
      return true;
  }
}

bool walk_options(Bytes options, bool syn, TcpOptions& out) {
  while (!options.empty()) {
    const std::uint8_t kind = options[0];
    if (kind == option::end) return true;  // what follows is padding (MUST-69)
    if (kind == option::nop) {
      options = options.subspan(1);
      continue;
    }
    // Every other kind, known or not, has a length that counts both of its octets (MUST-68).
    if (options.size() < 2 || options[1] < 2 || options[1] > options.size()) return false;
    if (!parse_option(kind, options.subspan(2, options[1] - 2U), syn, out)) return false;
    options = options.subspan(options[1]);
  }
  return true;
}

std::size_t padded_size(const FastOpenCookie& c) { return (2U + c.size + 3U) / 4U * 4U; }

/// Octets that all options but SACK take. SACK-permitted fills the two NOPs in front of timestamps.
std::size_t size_without_sack(const TcpOptions& o) {
  std::size_t n = 0;
  if (o.mss) n += 4;
  if (o.timestamps) {
    n += kTcpTimestampsSize;
  } else if (o.sack_permitted) {
    n += 4;
  }
  if (o.window_scale) n += 4;
  if (o.user_timeout_s) n += 4;
  // The longest cookie does not fit beside everything else: it is left off.
  if (o.fast_open && n + padded_size(*o.fast_open) <= kMaxOptions) n += padded_size(*o.fast_open);
  return n;
}

/// How many of the SACK blocks fit behind the other options.
std::size_t fitting_sack_blocks(const TcpOptions& o, std::size_t before) {
  if (o.sack_count == 0 || before + 4 + 8 > kMaxOptions) return 0;
  const std::size_t room = (kMaxOptions - before - 4) / 8;
  return std::min({std::size_t{o.sack_count}, kMaxSackBlocks, room});
}

std::uint8_t* put4(std::uint8_t* p, std::uint8_t a, std::uint8_t b, std::uint8_t c,
                   std::uint8_t d) {
  p[0] = a;
  p[1] = b;
  p[2] = c;
  p[3] = d;
  return p + 4;
}

std::uint8_t* emit_sack(const TcpOptions& o, std::size_t blocks, std::uint8_t* p) {
  p = put4(p, option::nop, option::nop, option::sack, static_cast<std::uint8_t>(2 + 8 * blocks));
  for (std::size_t i = 0; i < blocks; ++i, p += 8) {
    store_be32(p, o.sack[i].begin.raw());
    store_be32(p + 4, o.sack[i].end.raw());
  }
  return p;
}

std::uint8_t* emit_timestamps(const TcpOptions& o, std::uint8_t* p) {
  if (o.sack_permitted) {
    p = put4(p, option::sack_permitted, 2, option::timestamps, 10);
  } else {
    p = put4(p, option::nop, option::nop, option::timestamps, 10);
  }
  store_be32(p, o.timestamps->value);
  store_be32(p + 4, o.timestamps->echo);
  return p + 8;
}

std::uint8_t* emit_user_timeout(std::uint32_t seconds, std::uint8_t* p) {
  const std::uint32_t n = seconds < kMinutes ? seconds : std::min(seconds / 60, 0x7fffU) | kMinutes;
  return put4(p, option::user_timeout, 4, static_cast<std::uint8_t>(n >> 8),
              static_cast<std::uint8_t>(n));
}

std::uint8_t* emit_fast_open(const FastOpenCookie& cookie, std::uint8_t* p) {
  p = std::fill_n(p, padded_size(cookie) - 2U - cookie.size, option::nop);
  *p++ = option::fast_open;
  *p++ = static_cast<std::uint8_t>(2U + cookie.size);
  return std::copy_n(cookie.octets.begin(), cookie.size, p);
}

/// Writes all options in groups of four octets; returns the end.
std::uint8_t* emit_options(const TcpOptions& o, std::uint8_t* p) {
  const std::uint8_t* end = p + kMaxOptions;
  if (o.mss) {
    p = put4(p, option::mss, 4, static_cast<std::uint8_t>(*o.mss >> 8),
             static_cast<std::uint8_t>(*o.mss));
  }
  if (o.timestamps) {
    p = emit_timestamps(o, p);
  } else if (o.sack_permitted) {
    p = put4(p, option::nop, option::nop, option::sack_permitted, 2);
  }
  if (o.window_scale) p = put4(p, option::nop, option::window_scale, 3, *o.window_scale);
  if (o.user_timeout_s) p = emit_user_timeout(*o.user_timeout_s, p);
  if (o.fast_open && p + padded_size(*o.fast_open) <= end) p = emit_fast_open(*o.fast_open, p);
  const std::size_t blocks = fitting_sack_blocks(o, size_without_sack(o));
  return blocks == 0 ? p : emit_sack(o, blocks, p);
}

}  // namespace

std::size_t parse_tcp(Bytes segment, TcpHeader& out) {
  if (segment.size() < kTcpHeaderSize) return 0;
  const std::uint8_t* p = segment.data();
  const std::size_t size = static_cast<std::size_t>(p[12] >> 4) * 4;
  if (size < kTcpHeaderSize || size > segment.size()) return 0;
  out.src_port = load_be16(p);
  out.dst_port = load_be16(p + 2);
  out.seq = Seq{load_be32(p + 4)};
  out.ack = Seq{load_be32(p + 8)};
  out.flags = p[13];
  out.window = load_be16(p + 14);
  out.urgent = load_be16(p + 18);
  reset(out.options);
  if (size == kTcpHeaderSize) return size;
  if (size == kTcpHeaderSize + kTcpTimestampsSize &&
      load_be32(p + kTcpHeaderSize) == kPaddedTimestamps) {
    out.options.timestamps = TcpTimestamps{load_be32(p + 24), load_be32(p + 28)};
    return size;
  }
  const Bytes options = segment.subspan(kTcpHeaderSize, size - kTcpHeaderSize);
  return walk_options(options, out.has(tcp_flag::syn), out.options) ? size : 0;
}

std::size_t tcp_header_size(const TcpOptions& options) {
  const std::size_t before = size_without_sack(options);
  const std::size_t blocks = fitting_sack_blocks(options, before);
  return kTcpHeaderSize + before + (blocks == 0 ? 0 : 4 + 8 * blocks);
}

std::size_t emit_tcp(const TcpHeader& h, MutableBytes out) {
  std::uint8_t* p = out.data();
  store_be16(p, h.src_port);
  store_be16(p + 2, h.dst_port);
  store_be32(p + 4, h.seq.raw());
  store_be32(p + 8, h.ack.raw());
  p[13] = h.flags;
  store_be16(p + 14, h.window);
  store_be16(p + 16, 0);
  store_be16(p + 18, h.urgent);
  const std::uint8_t* end = emit_options(h.options, p + kTcpHeaderSize);
  const auto size = static_cast<std::size_t>(end - p);
  p[12] = static_cast<std::uint8_t>(size / 4 << 4);
  return size;
}

bool tcp_checksum_ok(const IpAddr& src, const IpAddr& dst, Bytes segment) {
  ChecksumSum sum;
  add_pseudo_header(sum, src, dst, kProtoTcp, static_cast<std::uint32_t>(segment.size()));
  sum.add(segment);
  return sum.fold() == 0xffff;
}

std::string tcp_flags_to_string(std::uint8_t flags) {
  static constexpr const char* kNames[8] = {"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"};
  std::string s;
  for (unsigned i = 0; i < 8; ++i) {
    if ((flags >> i & 1) == 0) continue;
    if (!s.empty()) s += ',';
    s += kNames[i];
  }
  return s.empty() ? "none" : s;
}

}  // namespace pollux::wire
