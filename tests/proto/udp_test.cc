// UDP on the wire: lengths that lie, checksums that are wrong, absent or zero, and what is emitted
// parses back.
#include "proto/wire/udp.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <vector>

#include "proto/wire/checksum.h"

namespace pollux::wire {
namespace {

using Octets = std::vector<std::uint8_t>;

IpHeader header(bool v4) {
  IpHeader ip;
  ip.src = v4 ? IpAddr::v4(0xc6120001) : *IpAddr::parse("2001:2::1");
  ip.dst = v4 ? IpAddr::v4(0xc6120002) : *IpAddr::parse("2001:2::2");
  ip.protocol = kProtoUdp;
  return ip;
}

std::uint16_t checksum_of(const IpHeader& ip, const Octets& datagram) {
  ChecksumSum sum;
  add_pseudo_header(sum, ip.src, ip.dst, kProtoUdp, static_cast<std::uint32_t>(datagram.size()));
  sum.add(datagram);
  return sum.checksum();
}

Octets datagram(const IpHeader& ip, const UdpHeader& h, const Octets& payload) {
  Octets d(kUdpHeaderSize);
  EXPECT_EQ(emit_udp(h, payload.size(), d), kUdpHeaderSize);
  d.insert(d.end(), payload.begin(), payload.end());
  const std::uint16_t checksum = checksum_of(ip, d);
  store_be16(&d[kUdpChecksumOffset], checksum == 0 ? std::uint16_t{0xffff} : checksum);
  return d;
}

/// "ok" or the reason.
std::string verdict(const IpHeader& ip, const Octets& d, bool verify = true) {
  const auto r = parse_udp(ip, d, verify);
  const auto* reason = std::get_if<DropReason>(&r);
  return reason == nullptr ? "ok" : std::string(to_string(*reason));
}

TEST(Udp, WhatIsEmittedParsesBack) {
  EXPECT_TRUE(rc::check([](bool v4, std::uint16_t from, const Octets& payload) {
    const UdpHeader h{.src_port = from, .dst_port = *rc::gen::inRange<std::uint16_t>(1, 65535)};
    const IpHeader ip = header(v4);
    const Octets d = datagram(ip, h, payload);
    const auto parsed = parse_udp(ip, d, true);
    const auto& back = std::get<UdpHeader>(parsed);
    RC_ASSERT(back.src_port == h.src_port);
    RC_ASSERT(back.dst_port == h.dst_port);
    RC_ASSERT(back.length == kUdpHeaderSize + payload.size());
  }));
}

TEST(Udp, AnyChangedBitIsSeen) {
  EXPECT_TRUE(rc::check([](bool v4, const Octets& payload) {
    const IpHeader ip = header(v4);
    Octets d = datagram(ip, {.src_port = 1, .dst_port = 2}, payload);
    const auto bit = *rc::gen::inRange<std::size_t>(0, d.size() * 8);
    d[bit / 8] = static_cast<std::uint8_t>(d[bit / 8] ^ (1U << bit % 8));
    RC_PRE(load_be16(&d[kUdpChecksumOffset]) != 0);  // over IPv4 that says that there is none
    RC_ASSERT(verdict(ip, d) != "ok");
  }));
}

TEST(Udp, LengthsThatLieAreRefused) {
  for (const bool v4 : {true, false}) {
    const IpHeader ip = header(v4);
    const Octets good = datagram(ip, {.src_port = 1, .dst_port = 2}, {1, 2, 3});
    EXPECT_EQ(verdict(ip, good), "ok");
    for (std::size_t n = 0; n < good.size(); ++n) {
      const Octets cut(good.begin(), good.begin() + static_cast<long>(n));
      EXPECT_EQ(verdict(ip, cut, false), "udp_malformed") << n;
    }
    for (const std::uint16_t length : {0, 1, 7, 12, 65535}) {
      Octets d = good;
      store_be16(&d[4], length);
      EXPECT_EQ(verdict(ip, d, false), "udp_malformed") << length;
    }
  }
}

TEST(Udp, WhatLiesBehindItsLengthIsNotOfIt) {
  const IpHeader ip = header(true);
  Octets d = datagram(ip, {.src_port = 1, .dst_port = 2}, {1, 2, 3});
  d.insert(d.end(), 20, 0xee);
  const auto parsed = parse_udp(ip, d, true);
  EXPECT_EQ(std::get<UdpHeader>(parsed).length, kUdpHeaderSize + 3);
}

TEST(Udp, PortZeroIsNobody) {
  const IpHeader ip = header(true);
  EXPECT_EQ(verdict(ip, datagram(ip, {.src_port = 1, .dst_port = 0}, {})), "udp_malformed");
  EXPECT_EQ(verdict(ip, datagram(ip, {.src_port = 0, .dst_port = 1}, {})), "ok");
}

TEST(Udp, NoChecksumIsFineOverIpv4Only) {
  for (const bool v4 : {true, false}) {
    const IpHeader ip = header(v4);
    Octets d = datagram(ip, {.src_port = 1, .dst_port = 2}, {1, 2, 3});
    store_be16(&d[kUdpChecksumOffset], 0);
    for (const bool verify : {true, false}) {
      EXPECT_EQ(verdict(ip, d, verify), v4 ? "ok" : "udp_checksum");
    }
  }
}

TEST(Udp, TrustedChecksumsAreNotVerified) {
  const IpHeader ip = header(false);
  Octets d = datagram(ip, {.src_port = 1, .dst_port = 2}, {1, 2, 3});
  d.back() ^= 1;
  EXPECT_EQ(verdict(ip, d, true), "udp_checksum");
  EXPECT_EQ(verdict(ip, d, false), "ok");
}

}  // namespace
}  // namespace pollux::wire
