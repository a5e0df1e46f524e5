// IP headers: what passes, what is refused and for which reason, and that nothing is read outside.
#include "proto/wire/ip.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <functional>
#include <initializer_list>
#include <vector>

#include "proto/wire/checksum.h"

namespace pollux::wire {
namespace {

using Octets = std::vector<std::uint8_t>;

const IpAddr kV4a = IpAddr::v4(0xc6120002), kV4b = IpAddr::v4(0xc6120001);
const IpAddr kV6a = *IpAddr::parse("2001:2::2"), kV6b = *IpAddr::parse("2001:2::1");

Octets packet(const IpAddr& src, const IpAddr& dst, std::size_t payload = 8) {
  IpHeader h;
  h.src = src;
  h.dst = dst;
  h.protocol = kProtoTcp;
  Octets p(ip_header_size(h.is_v4()) + payload, 0xaa);
  emit_ip(h, payload, p);
  return p;
}

void fix_checksum(Octets& p) {
  const std::size_t size = std::size_t{p[0] & 0xfU} * 4;
  store_be16(&p[10], 0);
  store_be16(&p[10], static_cast<std::uint16_t>(~checksum_fold(Bytes{p}.first(size))));
}

/// An IPv4 packet with these options, padded, lengths and checksum right.
Octets with_options(Octets options) {
  while (options.size() % 4 != 0) options.push_back(0);
  Octets p = packet(kV4a, kV4b);
  p.insert(p.begin() + 20, options.begin(), options.end());
  p[0] = static_cast<std::uint8_t>(0x45 + options.size() / 4);
  store_be16(&p[2], static_cast<std::uint16_t>(p.size()));
  fix_checksum(p);
  return p;
}

struct Extension {
  std::uint8_t kind;
  Octets octets;  ///< the next-header octet is filled in
};

Octets with_extensions(const std::vector<Extension>& chain) {
  Octets p = packet(kV6a, kV6b, 0);
  std::size_t next_header = 6;
  for (const auto& e : chain) {
    p[next_header] = e.kind;
    next_header = p.size();
    p.insert(p.end(), e.octets.begin(), e.octets.end());
  }
  p[next_header] = kProtoTcp;
  p.insert(p.end(), 8, 0xaa);
  store_be16(&p[4], static_cast<std::uint16_t>(p.size() - 40));
  return p;
}

/// The drop reason's name, "fragment", or "ok".
std::string verdict(const Octets& p, bool verify = true) {
  const auto r = parse_ip(p, verify);
  if (const auto* reason = std::get_if<DropReason>(&r)) return std::string(to_string(*reason));
  return std::get<IpHeader>(r).is_fragment() ? "fragment" : "ok";
}

TEST(ParseIp, RefusesEmptyAndUnknownVersions) {
  EXPECT_EQ(verdict({}), "ip_malformed");
  for (unsigned version = 0; version < 16; ++version) {
    Octets p(60, 0);
    p[0] = static_cast<std::uint8_t>(version << 4 | 5);
    if (version == 4 || version == 6) continue;
    EXPECT_EQ(verdict(p), "ip_malformed") << version;
  }
}

TEST(ParseIpv4, RefusesEveryLyingLength) {
  struct Case {
    const char* what;
    std::function<void(Octets&)> change;
    const char* expected;
  };
  const Case cases[] = {
      {"untouched", [](Octets&) {}, "ok"},
      {"header length 4 words", [](Octets& p) { p[0] = 0x44; }, "ip_malformed"},
      {"header length 0", [](Octets& p) { p[0] = 0x40; }, "ip_malformed"},
      {"header longer than total", [](Octets& p) { p[0] = 0x48; }, "ip_malformed"},
      {"total below the header", [](Octets& p) { store_be16(&p[2], 19); }, "ip_malformed"},
      {"total 0", [](Octets& p) { store_be16(&p[2], 0); }, "ip_malformed"},
      {"total past the packet", [](Octets& p) { store_be16(&p[2], 29); }, "ip_malformed"},
      {"total 65535", [](Octets& p) { store_be16(&p[2], 65535); }, "ip_malformed"},
      {"more fragments", [](Octets& p) { p[6] |= 0x20; }, "fragment"},
      {"fragment offset", [](Octets& p) { p[7] = 1; }, "fragment"},
      {"the highest offset", [](Octets& p) { p[6] = 0x1f, p[7] = 0xff; }, "fragment"},
      {"do not fragment", [](Octets& p) { p[6] = 0x40; }, "ok"},
  };
  for (const auto& c : cases) {
    Octets p = packet(kV4a, kV4b);
    c.change(p);
    if ((p[0] & 0xf) >= 5 && std::size_t{p[0] & 0xfU} * 4 <= p.size()) fix_checksum(p);
    EXPECT_EQ(verdict(p), c.expected) << c.what;
  }
  for (std::size_t n = 1; n < 28; ++n) {
    Octets p = packet(kV4a, kV4b);
    p.resize(n);
    EXPECT_EQ(verdict(p), "ip_malformed") << n;
  }
}

TEST(ParseIpv4, WhatLiesBehindTheTotalLengthIsIgnored) {
  Octets p = packet(kV4a, kV4b);
  p.resize(60);  // an Ethernet minimum frame's padding
  const auto r = parse_ip(p, true);
  EXPECT_EQ(std::get<IpHeader>(r).payload_size, 8);
}

TEST(ParseIpv4, VerifiesTheChecksumWhenAsked) {
  for (std::size_t octet = 1; octet < 20; ++octet) {
    if (octet == 2 || octet == 3) continue;  // the length is judged first
    Octets p = packet(kV4a, kV4b);
    p[octet] ^= 0x10;
    EXPECT_EQ(verdict(p, true), "ip_checksum") << octet;
  }
  Octets p = packet(kV4a, kV4b);
  p[10] ^= 0xff;
  EXPECT_EQ(verdict(p, false), "ok");
}

TEST(ParseIpv4, WalksOptions) {
  struct Case {
    const char* what;
    Octets options;
    const char* expected;
  };
  const Case cases[] = {
      {"padding", {1, 1, 1, 0}, "ok"},
      {"router alert", {148, 4, 0, 0}, "ok"},
      {"record route", {7, 7, 4, 0, 0, 0, 0}, "ok"},
      {"unknown", {0x9e, 3, 0}, "ok"},
      {"loose source route", {131, 7, 4, 1, 2, 3, 4}, "ip_source_route"},
      {"strict source route", {1, 137, 7, 4, 1, 2, 3, 4}, "ip_source_route"},
      {"behind the end", {0, 131, 7, 4}, "ok"},
      {"length 0", {7, 0, 0, 0}, "ip_malformed"},
      {"length 1", {7, 1, 0, 0}, "ip_malformed"},
      {"overrun", {7, 5, 0, 0}, "ip_malformed"},
      {"no length", {1, 1, 1, 7}, "ip_malformed"},
  };
  for (const auto& c : cases) EXPECT_EQ(verdict(with_options(c.options)), c.expected) << c.what;
  const auto r = parse_ip(with_options({148, 4, 0, 0}), true);
  EXPECT_EQ(std::get<IpHeader>(r).header_size, 24);
  EXPECT_EQ(std::get<IpHeader>(r).payload_size, 8);
}

TEST(ParseIpv6, RefusesEveryLyingLength) {
  for (std::size_t n = 1; n < 48; ++n) {
    Octets p = packet(kV6a, kV6b);
    p.resize(n);
    EXPECT_EQ(verdict(p), "ip_malformed") << n;
  }
  Octets p = packet(kV6a, kV6b);
  store_be16(&p[4], 9);
  EXPECT_EQ(verdict(p), "ip_malformed");
  store_be16(&p[4], 3);
  EXPECT_EQ(std::get<IpHeader>(parse_ip(p, true)).payload_size, 3);
}

TEST(ParseIpv6, RefusesMappedAddresses) {
  for (const std::size_t at : {8U, 24U}) {
    Octets p = packet(kV6a, kV6b);
    std::copy(kV4a.octets().begin(), kV4a.octets().end(), p.begin() + static_cast<long>(at));
    EXPECT_EQ(verdict(p), "ip_malformed") << at;
  }
}

TEST(ParseIpv6, WalksExtensionHeaders) {
  const Octets plain{0, 0, 1, 4, 0, 0, 0, 0};  // PadN
  struct Case {
    const char* what;
    std::vector<Extension> chain;
    const char* expected;
  };
  const Case cases[] = {
      {"hop-by-hop", {{0, plain}}, "ok"},
      {"hop-by-hop not first", {{60, plain}, {0, plain}}, "ip_extension_headers"},
      {"router alert", {{0, {0, 0, 5, 2, 0, 0, 0, 0}}}, "ok"},
      {"jumbo payload", {{0, {0, 0, 0xc2, 4, 0, 1, 0, 0}}}, "ip_extension_headers"},
      {"unknown option, skip", {{60, {0, 0, 0x3e, 4, 0, 0, 0, 0}}}, "ok"},
      {"unknown option, discard", {{60, {0, 0, 0x7e, 4, 0, 0, 0, 0}}}, "ip_extension_headers"},
      {"option overrun", {{60, {0, 0, 0x3e, 5, 0, 0, 0, 0}}}, "ip_extension_headers"},
      {"option without length", {{60, {0, 0, 0, 0, 0, 0, 0, 0x3e}}}, "ip_extension_headers"},
      {"routing type 0", {{43, {0, 0, 0, 1, 0, 0, 0, 0}}}, "ip_source_route"},
      {"routing type 0, finished", {{43, {0, 0, 0, 0, 0, 0, 0, 0}}}, "ip_source_route"},
      {"routing type 4 to go on", {{43, {0, 0, 4, 1, 0, 0, 0, 0}}}, "ip_source_route"},
      {"routing type 4, finished", {{43, {0, 0, 4, 0, 0, 0, 0, 0}}}, "ok"},
      {"atomic fragment", {{44, {0, 0, 0, 0, 1, 2, 3, 4}}}, "ok"},  // RFC 6946
      {"atomic, reserved bits", {{44, {0, 7, 0, 6, 1, 2, 3, 4}}}, "ok"},
      {"first fragment", {{44, {0, 0, 0, 1, 1, 2, 3, 4}}}, "fragment"},
      {"last fragment", {{44, {0, 0, 0, 8, 1, 2, 3, 4}}}, "fragment"},
      {"a later one, whose octets look like a bad header",
       {{44, {43, 0, 0, 8, 1, 2, 3, 4}}, {60, {0, 9, 0, 0, 0, 0, 0, 0}}},
       "fragment"},
      {"longer than the packet", {{60, {0, 2, 1, 4, 0, 0, 0, 0}}}, "ip_extension_headers"},
      {"eight", std::vector<Extension>(8, {60, plain}), "ok"},
      {"nine", std::vector<Extension>(9, {60, plain}), "ip_extension_headers"},
  };
  for (const auto& c : cases) EXPECT_EQ(verdict(with_extensions(c.chain)), c.expected) << c.what;

  const auto r = parse_ip(with_extensions({{0, plain}, {60, plain}}), true);
  EXPECT_EQ(std::get<IpHeader>(r).header_size, 56);
  EXPECT_EQ(std::get<IpHeader>(r).payload_size, 8);
  EXPECT_EQ(std::get<IpHeader>(r).protocol, kProtoTcp);
}

TEST(ParseIpv6, RefusesAChainThatEndsInTheMiddle) {
  Octets p = with_extensions({{60, {0, 0, 1, 4, 0, 0, 0, 0}}});
  for (std::uint16_t payload = 0; payload < 8; ++payload) {
    store_be16(&p[4], payload);
    EXPECT_EQ(verdict(p), "ip_extension_headers") << payload;
  }
}

TEST(EmitIp, EveryHeaderSurvivesTheWire) {
  EXPECT_TRUE(rc::check([](bool v4, std::array<std::uint8_t, 16> a, std::array<std::uint8_t, 16> b,
                           std::uint8_t hops, std::uint8_t tos, std::uint32_t id, bool fragment) {
    a[0] |= 1;  // never a mapped address
    b[0] |= 1;
    IpHeader h;
    h.src = v4 ? IpAddr::from_v4_octets(a.data()) : IpAddr::from_v6_octets(a.data());
    h.dst = v4 ? IpAddr::from_v4_octets(b.data()) : IpAddr::from_v6_octets(b.data());
    h.protocol = kProtoUdp;
    h.hop_limit = hops;
    h.tos = tos;
    if (fragment) {
      h.more_fragments = *rc::gen::arbitrary<bool>();
      const int least = h.more_fragments ? 0 : 1;
      h.fragment_offset = static_cast<std::uint16_t>(*rc::gen::inRange(least, 8192) * 8);
    }
    if (v4 || fragment) h.id = v4 ? id & 0xffff : id;
    const auto payload = *rc::gen::inRange<std::size_t>(0, 65515);
    const std::size_t size = fragment ? fragment_header_size(v4) : ip_header_size(v4);
    Octets p(size + payload);
    RC_ASSERT(emit_ip(h, payload, p) == size);
    const auto r = parse_ip(p, true);
    const auto& got = std::get<IpHeader>(r);
    RC_ASSERT(got.src == h.src && got.dst == h.dst && got.protocol == h.protocol);
    RC_ASSERT(got.hop_limit == hops && got.tos == tos && got.id == h.id);
    RC_ASSERT(got.header_size == size && got.payload_size == payload);
    RC_ASSERT(got.is_fragment() == fragment && got.more_fragments == h.more_fragments);
    RC_ASSERT(got.fragment_offset == h.fragment_offset);
    RC_ASSERT(!v4 || (p[6] & 0x40) == (fragment ? 0 : 0x40));  // DF (RFC 6864 4.1)
  }));
}

/// Random octets that got past the first checks: half of them start like a real header.
Octets nonsense() {
  auto p = *rc::gen::arbitrary<Octets>();
  if (p.empty()) return p;
  const auto shape = *rc::gen::inRange(0, 4);
  if (shape == 1 && p.size() >= 20) {
    p[0] = static_cast<std::uint8_t>(0x45 + p[0] % 11);
    store_be16(&p[2], static_cast<std::uint16_t>(p.size()));
    p[6] = p[7] = 0;
  }
  if (shape == 2) {
    p.insert(p.begin(), 40, 0x20);
    p[0] = 0x60;
    p[6] = *rc::gen::element<std::uint8_t>(0, 43, 44, 60);
    store_be16(&p[4], static_cast<std::uint16_t>(p.size() - 40));
    if (p.size() > 41) p[41] %= 3;
  }
  p.shrink_to_fit();  // the sanitizer then sees a read behind the end
  return p;
}

TEST(ParseIp, ReadsNothingOutsideAndReportsWhatFits) {
  EXPECT_TRUE(rc::check([] {
    const Octets p = nonsense();
    const auto r = parse_ip(p, *rc::gen::arbitrary<bool>());
    if (const auto* h = std::get_if<IpHeader>(&r)) {
      RC_ASSERT(std::size_t{h->header_size} + h->payload_size <= p.size());
    }
  }));
}

}  // namespace
}  // namespace pollux::wire
