#include "engine/services/chargen.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <string>

namespace pollux {
namespace {

std::string text(const Slice& s) { return {reinterpret_cast<const char*>(s.data()), s.size()}; }

TEST(Chargen, StartsWithTheLinesOfRfc864) {
  const std::string two = text(chargen_slice(0, 2 * kChargenLine));
  EXPECT_EQ(two.substr(0, kChargenLine),
            " !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefg\r\n");
  EXPECT_EQ(two.substr(kChargenLine),
            "!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefgh\r\n");
}

TEST(Chargen, BlockIsWholePeriods) {
  EXPECT_EQ(kChargenPeriod, 95U * 74U);
  EXPECT_EQ(kChargenBlock % kChargenPeriod, 0U);
  EXPECT_EQ(chargen_slice(0, UINT64_MAX).size(), kChargenBlock);
}

TEST(Chargen, EveryPieceIsLargerThanAPacket) {
  for (std::uint64_t at = 0; at < 2 * kChargenPeriod; ++at) {
    ASSERT_GE(chargen_slice(at, UINT64_MAX).size(), 4U * 65535U - kChargenPeriod);
  }
}

TEST(Chargen, IsStaticMemory) {
  EXPECT_EQ(chargen_slice(0, 10).buffer(), nullptr);
  EXPECT_EQ(chargen_slice(kChargenPeriod, 10).data(), chargen_slice(0, 10).data());
}

TEST(Chargen, OctetsDependOnPositionOnly) {
  EXPECT_TRUE(rc::check([](std::uint64_t position, std::uint32_t skip, std::uint16_t n) {
    position %= std::uint64_t{1} << 62;
    const Slice whole = chargen_slice(position, UINT64_MAX);
    skip %= whole.size();
    const Slice tail = whole.sub(skip, std::min<std::uint32_t>(n, whole.size() - skip));
    return text(tail) == text(chargen_slice(position + skip, tail.size()));
  }));
}

}  // namespace
}  // namespace pollux
