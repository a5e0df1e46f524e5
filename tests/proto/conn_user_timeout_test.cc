// The user timeout option (RFC 5482): when it is told, and what a peer's may do.
#include "tests/proto/conn_dsl.h"

namespace pollux::tcp {
namespace {

using namespace dsl;

/// How long the connection waits for an ACK before it gives up.
Duration patience(Bench& t) {
  t.write(100);
  t.drain();
  Duration waited{};
  for (int i = 0; i < 1000 && !t.conn->is_closed(); ++i) {
    waited += t.next_timer();
    t.drain();
  }
  EXPECT_EQ(t.conn->close_cause(), CloseCause::timeout);
  return waited;
}

TEST(ConnUserTimeout, is_told_in_the_syn_and_once_after_it) {  // RFC 5482 3.3
  Bench t;
  t.options.user_timeout = 30s;
  t.in(syn(0).mss(1460));
  t.out(syn_ack(0).acks(1));
  EXPECT_EQ(t.last_out.options.user_timeout_s, 30U);
  t.in(ack(1).acks(1));
  t.write(3000);
  t.out(ack(1).len(1460));
  EXPECT_FALSE(t.last_out.options.user_timeout_s) << "no room beside a full segment";
  t.out(ack(1461).len(1460));
  t.in(ack(1).acks(2921));
  t.out(ack(2921).len(80));
  EXPECT_EQ(t.last_out.options.user_timeout_s, 30U);
  t.in(ack(1).acks(3001).len(3000));
  t.out(ack(3001).acks(3001));
  EXPECT_FALSE(t.last_out.options.user_timeout_s);
}

TEST(ConnUserTimeout, the_longer_one_of_both_ends_holds_up_to_an_hour) {  // RFC 5482 3.1
  const auto with_peer = [](Duration ours, std::uint32_t theirs) {
    Bench t;
    t.options.user_timeout = ours;
    t.establish();
    t.in(ack(1).acks(1).user_timeout(theirs));
    return patience(t);
  };
  const Duration alone = with_peer(30s, 1);
  EXPECT_GE(alone, 30s);
  EXPECT_LT(alone, 90s);
  EXPECT_GE(with_peer(30s, 1000), 1000s);
  const Duration most = with_peer(30s, 1'000'000);
  EXPECT_GE(most, 1h);
  EXPECT_LT(most, 1h + 130s);
  EXPECT_LT(with_peer(Duration::zero(), 1'000'000), kR2 + 130s) << "off: R2 decides";
}

}  // namespace
}  // namespace pollux::tcp
