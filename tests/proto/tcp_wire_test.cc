// TCP on the wire: options of every legal and illegal shape, round trips, checksum.
#include "proto/wire/tcp.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <vector>

#include "proto/wire/checksum.h"
#include "proto/wire/ip.h"

namespace pollux::wire {
namespace {

using Octets = std::vector<std::uint8_t>;

/// A segment with exactly these option octets (padded with zeros to a word) and some payload.
Octets segment(Octets options, std::uint8_t flags = tcp_flag::ack) {
  while (options.size() % 4 != 0) options.push_back(0);
  Octets s(20, 0);
  s[12] = static_cast<std::uint8_t>((5 + options.size() / 4) << 4);
  s[13] = flags;
  s.insert(s.end(), options.begin(), options.end());
  s.insert(s.end(), {0xde, 0xad});
  return s;
}

bool parses(const Octets& s) {
  TcpHeader h;
  return parse_tcp(s, h) != 0;
}

TcpOptions options_of(const Octets& options, std::uint8_t flags = tcp_flag::ack) {
  TcpHeader h;
  EXPECT_NE(parse_tcp(segment(options, flags), h), 0U);
  return h.options;
}

TEST(ParseTcp, ReadsEveryField) {
  const Octets s{0x12, 0x34, 0x00, 0x50, 1,    2,    3, 4, 5, 6,
                 7,    8,    0x50, 0x18, 0xab, 0xcd, 0, 0, 9, 10};
  TcpHeader h;
  ASSERT_EQ(parse_tcp(s, h), 20U);
  EXPECT_EQ(h.src_port, 0x1234);
  EXPECT_EQ(h.dst_port, 80);
  EXPECT_EQ(h.seq, Seq{0x01020304});
  EXPECT_EQ(h.ack, Seq{0x05060708});
  EXPECT_EQ(h.flags, tcp_flag::ack | tcp_flag::psh);
  EXPECT_EQ(h.window, 0xabcd);
  EXPECT_EQ(h.urgent, 0x090a);
}

TEST(ParseTcp, RefusesALyingDataOffset) {
  for (unsigned words = 0; words < 16; ++words) {
    Octets s(24, 0);  // room for one word of options
    s[12] = static_cast<std::uint8_t>(words << 4);
    EXPECT_EQ(parses(s), words == 5 || words == 6) << words;
  }
  for (std::size_t n = 0; n < 20; ++n) EXPECT_FALSE(parses(Octets(n, 0x50))) << n;
}

TEST(ParseTcp, rfc9293_must_04_mandatory_options) {
  EXPECT_EQ(options_of({2, 4, 0x05, 0xb4}, tcp_flag::syn).mss, 1460);
  EXPECT_EQ(options_of({1, 2, 4, 0x05, 0xb4}, tcp_flag::syn).mss, 1460);
  EXPECT_EQ(options_of({0, 2, 4, 0x05, 0xb4}, tcp_flag::syn).mss, std::nullopt);  // behind the end
}

TEST(ParseTcp, rfc9293_must_05_options_any_segment) {
  for (const std::uint8_t flags : {tcp_flag::ack, tcp_flag::fin, tcp_flag::rst, tcp_flag::syn}) {
    const auto o = options_of({1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}, flags);
    EXPECT_EQ(o.timestamps, (TcpTimestamps{1, 2})) << int{flags};
  }
}

TEST(ParseTcp, rfc9293_must_06_unknown_option_ignored) {
  for (unsigned kind = 9; kind < 256; ++kind) {
    if (kind == 28) continue;  // the user timeout is known and has a length of its own
    const auto k = static_cast<std::uint8_t>(kind);
    EXPECT_EQ(options_of({k, 2, k, 5, 1, 2, 3, 2, 4, 1, 1}, tcp_flag::syn).mss, 0x0101) << kind;
  }
}

TEST(ParseTcp, rfc9293_must_07_illegal_option_length) {
  struct Case {
    const char* what;
    Octets options;
  };
  const Case cases[] = {
      {"unknown, length 0", {99, 0, 0, 0}},
      {"unknown, length 1", {99, 1, 0, 0}},
      {"unknown, overrun", {99, 5, 0, 0}},
      {"unknown, length 255", {99, 255, 0, 0}},
      {"MSS, length 0", {2, 0, 5, 0xb4}},
      {"MSS, length 1", {2, 1, 5, 0xb4}},
      {"MSS too short", {2, 3, 5, 1}},
      {"MSS too long", {2, 5, 5, 0xb4, 0}},
      {"MSS overrun", {1, 2, 4, 5}},
      {"window scale too short", {3, 2, 0, 0}},
      {"window scale too long", {3, 4, 7, 0}},
      {"SACK-permitted with a body", {4, 3, 0, 0}},
      {"SACK without blocks", {5, 2, 0, 0}},
      {"SACK with half a block", {5, 6, 0, 0, 0, 0, 0, 0}},
      {"timestamps too short", {8, 9, 0, 0, 0, 0, 0, 0, 0}},
      {"timestamps too long", {8, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
      {"timestamps cut off", {1, 1, 8, 10, 0, 0, 0, 0}},
  };
  for (const auto& c : cases) {
    EXPECT_FALSE(parses(segment(c.options))) << c.what;
    EXPECT_FALSE(parses(segment(c.options, tcp_flag::syn))) << c.what;
  }
}

TEST(ParseTcp, rfc9293_must_64_options_unaligned) {
  for (std::size_t nops = 0; nops < 8; ++nops) {
    Octets o(nops, 1);
    o.insert(o.end(), {8, 10, 0, 0, 0, 7, 0, 0, 0, 9, 2, 4, 2, 24});
    const auto got = options_of(o, tcp_flag::syn);
    EXPECT_EQ(got.timestamps, (TcpTimestamps{7, 9})) << nops;
    EXPECT_EQ(got.mss, 536) << nops;
  }
}

TEST(ParseTcp, rfc9293_must_65_mss_only_syn) {
  const Octets o{2, 4, 5, 0xb4, 3, 3, 7, 4, 2};
  const auto data = options_of(o, tcp_flag::ack);
  EXPECT_FALSE(data.mss || data.window_scale || data.sack_permitted);
  const auto syn = options_of(o, tcp_flag::syn | tcp_flag::ack);
  EXPECT_TRUE(syn.mss && syn.window_scale == 7 && syn.sack_permitted);
}

TEST(ParseTcp, rfc7323_2_2_options_of_syns_only) {
  for (const std::uint8_t flags : {0, 1, 4, 16, 24, 17}) {
    const auto o = options_of({3, 3, 7, 4, 2}, flags);
    EXPECT_FALSE(o.window_scale || o.sack_permitted) << unsigned{flags};
  }
}

TEST(ParseTcp, rfc9293_must_68_option_has_length) {
  // A kind in the last octet has no room for the length that all but EOL and NOP carry.
  for (unsigned kind = 0; kind < 256; ++kind) {
    EXPECT_EQ(parses(segment({1, 1, 1, static_cast<std::uint8_t>(kind)})), kind < 2) << kind;
  }
}

TEST(EmitTcp, rfc9293_must_69_eol_zero_pad) {
  // As receiver: padding behind EOL is not looked at. As sender: whole words, so no EOL at all.
  EXPECT_TRUE(parses(segment({0, 99, 0, 255})));
  TcpHeader h;
  h.flags = tcp_flag::syn;
  h.options.window_scale = 7;
  Octets out(kTcpMaxHeaderSize, 0xff);
  ASSERT_EQ(emit_tcp(h, out), 24U);
  EXPECT_EQ(Octets(out.begin() + 20, out.begin() + 24), (Octets{1, 3, 3, 7}));
}

TEST(ParseTcp, SackHoldsAtMostFourBlocks) {
  for (unsigned blocks = 1; blocks <= 4; ++blocks) {
    Octets o{5, static_cast<std::uint8_t>(2 + 8 * blocks)};
    for (unsigned i = 0; i < 8 * blocks; ++i) o.push_back(static_cast<std::uint8_t>(i));
    const auto got = options_of(o);
    ASSERT_EQ(got.sack_count, blocks);
    EXPECT_EQ(got.sack[0], (SackBlock{Seq{0x00010203}, Seq{0x04050607}}));
  }
}

TEST(ParseTcp, UserTimeoutCountsSecondsOrMinutes) {  // RFC 5482 2
  EXPECT_EQ(options_of({28, 4, 0, 9}).user_timeout_s, 9U);
  EXPECT_EQ(options_of({28, 4, 0x7f, 0xff}).user_timeout_s, 32767U);
  EXPECT_EQ(options_of({28, 4, 0x80, 9}).user_timeout_s, 540U);
  EXPECT_FALSE(options_of({28, 4, 0, 0}).user_timeout_s) << "reserved";
  EXPECT_FALSE(options_of({28, 4, 0x80, 0}).user_timeout_s);
  EXPECT_FALSE(parses(segment({28, 3, 1})));
  EXPECT_FALSE(parses(segment({28, 5, 1, 1, 1})));
}

TEST(ParseTcp, FastOpenAsksOrCarriesACookie) {  // RFC 7413 2, 4.1.1
  const auto asks = options_of({34, 2}, tcp_flag::syn);
  ASSERT_TRUE(asks.fast_open);
  EXPECT_EQ(asks.fast_open->size, 0U);
  for (std::uint8_t size = 1; size <= 18; ++size) {
    Octets o{34, static_cast<std::uint8_t>(2 + size)};
    for (std::uint8_t i = 0; i < size; ++i) o.push_back(i);
    const auto got = options_of(o, tcp_flag::syn);
    EXPECT_EQ(got.fast_open.has_value(), size >= 4 && size <= 16 && size % 2 == 0) << int{size};
    if (got.fast_open) {
      EXPECT_EQ(got.fast_open->size, size);
      EXPECT_EQ(got.fast_open->octets[size - 1U], size - 1U);
    }
    EXPECT_FALSE(options_of(o, tcp_flag::ack).fast_open) << "only on SYN";
  }
}

TEST(EmitTcp, TheLongestCookieIsLeftOffWhereItDoesNotFit) {
  TcpHeader h;
  h.flags = tcp_flag::syn;
  h.options.mss = std::uint16_t{1460};
  h.options.timestamps = TcpTimestamps{1, 2};
  h.options.window_scale = std::uint8_t{7};
  h.options.user_timeout_s = 100;
  h.options.fast_open = FastOpenCookie{16, {}};
  Octets out(kTcpMaxHeaderSize + 8, 0xcc);
  EXPECT_EQ(emit_tcp(h, out), 44U);
  EXPECT_EQ(tcp_header_size(h.options), 44U);
  EXPECT_EQ(out[kTcpMaxHeaderSize], 0xcc);
}

TEST(ParseTcp, LeavesNothingOfTheLastSegment) {
  TcpHeader h;
  ASSERT_NE(parse_tcp(segment({2, 4, 1, 1, 3, 3,  7, 4, 2, 8, 10, 0, 0, 0, 0,
                               0, 0, 0, 0, 5, 10, 0, 0, 0, 0, 0,  0, 0, 0},
                              tcp_flag::syn),
                      h),
            0U);
  ASSERT_TRUE(h.options.mss && h.options.timestamps && h.options.sack_count == 1);
  ASSERT_NE(parse_tcp(segment({}), h), 0U);
  EXPECT_FALSE(h.options.mss || h.options.window_scale || h.options.sack_permitted ||
               h.options.timestamps || h.options.sack_count);
}

TcpHeader arbitrary_header() {
  TcpHeader h;
  h.src_port = *rc::gen::arbitrary<std::uint16_t>();
  h.dst_port = *rc::gen::arbitrary<std::uint16_t>();
  h.seq = Seq{*rc::gen::arbitrary<std::uint32_t>()};
  h.ack = Seq{*rc::gen::arbitrary<std::uint32_t>()};
  h.flags = *rc::gen::arbitrary<std::uint8_t>();
  h.window = *rc::gen::arbitrary<std::uint16_t>();
  h.urgent = *rc::gen::arbitrary<std::uint16_t>();
  TcpOptions& o = h.options;
  if (h.has(tcp_flag::syn)) {
    if (*rc::gen::arbitrary<bool>()) o.mss = *rc::gen::arbitrary<std::uint16_t>();
    if (*rc::gen::arbitrary<bool>()) o.window_scale = *rc::gen::arbitrary<std::uint8_t>();
    o.sack_permitted = *rc::gen::arbitrary<bool>();
    if (*rc::gen::arbitrary<bool>()) {
      o.fast_open.emplace();
      o.fast_open->size = *rc::gen::element<std::uint8_t>(0, 4, 6, 8, 10, 12);
      for (unsigned i = 0; i < o.fast_open->size; ++i) {
        o.fast_open->octets[i] = *rc::gen::arbitrary<std::uint8_t>();
      }
    }
  }
  if (*rc::gen::arbitrary<bool>()) {
    const std::uint32_t n = *rc::gen::inRange<std::uint32_t>(1, 0x8000);
    o.user_timeout_s = *rc::gen::arbitrary<bool>() || n < 547 ? n : n * 60;  // from 0x8000 s on
  }
  if (*rc::gen::arbitrary<bool>()) {
    o.timestamps = TcpTimestamps{*rc::gen::arbitrary<std::uint32_t>(), 42};
  }
  o.sack_count = *rc::gen::inRange<std::uint8_t>(0, 5);
  for (unsigned i = 0; i < o.sack_count; ++i) o.sack[i] = {h.seq + i, h.ack + i};
  return h;
}

TEST(EmitTcp, EveryHeaderSurvivesTheWire) {
  EXPECT_TRUE(rc::check([] {
    const TcpHeader h = arbitrary_header();
    Octets out(kTcpMaxHeaderSize, 0xcc);
    const std::size_t size = emit_tcp(h, out);
    RC_ASSERT(size == tcp_header_size(h.options));
    RC_ASSERT(size % 4 == 0 && size <= kTcpMaxHeaderSize);
    RC_ASSERT(load_be16(&out[kTcpChecksumOffset]) == 0);
    out.resize(size);
    out.shrink_to_fit();
    TcpHeader got;
    RC_ASSERT(parse_tcp(out, got) == size);
    RC_ASSERT(got.src_port == h.src_port && got.dst_port == h.dst_port);
    RC_ASSERT(got.seq == h.seq && got.ack == h.ack && got.flags == h.flags);
    RC_ASSERT(got.window == h.window && got.urgent == h.urgent);
    RC_ASSERT(got.options.mss == h.options.mss);
    RC_ASSERT(got.options.window_scale == h.options.window_scale);
    RC_ASSERT(got.options.sack_permitted == h.options.sack_permitted);
    RC_ASSERT(got.options.timestamps == h.options.timestamps);
    RC_ASSERT(got.options.sack_count <= h.options.sack_count);
    for (unsigned i = 0; i < got.options.sack_count; ++i) {
      RC_ASSERT(got.options.sack[i] == h.options.sack[i]);
    }
  }));
}

TEST(EmitTcp, SackBlocksThatDoNotFitAreLeftOff) {
  TcpHeader h;
  h.options.sack_count = 4;
  EXPECT_EQ(tcp_header_size(h.options), 20U + 4 + 32);
  h.options.timestamps = TcpTimestamps{};
  EXPECT_EQ(tcp_header_size(h.options), 20U + 12 + 4 + 24);  // three blocks (RFC 2018 3)
  h.options.mss = 1;
  h.options.window_scale = 1;
  h.options.sack_permitted = true;
  EXPECT_EQ(tcp_header_size(h.options), 20U + 4 + 12 + 4 + 4 + 16);
}

TEST(TcpChecksum, HoldsForWhatWasSummedAndForNothingElse) {
  EXPECT_TRUE(rc::check([](bool v4, std::vector<std::uint8_t> payload, std::uint32_t where) {
    const IpAddr src = v4 ? IpAddr::v4(0xc6120001) : *IpAddr::parse("2001:2::1");
    const IpAddr dst = v4 ? IpAddr::v4(0xc6120002) : *IpAddr::parse("2001:2::2");
    Octets s(kTcpMaxHeaderSize);
    s.resize(emit_tcp(arbitrary_header(), s));
    s.insert(s.end(), payload.begin(), payload.end());
    ChecksumSum sum;
    add_pseudo_header(sum, src, dst, kProtoTcp, static_cast<std::uint32_t>(s.size()));
    sum.add(s);
    store_be16(&s[kTcpChecksumOffset], sum.checksum());
    RC_ASSERT(tcp_checksum_ok(src, dst, s));
    s[where % s.size()] ^= 0x40;
    RC_ASSERT(!tcp_checksum_ok(src, dst, s));
  }));
}

TEST(ParseTcp, ReadsNothingOutsideOnAnyOctets) {
  EXPECT_TRUE(rc::check([](Octets s) {
    if (s.size() >= 20 && *rc::gen::arbitrary<bool>()) {
      const auto words = std::min<std::size_t>(15, s.size() / 4);
      s[12] = static_cast<std::uint8_t>(words << 4);
      for (std::size_t i = 20; i < s.size(); i += 3) s[i] %= 10;  // kinds and lengths that bite
    }
    s.shrink_to_fit();  // the sanitizer then sees a read behind the end
    TcpHeader h;
    const std::size_t size = parse_tcp(s, h);
    RC_ASSERT(size == 0 || (size >= 20 && size <= s.size()));
    RC_ASSERT(h.options.sack_count <= 4);
  }));
}

TEST(TcpFlags, PrintTheirNames) {
  EXPECT_EQ(tcp_flags_to_string(tcp_flag::syn | tcp_flag::ack), "SYN,ACK");
  EXPECT_EQ(tcp_flags_to_string(0), "none");
  EXPECT_EQ(tcp_flags_to_string(0xff), "FIN,SYN,RST,PSH,ACK,URG,ECE,CWR");
}

}  // namespace
}  // namespace pollux::wire
