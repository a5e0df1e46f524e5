#include "engine/netlink.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <fstream>
#include <stdexcept>

#include "engine/errno_text.h"
#include "engine/tun.h"
#include "tests/engine/netns.h"

namespace pollux {
namespace {

using test::NetnsTest;
using test::TunTest;
using testing::HasSubstr;
using testing::IsEmpty;

Prefix prefix(const char* text) { return Prefix::parse(text).value(); }

InterfaceOptions both_families() {
  InterfaceOptions o;
  o.name = "pollux0";
  o.mtu = 9000;
  o.txqueuelen = 777;
  o.host_addresses = {prefix("198.18.0.1/32"), prefix("2001:2::1/128")};
  o.routes = {prefix("198.18.0.2"), prefix("198.18.4.9/22"), prefix("2001:2::2"),
              prefix("2001:2:0:1::7/64")};
  return o;
}

/// A device that the kernel made and nobody configured.
TunDevice bare_device() {
  TunOptions o;
  o.mtu = 1500;
  return TunDevice(o);
}

/// The source address that the kernel picks towards `text`; empty when it has no route.
std::string source_towards(const char* text) {
  const IpAddr to = IpAddr::parse(text).value();
  const bool v4 = to.is_v4();
  OwnedFd fd(socket(v4 ? AF_INET : AF_INET6, SOCK_DGRAM, 0));
  sockaddr_storage where{};
  socklen_t size = v4 ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
  where.ss_family = v4 ? AF_INET : AF_INET6;
  auto* in4 = reinterpret_cast<sockaddr_in*>(&where);
  auto* in6 = reinterpret_cast<sockaddr_in6*>(&where);
  in4->sin_port = htons(9);
  if (v4) {
    memcpy(&in4->sin_addr, &to.octets()[12], 4);
  } else {
    memcpy(&in6->sin6_addr, to.octets().data(), 16);
  }
  if (connect(fd.get(), reinterpret_cast<sockaddr*>(&where), size) != 0) return "";
  getsockname(fd.get(), reinterpret_cast<sockaddr*>(&where), &size);
  return (v4 ? IpAddr::from_v4_octets(reinterpret_cast<std::uint8_t*>(&in4->sin_addr))
             : IpAddr::from_v6_octets(in6->sin6_addr.s6_addr))
      .to_string();
}

int ask(unsigned long what) {
  OwnedFd fd(socket(AF_INET, SOCK_DGRAM, 0));
  ifreq request{};
  strcpy(request.ifr_name, "pollux0");
  EXPECT_EQ(ioctl(fd.get(), what, &request), 0);
  if (what == SIOCGIFMTU) return request.ifr_mtu;
  return what == SIOCGIFFLAGS ? request.ifr_flags : request.ifr_qlen;
}

TEST_F(TunTest, ConfiguresLinkAddressesAndRoutes) {
  TunDevice device = bare_device();
  EXPECT_THAT(configure_interface(both_families()), IsEmpty());
  EXPECT_EQ(ask(SIOCGIFMTU), 9000);
  EXPECT_EQ(ask(SIOCGIFTXQLEN), 777);
  EXPECT_TRUE(ask(SIOCGIFFLAGS) & IFF_UP);
  EXPECT_EQ(source_towards("198.18.0.2"), "198.18.0.1");
  EXPECT_EQ(source_towards("198.18.7.255"), "198.18.0.1");
  EXPECT_EQ(source_towards("198.18.8.0"), "");
  EXPECT_EQ(source_towards("2001:2::2"), "2001:2::1");
  EXPECT_EQ(source_towards("2001:2:0:1:ffff::"), "2001:2::1");
  EXPECT_EQ(source_towards("2001:2:0:2::"), "");
}

TEST_F(TunTest, ConfiguringTwiceIsTheSameAsOnce) {
  TunDevice device = bare_device();
  EXPECT_THAT(configure_interface(both_families()), IsEmpty());
  EXPECT_THAT(configure_interface(both_families()), IsEmpty());
  EXPECT_EQ(source_towards("198.18.0.2"), "198.18.0.1");
  EXPECT_EQ(source_towards("2001:2::2"), "2001:2::1");
}

TEST_F(TunTest, TheFirstAddressOfTheFamilyIsTheSource) {
  TunDevice device = bare_device();
  InterfaceOptions o = both_families();
  // Left to itself the kernel takes the one with the longer common prefix (RFC 6724 5, rule 8).
  o.host_addresses = {prefix("2001:2:0:9::1/128"), prefix("2001:2::1/128")};
  o.routes = {prefix("2001:2::2")};
  configure_interface(o);
  EXPECT_EQ(source_towards("2001:2::2"), "2001:2:0:9::1");
}

TEST_F(TunTest, SetsNoLinkLocalAddress) {
  TunDevice device = bare_device();
  configure_interface(both_families());
  std::ifstream addresses("/proc/thread-self/net/if_inet6");
  const std::string text(std::istreambuf_iterator<char>(addresses), {});
  EXPECT_THAT(text, HasSubstr("20010002000000000000000000000001"));
  EXPECT_THAT(text, testing::Not(HasSubstr("fe80")));
}

TEST_F(TunTest, AddressesAreLocalWhenItReturns) {
  for (int i = 0; i < 20; ++i) {  // IPv6 ones become so in the background
    TunDevice device = bare_device();
    Netlink netlink;
    EXPECT_FALSE(netlink.is_local(prefix("2001:2::1").addr));
    configure_interface(both_families());
    EXPECT_TRUE(netlink.is_local(prefix("2001:2::1").addr));
    EXPECT_TRUE(netlink.is_local(prefix("198.18.0.1").addr));
    EXPECT_FALSE(netlink.is_local(prefix("198.18.0.2").addr));
  }
}

TEST_F(TunTest, GoesOnWithoutIpv6WhereTheMtuIsTooSmallForIt) {
  TunDevice device = bare_device();
  InterfaceOptions o = both_families();
  o.mtu = 1279;
  EXPECT_THAT(configure_interface(o), testing::ElementsAre(HasSubstr("at least 1280")));
  EXPECT_EQ(source_towards("198.18.0.2"), "198.18.0.1");
}

TEST_F(TunTest, GoesOnWithoutIpv6WhereItIsDisabled) {
  // /proc/sys/net shows the namespace of the thread that opens the file.
  std::ofstream("/proc/sys/net/ipv6/conf/default/disable_ipv6") << 1 << std::flush;
  char state = 0;
  std::ifstream("/proc/sys/net/ipv6/conf/default/disable_ipv6") >> state;
  if (state != '1') GTEST_SKIP() << "cannot write /proc/sys/net";
  TunDevice device = bare_device();
  EXPECT_THAT(configure_interface(both_families()),
              testing::ElementsAre(HasSubstr("going on without IPv6: cannot set address "
                                             "2001:2::1/128 on pollux0: permission denied")));
  EXPECT_EQ(source_towards("198.18.0.2"), "198.18.0.1");
}

template <class Call>
std::string error_of(Call call) {
  try {
    call();
  } catch (const std::runtime_error& e) {
    return e.what();
  }
  return "no error";
}

TEST_F(NetnsTest, AnErrorSaysWhatWasTriedAndWhy) {
  Netlink netlink;
  EXPECT_EQ(error_of([&] { netlink.set_up("nowhere0"); }),
            "cannot find interface nowhere0: no such device");
  // Down, so that there is nothing to route to.
  EXPECT_EQ(error_of([&] { netlink.add_route("lo", Prefix::parse("198.18.0.2").value(), {}); }),
            "cannot route 198.18.0.2/32 to lo: network is down");
  EXPECT_EQ(error_of([&] { netlink.set_link("lo", 0xffffffff, 1); }),
            "cannot set MTU 4294967295 and txqueuelen 1 on lo: invalid argument");
}

TEST(ErrnoText, StartsInLowerCase) {
  EXPECT_EQ(errno_text(EPERM), "operation not permitted");
  EXPECT_EQ(errno_text(EBADF), "bad file descriptor");
}

}  // namespace
}  // namespace pollux
