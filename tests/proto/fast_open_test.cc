// Cookies of Fast Open (RFC 7413), and a connection that sends before its handshake is complete.
#include "proto/tcp/fast_open.h"

#include "tests/proto/conn_dsl.h"

namespace pollux::tcp {
namespace {

using namespace dsl;

TEST(FastOpenCookie, is_good_for_its_address_and_secret_only) {
  const IpAddr a = *IpAddr::parse("198.18.0.1"), b = *IpAddr::parse("198.18.0.3");
  wire::TcpHeader h;
  EXPECT_FALSE(has_fast_open_cookie({1, 2}, a, h));
  h.options.fast_open.emplace();
  EXPECT_FALSE(has_fast_open_cookie({1, 2}, a, h)) << "a request";
  h.options.fast_open = fast_open_cookie({1, 2}, a);
  EXPECT_TRUE(has_fast_open_cookie({1, 2}, a, h));
  EXPECT_FALSE(has_fast_open_cookie({1, 2}, b, h));
  EXPECT_FALSE(has_fast_open_cookie({1, 3}, a, h));
  h.options.fast_open->octets[7] ^= 1;
  EXPECT_FALSE(has_fast_open_cookie({1, 2}, a, h));
}

/// A listener that took `octets` of data with the SYN.
void open_fast(Bench& t, std::uint32_t octets) {
  static const std::vector<std::uint8_t> zeros(4000);
  t.in(syn(0).mss(1460).win(20000));
  t.conn->open_fast(t.now, Slice::from_static(Bytes(zeros).first(octets)));
}

TEST(ConnFastOpen, data_of_the_syn_is_there_at_once_and_answered) {
  Bench t;
  open_fast(t, 300);
  EXPECT_EQ(t.conn->take_events(), event::opened | event::readable);
  EXPECT_EQ(t.read(), 300U);
  t.write(2000);
  t.out(syn_ack(0).acks(301));
  t.out(ack(1).acks(301).len(1460));
  t.out(ack(1461).acks(301).len(540));  // the SYN is no reason to wait (Nagle)
  t.none();
  t.in(ack(301).acks(2001));
  EXPECT_EQ(t.state(), State::established);
  EXPECT_EQ(t.conn->take_events() & event::opened, 0) << "told once";
  EXPECT_EQ(t.conn->info().bytes_acked, 2000U);
}

TEST(ConnFastOpen, a_lost_syn_ack_and_its_data_are_sent_again) {
  Bench t;
  open_fast(t, 10);
  t.write(100);
  t.out(syn_ack(0).acks(11));
  t.out(ack(1).len(100));
  t.none();
  t.next_timer();
  t.out(syn_ack(0).acks(11));
  t.none();  // the data waits for the handshake
  t.in(syn(0).mss(1460).win(20000).len(10), DropReason::tcp_duplicate);
  t.out(syn_ack(0).acks(11));
  t.in(ack(11).acks(1));
  EXPECT_EQ(t.state(), State::established);
  t.out(ack(1).len(100));
  t.in(ack(11).acks(101));
  t.none();
}

TEST(ConnFastOpen, closes_before_the_handshake_is_complete) {
  Bench t;
  open_fast(t, 10);
  t.write(100);
  t.conn->shutdown_write();
  t.out(syn_ack(0).acks(11));
  t.out(fin(1).len(100));
  t.in(ack(11).acks(102));
  EXPECT_EQ(t.state(), State::fin_wait_2);
  t.in(fin(11).acks(102));
  EXPECT_EQ(t.state(), State::time_wait);
}

TEST(ConnFastOpen, a_reset_ends_it) {
  Bench t;
  open_fast(t, 10);
  t.drain();
  t.in(rst(11));
  EXPECT_TRUE(t.conn->is_closed());
  EXPECT_EQ(t.conn->close_cause(), CloseCause::reset);
}

}  // namespace
}  // namespace pollux::tcp
