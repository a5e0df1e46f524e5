// Half-open records: what they keep of a SYN, and when its SYN-ACK goes out again.
#include "workers/half_open.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include "proto/tcp/conn.h"

namespace pollux {
namespace {

namespace flag = wire::tcp_flag;

const HashKey kSecret{1, 2};
constexpr Instant kStart{Duration{1'000'000'000}};

FlowKey flow(std::uint32_t i) {
  return {{IpAddr::v4(0xc6120002), 7}, {IpAddr::v4(i), static_cast<std::uint16_t>(i)}};
}

wire::TcpHeader plain_syn() {
  wire::TcpHeader h;
  h.seq = Seq{100};
  h.flags = flag::syn;
  return h;
}

std::uint32_t add(HalfOpenTable& t, std::uint32_t i, Instant now) {
  return t.add(flow_hash(kSecret, flow(i)), flow(i), plain_syn(), Seq{i}, now);
}

/// Runs to the end; the times of all retransmissions, in seconds after `kStart`.
std::vector<double> schedule(HalfOpenTable& t, double* end) {
  std::vector<double> times;
  Instant now = kStart;
  while (t.next_deadline() != kNever) {
    now = t.next_deadline();
    while (t.next_due(now) != HalfOpenTable::kNone) {
      times.push_back(std::chrono::duration<double>(now - kStart).count());
    }
  }
  *end = std::chrono::duration<double>(now - kStart).count();
  return times;
}

TEST(HalfOpen, Rfc6298ScheduleAndMust23) {
  HalfOpenTable t(kSecret, 10, Duration::zero());
  add(t, 1, kStart);
  double end = 0;
  EXPECT_EQ(schedule(t, &end), (std::vector<double>{1, 3, 7, 15, 31, 63, 123}));
  EXPECT_EQ(end, 183);  // three minutes from the first time-out, as R2 counts
  EXPECT_EQ(t.size(), 0U);
  EXPECT_EQ(t.bytes(), 0U);
}

TEST(HalfOpen, ScheduleIsThatOfAConnection) {
  for (const Duration user_timeout :
       {Duration::zero(), Duration{1s}, Duration{10s}, Duration{600s}}) {
    tcp::Options o;
    o.user_timeout = user_timeout;
    tcp::Conn c = tcp::Conn::passive(o, {.iss = Seq{1}}, plain_syn(), kStart);
    tcp::SegmentOut out;
    std::vector<double> times;
    Instant now = kStart;
    c.poll_tx(now, out);
    while (!c.is_closed()) {
      now = c.deadline();
      c.on_timer(now);
      if (c.poll_tx(now, out)) times.push_back(std::chrono::duration<double>(now - kStart).count());
    }
    HalfOpenTable t(kSecret, 10, user_timeout);
    add(t, 1, kStart);
    double end = 0;
    const std::vector<double> ours = schedule(t, &end);
    // Only a user timeout beyond R2 is cut to it.
    if (user_timeout < 180s) {
      EXPECT_EQ(ours, times);
      EXPECT_EQ(end, std::chrono::duration<double>(now - kStart).count());
    } else {
      EXPECT_EQ(end, 183);
    }
  }
}

TEST(HalfOpen, RecordsFallDueInTheirOwnOrder) {
  EXPECT_TRUE(rc::check("never early, and all of them", [] {
    HalfOpenTable t(kSecret, 50, Duration::zero());
    Instant now = kStart;
    std::map<std::uint32_t, Instant> due;
    for (std::uint32_t i = 0; i < 50; ++i) {
      add(t, i, now);
      due[i] = now + 1s;
      now += std::chrono::milliseconds(*rc::gen::inRange(0, 100));
      for (std::uint32_t n; (n = t.next_due(now)) != HalfOpenTable::kNone;) {
        const HalfOpen& r = t.at(n);
        RC_ASSERT(due[r.iss] <= now);
        RC_ASSERT(t.sent_at(r) == now);
        due[r.iss] = now + Duration{1s} * (1 << r.attempt);
      }
      for (const auto& [iss, at] : due) RC_ASSERT(at > now);
      for (const auto& [iss, at] : due) RC_ASSERT(at >= t.next_deadline());
    }
  }));
}

TEST(HalfOpen, KeepsWhatTheSynSaid) {
  EXPECT_TRUE(rc::check("syn() is the SYN", [] {
    wire::TcpHeader h = plain_syn();
    h.seq = Seq{*rc::gen::arbitrary<std::uint32_t>()};
    h.window = *rc::gen::arbitrary<std::uint16_t>();
    if (*rc::gen::arbitrary<bool>()) h.flags |= flag::ece | flag::cwr;
    if (*rc::gen::arbitrary<bool>()) h.options.mss = *rc::gen::inRange<std::uint16_t>(1, 65535);
    if (*rc::gen::arbitrary<bool>())
      h.options.window_scale = *rc::gen::inRange<std::uint8_t>(0, 15);
    h.options.sack_permitted = *rc::gen::arbitrary<bool>();
    if (*rc::gen::arbitrary<bool>()) {
      h.options.timestamps = wire::TcpTimestamps{*rc::gen::arbitrary<std::uint32_t>(), 0};
    }
    HalfOpen r;
    r.keep(h);
    const wire::TcpHeader back = r.syn();
    RC_ASSERT(back.seq == h.seq);
    RC_ASSERT(back.flags == h.flags);
    RC_ASSERT(back.window == h.window);
    RC_ASSERT(back.options.mss == h.options.mss);
    RC_ASSERT(back.options.window_scale == h.options.window_scale);
    RC_ASSERT(back.options.sack_permitted == h.options.sack_permitted);
    RC_ASSERT(back.options.timestamps == h.options.timestamps);
  }));
}

TEST(HalfOpen, BacklogIsABound) {
  HalfOpenTable t(kSecret, 3, Duration::zero());
  for (std::uint32_t i = 0; i < 3; ++i) EXPECT_NE(add(t, i, kStart), HalfOpenTable::kNone);
  EXPECT_EQ(add(t, 3, kStart), HalfOpenTable::kNone);
  EXPECT_EQ(t.bytes(), 3 * sizeof(HalfOpen));
  t.remove(t.find(flow_hash(kSecret, flow(1)), flow(1)));
  EXPECT_NE(add(t, 3, kStart), HalfOpenTable::kNone);
  t.clear();
  EXPECT_EQ(t.next_deadline(), kNever);
}

}  // namespace
}  // namespace pollux
