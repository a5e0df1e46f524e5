// Sequence arithmetic modulo 2^32 (RFC 9293 3.4).
#include "proto/base/seq.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

namespace pollux {
namespace {

constexpr std::uint32_t kHalf = 0x8000'0000;

TEST(Seq, OrdersAcrossTheWrap) {
  const Seq before{0xffff'fff0};
  const Seq after{0x10};
  EXPECT_LT(before, after);
  EXPECT_GT(after, before);
  EXPECT_EQ(after - before, 0x20);
  EXPECT_EQ(before - after, -0x20);
  EXPECT_EQ(before + 0x20, after);
  EXPECT_EQ(after - 0x20U, before);
  EXPECT_EQ(distance(before, after), 0x20U);
  EXPECT_EQ(max(before, after), after);
  EXPECT_EQ(min(before, after), before);
}

TEST(Seq, AddingNMovesForwardByNFromAnywhere) {
  EXPECT_TRUE(rc::check([](std::uint32_t at, std::uint32_t n) {
    n %= kHalf;
    const Seq a{at};
    const Seq b = a + n;
    RC_ASSERT(a <= b);
    RC_ASSERT((a < b) == (n != 0));
    RC_ASSERT(b - a == static_cast<std::int32_t>(n));
    RC_ASSERT(distance(a, b) == n);
    RC_ASSERT(b - n == a);
    RC_ASSERT(max(a, b) == b && min(a, b) == a);
  }));
}

TEST(Seq, ExactlyOneOfLessEqualGreaterHolds) {
  EXPECT_TRUE(rc::check([](std::uint32_t x, std::uint32_t y) {
    const Seq a{x};
    const Seq b{y};
    RC_PRE(x - y != kHalf);  // at exactly 2^31 the order is undefined by design
    RC_ASSERT(int{a < b} + int{a == b} + int{a > b} == 1);
    RC_ASSERT((a < b) == (b > a));
    RC_ASSERT((a <= b) == !(a > b));
    RC_ASSERT((a >= b) == !(a < b));
  }));
}

TEST(Seq, OrderIsUnchangedByAShift) {
  EXPECT_TRUE(rc::check([](std::uint32_t x, std::uint32_t y, std::uint32_t shift) {
    RC_PRE(x - y != kHalf);
    return (Seq{x} < Seq{y}) == (Seq{x} + shift < Seq{y} + shift);
  }));
}

}  // namespace
}  // namespace pollux
