// What iperf3's options may say.
#include "engine/iperf3_values.h"

#include <gtest/gtest.h>

namespace pollux::engine {
namespace {

TEST(Iperf3Values, NumbersHaveUnits) {
  EXPECT_EQ(scaled("10", 1024), 10U);
  EXPECT_EQ(scaled("1.5k", 1000), 1500U);
  EXPECT_EQ(scaled("2G", 1024), 2ULL << 30);
  for (const char* wrong : {"", "K", "-1", "1X", "1KK", "nan", "1e30", " 1"}) {
    EXPECT_FALSE(scaled(wrong, 1000)) << wrong;
  }
}

TEST(Iperf3Values, TypesOfService) {
  EXPECT_EQ(tos_of("32"), 32U);
  EXPECT_EQ(tos_of("0x20"), 32U);
  EXPECT_EQ(tos_of("040"), 32U);
  for (const char* wrong : {"", "256", "ef", "0x", "1 "}) EXPECT_FALSE(tos_of(wrong)) << wrong;
}

TEST(Iperf3Values, DscpByNumberOrName) {
  EXPECT_EQ(dscp_of("46"), 46U);
  EXPECT_EQ(dscp_of("EF"), 46U);
  EXPECT_EQ(dscp_of("af21"), 18U);
  EXPECT_EQ(dscp_of("lowdelay"), 0x10U >> 2);
  for (const char* wrong : {"", "64", "af14", "e f"}) EXPECT_FALSE(dscp_of(wrong)) << wrong;
}

TEST(Iperf3Values, RatesMayHaveABurst) {
  EXPECT_EQ(rate_of("10M")->bits, 10'000'000U);
  EXPECT_FALSE(rate_of("10M")->burst);
  EXPECT_EQ(rate_of("0/1000")->burst, 1000U);
  for (const char* wrong : {"/5", "1M/", "1M/0", "1M/1001", "1M/2/3", "x"}) {
    EXPECT_FALSE(rate_of(wrong)) << wrong;
  }
}

}  // namespace
}  // namespace pollux::engine
