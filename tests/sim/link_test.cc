// The simulator's own parts: a fault that never happens proves nothing.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/sim/link.h"
#include "tests/sim/watcher.h"

namespace pollux::sim {
namespace {

namespace flag = wire::tcp_flag;

Segment segment(std::uint32_t seq, std::size_t octets, std::uint8_t flags = flag::ack) {
  Segment s;
  s.ip.src = *IpAddr::parse("198.18.0.1");
  s.ip.dst = *IpAddr::parse("198.18.0.2");
  s.ip.protocol = wire::kProtoTcp;
  s.src_port = 1000;
  s.dst_port = 7;
  s.seq = Seq{seq};
  s.ack = Seq{1};
  s.flags = flags;
  s.window = 100;
  s.payload.resize(octets);
  for (std::size_t i = 0; i < octets; ++i) s.payload[i] = static_cast<std::uint8_t>(seq + i);
  return s;
}

Packet packet(const Segment& s) { return put_together(s, 0, ChecksumState::unverified); }

bool checksum_ok(const Packet& p) {
  const auto parsed = wire::parse_ip(p.octets, true);
  const auto* ip = std::get_if<wire::IpHeader>(&parsed);
  return ip != nullptr &&
         wire::tcp_checksum_ok(ip->src, ip->dst, Bytes(p.octets).subspan(ip->header_size));
}

struct Passed {
  std::vector<Arrival> out, back;
};

/// `count` packets, a microsecond apart.
Passed through(Link link, std::size_t count, const Packet& p) {
  Passed run;
  Random r(1);
  Instant now{Duration{1s}};
  for (std::size_t i = 0; i < count; ++i, now += 1us) link.pass(now, p, r, run.out, run.back);
  link.on_time(now + 1s, r, run.out);
  return run;
}

constexpr Instant kLate{Duration{1h}};

TEST(Link, LosesInBursts) {
  const LinkOptions o{.burst = {.enter = 0.01, .leave = 0.1, .loss = 1}, .heals_at = kLate};
  const Passed run = through(Link(o), 20000, packet(segment(1, 100)));
  // In the bad state 1/11 of the time, ten packets at once.
  EXPECT_GT(run.out.size(), 17000U);
  EXPECT_LT(run.out.size(), 19000U);
  std::size_t gaps = 0;
  for (std::size_t i = 1; i < run.out.size(); ++i) gaps += run.out[i].at - run.out[i - 1].at > 1us;
  EXPECT_GT((20000 - run.out.size()) / gaps, 7U);
}

TEST(Link, LosesAndThinsOnlyPureAcks) {
  const LinkOptions o{.ack_loss = 1, .heals_at = kLate};
  EXPECT_EQ(through(Link(o), 100, packet(segment(1, 0))).out.size(), 0U);
  EXPECT_EQ(through(Link(o), 100, packet(segment(1, 1))).out.size(), 100U);
  EXPECT_EQ(through(Link(o), 100, packet(segment(1, 0, flag::ack | flag::fin))).out.size(), 100U);
  const LinkOptions thin{.ack_thinning = 4, .heals_at = kLate};
  EXPECT_EQ(through(Link(thin), 100, packet(segment(1, 0))).out.size(), 25U);
}

TEST(Link, HealsAtItsTime) {
  const LinkOptions o{.loss = 1, .heals_at = Instant{Duration{1s + 50us}}};
  EXPECT_EQ(through(Link(o), 100, packet(segment(1, 1))).out.size(), 50U);
}

TEST(Link, WobbleKeepsTheOrderAndReorderingDoesNot) {
  const auto sorted = [](const Passed& run) {
    return std::is_sorted(run.out.begin(), run.out.end(),
                          [](const Arrival& a, const Arrival& b) { return a.at < b.at; });
  };
  EXPECT_TRUE(
      sorted(through(Link({.wobble = 5ms, .heals_at = kLate}), 100, packet(segment(1, 9)))));
  EXPECT_FALSE(sorted(through(Link({.reorder = 0.3, .jitter = 5ms, .heals_at = kLate}), 100,
                              packet(segment(1, 9)))));
}

TEST(Link, CorruptionIsSeenByTheChecksum) {
  const Passed run = through(Link({.corrupt = 1, .heals_at = kLate}), 2000, packet(segment(1, 50)));
  ASSERT_EQ(run.out.size(), 2000U);
  for (const Arrival& a : run.out) {
    EXPECT_TRUE(a.packet.corrupt);
    EXPECT_FALSE(checksum_ok(a.packet));
  }
}

TEST(Link, SmallMtuAnswersAndDrops) {
  const LinkOptions o{.mtu = 576, .mtu_from = Instant{Duration{1s + 10us}}};
  const Passed run = through(Link(o), 15, packet(segment(1, 1000)));
  EXPECT_EQ(run.out.size(), 10U);
  ASSERT_EQ(run.back.size(), 5U);
  const Packet& icmp = run.back[0].packet;
  EXPECT_EQ(icmp.octets[20], 3);
  EXPECT_EQ(icmp.octets[21], 4);
  EXPECT_EQ(load_be16(icmp.octets.data() + 26), 576);
  EXPECT_EQ(load_be32(icmp.octets.data() + 28 + 20 + 4), 1U);  // the sequence number
}

std::vector<Option> syn_options() {
  return {{option::mss, {0x05, 0xb4}},
          {option::sack_permitted, {}},
          {option::timestamps, {1, 2, 3, 4, 5, 6, 7, 8}},
          {option::window_scale, {7}}};
}

Segment through_box(const MiddleboxOptions& box, Segment s) {
  const Passed run = through(Link(LinkOptions{.box = box}), 1, packet(s));
  EXPECT_EQ(run.out.size(), 1U);
  EXPECT_TRUE(checksum_ok(run.out[0].packet));
  return *take_apart(run.out[0].packet);
}

TEST(Middlebox, StripsAddsAndRewritesOptions) {
  Segment syn = segment(1, 0, flag::syn | flag::ece | flag::cwr);
  syn.options = syn_options();
  EXPECT_EQ(through_box({.strip_sack_permitted = true}, syn).options.size(), 3U);
  EXPECT_EQ(through_box({.strip_timestamps = true}, syn).options.size(), 3U);
  EXPECT_EQ(through_box({.strip_window_scale = true}, syn).options.size(), 3U);
  const Segment added = through_box({.add_unknown = true}, syn);
  EXPECT_EQ(added.options.size(), 5U);
  EXPECT_EQ(added.options[0].kind, option::unknown);
  EXPECT_EQ(through_box({.strip_unknown = true}, added).options.size(), 4U);
  EXPECT_EQ(load_be16(through_box({.clamp_mss = 600}, syn).options[0].body.data()), 600);
  EXPECT_EQ(load_be16(through_box({.clamp_mss = 9000}, syn).options[0].body.data()), 1460);
  EXPECT_EQ(through_box({.set_reserved = true}, syn).reserved, 0x0f);
  EXPECT_EQ(through_box({.clear_reserved = true}, syn).flags, flag::syn);
}

TEST(Middlebox, CutsSegmentsInTwo) {
  const LinkOptions o{.box = {.split = 1}};
  const Segment whole = segment(10, 101, flag::ack | flag::psh | flag::fin);
  const Passed run = through(Link(o), 1, packet(whole));
  ASSERT_EQ(run.out.size(), 2U);
  const Segment a = *take_apart(run.out[0].packet), b = *take_apart(run.out[1].packet);
  EXPECT_TRUE(checksum_ok(run.out[0].packet) && checksum_ok(run.out[1].packet));
  EXPECT_EQ(a.flags, flag::ack);
  EXPECT_EQ(b.flags, whole.flags);
  EXPECT_EQ(b.seq, a.seq + static_cast<std::uint32_t>(a.payload.size()));
  std::vector<std::uint8_t> both = a.payload;
  both.insert(both.end(), b.payload.begin(), b.payload.end());
  EXPECT_EQ(both, whole.payload);
}

TEST(Middlebox, MergesNeighboursAndHoldsNothingForEver) {
  Link link(LinkOptions{.box = {.merge = 1}});
  Random r(1);
  Passed run;
  const Instant now{Duration{1s}};
  link.pass(now, packet(segment(10, 100)), r, run.out, run.back);
  EXPECT_TRUE(run.out.empty());
  link.pass(now, packet(segment(110, 50)), r, run.out, run.back);
  ASSERT_EQ(run.out.size(), 1U);
  EXPECT_TRUE(checksum_ok(run.out[0].packet));
  EXPECT_EQ(take_apart(run.out[0].packet)->payload, segment(10, 150).payload);
  // A gap: what was held goes first, unmerged.
  link.pass(now, packet(segment(160, 10)), r, run.out, run.back);
  link.pass(now, packet(segment(200, 10)), r, run.out, run.back);
  ASSERT_EQ(run.out.size(), 2U);
  EXPECT_EQ(take_apart(run.out[1].packet)->payload.size(), 10U);
  link.on_time(link.next_due(), r, run.out);
  EXPECT_EQ(run.out.size(), 3U);
  EXPECT_EQ(link.next_due(), kNever);
}

TEST(Watcher, SeesWhatGoesBeyondTheWindow) {
  Watcher w;
  w.on_send(packet(segment(1000, 0, flag::syn)));
  Segment answer = segment(5000, 0, flag::syn | flag::ack);
  std::swap(answer.ip.src, answer.ip.dst);
  std::swap(answer.src_port, answer.dst_port);
  answer.ack = Seq{1001};
  answer.window = 100;
  w.on_receive(packet(answer));
  w.on_send(packet(segment(1001, 101)));  // 100 and the octet of a probe
  EXPECT_THROW(w.on_send(packet(segment(1001, 102))), Broken);
  answer.flags = flag::ack;
  answer.window = 150;
  w.on_receive(packet(answer));
  w.on_send(packet(segment(1001, 150)));
}

}  // namespace
}  // namespace pollux::sim
