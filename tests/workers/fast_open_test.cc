// Fast Open at a listener (RFC 7413): who gets a cookie, whose data is taken, and how many.
#include "proto/tcp/fast_open.h"
#include "tests/workers/shard_fixture.h"

namespace pollux {
namespace {

class FastOpen : public ShardTest {
 protected:
  /// What the engine answers to a SYN with this option and `data` octets.
  wire::TcpHeader answer(std::optional<wire::FastOpenCookie> option, std::size_t data,
                         std::uint16_t from = 1000) {
    wire::TcpHeader h = header(flag::syn, 100, 0, from);
    h.options.mss = std::uint16_t{1460};
    h.options.fast_open = option;
    segment(h, data);
    taken += 1;
    return port.sent.back().tcp;
  }
  wire::FastOpenCookie cookie() const { return tcp::fast_open_cookie(options.secret, kThere); }
};

TEST_F(FastOpen, who_asks_gets_a_cookie_and_then_its_data_is_taken_with_the_syn) {
  const auto first = answer(wire::FastOpenCookie{}, 50);
  EXPECT_EQ(first.ack.raw(), 101U);
  ASSERT_EQ(first.options.fast_open, cookie());
  EXPECT_EQ(service.opened, 0);
  const auto second = answer(first.options.fast_open, 50, 1001);
  EXPECT_EQ(second.flags, flag::syn | flag::ack);
  EXPECT_EQ(second.ack.raw(), 151U);
  EXPECT_EQ(service.opened, 1);
  EXPECT_EQ(service.octets, 50U);
  segment(header(flag::ack, 151, second.seq.raw() + 1, 1001), 7);
  taken += 1;
  EXPECT_EQ(service.opened, 1);
  EXPECT_EQ(service.octets, 57U);
}

TEST_F(FastOpen, a_wrong_cookie_gets_the_right_one_and_the_data_must_come_again) {
  wire::FastOpenCookie wrong = cookie();
  wrong.octets[0] ^= 1;
  const auto a = answer(wrong, 50);
  EXPECT_EQ(a.ack.raw(), 101U);
  EXPECT_EQ(a.options.fast_open, cookie());
  segment(header(flag::ack, 101, a.seq.raw() + 1), 50);
  taken += 1;
  EXPECT_EQ(service.octets, 50U);
}

TEST_F(FastOpen, who_does_not_ask_gets_none) {
  EXPECT_FALSE(answer(std::nullopt, 0).options.fast_open);
}

TEST_F(FastOpen, a_service_may_refuse_it) {
  service.set_fast_open(false);
  EXPECT_FALSE(answer(wire::FastOpenCookie{}, 0).options.fast_open);
  EXPECT_EQ(answer(cookie(), 50, 1001).ack.raw(), 101U);
  EXPECT_EQ(service.opened, 0);
}

TEST_F(FastOpen, pending_ones_are_bounded_and_a_reset_one_counts_for_a_while) {
  for (std::uint16_t i = 0; i < limits::kFastOpens; ++i) {
    EXPECT_EQ(answer(cookie(), 5, static_cast<std::uint16_t>(2000 + i)).ack.raw(), 106U);
  }
  EXPECT_EQ(answer(cookie(), 5, 1000).ack.raw(), 101U) << "one too many";
  segment(header(flag::ack, 106, port.sent[0].tcp.seq.raw() + 1, 2000));
  taken += 1;
  EXPECT_EQ(answer(cookie(), 5, 1001).ack.raw(), 106U) << "one was completed";
  segment(header(flag::rst, 106, 0, 2001));
  taken += 1;
  EXPECT_EQ(answer(cookie(), 5, 1002).ack.raw(), 101U) << "one was reset";
  now += 61s;
  EXPECT_EQ(answer(cookie(), 5, 1003).ack.raw(), 106U);
}

TEST_F(FastOpen, a_connection_that_nobody_completes_is_given_up) {
  answer(cookie(), 5);
  EXPECT_EQ(service.opened, 1);
  pass(tcp::kR2Syn * 2);
  ASSERT_EQ(service.reasons.size(), 1U);
  EXPECT_EQ(service.reasons[0], CloseReason::timeout);
  EXPECT_EQ(counters.memory_bytes.get(), 0U);
}

}  // namespace
}  // namespace pollux
