// ICMP and ICMPv6: echo answered, errors judged and attributed, the rest refused with its reason.
#include "proto/icmp/icmp.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <vector>

#include "proto/wire/checksum.h"

namespace pollux::icmp {
namespace {

using Octets = std::vector<std::uint8_t>;

struct Family {
  bool v4;
  IpAddr us;
  IpAddr peer;
  IpAddr router;
};
const Family kFour{true, IpAddr::v4(0xc6120002), IpAddr::v4(0xc6120001), IpAddr::v4(0x0a000001)};
const Family kSix{false, *IpAddr::parse("2001:2::2"), *IpAddr::parse("2001:2::1"),
                  *IpAddr::parse("fe80::1")};

wire::IpHeader outer(const Family& f) {
  wire::IpHeader ip;
  ip.src = f.router;
  ip.dst = f.us;
  ip.protocol = f.v4 ? wire::kProtoIcmp : wire::kProtoIcmpV6;
  return ip;
}

void fix_checksum(const Family& f, Octets& m) {
  wire::ChecksumSum sum;
  const auto ip = outer(f);
  if (!f.v4) {
    wire::add_pseudo_header(sum, ip.src, ip.dst, 58, static_cast<std::uint32_t>(m.size()));
  }
  store_be16(&m[2], 0);
  sum.add(m);
  store_be16(&m[2], sum.checksum());
}

/// A segment of ours, 198.18.0.2:80 -> 198.18.0.1:4000 with SEQ 0x01020304, cut behind 8 octets.
Octets quote(const Family& f, std::uint8_t protocol = wire::kProtoTcp) {
  wire::IpHeader ip;
  ip.src = f.us;
  ip.dst = f.peer;
  ip.protocol = protocol;
  Octets q(wire::ip_header_size(f.v4));
  wire::emit_ip(ip, 1000, q);
  q.insert(q.end(), {0, 80, 0x0f, 0xa0, 1, 2, 3, 4});
  return q;
}

Octets message(const Family& f, std::uint8_t type, std::uint8_t code, std::uint32_t word,
               const Octets& body) {
  Octets m{type, code, 0, 0, 0, 0, 0, 0};
  store_be32(&m[4], word);
  m.insert(m.end(), body.begin(), body.end());
  fix_checksum(f, m);
  return m;
}

/// "soft", "hard", "too big 1400", "echo", "reply" or the drop reason.
std::string verdict(const Family& f, const Octets& m) {
  const auto r = parse(outer(f), m, true);
  if (std::holds_alternative<EchoRequest>(r)) return "echo";
  if (std::holds_alternative<EchoReply>(r)) return "reply";
  if (const auto* reason = std::get_if<DropReason>(&r)) return std::string(to_string(*reason));
  const auto& e = std::get<Error>(r);
  if (e.kind == Error::Kind::packet_too_big) return "too big " + std::to_string(e.mtu);
  return e.kind == Error::Kind::hard ? "hard" : "soft";
}

struct Case {
  std::uint8_t type;
  std::uint8_t code;
  std::uint32_t word;
  const char* expected;
};

TEST(Icmp, JudgesErrorsByTypeAndCode) {  // rfc9293_must_55_icmp_quench, rfc9293_must_56_icmp_soft
  const Case cases[] = {{3, 0, 0, "soft"},
                        {3, 1, 0, "soft"},
                        {3, 2, 0, "hard"},
                        {3, 3, 0, "hard"},
                        {3, 4, 1400, "too big 1400"},
                        {3, 4, 0, "too big 0"},
                        {3, 5, 0, "soft"},
                        {3, 13, 0, "soft"},
                        {3, 16, 0, "icmp_ignored"},
                        {4, 0, 0, "icmp_ignored"},
                        {5, 1, 0, "icmp_ignored"},
                        {11, 0, 0, "soft"},
                        {11, 1, 0, "soft"},
                        {12, 0, 0, "soft"},
                        {0, 0, 0, "reply"},
                        {13, 0, 0, "icmp_ignored"},
                        {128, 0, 0, "icmp_ignored"},
                        {255, 0, 0, "icmp_ignored"}};
  for (const auto& c : cases) {
    EXPECT_EQ(verdict(kFour, message(kFour, c.type, c.code, c.word, quote(kFour))), c.expected)
        << int{c.type} << ' ' << int{c.code};
  }
}

TEST(IcmpV6, JudgesErrorsByTypeAndCode) {
  const Case cases[] = {{1, 0, 0, "soft"},
                        {1, 1, 0, "hard"},
                        {1, 3, 0, "soft"},
                        {1, 4, 0, "hard"},
                        {2, 0, 1280, "too big 1280"},
                        {2, 0, 0x12345, "too big 74565"},
                        {3, 0, 0, "soft"},
                        {4, 1, 0, "soft"},
                        {129, 0, 0, "reply"},
                        {8, 0, 0, "icmp_ignored"},
                        {135, 0, 0, "icmp_ignored"}};
  for (const auto& c : cases) {
    EXPECT_EQ(verdict(kSix, message(kSix, c.type, c.code, c.word, quote(kSix))), c.expected)
        << int{c.type} << ' ' << int{c.code};
  }
}

TEST(Icmp, rfc9293_must_54_icmp_demux) {
  for (const Family& f : {kFour, kSix}) {
    const std::uint8_t type = f.v4 ? 11 : 3;
    const auto r = parse(outer(f), message(f, type, 0, 0, quote(f)), true);
    const auto& e = std::get<Error>(r);
    EXPECT_EQ(e.flow, (FlowKey{{f.us, 80}, {f.peer, 4000}}));
    EXPECT_EQ(e.protocol, wire::kProtoTcp);
    EXPECT_EQ(e.seq, Seq{0x01020304});
    EXPECT_EQ(e.mtu, 0U);
  }
}

TEST(Icmp, RefusesQuotesThatAreNotOurs) {
  for (const Family& f : {kFour, kSix}) {
    const std::uint8_t type = f.v4 ? 3 : 1;
    const std::uint8_t code = f.v4 ? 3 : 4;
    const auto judge = [&](const Octets& q) { return verdict(f, message(f, type, code, 0, q)); };
    EXPECT_EQ(judge(quote(f)), "hard");
    EXPECT_EQ(judge(quote(f, wire::kProtoUdp)), "hard");
    EXPECT_EQ(judge(quote(f, wire::kProtoIcmp)), "icmp_ignored");
    Octets foreign = quote(f);
    foreign[f.v4 ? 15 : 23] ^= 1;  // a source that is not who the error was sent to
    EXPECT_EQ(judge(foreign), "icmp_ignored");
    Octets version = quote(f);
    version[0] ^= 0x20;
    EXPECT_EQ(judge(version), "icmp_malformed");
  }
  Octets fragment = quote(kFour);
  fragment[7] = 1;
  EXPECT_EQ(verdict(kFour, message(kFour, 3, 3, 0, fragment)), "icmp_malformed");
  // A first fragment of ours has its ports, over IPv6 behind a Fragment header; a later one has
  // none.
  fragment = quote(kFour);
  fragment[6] = 0x20;
  EXPECT_EQ(verdict(kFour, message(kFour, 3, 3, 0, fragment)), "hard");
  for (const bool first : {true, false}) {
    Octets six = quote(kSix);
    const std::uint8_t protocol = std::exchange(six[6], std::uint8_t{44});
    six.insert(six.begin() + 40,
               {protocol, 0, 0, static_cast<std::uint8_t>(first ? 1 : 8), 0, 0, 0, 9});
    const auto r = parse(outer(kSix), message(kSix, 1, 4, 0, six), true);
    ASSERT_EQ(std::holds_alternative<Error>(r), first);
    if (first) {
      EXPECT_EQ(std::get<Error>(r).flow, (FlowKey{{kSix.us, 80}, {kSix.peer, 4000}}));
    }
    six.resize(44);
    EXPECT_EQ(verdict(kSix, message(kSix, 1, 4, 0, six)), "icmp_malformed");
  }
  Octets short_header = quote(kFour);
  short_header[0] = 0x44;
  EXPECT_EQ(verdict(kFour, message(kFour, 3, 3, 0, short_header)), "icmp_malformed");
}

TEST(Icmp, RefusesTruncationAtEveryOctet) {
  for (const Family& f : {kFour, kSix}) {
    const Octets whole = message(f, f.v4 ? 3 : 1, 0, 0, quote(f));
    for (std::size_t n = 0; n < whole.size(); ++n) {
      Octets m(whole.begin(), whole.begin() + static_cast<long>(n));
      if (n >= 4) fix_checksum(f, m);
      EXPECT_EQ(verdict(f, m), "icmp_malformed") << n;
    }
  }
}

TEST(Icmp, VerifiesTheChecksumWhenAsked) {
  for (const Family& f : {kFour, kSix}) {
    Octets m = message(f, f.v4 ? 8 : 128, 0, 0x10001, {1, 2, 3});
    m[9] ^= 1;
    EXPECT_EQ(verdict(f, m), "icmp_malformed");
    EXPECT_TRUE(std::holds_alternative<EchoRequest>(parse(outer(f), m, false)));
  }
}

TEST(Icmp, EchoReplyHasTheRightChecksum) {
  EXPECT_TRUE(rc::check([](bool v4, std::uint8_t code, std::uint32_t word, const Octets& body) {
    const Family& f = v4 ? kFour : kSix;
    Octets m = message(f, v4 ? 8 : 128, code, word, body);
    const auto r = parse(outer(f), m, true);
    const auto& echo = std::get<EchoRequest>(r);
    RC_ASSERT(echo.reply_type == (v4 ? 0 : 129));
    m[0] = echo.reply_type;
    store_be16(&m[2], echo.reply_checksum);
    wire::ChecksumSum sum;
    if (!v4) {
      wire::add_pseudo_header(sum, f.us, f.router, 58, static_cast<std::uint32_t>(m.size()));
    }
    sum.add(m);
    RC_ASSERT(sum.fold() == 0xffff);
  }));
}

TEST(Icmp, EchoReplySaysWhoWhatAndHowFar) {
  for (const Family& f : {kFour, kSix}) {
    const Octets m = message(f, f.v4 ? 0 : 129, 0, 0x1234abcd, {7, 8, 9});
    wire::IpHeader ip = outer(f);
    ip.hop_limit = 61;
    const auto parsed = parse(ip, m, true);
    const auto& reply = std::get<EchoReply>(parsed);
    EXPECT_EQ(reply.local, f.us);
    EXPECT_EQ(reply.remote, f.router);
    EXPECT_EQ(reply.hop_limit, 61);
    EXPECT_EQ(reply.id, 0x1234);
    EXPECT_EQ(reply.sequence, 0xabcd);
    EXPECT_EQ(Octets(reply.data.begin(), reply.data.end()), (Octets{7, 8, 9}));
  }
}

/// What `type` and `code` say about an echo request 0x1234, 0xabcd of ours.
Octets about_a_ping(const Family& f, std::uint8_t type, std::uint8_t code, std::uint32_t word = 0) {
  Octets q = quote(f, f.v4 ? wire::kProtoIcmp : wire::kProtoIcmpV6);
  q.resize(q.size() - 8);
  q.insert(q.end(), {std::uint8_t(f.v4 ? 8 : 128), 0, 0, 0, 0x12, 0x34, 0xab, 0xcd});
  return message(f, type, code, word, q);
}

TEST(Icmp, ErrorsAboutEchoRequestsSayWhichAndWhy) {
  for (const Family& f : {kFour, kSix}) {
    const auto parsed = parse(outer(f), about_a_ping(f, f.v4 ? 3 : 1, f.v4 ? 1 : 3), true);
    const auto& e = std::get<EchoError>(parsed);
    EXPECT_EQ(e.local, f.us);
    EXPECT_EQ(e.remote, f.peer);
    EXPECT_EQ(e.from, f.router);
    EXPECT_EQ(e.id, 0x1234);
    EXPECT_EQ(e.sequence, 0xabcd);
    EXPECT_EQ(e.type, f.v4 ? 3 : 1);
    EXPECT_EQ(e.code, f.v4 ? 1 : 3);
    EXPECT_EQ(e.mtu, 0U);
    const auto too_long = parse(outer(f), about_a_ping(f, f.v4 ? 3 : 2, f.v4 ? 4 : 0, 1400), true);
    EXPECT_EQ(std::get<EchoError>(too_long).mtu, 1400U);
    EXPECT_EQ(verdict(f, about_a_ping(f, f.v4 ? 4 : 100, 0)), "icmp_ignored");
    Octets reply = about_a_ping(f, f.v4 ? 3 : 1, 0);
    reply[reply.size() - 8] = f.v4 ? 0 : 129;  // what we answered is nobody's loss
    fix_checksum(f, reply);
    EXPECT_EQ(verdict(f, reply), "icmp_ignored");
    Octets foreign = about_a_ping(f, f.v4 ? 3 : 1, 0);
    foreign[kHeaderSize + (f.v4 ? 15 : 23)] ^= 1;  // not from us
    fix_checksum(f, foreign);
    EXPECT_EQ(verdict(f, foreign), "icmp_ignored");
  }
}

TEST(Icmp, EchoRequestIsOneThatIsAnswered) {
  for (const Family& f : {kFour, kSix}) {
    Octets m(kHeaderSize);
    emit_echo_request(f.v4, 0x1234, 0xabcd, m);
    EXPECT_EQ(load_be16(&m[4]), 0x1234);
    EXPECT_EQ(load_be16(&m[6]), 0xabcd);
    fix_checksum(f, m);
    EXPECT_EQ(verdict(f, m), "echo");
  }
}

TEST(Icmp, ReadsNothingOutsideOnAnyOctets) {
  EXPECT_TRUE(rc::check([](bool v4, Octets tail) {
    const Family& f = v4 ? kFour : kSix;
    Octets m = tail;
    if (*rc::gen::arbitrary<bool>()) {
      m = message(f, *rc::gen::inRange<std::uint8_t>(0, 13), 0, 0, quote(f));
      m.resize(*rc::gen::inRange<std::size_t>(0, m.size() + 1));
      for (std::size_t i = 0; i < tail.size() && i + 8 < m.size(); ++i) m[i + 8] ^= tail[i];
    }
    m.shrink_to_fit();
    (void)parse(outer(f), m, *rc::gen::arbitrary<bool>());
  }));
}

}  // namespace
}  // namespace pollux::icmp
