// Addresses, endpoints and prefixes as text (RFC 4291 2.2, RFC 5952) and by class.
#include "proto/base/addr.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <string>
#include <vector>

namespace pollux {
namespace {

struct TextCase {
  const char* text;
  const char* canonical;
};

TEST(IpAddr, PrintsTheCanonicalForm) {
  const TextCase cases[] = {
      {"0.0.0.0", "0.0.0.0"},
      {"198.18.0.255", "198.18.0.255"},
      {"255.255.255.255", "255.255.255.255"},
      {"::", "::"},
      {"::1", "::1"},
      {"1::", "1::"},
      {"2001:DB8::1", "2001:db8::1"},                                // RFC 5952 4.3
      {"2001:0db8:0000:0000:0000:0000:0002:0001", "2001:db8::2:1"},  // 4.1
      {"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"},              // 4.2.2: one group stays
      {"2001:0:0:1:0:0:0:1", "2001:0:0:1::1"},                       // 4.2.3: the longest run
      {"2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},                 // 4.2.3: the first of equals
      {"1:2:3:4:5:6:0:0", "1:2:3:4:5:6::"},
      {"0:0:3:4:5:6:7:8", "::3:4:5:6:7:8"},
      {"::ffff:192.0.2.1", "192.0.2.1"},
      {"64:ff9b::192.0.2.33", "64:ff9b::c000:221"},
      {"1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:102:304"},
  };
  for (const auto& c : cases) {
    const auto a = IpAddr::parse(c.text);
    ASSERT_TRUE(a.has_value()) << c.text;
    EXPECT_EQ(a->to_string(), c.canonical);
  }
}

TEST(IpAddr, RefusesWhatIsNoAddress) {
  const std::string cases[] = {"",
                               " ",
                               "1",
                               "1.2.3",
                               "1.2.3.4.",
                               ".1.2.3.4",
                               "1.2.3.4.5",
                               "1.2.3.256",
                               "01.2.3.4",
                               "1.2.3.-4",
                               "1.2.3.+4",
                               "1..2.3",
                               "1.2.3.4 ",
                               "0x1.2.3.4",
                               "1.2.3.1000",
                               "a.b.c.d",
                               ":",
                               ":::",
                               ":1",
                               "1:",
                               "1:::2",
                               "1::2::3",
                               "::1::",
                               "1:2:3:4:5:6:7",
                               "1:2:3:4:5:6:7:8:9",
                               "1:2:3:4:5:6:7::8",
                               "1:2:3:4:5:6:7:8::",
                               "12345::",
                               "g::",
                               "::1%eth0",
                               "[::1]",
                               "1.2.3.4::",
                               "::1.2.3",
                               "::1.2.3.4:5",
                               "1:2:3:4:5:6:7:1.2.3.4",
                               "::-1",
                               "::+1",
                               "::0x1",
                               std::string("1.2.3.4\0", 8)};
  for (const auto& text : cases)
    EXPECT_FALSE(IpAddr::parse(text).has_value()) << '"' << text << '"';
}

TEST(IpAddr, EveryAddressSurvivesItsText) {
  EXPECT_TRUE(rc::check([](std::uint32_t v) {
    const IpAddr a = IpAddr::v4(v);
    return a.is_v4() && a.v4_value() == v && IpAddr::parse(a.to_string()) == a;
  }));
  EXPECT_TRUE(rc::check([](std::array<std::uint8_t, 16> octets, std::uint16_t zero_groups) {
    for (unsigned i = 0; i < 16; ++i) {
      if (zero_groups >> (i / 2) & 1) octets[i] = 0;
    }
    const IpAddr a = IpAddr::from_v6_octets(octets.data());
    return IpAddr::parse(a.to_string()) == a;
  }));
}

TEST(IpAddr, AnyTextIsParsedOrRefusedButNeverMore) {
  EXPECT_TRUE(rc::check([] {
    const auto text = *rc::gen::container<std::string>(
        rc::gen::elementOf(std::string("0123456789abcdefF:::::...../ x")));
    const std::vector<char> exact(text.begin(), text.end());  // no terminator behind it
    const std::string_view view{exact.data(), exact.size()};
    const auto a = IpAddr::parse(view);
    if (a) RC_ASSERT(IpAddr::parse(a->to_string()) == a);
    const auto p = Prefix::parse(view);
    if (p) RC_ASSERT(p->contains(p->addr));
  }));
}

TEST(IpAddr, KnowsAddressesThatNeverSend) {  // RFC 9293 MUST-63
  for (const char* text :
       {"0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.0.1", "224.0.0.1", "239.255.255.255",
        "240.0.0.1", "255.255.255.255", "::", "::1", "ff00::", "ff02::1"}) {
    EXPECT_TRUE(IpAddr::parse(text)->is_never_source()) << text;
  }
  for (const char* text :
       {"1.0.0.0", "126.255.255.255", "128.0.0.1", "223.255.255.255", "::2", "fe80::1", "1::"}) {
    EXPECT_FALSE(IpAddr::parse(text)->is_never_source()) << text;
  }
}

TEST(IpAddr, KnowsMulticastAndBroadcast) {
  for (const char* text : {"224.0.0.1", "239.255.255.255", "255.255.255.255", "ff02::1"}) {
    EXPECT_TRUE(IpAddr::parse(text)->is_multicast_or_broadcast()) << text;
  }
  for (const char* text : {"223.0.0.1", "240.0.0.1", "255.255.255.254", "fe80::1", "::"}) {
    EXPECT_FALSE(IpAddr::parse(text)->is_multicast_or_broadcast()) << text;
  }
}

TEST(Endpoint, BracketsIpv6) {
  EXPECT_EQ((Endpoint{*IpAddr::parse("198.18.0.2"), 80}.to_string()), "198.18.0.2:80");
  EXPECT_EQ((Endpoint{*IpAddr::parse("2001:2::2"), 65535}.to_string()), "[2001:2::2]:65535");
}

TEST(Prefix, ContainsItsAddressesOnly) {
  struct Case {
    const char* prefix;
    const char* in;
    const char* out;
  };
  const Case cases[] = {
      {"198.18.0.0/15", "198.19.255.255", "198.20.0.0"},
      {"198.18.0.0/16", "198.18.255.255", "198.19.0.0"},
      {"10.0.0.128/25", "10.0.0.255", "10.0.0.127"},
      {"10.0.0.1", "10.0.0.1", "10.0.0.0"},
      {"0.0.0.0/0", "255.255.255.255", "2001::1"},  // a family's "all" stays in the family
      {"::/0", "ffff::", "1.2.3.4"},
      {"2001:2::/48", "2001:2:0:ffff::1", "2001:2:1::"},
      {"2001:2::/47", "2001:2:1::", "2001:2:2::"},
      {"2001:2::1/128", "2001:2::1", "2001:2::"},
  };
  for (const auto& c : cases) {
    const auto p = Prefix::parse(c.prefix);
    ASSERT_TRUE(p.has_value()) << c.prefix;
    EXPECT_TRUE(p->contains(*IpAddr::parse(c.in))) << c.prefix << ' ' << c.in;
    EXPECT_FALSE(p->contains(*IpAddr::parse(c.out))) << c.prefix << ' ' << c.out;
  }
}

TEST(Prefix, TellsGroupsFromHosts) {
  const struct {
    const char* prefix;
    const char* address;
    bool group;
  } cases[] = {
      {"198.18.0.0/24", "198.18.0.255", true},
      {"198.18.0.0/24", "198.18.0.254", false},
      {"198.18.0.0/24", "198.18.0.0", false},
      {"198.18.0.0/16", "198.18.0.255", false},
      {"198.18.0.0/16", "198.18.255.255", true},
      {"198.18.0.0/30", "198.18.0.3", true},
      {"198.18.0.2/31", "198.18.0.3", false},
      {"198.18.0.3", "198.18.0.3", false},
      {"0.0.0.0/0", "255.255.255.255", true},
      {"0.0.0.0/0", "224.0.0.1", true},
      {"0.0.0.0/0", "10.0.0.255", false},
      {"2001:2::/120", "2001:2::ff", false},
      {"ff00::/8", "ff02::1", true},
      {"224.0.0.1", "224.0.0.1", true},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(Prefix::parse(c.prefix)->is_group(*IpAddr::parse(c.address)), c.group)
        << c.address << " in " << c.prefix;
  }
}

TEST(Prefix, ParsesStrictlyAndPrintsBack) {
  for (const char* text : {"", "/8", "1.2.3.4/", "1.2.3.4/33", "1.2.3.4/-1", "1.2.3.4/08",
                           "1.2.3.4/8/8", "::/129", "::/1000", "1.2.3.4/ 8"}) {
    EXPECT_FALSE(Prefix::parse(text).has_value()) << text;
  }
  EXPECT_EQ(Prefix::parse("198.18.0.0/16")->to_string(), "198.18.0.0/16");
  EXPECT_EQ(Prefix::parse("1.2.3.4")->to_string(), "1.2.3.4/32");
  EXPECT_EQ(Prefix::parse("2001:2::")->to_string(), "2001:2::/128");
}

}  // namespace
}  // namespace pollux
