// IP reassembly: what was sent comes out, whatever the order, and nothing that peers do makes it
// hold more than its limits or put together what nobody sent.
#include "proto/ip/reassembly.h"

#include <gtest/gtest.h>
#include <malloc.h>
#include <rapidcheck.h>

#include <algorithm>
#include <numeric>

namespace pollux::ip {
namespace {

using Octets = std::vector<std::uint8_t>;

constexpr Instant kStart{Duration{1'000'000'000}};

wire::IpHeader header(bool v4, std::uint32_t id = 7, std::uint8_t protocol = wire::kProtoUdp) {
  wire::IpHeader h;
  h.src = *IpAddr::parse(v4 ? "198.18.0.1" : "2001:2::1");
  h.dst = *IpAddr::parse(v4 ? "198.18.0.2" : "2001:2::2");
  h.protocol = protocol;
  h.id = id;
  return h;
}

Octets pattern(std::size_t n) {
  Octets o(n);
  for (std::size_t i = 0; i < n; ++i) o[i] = static_cast<std::uint8_t>(i * 7 + i / 251);
  return o;
}

class ReassemblyTest : public testing::Test {
 protected:
  explicit ReassemblyTest(const ReassemblyLimits& limits = {}) : r({1, 2}, limits) {}

  Octets add(wire::IpHeader h, std::size_t offset, Bytes payload, bool more) {
    h.fragment_offset = static_cast<std::uint16_t>(offset);
    h.more_fragments = more;
    Octets whole = r.add(now, h, payload);
    const auto d = r.take_drops();
    drops.bad += d.bad;
    drops.incomplete += d.incomplete;
    return whole;
  }
  /// A piece of pattern(), which is `all` octets long.
  Octets piece(const wire::IpHeader& h, std::size_t begin, std::size_t end, std::size_t all) {
    const Octets o = pattern(all);
    return add(h, begin, Bytes{o}.subspan(begin, end - begin), end != all);
  }
  static Octets payload_of(const Octets& whole) {
    const auto parsed = wire::parse_ip(whole, true);
    const auto& h = std::get<wire::IpHeader>(parsed);
    EXPECT_FALSE(h.is_fragment());
    return Octets(whole.begin() + h.header_size, whole.end());
  }

  Reassembler r;
  Instant now = kStart;
  Reassembler::Drops drops;
};

TEST(Reassembly, WhatWasSentComesOutInWhateverOrder) {
  EXPECT_TRUE(rc::check([](bool v4) {
    Reassembler r({1, 2});
    const auto size = *rc::gen::inRange<std::size_t>(16, 65516);
    const Octets sent = pattern(size);
    std::vector<std::size_t> cuts{0};
    const auto pieces = *rc::gen::inRange<std::size_t>(2, 64);
    for (std::size_t i = 1; i < pieces; ++i) {
      cuts.push_back(*rc::gen::inRange<std::size_t>(1, (size - 1) / 8 + 1) * 8);
    }
    cuts.push_back(size);
    std::sort(cuts.begin(), cuts.end());
    cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());
    std::vector<std::size_t> order(cuts.size() - 1);
    std::iota(order.begin(), order.end(), 0);
    for (std::size_t i = order.size(); i > 1; --i) {
      std::swap(order[i - 1], order[*rc::gen::inRange<std::size_t>(0, i)]);
    }
    std::size_t doubled = 0;
    for (std::size_t i = 0; i < order.size(); ++i) {
      wire::IpHeader h = header(v4);
      h.fragment_offset = static_cast<std::uint16_t>(cuts[order[i]]);
      h.more_fragments = cuts[order[i] + 1] != size;
      const Bytes octets = Bytes{sent}.subspan(cuts[order[i]], cuts[order[i] + 1] - cuts[order[i]]);
      const bool last = i + 1 == order.size();
      const Octets whole = r.add(kStart, h, octets);
      RC_ASSERT(whole.empty() != last);
      if (last) {
        const auto parsed = wire::parse_ip(whole, true);
        const auto& got = std::get<wire::IpHeader>(parsed);
        RC_ASSERT(!got.is_fragment() && got.protocol == wire::kProtoUdp);
        RC_ASSERT(got.src == h.src && got.dst == h.dst && got.payload_size == size);
        RC_ASSERT(std::ranges::equal(Bytes{whole}.subspan(got.header_size), sent));
      } else if (*rc::gen::inRange(0, 8) == 0) {
        RC_ASSERT(r.add(kStart, h, octets).empty());
        ++doubled;
      }
    }
    RC_ASSERT(r.take_drops().bad == doubled);
    RC_ASSERT(r.bytes() == 0U && r.next_deadline() == kNever);
  }));
}

TEST_F(ReassemblyTest, DatagramsAreToldApart) {
  const wire::IpHeader one = header(true);
  wire::IpHeader other_id = one, other_host = one, other_protocol = one;
  other_id.id = 8;
  other_host.src = *IpAddr::parse("198.18.0.3");
  other_protocol.protocol = wire::kProtoIcmp;
  const wire::IpHeader all[] = {one, other_id, other_host, other_protocol, header(false)};
  for (const auto& h : all) EXPECT_TRUE(piece(h, 0, 16, 40).empty());
  for (const auto& h : all) EXPECT_EQ(payload_of(piece(h, 16, 40, 40)), pattern(40));
  EXPECT_EQ(drops.bad, 0U);
  // Over IPv6 the number alone counts (RFC 8200 4.5): what the later ones say of it does not.
  wire::IpHeader later = header(false);
  later.protocol = wire::kProtoTcp;
  EXPECT_TRUE(piece(header(false), 0, 16, 40).empty());
  EXPECT_EQ(payload_of(piece(later, 16, 40, 40)), pattern(40));
}

TEST_F(ReassemblyTest, AnOverlapKillsTheWholeDatagram) {
  struct Case {
    const char* what;
    std::size_t begin, end;
    bool more;
  };
  const Case cases[] = {{"before and into it", 8, 24, true},
                        {"inside", 24, 32, true},
                        {"around it", 8, 48, true},
                        {"its end and more", 32, 56, true},
                        {"the same, longer", 16, 48, true},
                        {"the same, shorter", 16, 32, true},
                        {"ends in front of it", 0, 8, false},
                        {"ends inside of it", 0, 20, false},
                        {"the same, as the last", 16, 40, false}};
  std::uint32_t id = 1;
  for (const Case& c : cases) {
    drops = {};
    const wire::IpHeader h = header(true, id++);
    EXPECT_TRUE(piece(h, 16, 40, 100).empty());
    EXPECT_TRUE(
        add(h, c.begin, Bytes{pattern(100)}.subspan(c.begin, c.end - c.begin), c.more).empty());
    EXPECT_EQ(drops.bad, 2U) << c.what;
    // Nothing of it is taken any more, though all of it comes.
    EXPECT_TRUE(piece(h, 0, 16, 100).empty());
    EXPECT_TRUE(piece(h, 16, 40, 100).empty());
    EXPECT_TRUE(piece(h, 40, 100, 100).empty());
    EXPECT_EQ(drops.bad, 5U) << c.what;
  }
  // Only the memory of it is left; after that the number is free again.
  EXPECT_LT(r.bytes(), 512 * std::size(cases));
  now += 30s;
  while (r.expire(now)) {
  }
  EXPECT_EQ(r.bytes(), 0U);
  EXPECT_TRUE(piece(header(true, 1), 0, 16, 40).empty());
  EXPECT_FALSE(piece(header(true, 1), 16, 40, 40).empty());
}

TEST_F(ReassemblyTest, OneThatTheNetworkDoubledIsNoOverlap) {
  EXPECT_TRUE(piece(header(true), 0, 16, 40).empty());
  EXPECT_TRUE(piece(header(true), 0, 16, 40).empty());
  EXPECT_EQ(drops.bad, 1U);
  Octets forged = pattern(16);
  forged[3] ^= 1;
  EXPECT_TRUE(add(header(true, 9), 0, pattern(16), true).empty());
  EXPECT_TRUE(add(header(true, 9), 0, forged, true).empty());
  EXPECT_EQ(drops.bad, 3U) << "other octets are an overlap";
  EXPECT_EQ(payload_of(piece(header(true), 16, 40, 40)), pattern(40));
  EXPECT_TRUE(piece(header(true, 10), 16, 40, 40).empty());
  EXPECT_TRUE(piece(header(true, 10), 16, 40, 40).empty());
  EXPECT_EQ(payload_of(piece(header(true, 10), 0, 16, 40)), pattern(40));
}

TEST_F(ReassemblyTest, LiesAboutLengths) {
  for (const bool v4 : {true, false}) {
    drops = {};
    const std::size_t most = v4 ? 65515 : 65535;
    EXPECT_TRUE(add(header(v4), 0, {}, true).empty());
    EXPECT_TRUE(add(header(v4), 8, {}, false).empty());
    EXPECT_TRUE(add(header(v4), 0, pattern(12), true).empty()) << "no multiple of 8";
    EXPECT_TRUE(add(header(v4), 65528, pattern(8), false).empty()) << "ping of death";
    EXPECT_TRUE(add(header(v4), 65504, pattern(most - 65504 + 1), false).empty());
    EXPECT_EQ(drops.bad, 5U);
    EXPECT_EQ(r.bytes(), 0U);
    EXPECT_TRUE(add(header(v4), 65504, pattern(most - 65504), false).empty());
    EXPECT_EQ(drops.bad, 5U);
    EXPECT_TRUE(add(header(v4), 65504, pattern(8), true).empty()) << "past its end";
    EXPECT_EQ(drops.bad, 7U);
    EXPECT_TRUE(add(header(v4, 8), 16, pattern(8), false).empty());
    EXPECT_TRUE(add(header(v4, 8), 24, pattern(8), false).empty()) << "a second end";
    EXPECT_EQ(drops.bad, 9U);
    while (r.expire(now + 60s)) {
    }
  }
}

TEST_F(ReassemblyTest, TheTransportHeaderIsInTheFirstFragment) {
  for (const bool v4 : {true, false}) {
    const wire::IpHeader tcp = header(v4, 7, wire::kProtoTcp);
    EXPECT_TRUE(piece(tcp, 0, 16, 40).empty());
    EXPECT_TRUE(piece(tcp, 16, 40, 40).empty()) << "RFC 1858";
    EXPECT_EQ(drops.bad, 2U);
    wire::IpHeader fits = tcp;
    fits.id = 8;
    EXPECT_TRUE(piece(fits, 0, 24, 40).empty());
    EXPECT_FALSE(piece(fits, 24, 40, 40).empty());
    drops = {};
    while (r.expire(now + 60s)) {
    }
    r.take_drops();
  }
  Octets options = pattern(80);
  options[12] = 0xf0;  // 60 octets of header
  for (const std::size_t first : {56U, 64U}) {
    const wire::IpHeader h = header(true, static_cast<std::uint32_t>(first), wire::kProtoTcp);
    EXPECT_TRUE(add(h, 0, Bytes{options}.first(first), true).empty());
    EXPECT_EQ(add(h, first, Bytes{options}.subspan(first), false).empty(), first == 56);
  }
  // Destination options of 24 octets, then UDP: all of it in the first, or not (RFC 7112).
  Octets chain = {wire::kProtoUdp, 2, 1, 4, 0, 0, 0, 0, 1, 14};
  chain.resize(24);
  chain.resize(64, 'x');
  for (const std::size_t first : {24U, 32U}) {
    const wire::IpHeader h = header(false, static_cast<std::uint32_t>(first), 60);
    EXPECT_TRUE(add(h, 0, Bytes{chain}.first(first), true).empty());
    EXPECT_EQ(add(h, first, Bytes{chain}.subspan(first), false).empty(), first == 24);
  }
}

TEST_F(ReassemblyTest, AFragmentInAFragmentIsRefused) {
  Octets nested = {wire::kProtoUdp, 0, 0, 1, 0, 0, 0, 5};
  nested.resize(40, 'x');
  const wire::IpHeader h = header(false, 7, 44);
  EXPECT_TRUE(add(h, 0, Bytes{nested}.first(24), true).empty());
  EXPECT_TRUE(add(h, 24, Bytes{nested}.subspan(24), false).empty());
  EXPECT_TRUE(add(header(false, 8, 0), 0, Bytes{nested}.first(24), true).empty());  // hop-by-hop
  EXPECT_EQ(drops.bad, 3U);
}

TEST_F(ReassemblyTest, TheNumberOfFragmentsIsBounded) {
  for (std::size_t i = 0; i < 64; ++i)
    EXPECT_TRUE(piece(header(true), i * 8, i * 8 + 8, 1000).empty());
  EXPECT_EQ(drops.bad, 0U);
  EXPECT_TRUE(piece(header(true), 512, 1000, 1000).empty());
  EXPECT_EQ(drops.bad, 65U);
}

TEST_F(ReassemblyTest, AFloodPushesItsOwnOut) {
  const ReassemblyLimits limits;
  for (std::uint32_t i = 0; i < 20'000; ++i) {
    const std::size_t n = i % 3 == 0 ? 8 : 1400;
    EXPECT_TRUE(add(header(i % 2 == 0, 100 + i), 0, pattern(n), true).empty());
    ASSERT_LE(r.bytes(), limits.octets);
    if (i % 100 != 0) continue;
    EXPECT_TRUE(piece(header(true, 1), 0, 1480, 2000).empty());
    EXPECT_EQ(payload_of(piece(header(true, 1), 1480, 2000, 2000)), pattern(2000));
  }
  EXPECT_EQ(drops.bad, 0U);
  EXPECT_GT(drops.incomplete, 10'000U);
  std::size_t left = 0;
  while (r.expire(now + 60s)) ++left;
  EXPECT_EQ(drops.incomplete + left, 20'000U);
  EXPECT_EQ(r.bytes(), 0U);
}

TEST_F(ReassemblyTest, ANumberThatCameRoundIsAnotherDatagram) {
  EXPECT_TRUE(piece(header(true, 5), 0, 16, 40).empty());  // the rest was lost
  for (std::uint32_t i = 0; i < 600; ++i) {
    EXPECT_TRUE(piece(header(true, 1000 + i), 0, 16, 40).empty());
    EXPECT_FALSE(piece(header(true, 1000 + i), 16, 40, 40).empty());
  }
  Octets other = pattern(40);
  other[3] ^= 1;
  EXPECT_TRUE(add(header(true, 5), 0, Bytes{other}.first(16), true).empty());
  EXPECT_EQ(payload_of(add(header(true, 5), 16, Bytes{other}.subspan(16), false)), other);
  EXPECT_EQ(drops.bad, 0U);
  EXPECT_EQ(drops.incomplete, 1U);
}

TEST_F(ReassemblyTest, NumbersOfOthersDoNotMakeItAnother) {
  EXPECT_TRUE(piece(header(true, 5), 0, 16, 40).empty());
  for (std::uint32_t i = 0; i < 600; ++i) {
    wire::IpHeader h = header(true, 5);
    h.src = *IpAddr::parse("198.18.0." + std::to_string(3 + i % 2));
    h.id = 1000 + i;
    for (const bool v4 : {true, false}) {
      wire::IpHeader one = v4 ? h : header(false, h.id);
      EXPECT_TRUE(piece(one, 0, 16, 40).empty());
      EXPECT_FALSE(piece(one, 16, 40, 40).empty());
    }
  }
  EXPECT_EQ(payload_of(piece(header(true, 5), 16, 40, 40)), pattern(40));
  EXPECT_EQ(drops.bad + drops.incomplete, 0U);
}

TEST(Reassembly, WhatAFragmentBelongsToIsNotPushedOutByIt) {
  // Room for two datagrams of a kilobyte.
  Reassembler r({1, 2}, {.octets = 3200});
  const Octets all = pattern(3000);
  const auto give = [&](bool v4, std::uint32_t id, std::size_t begin, std::size_t end) {
    wire::IpHeader h = header(v4, id);
    h.fragment_offset = static_cast<std::uint16_t>(begin);
    h.more_fragments = end != all.size();
    return r.add(kStart, h, Bytes{all}.subspan(begin, end - begin));
  };
  for (const bool v4 : {true, false}) {
    EXPECT_TRUE(give(v4, 1, 0, 1000).empty());
    EXPECT_TRUE(give(!v4, 2, 0, 1000).empty());
    EXPECT_TRUE(give(v4, 1, 1000, 2000).empty());  // the other one goes, though it is younger
    EXPECT_EQ(r.take_drops().incomplete, 1U);
    // There is no room for all of it: it stays incomplete and takes no more than the limit.
    EXPECT_TRUE(give(v4, 1, 2000, 3000).empty());
    EXPECT_EQ(r.take_drops().incomplete, 1U);
    EXPECT_LE(r.bytes(), 3200U);
    while (r.expire(kStart + 60s)) {
    }
    EXPECT_EQ(r.take_drops().incomplete, 2U);
  }
}

TEST_F(ReassemblyTest, TheOldestGoesFirstWhicheverItsFamily) {
  const Octets all = pattern(2000);
  for (const bool v4 : {true, false}) {
    Reassembler small({1, 2}, {.octets = 3200});
    const auto give = [&](bool is_v4, std::uint32_t id, std::size_t begin, std::size_t end) {
      wire::IpHeader h = header(is_v4, id);
      h.fragment_offset = static_cast<std::uint16_t>(begin);
      h.more_fragments = end != all.size();
      now += 1s;
      return small.add(now, h, Bytes{all}.subspan(begin, end - begin));
    };
    EXPECT_TRUE(give(v4, 1, 0, 1000).empty());
    EXPECT_TRUE(give(!v4, 2, 0, 1000).empty());
    EXPECT_TRUE(give(!v4, 3, 0, 1000).empty());  // the first one goes
    EXPECT_FALSE(give(!v4, 2, 1000, 2000).empty());
  }
}

TEST(Reassembly, TheDeadPushNobodyOut) {
  Reassembler r({1, 2}, {.octets = 2600});
  const Octets all = pattern(2000);
  const auto give = [&](std::uint32_t id, std::size_t begin, std::size_t end) {
    wire::IpHeader h = header(true, id);
    h.fragment_offset = static_cast<std::uint16_t>(begin);
    h.more_fragments = end != all.size();
    return r.add(kStart, h, Bytes{all}.subspan(begin, end - begin));
  };
  EXPECT_TRUE(give(1, 0, 1000).empty());
  EXPECT_TRUE(give(2, 0, 16).empty());
  EXPECT_TRUE(give(2, 8, 24).empty());
  EXPECT_TRUE(give(2, 24, 1424).empty());
  EXPECT_EQ(r.take_drops().incomplete, 0U);
  EXPECT_TRUE(give(1, 1000, 2000).size() > 2000);
}

TEST_F(ReassemblyTest, GivesUpAfterATime) {
  for (const bool v4 : {true, false}) {
    drops = {};
    const Duration time = v4 ? 30s : 60s;
    EXPECT_TRUE(piece(header(v4, 1), 0, 16, 40).empty());
    now += 1s;
    EXPECT_TRUE(piece(header(v4, 1), 24, 40, 40).empty());  // does not begin it anew
    EXPECT_TRUE(piece(header(v4, 2), 16, 40, 40).empty());
    EXPECT_EQ(r.next_deadline(), now - 1s + time);
    EXPECT_FALSE(r.expire(now - 1s + time - 1ns));
    const auto first = r.expire(now - 1s + time);
    ASSERT_TRUE(first);
    const Octets all = pattern(40);
    EXPECT_EQ(first->first, Octets(all.begin(), all.begin() + 16));
    EXPECT_EQ(first->header.id, 1U);
    EXPECT_EQ(r.take_drops().incomplete, 2U);
    EXPECT_FALSE(r.expire(now - 1s + time));
    const auto second = r.expire(now + time);
    ASSERT_TRUE(second);
    EXPECT_TRUE(second->first.empty()) << "its first fragment never came";
    EXPECT_EQ(r.take_drops().incomplete, 1U);
    EXPECT_EQ(r.next_deadline(), kNever);
  }
}

TEST_F(ReassemblyTest, CongestionOfOneIsThatOfAll) {
  const auto with = [this](std::uint8_t first, std::uint8_t second) -> int {
    wire::IpHeader h = header(true);
    h.tos = first;
    EXPECT_TRUE(piece(h, 0, 16, 40).empty());
    h.tos = second;
    const Octets whole = piece(h, 16, 40, 40);
    while (r.expire(now + 60s)) {
    }
    return whole.empty() ? -1 : whole[1];
  };
  EXPECT_EQ(with(0xb8, 0xb8), 0xb8);
  EXPECT_EQ(with(0xba, 0xba), 0xba);
  EXPECT_EQ(with(0xba, 0xbb), 0xbb);
  EXPECT_EQ(with(0xbb, 0xba), 0xbb);
  EXPECT_EQ(with(0xb8, 0xbb), -1);
}

TEST(Reassembly, AnyFragmentsAreSafe) {
  std::size_t all_out = 0, all_bad = 0, all_pushed_out = 0;
  EXPECT_TRUE(rc::check([&] {
    constexpr std::size_t kLimit = 3'000;  // of some six datagrams
    Reassembler r({1, 2}, {.octets = kLimit, .fragments = 4});
    Instant now = kStart;
    std::size_t given = 0, out = 0, dropped = 0;
    const auto n = *rc::gen::inRange<std::size_t>(1, 200);
    for (std::size_t i = 0; i < n; ++i) {
      wire::IpHeader h =
          header(*rc::gen::arbitrary<bool>(), *rc::gen::inRange<std::uint32_t>(0, 6));
      h.protocol = *rc::gen::element<std::uint8_t>(17, 17, 17, 6, 44, 60);
      h.fragment_offset = static_cast<std::uint16_t>(*rc::gen::inRange(0, 3) * 8);
      h.more_fragments = (h.fragment_offset < 16) != (*rc::gen::inRange(0, 8) == 0);
      const auto payload = *rc::gen::container<Octets>(
          *rc::gen::element<std::size_t>(8, 8, 8, 8, 8, 16, 0), rc::gen::arbitrary<std::uint8_t>());
      ++given;
      if (const Octets whole = r.add(now, h, payload); !whole.empty()) {
        const auto parsed = wire::parse_ip(whole, true);
        RC_ASSERT(std::holds_alternative<wire::IpHeader>(parsed));
        ++out;
      }
      const auto d = r.take_drops();
      dropped += d.bad + d.incomplete;
      all_bad += d.bad;
      all_pushed_out += d.incomplete;
      RC_ASSERT(r.bytes() <= kLimit);
      now += Duration{*rc::gen::inRange(0, 100)} * 1'000'000;
    }
    while (r.expire(now + 60s)) {
    }
    const auto d = r.take_drops();
    dropped += d.bad + d.incomplete;
    RC_ASSERT(r.bytes() == 0U);
    RC_ASSERT(dropped <= given);
    RC_ASSERT((dropped == given) == (out == 0));
    all_out += out;
  }));
  // It went everywhere.
  EXPECT_GT(all_out, 100U);
  EXPECT_GT(all_bad, 100U);
  EXPECT_GT(all_pushed_out, 100U);
}

/// Octets of the heap in use, as the C library counts them. With a sanitizer it counts nothing.
std::size_t heap() { return mallinfo2().uordblks; }

TEST(Reassembly, HoldsNoMoreMemoryThanItSays) {
  const auto give = [](Reassembler& r, std::uint32_t id, std::size_t offset, std::size_t n) {
    wire::IpHeader h = header(false, id);
    h.fragment_offset = static_cast<std::uint16_t>(offset);
    h.more_fragments = true;
    EXPECT_TRUE(r.add(kStart, h, pattern(n)).empty());
  };
  for (const std::size_t fragments : {1U, 8U, 63U}) {
    for (const std::size_t octets : {8U, 1400U}) {
      for (const bool dead : {false, true}) {
        const std::size_t before = heap();
        Reassembler r({1, 2});
        for (std::uint32_t id = 0; id < 1000; ++id) {
          for (std::size_t i = 0; i < fragments; ++i) give(r, id, i * octets, octets);
          if (dead) give(r, id, (fragments - 1) * octets, 16);
        }
        EXPECT_LE(heap() - before, r.bytes() + r.bytes() / 8)
            << fragments << " of " << octets << (dead ? ", dead" : "");
        EXPECT_GE(r.bytes(), 1000U * 300);
      }
    }
  }
}

}  // namespace
}  // namespace pollux::ip
