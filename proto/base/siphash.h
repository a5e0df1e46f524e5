// SipHash (Aumasson, Bernstein): the keyed hash behind the ISN (RFC 6528), timestamp offsets
// and the flow hash. The key is entropy from outside; proto never makes its own.
#pragma once

#include <bit>
#include <cstdint>

#include "proto/base/addr.h"
#include "proto/base/bytes.h"

namespace pollux {

struct HashKey {
  std::uint64_t k0 = 0;
  std::uint64_t k1 = 0;
};

/// SipHash-2-4 of `data`: 64 bits, a PRF.
std::uint64_t siphash24(const HashKey& key, Bytes data);

/// SipHash-1-3 of a flow, for tables and worker choice. Inline: it runs once per packet.
std::uint32_t flow_hash(const HashKey& key, const FlowKey& flow);

/// SipHash-2-4 of a flow and a purpose tag, for ISNs and timestamp offsets.
std::uint64_t flow_prf(const HashKey& key, const FlowKey& flow, std::uint64_t purpose);

namespace detail {

/// The state of SipHash-c-d; words are absorbed one by one.
class SipState {
 public:
  constexpr explicit SipState(const HashKey& key)
      : v0_(key.k0 ^ 0x736f6d6570736575),
        v1_(key.k1 ^ 0x646f72616e646f6d),
        v2_(key.k0 ^ 0x6c7967656e657261),
        v3_(key.k1 ^ 0x7465646279746573) {}

  template <unsigned C>
  constexpr void absorb(std::uint64_t word) {
    v3_ ^= word;
    for (unsigned i = 0; i < C; ++i) round();
    v0_ ^= word;
  }
  template <unsigned D>
  constexpr std::uint64_t finish() {
    v2_ ^= 0xff;
    for (unsigned i = 0; i < D; ++i) round();
    return v0_ ^ v1_ ^ v2_ ^ v3_;
  }

 private:
  constexpr void round() {
    v0_ += v1_;
    v2_ += v3_;
    v1_ = std::rotl(v1_, 13) ^ v0_;
    v3_ = std::rotl(v3_, 16) ^ v2_;
    v0_ = std::rotl(v0_, 32) + v3_;
    v2_ += v1_;
    v3_ = std::rotl(v3_, 21) ^ v0_;
    v1_ = std::rotl(v1_, 17) ^ v2_;
    v2_ = std::rotl(v2_, 32);
  }
  std::uint64_t v0_, v1_, v2_, v3_;
};

inline std::uint64_t load_le64(const std::uint8_t* p) {
  std::uint64_t v;
  std::memcpy(&v, p, sizeof v);
  if constexpr (std::endian::native == std::endian::big) v = __builtin_bswap64(v);
  return v;
}

}  // namespace detail

inline std::uint32_t flow_hash(const HashKey& key, const FlowKey& flow) {
  // The message is 36 octets: local address, remote address, both ports; the length goes on top.
  const std::uint8_t* local = flow.local.addr.octets().data();
  const std::uint8_t* remote = flow.remote.addr.octets().data();
  const std::uint64_t ports = std::uint64_t{flow.local.port} | std::uint64_t{flow.remote.port}
                                                                   << 16;
  detail::SipState s(key);
  s.absorb<1>(detail::load_le64(local));
  s.absorb<1>(detail::load_le64(local + 8));
  s.absorb<1>(detail::load_le64(remote));
  s.absorb<1>(detail::load_le64(remote + 8));
  s.absorb<1>(ports | std::uint64_t{36} << 56);
  const std::uint64_t h = s.finish<3>();
  return static_cast<std::uint32_t>(h ^ (h >> 32));
}

}  // namespace pollux
