// SipHash against the vectors of its reference implementation, and the hashes made of it.
#include "proto/base/siphash.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <numeric>
#include <set>
#include <vector>

namespace pollux {
namespace {

constexpr HashKey kKey{0x0706050403020100, 0x0f0e0d0c0b0a0908};

std::vector<std::uint8_t> counting(std::size_t n) {
  std::vector<std::uint8_t> v(n);
  std::iota(v.begin(), v.end(), std::uint8_t{0});
  return v;
}

TEST(SipHash24, MatchesTheReferenceVectors) {
  // vectors_sip64 of the reference implementation: message 00 01 02 ... of growing length.
  constexpr std::uint64_t kExpected[] = {
      0x726fdb47dd0e0e31, 0x74f839c593dc67fd, 0x0d6c8009d9a94f5a, 0x85676696d7fb7e2d,
      0xcf2794e0277187b7, 0x18765564cd99a68d, 0xcbc9466e58fee3ce, 0xab0200f58b01d137,
      0x93f5f5799a932462, 0x9e0082df0ba9e4b0, 0x7a5dbbc594ddb9f3, 0xf4b32f46226bada7,
      0x751e8fbc860ee5fb, 0x14ea5627c0843d90, 0xf723ca908e7af2ee, 0xa129ca6149be45e5};
  for (std::size_t n = 0; n < std::size(kExpected); ++n) {
    EXPECT_EQ(siphash24(kKey, counting(n)), kExpected[n]) << n;
  }
}

FlowKey flow(std::uint32_t local, std::uint16_t local_port, std::uint32_t remote,
             std::uint16_t remote_port) {
  return {{IpAddr::v4(local), local_port}, {IpAddr::v4(remote), remote_port}};
}

TEST(FlowHash, DependsOnEveryPartOfFlowAndKey) {
  const FlowKey base = flow(0x0a000001, 80, 0x0a000002, 1234);
  std::set<std::uint32_t> seen{flow_hash(kKey, base)};
  for (const FlowKey& other :
       {flow(0x0a000003, 80, 0x0a000002, 1234), flow(0x0a000001, 81, 0x0a000002, 1234),
        flow(0x0a000001, 80, 0x0a000003, 1234), flow(0x0a000001, 80, 0x0a000002, 1235),
        flow(0x0a000002, 1234, 0x0a000001, 80), flow(0x0a000001, 1234, 0x0a000002, 80)}) {
    EXPECT_TRUE(seen.insert(flow_hash(kKey, other)).second);
  }
  EXPECT_TRUE(seen.insert(flow_hash({kKey.k0 + 1, kKey.k1}, base)).second);
  EXPECT_TRUE(seen.insert(flow_hash({kKey.k0, kKey.k1 + 1}, base)).second);
}

TEST(FlowHash, SpreadsPortsEvenlyInLowAndHighBits) {
  // 64k source ports over 16 bins: 4096 each, standard deviation 62; seven of those is never
  // chance.
  std::vector<int> low(16), high(16);
  for (unsigned port = 0; port < 65536; ++port) {
    const auto h = flow_hash(kKey, flow(1, 80, 2, static_cast<std::uint16_t>(port)));
    ++low[h % 16];
    ++high[h >> 28];
  }
  for (unsigned i = 0; i < 16; ++i) {
    EXPECT_NEAR(low[i], 4096, 434) << i;
    EXPECT_NEAR(high[i], 4096, 434) << i;
  }
}

TEST(FlowPrf, DependsOnPurposeAndPorts) {
  EXPECT_TRUE(rc::check([](std::uint64_t k0, std::uint64_t purpose, std::uint16_t port) {
    const HashKey key{k0, ~k0};
    const FlowKey f = flow(1, 80, 2, port);
    const auto next = static_cast<std::uint16_t>(port + 1);
    RC_ASSERT(flow_prf(key, f, purpose) == flow_prf(key, f, purpose));
    RC_ASSERT(flow_prf(key, f, purpose) != flow_prf(key, f, purpose + 1));
    RC_ASSERT(flow_prf(key, f, purpose) != flow_prf(key, flow(1, 80, 2, next), purpose));
  }));
}

}  // namespace
}  // namespace pollux
