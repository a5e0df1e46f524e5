// SipHash-2-4 over octets; the per-packet SipHash-1-3 is inline in the header.
#include "proto/base/siphash.h"

#include <array>

namespace pollux {

std::uint64_t siphash24(const HashKey& key, Bytes data) {
  detail::SipState s(key);
  const std::uint64_t size = data.size();
  while (data.size() >= 8) {
    s.absorb<2>(detail::load_le64(data.data()));
    data = data.subspan(8);
  }
  std::uint64_t last = size << 56;  // the length modulo 256 on top of the last octets
  for (std::size_t i = 0; i < data.size(); ++i) last |= std::uint64_t{data[i]} << (8 * i);
  s.absorb<2>(last);
  return s.finish<4>();
}

std::uint64_t flow_prf(const HashKey& key, const FlowKey& flow, std::uint64_t purpose) {
  std::array<std::uint8_t, 44> m{};
  std::memcpy(m.data(), flow.local.addr.octets().data(), 16);
  std::memcpy(m.data() + 16, flow.remote.addr.octets().data(), 16);
  store_be16(m.data() + 32, flow.local.port);
  store_be16(m.data() + 34, flow.remote.port);
  store_be32(m.data() + 36, static_cast<std::uint32_t>(purpose >> 32));
  store_be32(m.data() + 40, static_cast<std::uint32_t>(purpose));
  return siphash24(key, m);
}

}  // namespace pollux
