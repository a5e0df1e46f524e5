// SYN cookies: what goes into one comes out of it, and nothing else opens it.
#include "proto/tcp/syn_cookie.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

namespace pollux::tcp {
namespace {

namespace flag = wire::tcp_flag;

const HashKey kSecret{0x0123456789abcdef, 0xfedcba9876543210};
const FlowKey kFlow4{{*IpAddr::parse("198.18.0.2"), 7}, {*IpAddr::parse("198.18.0.1"), 40000}};
const FlowKey kFlow6{{*IpAddr::parse("2001:2::2"), 7}, {*IpAddr::parse("2001:2::1"), 40000}};
constexpr Instant kStart{std::chrono::hours{1000}};

wire::TcpHeader syn_with(std::optional<std::uint16_t> mss, std::optional<std::uint8_t> scale,
                         bool sack, bool timestamps, bool ecn) {
  wire::TcpHeader h;
  h.src_port = 40000;
  h.dst_port = 7;
  h.seq = Seq{0xfffffff0};
  h.flags = ecn ? flag::syn | flag::ece | flag::cwr : flag::syn;
  h.window = 64240;
  h.options.mss = mss;
  h.options.window_scale = scale;
  h.options.sack_permitted = sack;
  if (timestamps) h.options.timestamps = wire::TcpTimestamps{777, 0};
  return h;
}

/// The ACK that an honest peer sends on our SYN-ACK.
wire::TcpHeader ack_of(const wire::TcpHeader& syn, const CookieSyn& cookie, std::uint32_t clock) {
  wire::TcpHeader h;
  h.src_port = syn.src_port;
  h.dst_port = syn.dst_port;
  h.seq = syn.seq + 1;
  h.ack = cookie.iss + 1;
  h.flags = flag::ack;
  h.window = 502;
  if (cookie.syn.options.timestamps) {
    h.options.timestamps = wire::TcpTimestamps{800, cookie_timestamp(clock, cookie.syn)};
  }
  return h;
}

CookieSyn make(const FlowKey& flow, const wire::TcpHeader& syn, Instant now = kStart) {
  return make_cookie(kSecret, flow, syn, 536, true, now);
}

std::optional<wire::TcpHeader> open(const FlowKey& flow, const wire::TcpHeader& ack,
                                    Instant now = kStart) {
  return open_cookie(kSecret, flow, ack, true, now);
}

TEST(SynCookie, EveryCombinationOfOptionsComesBack) {
  for (const FlowKey& flow : {kFlow4, kFlow6}) {
    for (const std::uint16_t mss : {216, 536, 1220, 1360, 1400, 1440, 1460, 8940}) {
      for (unsigned scale = 0; scale <= 15; ++scale) {
        for (unsigned bits = 0; bits < 4; ++bits) {
          const std::optional<std::uint8_t> shift =
              scale == 15 ? std::nullopt : std::optional(static_cast<std::uint8_t>(scale));
          const auto syn = syn_with(mss, shift, (bits & 1) != 0, true, (bits & 2) != 0);
          const CookieSyn cookie = make(flow, syn);
          const auto back = open(flow, ack_of(syn, cookie, 123456789 + scale * 977));
          ASSERT_TRUE(back);
          EXPECT_EQ(back->seq, syn.seq);
          EXPECT_EQ(back->flags, syn.flags);
          EXPECT_EQ(back->options.mss, mss);
          EXPECT_EQ(back->options.window_scale, shift);
          EXPECT_EQ(back->options.sack_permitted, syn.options.sack_permitted);
          EXPECT_EQ(back->options.timestamps->value, 800U);
        }
      }
    }
  }
}

TEST(SynCookie, MssIsRoundedDown) {
  const auto mss_for = [](std::optional<std::uint16_t> mss) {
    const auto syn = syn_with(mss, {}, false, false, false);
    const CookieSyn cookie = make(kFlow4, syn);
    const auto back = open(kFlow4, ack_of(syn, cookie, 0));
    EXPECT_EQ(back->options.mss, cookie.syn.options.mss);
    return *back->options.mss;
  };
  EXPECT_EQ(mss_for(65535), 8940);
  EXPECT_EQ(mss_for(8939), 1460);
  EXPECT_EQ(mss_for(1459), 1440);
  EXPECT_EQ(mss_for(535), 216);
  EXPECT_EQ(mss_for(0), 216);
  EXPECT_EQ(mss_for(std::nullopt), 536);
}

TEST(SynCookie, WithoutTimestampsThereIsNoScalingAndNoSack) {
  const auto syn = syn_with(1460, std::uint8_t{7}, true, false, true);
  const CookieSyn cookie = make(kFlow4, syn);
  for (const wire::TcpHeader& h : {cookie.syn, *open(kFlow4, ack_of(syn, cookie, 0))}) {
    EXPECT_FALSE(h.options.window_scale);
    EXPECT_FALSE(h.options.sack_permitted);
    EXPECT_FALSE(h.options.timestamps);
    EXPECT_EQ(h.flags, flag::syn);
  }
}

TEST(SynCookie, OurOwnTimestampsOffMeansTheSame) {
  const auto syn = syn_with(1460, std::uint8_t{7}, true, true, false);
  const CookieSyn cookie = make_cookie(kSecret, kFlow4, syn, 536, false, kStart);
  EXPECT_FALSE(cookie.syn.options.window_scale);
  wire::TcpHeader ack = ack_of(syn, cookie, 0);
  ack.options.timestamps = wire::TcpTimestamps{1, 0};  // nobody asked for it
  const auto back = open_cookie(kSecret, kFlow4, ack, false, kStart);
  ASSERT_TRUE(back);
  EXPECT_FALSE(back->options.window_scale);
  EXPECT_FALSE(back->options.timestamps);
}

TEST(SynCookie, IsGoodForOneTickAndTheNext) {
  EXPECT_TRUE(rc::check("64 s are always enough, 128 s never", [] {
    const auto at = kStart + std::chrono::milliseconds(*rc::gen::inRange(0, 1000000));
    const auto age = std::chrono::milliseconds(*rc::gen::inRange(0, 400000));
    const auto syn = syn_with(1460, std::uint8_t{7}, true, true, false);
    const CookieSyn cookie = make(kFlow4, syn, at);
    const bool good = open(kFlow4, ack_of(syn, cookie, 5), at + age).has_value();
    if (age < kCookieTick) RC_ASSERT(good);
    if (age >= kCookieLifetime) RC_ASSERT(!good);
  }));
}

TEST(SynCookie, AnythingElseDoesNotOpen) {
  EXPECT_TRUE(rc::check("a changed field is refused", [] {
    const auto syn = syn_with(1460, std::uint8_t{7}, true, true, false);
    const CookieSyn cookie = make(kFlow4, syn);
    wire::TcpHeader ack = ack_of(syn, cookie, 5);
    FlowKey flow = kFlow4;
    HashKey secret = kSecret;
    switch (*rc::gen::inRange(0, 6)) {
      case 0:
        ack.ack = ack.ack + *rc::gen::inRange<std::uint32_t>(16, 0xffffffff - 16);
        break;
      case 1:
        ack.seq = ack.seq + *rc::gen::inRange<std::uint32_t>(1, 0xffffffff);
        break;
      case 2:
        flow.remote.port =
            static_cast<std::uint16_t>(flow.remote.port ^ *rc::gen::inRange(1, 65536));
        break;
      case 3:
        flow.local.port = static_cast<std::uint16_t>(flow.local.port ^ *rc::gen::inRange(1, 65536));
        break;
      case 4:
        flow.remote.addr = IpAddr::v4(flow.remote.addr.v4_value() ^
                                      *rc::gen::inRange<std::uint32_t>(1, 0xffffffff));
        break;
      default:
        secret.k1 ^= 1;
    }
    RC_ASSERT(!open_cookie(secret, flow, ack, true, kStart));
  }));
}

/// Of 2^20 guesses at 28 bits fewer than one is right on average; with 24 bits it would be 0.06.
TEST(SynCookie, GuessesFail) {
  const auto syn = syn_with(1460, {}, false, false, false);
  wire::TcpHeader ack = ack_of(syn, make(kFlow4, syn), 5);
  unsigned opened = 0;
  for (std::uint32_t i = 0; i < 1U << 20; ++i) {
    ack.ack = Seq{i * 2654435761U};
    opened += open(kFlow4, ack) ? 1 : 0;
  }
  EXPECT_LE(opened, 2U);
}

TEST(SynCookie, TheMssCannotBeChangedByThePeer) {
  const auto syn = syn_with(536, {}, false, false, false);
  const wire::TcpHeader ack = ack_of(syn, make(kFlow4, syn), 5);
  for (std::uint32_t i = 1; i < 16; ++i) {
    wire::TcpHeader forged = ack;
    forged.ack = Seq{((ack.ack - 1).raw() ^ i) + 1};
    EXPECT_FALSE(open(kFlow4, forged)) << i;
  }
}

TEST(SynCookie, TimestampIsNeverAheadOfTheClockAndAtMost63Behind) {
  EXPECT_TRUE(rc::check("cookie_timestamp", [] {
    const auto clock = *rc::gen::arbitrary<std::uint32_t>();
    const auto syn = syn_with(1460, *rc::gen::inRange<std::uint8_t>(0, 15),
                              *rc::gen::arbitrary<bool>(), true, *rc::gen::arbitrary<bool>());
    RC_ASSERT(clock - cookie_timestamp(clock, syn) <= 63U);
  }));
}

}  // namespace
}  // namespace pollux::tcp
