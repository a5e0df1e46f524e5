// Relays: a connection in virtual time on one side, a socket pair or another connection on the
// other.
#include "engine/relay.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/host_dial.h"
#include "tests/engine/shard_pair.h"

namespace pollux {
namespace {

constexpr std::size_t kBuffer = ShardPair::kBuffer;

std::string random_octets(std::size_t n) {
  std::string s(n, '\0');
  std::uint32_t x = static_cast<std::uint32_t>(n) | 1U;
  for (char& c : s) c = static_cast<char>((x = x * 1664525U + 1013904223U) >> 24);
  return s;
}

/// One connection of a client: what it got, and how it ended.
struct End final : Session {
  std::string received;
  bool reading = true;
  bool peer_closed = false;
  bool closed = false;
  CloseReason reason{};
  std::optional<Stream> stream;

  void read() {
    while (reading && stream && stream->readable() > 0) {
      const Slice in = stream->peek();
      received.append(reinterpret_cast<const char*>(in.data()), in.size());
      stream->consume(in.size());
    }
  }
};

class ClientService final : public Service {
 public:
  std::string_view name() const override { return "client"; }
  void on_readable(Stream& s) override { of(s).read(); }
  void on_peer_closed(Stream& s) override { of(s).peer_closed = true; }
  void on_closed(Stream& s, CloseReason reason) override {
    End& e = of(s);
    e.closed = true;
    e.reason = reason;
    e.stream.reset();
  }
  /// By the connection's own port: the ends outlive the connections.
  End& of(const Stream& s) { return *ends.at(s.local().port); }
  std::unordered_map<std::uint16_t, std::unique_ptr<End>> ends;
};

struct HasApps {
  ClientService clients;
  HostPoller poller;
};

/// Two shards and the server's descriptors of the host.
class Net : public HasApps, public ShardPair {
 public:
  explicit Net(Service& service) { server.listen({kServer, 80}, true, service); }
  End& connect() {
    ConnEntry* e = client.connect(now, kClient, {kServer, 80}, clients);
    End& end = *(clients.ends[e->key.local.port] = std::make_unique<End>());
    end.stream = Stream(client, *e);
    run(100ms);
    return end;
  }
  /// Queues all of it, in as many turns as it takes; less when the connection stops taking.
  std::size_t send(End& end, std::string_view text) {
    std::size_t sent = 0;
    for (int stuck = 0; sent < text.size() && stuck < 20 && end.stream;) {
      const std::string_view rest = text.substr(sent);
      const std::size_t n = end.stream->write(bytes_of(rest));
      sent += n;
      stuck = n == 0 ? stuck + 1 : 0;
      run(10ms);
    }
    return sent;
  }
  void shut(End& end) {
    end.stream->shutdown_write();
    run(100ms);
  }
  void read_on(End& end) {
    end.reading = true;
    end.read();
    run(1s);
  }

 protected:
  bool beside() override { return poller.is_active() && poller.poll(now); }
};

/// Joins each connection to the socket that waits for it.
class RelayService final : public Service {
 public:
  struct Link final : Session {
    std::shared_ptr<HostRelay> relay;
  };
  std::string_view name() const override { return "relay"; }
  void on_open(Stream& s) override {
    auto link = std::make_unique<Link>();
    link->relay = std::make_shared<HostRelay>(*poller, std::move(socket), idle);
    relay = link->relay;
    s.attach(std::move(link));
    relay.lock()->start(s, s.now());
  }
  void on_readable(Stream& s) override { of(s).on_stream_readable(s.now()); }
  void on_peer_closed(Stream& s) override { of(s).on_stream_readable(s.now()); }
  void on_writable(Stream& s) override { of(s).on_stream_writable(s.now()); }
  void on_timer(Stream& s) override { of(s).on_stream_timer(s.now()); }
  void on_closed(Stream& s, CloseReason r) override { of(s).on_stream_closed(s, r, s.now()); }
  static HostRelay& of(const Stream& s) { return *s.session<Link>()->relay; }

  HostPoller* poller = nullptr;
  OwnedFd socket;
  Duration idle{};
  std::weak_ptr<HostRelay> relay;
};

class HostRelayTest : public testing::Test {
 protected:
  HostRelayTest() {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    host_ = OwnedFd(ends[0]);
    service_.socket = OwnedFd(ends[1]);
    service_.poller = &net_.poller;
  }
  void open(Duration idle = {}) {
    service_.idle = idle;
    end_ = &net_.connect();
  }
  /// Writes all of it, turn by turn; less when the socket stops taking.
  std::size_t host_write(std::string_view text) {
    std::size_t sent = 0;
    for (int stuck = 0; sent < text.size() && stuck < 20;) {
      const ssize_t n = ::send(host_.get(), text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
      if (n > 0) sent += static_cast<std::size_t>(n);
      stuck = n > 0 ? 0 : stuck + 1;
      net_.run(10ms);
    }
    return sent;
  }
  /// All that comes until nothing more does; host_eof_ and host_error_ say how that was.
  std::string host_read() {
    std::string text;
    std::vector<char> buffer(100'000);
    for (int quiet = 0; quiet < 20;) {
      const ssize_t n = ::recv(host_.get(), buffer.data(), buffer.size(), 0);
      host_eof_ = n == 0;
      host_error_ = n < 0 && errno != EAGAIN ? errno : 0;
      if (n == 0 || host_error_ != 0) return text;
      quiet = n > 0 ? 0 : quiet + 1;
      if (n > 0) text.append(buffer.data(), static_cast<std::size_t>(n));
      net_.run(10ms);
    }
    return text;
  }
  void host_shut() {
    ::shutdown(host_.get(), SHUT_WR);
    net_.run(100ms);
  }
  /// Nothing is left of the relay, nor of the connection.
  void expect_gone() {
    EXPECT_EQ(net_.poller.size(), 0U);
    EXPECT_FALSE(net_.poller.is_active());
    net_.run(5s);
    EXPECT_EQ(net_.server.connections(), 0U);
    EXPECT_TRUE(service_.relay.expired());
    EXPECT_EQ(net_.poller.buffers().in_use(), 0U);
  }

  RelayService service_;
  Net net_{service_};
  OwnedFd host_;
  End* end_ = nullptr;
  bool host_eof_ = false;
  int host_error_ = 0;
};

TEST_F(HostRelayTest, CarriesBothWaysAndClosesAfterTheClient) {
  open();
  const std::string up = random_octets(3'000'000), down = random_octets(2'000'001);
  std::string got;
  for (std::size_t at = 0; at < up.size(); at += 100'000) {
    EXPECT_EQ(net_.send(*end_, std::string_view(up).substr(at, 100'000)), 100'000U);
    got += host_read();
  }
  EXPECT_EQ(got, up);
  EXPECT_FALSE(host_eof_);
  net_.shut(*end_);
  EXPECT_EQ(host_read(), "");
  EXPECT_TRUE(host_eof_);
  EXPECT_EQ(host_write(down), down.size());  // after the client's FIN
  EXPECT_FALSE(end_->peer_closed);
  host_shut();
  EXPECT_EQ(end_->received, down);
  EXPECT_TRUE(end_->peer_closed);
  EXPECT_EQ(end_->reason, CloseReason::normal);
  expect_gone();
}

TEST_F(HostRelayTest, TheHostsFinComesFirst) {
  open();
  EXPECT_EQ(host_write("first"), 5U);
  host_shut();
  EXPECT_EQ(end_->received, "first");
  EXPECT_TRUE(end_->peer_closed);
  EXPECT_EQ(net_.send(*end_, "later"), 5U);
  EXPECT_EQ(host_read(), "later");
  EXPECT_FALSE(host_eof_);
  net_.shut(*end_);
  EXPECT_EQ(host_read(), "");
  EXPECT_TRUE(host_eof_);
  net_.run(5s);
  EXPECT_EQ(end_->reason, CloseReason::normal);
  expect_gone();
}

TEST_F(HostRelayTest, DataAndFinAtOnceAreBothSeen) {
  ASSERT_EQ(::send(host_.get(), "all", 3, MSG_NOSIGNAL), 3);
  ::shutdown(host_.get(), SHUT_WR);  // both lie there when the relay begins
  open();
  EXPECT_EQ(end_->received, "all");
  EXPECT_TRUE(end_->peer_closed);
}

TEST_F(HostRelayTest, AHostThatStallsClosesTheClientsWindow) {
  open();
  const std::string data = random_octets(5'000'000);
  const std::size_t sent = net_.send(*end_, data);
  EXPECT_LT(sent, 3 * kBuffer + (1U << 20));
  EXPECT_LE(net_.server.counters().memory_bytes.get(), 2U << 20);
  std::string got;
  for (std::size_t at = sent; at < data.size();) {
    got += host_read();
    at += net_.send(*end_, std::string_view(data).substr(at));
  }
  net_.shut(*end_);
  got += host_read();
  EXPECT_TRUE(got == data);
  EXPECT_TRUE(host_eof_);
}

TEST_F(HostRelayTest, AClientThatStallsStopsTheHost) {
  open();
  end_->reading = false;
  const std::string data = random_octets(5'000'000);
  const std::size_t sent = host_write(data);
  EXPECT_LT(sent, 3 * kBuffer + (1U << 20));
  net_.read_on(*end_);
  EXPECT_EQ(host_write(std::string_view(data).substr(sent)), data.size() - sent);
  host_shut();
  EXPECT_TRUE(end_->received == data);
  EXPECT_TRUE(end_->peer_closed);
}

TEST_F(HostRelayTest, WhatAClosedConnectionLeftStillArrives) {
  open();
  const std::string data = random_octets(400'000);  // more than the socket takes
  end_->reading = false;
  const std::string answer = random_octets(400'000);
  const std::size_t before = host_write(answer);
  host_shut();  // the answer's FIN waits behind data that the client does not take yet
  ASSERT_EQ(net_.send(*end_, data), data.size());
  net_.shut(*end_);  // the client's FIN comes before ours goes
  net_.read_on(*end_);
  net_.run(5s);
  EXPECT_EQ(end_->received.size(), before);
  EXPECT_EQ(end_->reason, CloseReason::normal);
  EXPECT_EQ(net_.server.connections(), 0U);
  EXPECT_EQ(net_.poller.size(), 1U);  // the host has not read
  EXPECT_TRUE(host_read() == data);
  EXPECT_TRUE(host_eof_);
  expect_gone();
}

TEST_F(HostRelayTest, AResetOfTheClientEndsTheHost) {
  open();
  net_.send(*end_, "words");
  end_->stream->abort();
  net_.run(100ms);
  host_read();
  EXPECT_TRUE(host_eof_ || host_error_ != 0);
  expect_gone();
}

TEST_F(HostRelayTest, AResetOfTheHostEndsTheClient) {
  open();
  net_.send(*end_, "unread");
  host_ = {};  // with data unread: ECONNRESET on the other end
  net_.run(100ms);
  EXPECT_TRUE(end_->closed);
  EXPECT_EQ(end_->reason, CloseReason::reset);
  expect_gone();
}

TEST_F(HostRelayTest, AHostThatIsGoneResetsTheClientWhenItSends) {
  open();
  host_ = {};
  net_.run(100ms);
  EXPECT_TRUE(end_->peer_closed);
  EXPECT_FALSE(end_->closed);
  net_.send(*end_, "to nobody");
  EXPECT_EQ(end_->reason, CloseReason::reset);
  expect_gone();
}

TEST_F(HostRelayTest, IdleMeansNoOctetEitherWay) {
  open(10s);
  for (int i = 0; i < 3; ++i) {
    net_.run(8s);
    net_.send(*end_, "x");
    net_.run(8s);
    EXPECT_EQ(host_write("y"), 1U);
  }
  EXPECT_FALSE(end_->closed);
  EXPECT_EQ(host_read(), "xxx");
  net_.run(15s);  // the wheel may be late by an eighth
  EXPECT_TRUE(end_->closed);
  EXPECT_EQ(end_->reason, CloseReason::reset);
  host_read();
  EXPECT_TRUE(host_eof_ || host_error_ != 0);
  expect_gone();
}

TEST_F(HostRelayTest, WithoutBuffersItWaitsForOne) {
  open();
  std::vector<Slice> all;
  while (Buffer* b = net_.poller.buffers().alloc()) all.emplace_back(b, Bytes{b->data, 1});
  EXPECT_EQ(host_write("late"), 4U);
  EXPECT_EQ(end_->received, "");
  all.clear();
  net_.run(100ms);
  net_.send(*end_, "any packet is a turn");
  EXPECT_EQ(end_->received, "late");
}

TEST_F(HostRelayTest, ADrainLosesNothingOfTheClients) {
  open();
  net_.send(*end_, "before");
  net_.server.begin_drain(net_.now);
  net_.run(100ms);
  EXPECT_TRUE(end_->peer_closed);
  net_.send(*end_, " and after");
  EXPECT_EQ(host_read(), "before and after");
  EXPECT_FALSE(host_eof_);  // a FIN in the middle would look like the end of what was said
  net_.shut(*end_);
  host_read();
  EXPECT_TRUE(host_eof_);
  expect_gone();
}

/// Joins the first two connections that come.
class JoinService final : public Service {
 public:
  struct Link final : Session {
    std::shared_ptr<StreamRelay> relay;
    StreamRelay::Side side{};
  };
  std::string_view name() const override { return "join"; }
  void on_open(Stream& s) override {
    auto link = std::make_unique<Link>();
    if (relay == nullptr) relay = std::make_shared<StreamRelay>(idle);
    link->relay = relay;
    link->side = first_ ? StreamRelay::Side::accepted : StreamRelay::Side::opened;
    relay->join(link->side, s);
    streams.push_back(s);
    s.attach(std::move(link));
    if (!std::exchange(first_, false)) relay->start(s.now());
  }
  void on_readable(Stream& s) override { of(s).relay->on_readable(of(s).side, s.now()); }
  void on_peer_closed(Stream& s) override { on_readable(s); }
  void on_writable(Stream& s) override { of(s).relay->on_writable(of(s).side, s.now()); }
  void on_timer(Stream& s) override { of(s).relay->on_timer(s.now()); }
  void on_closed(Stream& s, CloseReason r) override {
    of(s).relay->on_closed(of(s).side, s, r, s.now());
  }
  static Link& of(const Stream& s) { return *s.session<Link>(); }
  Duration idle{};
  std::shared_ptr<StreamRelay> relay;
  std::vector<Stream> streams;  ///< of those that were joined

 private:
  bool first_ = true;
};

class StreamRelayTest : public testing::Test {
 protected:
  void open() {
    a_ = &net_.connect();
    b_ = &net_.connect();
  }
  void expect_gone() {
    net_.run(5s);
    EXPECT_EQ(net_.server.connections(), 0U);
    service_.relay.reset();
  }
  JoinService service_;
  Net net_{service_};
  End* a_ = nullptr;
  End* b_ = nullptr;
};

TEST_F(StreamRelayTest, CarriesBothWaysWithEachHalfClosedByItself) {
  a_ = &net_.connect();
  net_.send(*a_, "early ");  // waits for the other
  b_ = &net_.connect();
  const std::string up = random_octets(3'000'000), down = random_octets(2'000'001);
  EXPECT_EQ(net_.send(*a_, up), up.size());
  net_.shut(*a_);
  EXPECT_TRUE(b_->received == "early " + up);
  EXPECT_TRUE(b_->peer_closed);
  EXPECT_EQ(net_.send(*b_, down), down.size());
  net_.shut(*b_);
  EXPECT_TRUE(a_->received == down);
  EXPECT_EQ(a_->reason, CloseReason::normal);
  net_.run(5s);
  EXPECT_EQ(b_->reason, CloseReason::normal);
  expect_gone();
}

TEST_F(StreamRelayTest, ASideThatStallsClosesTheOthersWindow) {
  open();
  b_->reading = false;
  const std::string data = random_octets(5'000'000);
  const std::size_t sent = net_.send(*a_, data);
  EXPECT_LT(sent, 5 * kBuffer);
  net_.read_on(*b_);
  EXPECT_EQ(net_.send(*a_, std::string_view(data).substr(sent)), data.size() - sent);
  net_.shut(*a_);
  EXPECT_TRUE(b_->received == data);
  EXPECT_TRUE(b_->peer_closed);
}

TEST_F(StreamRelayTest, WhatAClosedConnectionLeftStillArrives) {
  open();
  b_->reading = false;
  a_->reading = false;
  const std::string answer = random_octets(300'000);
  ASSERT_EQ(net_.send(*b_, answer), answer.size());
  net_.shut(*b_);
  const std::string data = random_octets(700'000);
  ASSERT_EQ(net_.send(*a_, data), data.size());
  net_.shut(*a_);
  net_.read_on(*a_);
  net_.run(5s);
  EXPECT_TRUE(a_->received == answer);
  EXPECT_EQ(a_->reason, CloseReason::normal);
  EXPECT_FALSE(b_->peer_closed);
  net_.read_on(*b_);
  EXPECT_TRUE(b_->received == data);
  EXPECT_TRUE(b_->peer_closed);
  expect_gone();
}

TEST_F(StreamRelayTest, AResetIsPassedOn) {
  for (const bool by_first : {true, false}) {
    JoinService service;
    Net net(service);
    End& a = net.connect();
    End& b = net.connect();
    (by_first ? a : b).stream->abort();
    net.run(100ms);
    EXPECT_EQ((by_first ? b : a).reason, CloseReason::reset);
    EXPECT_EQ(net.server.connections(), 0U);
  }
}

TEST_F(StreamRelayTest, WhatCameWithAResetIsPassedOnBeforeIt) {
  for (const bool by_first : {true, false}) {
    JoinService service;
    Net net(service);
    End& a = net.connect();
    End& b = net.connect();
    End& from = by_first ? a : b;
    End& to = by_first ? b : a;
    from.stream->write(bytes_of("the last words"));
    net.client.finish_turn(net.now);
    from.stream->abort();
    net.client.finish_turn(net.now);  // both are on the wire: one batch
    net.run(100ms);
    EXPECT_EQ(to.received, "the last words");
    EXPECT_EQ(to.reason, CloseReason::reset);
    EXPECT_EQ(net.server.connections(), 0U);
  }
}

TEST_F(StreamRelayTest, WhatAResetHasCutDoesNotEndInAFin) {
  open();
  ASSERT_EQ(service_.streams.size(), 2U);
  Stream opened = service_.streams[1];
  service_.relay->on_closed(StreamRelay::Side::accepted, service_.streams[0], CloseReason::reset,
                            net_.now);
  service_.relay->on_writable(StreamRelay::Side::opened, net_.now);  // an ACK in the same batch
  EXPECT_FALSE(opened.write_shut());
  net_.run(100ms);
  EXPECT_FALSE(b_->peer_closed);
  EXPECT_EQ(b_->reason, CloseReason::reset);
}

TEST_F(StreamRelayTest, IdleMeansNoOctetEitherWay) {
  service_.idle = 10s;
  open();
  for (int i = 0; i < 3; ++i) {
    net_.run(8s);
    net_.send(i % 2 == 0 ? *a_ : *b_, "x");
  }
  EXPECT_FALSE(a_->closed || b_->closed);
  net_.run(15s);
  EXPECT_EQ(a_->reason, CloseReason::reset);
  EXPECT_EQ(b_->reason, CloseReason::reset);
}

// --- the poller

class Recorder final : public HostHandler {
 public:
  explicit Recorder(std::function<void()> then = [] {}) : then_(std::move(then)) {}
  void on_ready(std::uint32_t, Instant) override {
    ++calls;
    then_();
  }
  int calls = 0;

 private:
  std::function<void()> then_;
};

TEST(HostPoller, IsActiveWhileItWatchesAndSaysSoByItsDescriptor) {
  HostPoller poller;
  EXPECT_FALSE(poller.is_active());
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  const OwnedFd a(ends[0]), b(ends[1]);
  const auto handler = std::make_shared<Recorder>();
  const auto id = poller.add(a.get(), handler);
  EXPECT_TRUE(poller.is_active());
  EXPECT_TRUE(poller.poll({}));  // writable
  EXPECT_FALSE(poller.poll({}));
  pollfd sleeper{poller.fd(), POLLIN, 0};
  EXPECT_EQ(::poll(&sleeper, 1, 0), 0);
  ASSERT_EQ(::write(b.get(), "x", 1), 1);
  EXPECT_EQ(::poll(&sleeper, 1, 0), 1);  // a worker that goes to sleep now wakes at once
  EXPECT_TRUE(poller.poll({}));
  EXPECT_EQ(handler->calls, 2);
  poller.remove(id, a.get());
  EXPECT_FALSE(poller.is_active());
  EXPECT_EQ(handler.use_count(), 1);
}

TEST(HostPoller, AHandlerThatAnotherRemovedIsNotCalledAndItsNumberMayComeAgain) {
  HostPoller poller;
  std::vector<OwnedFd> watched, others;
  for (int i = 0; i < 2; ++i) {
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    watched.emplace_back(ends[0]);
    others.emplace_back(ends[1]);
  }
  std::vector<HostPoller::Id> ids(2);
  std::vector<std::shared_ptr<Recorder>> handlers;
  const auto successor = std::make_shared<Recorder>();
  for (std::size_t i = 0; i < 2; ++i) {
    // The first that is called replaces the other's socket by one with the same number.
    handlers.push_back(std::make_shared<Recorder>([&, other = 1 - i] {
      const int fd = watched[other].get();
      poller.remove(ids[other], fd);
      ASSERT_EQ(::dup2(others[other].get(), fd), fd);
      poller.add(fd, successor);
    }));
  }
  for (std::size_t i = 0; i < 2; ++i) ids[i] = poller.add(watched[i].get(), handlers[i]);
  poller.poll({});
  EXPECT_EQ(handlers[0]->calls + handlers[1]->calls, 1);
  EXPECT_EQ(successor->calls, 0);
  poller.poll({});
  EXPECT_EQ(successor->calls, 1);
}

// --- dialling, on loopback

class Listener {
 public:
  Listener() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(fd_.get(), reinterpret_cast<sockaddr*>(&a), sizeof a), 0);
    socklen_t size = sizeof a;
    ::getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&a), &size);
    at_ = {IpAddr::v4(INADDR_LOOPBACK), ntohs(a.sin_port)};
  }
  void listen() const { EXPECT_EQ(::listen(fd_.get(), 4), 0); }
  const Endpoint& at() const { return at_; }

 private:
  OwnedFd fd_;
  Endpoint at_;
};

struct Outcome {
  int calls = 0;
  OwnedFd fd;
  int error = 0;
};

HostDial::Done keep(Outcome& o) {
  return [&o](OwnedFd fd, int error, Instant) {
    ++o.calls;
    o.fd = std::move(fd);
    o.error = error;
  };
}

void settle(HostPoller& poller, const Outcome& o) {
  for (int i = 0; i < 500 && o.calls == 0; ++i) {
    pollfd p{poller.fd(), POLLIN, 0};
    ::poll(&p, 1, 10);
    poller.poll({});
  }
}

TEST(HostDial, TakesTheFirstThatAnswers) {
  const Listener silent, there;  // the first is bound, but nobody listens
  there.listen();
  HostPoller poller;
  Outcome o;
  const auto dial =
      std::make_shared<HostDial>(poller, std::vector{silent.at(), there.at()}, keep(o));
  dial->start({});
  settle(poller, o);
  EXPECT_EQ(o.calls, 1);
  EXPECT_EQ(o.error, 0);
  sockaddr_in a{};
  socklen_t size = sizeof a;
  ASSERT_EQ(::getpeername(o.fd.get(), reinterpret_cast<sockaddr*>(&a), &size), 0);
  EXPECT_EQ(ntohs(a.sin_port), there.at().port);
  EXPECT_NE(::fcntl(o.fd.get(), F_GETFL) & O_NONBLOCK, 0);
  EXPECT_EQ(poller.size(), 0U);
}

TEST(HostDial, SaysWhyNobodyAnswered) {
  const Listener silent;
  HostPoller poller;
  Outcome o;
  std::make_shared<HostDial>(poller, std::vector{silent.at()}, keep(o))->start({});
  settle(poller, o);
  EXPECT_EQ(o.calls, 1);
  EXPECT_EQ(o.error, ECONNREFUSED);
  EXPECT_FALSE(o.fd.is_open());
  EXPECT_EQ(poller.size(), 0U);
}

TEST(HostDial, CancelledItIsSilent) {
  const Listener silent;
  HostPoller poller;
  Outcome o;
  const auto dial = std::make_shared<HostDial>(poller, std::vector{silent.at()}, keep(o));
  dial->start({});
  dial->cancel();
  poller.poll({});
  EXPECT_EQ(o.calls, 0);
  EXPECT_EQ(poller.size(), 0U);
}

}  // namespace
}  // namespace pollux
