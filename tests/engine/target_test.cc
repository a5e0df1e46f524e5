// Where forwarded and requested connections may go.
#include "engine/target.h"

#include <gtest/gtest.h>

#include <string>

namespace pollux {
namespace {

TEST(Target, IsAnAddressOrANameWithAPort) {
  EXPECT_EQ(parse_target("198.18.0.1:80")->address(), IpAddr::parse("198.18.0.1"));
  EXPECT_EQ(parse_target("198.18.0.1:80")->port, 80);
  EXPECT_EQ(parse_target("[2001:2::1]:65535")->address(), IpAddr::parse("2001:2::1"));
  EXPECT_EQ(parse_target("db-1.example.net:5432")->host, "db-1.example.net");
  EXPECT_FALSE(parse_target("db-1.example.net:5432")->address());
}

TEST(Target, RefusesWhatIsNone) {
  for (const char* text : {"", ":", "host", "host:", ":80", "host:0", "host:65536", "host:8x",
                           "host:-1", "2001:2::1:80", "[2001:2::1]", "[]:80", "[host]:80",
                           "[198.18.0.1]:80", "[2001:2::1:80", "a b:80", "a/b:80", "host: 80"}) {
    EXPECT_FALSE(parse_target(text)) << text;
  }
  std::string name(254, 'a');
  EXPECT_FALSE(parse_target(name.append(":80")));
  EXPECT_TRUE(parse_target(name.substr(1)));
}

TEST(Target, ThisHostAndItsLinksMustBeNamed) {
  const auto reach = [](const char* a, std::vector<Prefix> allow = {}) {
    return may_reach(*IpAddr::parse(a), allow);
  };
  for (const char* a : {"127.0.0.1", "127.1.2.3", "0.0.0.0", "169.254.169.254", "224.0.0.1",
                        "255.255.255.255", "::", "::1", "fe80::1", "febf::1", "ff02::1",
                        "::ffff:127.0.0.1", "::ffff:169.254.169.254"}) {
    EXPECT_FALSE(reach(a)) << a;
    EXPECT_TRUE(reach(a, {*Prefix::parse("0.0.0.0/0"), *Prefix::parse("::/0")})) << a;
  }
  for (const char* a : {"10.0.0.1", "198.18.0.1", "128.0.0.1", "fec0::1", "2001:2::1"}) {
    EXPECT_TRUE(reach(a)) << a;
    EXPECT_FALSE(reach(a, {*Prefix::parse("192.0.2.0/24")})) << a;
  }
  EXPECT_TRUE(reach("127.0.0.1", {*Prefix::parse("127.0.0.1")}));
  EXPECT_FALSE(reach("127.0.0.2", {*Prefix::parse("127.0.0.1")}));
}

TEST(Target, ResolvesANumberWithoutAsking) {
  const auto all = resolve(*parse_target("[2001:2::1]:80"));
  ASSERT_EQ(all.size(), 1U);
  EXPECT_EQ(all[0].to_string(), "[2001:2::1]:80");
}

}  // namespace
}  // namespace pollux
