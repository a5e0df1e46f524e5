#include "proto/tcp/syn_cookie.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace pollux::tcp {

namespace {

namespace flag = wire::tcp_flag;

// What real peers send: the floor, the defaults of both families, tunnels, Ethernet, jumbo frames.
// Ascending; a peer gets the largest that is not above its own.
constexpr std::array<std::uint16_t, 8> kMss{216, 536, 1220, 1360, 1400, 1440, 1460, 8940};

constexpr std::uint32_t kLowBits = 15;
constexpr std::uint32_t kTickBit = 1;
constexpr unsigned kMssShift = 1;

constexpr std::uint32_t kOptionBits = 63;
constexpr std::uint32_t kScaleBits = 15;
constexpr std::uint32_t kNoScale = 15;
constexpr std::uint32_t kSackBit = 16;
constexpr std::uint32_t kEcnBit = 32;
constexpr std::uint8_t kEcnSetup = flag::ece | flag::cwr;  // RFC 3168 6.1.1

std::size_t mss_index(std::uint16_t mss) {
  const auto above = std::upper_bound(kMss.begin() + 1, kMss.end(), mss);
  return static_cast<std::size_t>(above - kMss.begin()) - 1;
}

std::uint64_t tick_of(Instant now) {
  return static_cast<std::uint64_t>(now.time_since_epoch() / kCookieTick);
}

std::uint64_t mac(const HashKey& secret, const FlowKey& flow, Seq irs, std::uint64_t tick,
                  std::uint64_t mss) {
  // Longer than what flow_prf() hashes with the same key: SipHash keeps the two apart.
  std::array<std::uint8_t, 48> m;
  std::memcpy(m.data(), flow.local.addr.octets().data(), 16);
  std::memcpy(m.data() + 16, flow.remote.addr.octets().data(), 16);
  store_be16(m.data() + 32, flow.local.port);
  store_be16(m.data() + 34, flow.remote.port);
  store_be32(m.data() + 36, irs.raw());
  const std::uint64_t rest = tick << 3 | mss;
  store_be32(m.data() + 40, static_cast<std::uint32_t>(rest >> 32));
  store_be32(m.data() + 44, static_cast<std::uint32_t>(rest));
  return siphash24(secret, m);
}

/// Hides the low four bits, which the MAC's own upper half can do: it is not sent.
std::uint32_t mask_of(const HashKey& secret, const FlowKey& flow, Seq irs) {
  return static_cast<std::uint32_t>(mac(secret, flow, irs, 0, 0) >> 32) & kLowBits;
}

std::uint32_t cookie_of(std::uint64_t mac, std::uint32_t low) {
  return (static_cast<std::uint32_t>(mac) & ~kLowBits) | low;
}

std::uint32_t option_bits(const wire::TcpHeader& syn) {
  const wire::TcpOptions& o = syn.options;
  std::uint32_t bits = o.window_scale ? std::min<std::uint32_t>(*o.window_scale, 14) : kNoScale;
  if (o.sack_permitted) bits |= kSackBit;
  if ((syn.flags & kEcnSetup) == kEcnSetup) bits |= kEcnBit;
  return bits;
}

void take_option_bits(std::uint32_t bits, wire::TcpHeader& syn) {
  if ((bits & kScaleBits) != kNoScale) {
    syn.options.window_scale = static_cast<std::uint8_t>(bits & kScaleBits);
  }
  syn.options.sack_permitted = (bits & kSackBit) != 0;
  if ((bits & kEcnBit) != 0) syn.flags |= kEcnSetup;
}

}  // namespace

CookieSyn make_cookie(const HashKey& secret, const FlowKey& flow, const wire::TcpHeader& syn,
                      std::uint16_t default_mss, bool timestamps, Instant now) {
  CookieSyn out{syn, {}};
  const std::size_t mss = mss_index(syn.options.mss.value_or(default_mss));
  out.syn.options.mss = kMss[mss];
  if (!timestamps || !syn.options.timestamps) {
    out.syn.options.timestamps.reset();
    out.syn.options.window_scale.reset();
    out.syn.options.sack_permitted = false;
    out.syn.flags = flag::syn;
  }
  const std::uint64_t tick = tick_of(now);
  const auto low = static_cast<std::uint32_t>(mss << kMssShift | (tick & kTickBit));
  out.iss =
      Seq{cookie_of(mac(secret, flow, syn.seq, tick, mss), low ^ mask_of(secret, flow, syn.seq))};
  return out;
}

std::uint32_t cookie_timestamp(std::uint32_t clock, const wire::TcpHeader& syn) {
  const std::uint32_t with_options = (clock & ~kOptionBits) | option_bits(syn);
  const bool after = static_cast<std::int32_t>(with_options - clock) > 0;
  return after ? with_options - (kOptionBits + 1) : with_options;
}

std::optional<wire::TcpHeader> open_cookie(const HashKey& secret, const FlowKey& flow,
                                           const wire::TcpHeader& ack, bool timestamps,
                                           Instant now) {
  const Seq irs = ack.seq - 1;
  const std::uint32_t cookie = (ack.ack - 1).raw();
  const std::uint32_t low = (cookie & kLowBits) ^ mask_of(secret, flow, irs);
  const std::uint64_t tick = tick_of(now) - ((tick_of(now) ^ low) & kTickBit);
  const std::size_t mss = low >> kMssShift;
  if (((cookie ^ cookie_of(mac(secret, flow, irs, tick, mss), 0)) & ~kLowBits) != 0) return {};
  wire::TcpHeader syn;
  syn.src_port = ack.src_port;
  syn.dst_port = ack.dst_port;
  syn.seq = irs;
  syn.flags = flag::syn;
  syn.window = ack.window;  // the next one that counts is that of the ACK itself
  syn.options.mss = kMss[mss];
  if (timestamps && ack.options.timestamps) {
    syn.options.timestamps = wire::TcpTimestamps{ack.options.timestamps->value, 0};
    take_option_bits(ack.options.timestamps->echo, syn);
  }
  return syn;
}

}  // namespace pollux::tcp
