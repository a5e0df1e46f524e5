// The services over real connections: two shards face each other in virtual time, one serves, the
// other is a client that the test scripts.
#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include "engine/services/chargen.h"
#include "engine/services/factory.h"
#include "engine/services/http.h"
#include "workers/shard.h"

namespace pollux {
namespace {

/// What one shard sends, waiting for the other.
class Wire final : public TxPort {
 public:
  bool transmit(const TxPacket& packet) noexcept override {
    auto& bytes = packets.emplace_back();
    for (const Bytes part : packet.parts) bytes.insert(bytes.end(), part.begin(), part.end());
    return true;
  }
  const PortCaps& caps() const noexcept override { return caps_; }

  std::deque<std::vector<std::uint8_t>> packets;

 private:
  PortCaps caps_;
};

/// The client: collects what comes, unless told not to read.
class Client final : public Service {
 public:
  std::string_view name() const override { return "client"; }
  void on_open(Stream&) override { open = true; }
  void on_readable(Stream& s) override {
    while (reading && s.readable() > 0) {
      const Slice in = s.peek();
      received.append(reinterpret_cast<const char*>(in.data()), in.size());
      s.consume(in.size());
    }
  }
  void on_peer_closed(Stream&) override { peer_closed = true; }
  void on_closed(Stream&, CloseReason r) override {
    closed = true;
    reason = r;
  }

  std::string received;
  bool reading = true;
  bool open = false;
  bool peer_closed = false;
  bool closed = false;
  CloseReason reason{};
};

class Net {
 public:
  explicit Net(std::unique_ptr<Service> service, bool reading = true)
      : service_(std::move(service)),
        server(options(kServer), to_client_, server_counters_, now),
        client(options(kClient), to_server_, client_counters_, now) {
    app.reading = reading;
    server.listen({kServer, 80}, true, *service_);
    entry = client.connect(now, kClient, {kServer, 80}, app);
    run(100ms);
  }

  Stream stream() { return Stream(client, *entry); }
  void send(std::string_view text) {
    while (!text.empty() && !app.closed) {
      const std::size_t n =
          stream().write(Bytes{reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
      text.remove_prefix(n);
      run(n == 0 ? 10ms : 0ms);
    }
    run(100ms);
  }
  void shut() {
    stream().shutdown_write();
    run(200ms);
  }
  /// Reads again after a pause.
  void read_on() {
    app.reading = true;
    Stream s = stream();
    app.on_readable(s);
  }
  /// Runs both sides until nothing moves and `time` has passed.
  void run(Duration time) {
    const Instant end = now + time;
    for (;;) {
      while (turn()) {
      }
      const Instant next = std::min(server.next_deadline(), client.next_deadline());
      if (next > end) break;
      now = std::max(next, now + 1ms);
    }
    now = std::max(now, end);
  }

 private:
  static constexpr IpAddr kServer = IpAddr::v4(0xc6120002);
  static constexpr IpAddr kClient = IpAddr::v4(0xc6120001);

  static ShardOptions options(const IpAddr& own) {
    ShardOptions o;
    o.addresses = {{own, 32}};
    o.max_connections = 16;
    o.memory_limit = 64U << 20;
    o.tcp.receive_buffer = 256U << 10;
    o.tcp.send_buffer = 256U << 10;
    return o;
  }
  bool turn() {
    bool moved = deliver(to_server_, server);
    moved = deliver(to_client_, client) || moved;
    server.on_timers(now);
    client.on_timers(now);
    moved = server.finish_turn(now) || moved;
    return client.finish_turn(now) || moved;
  }
  bool deliver(Wire& wire, Shard& to) {
    const bool any = !wire.packets.empty();
    for (; !wire.packets.empty(); wire.packets.pop_front()) {
      const auto& bytes = wire.packets.front();
      Buffer* b = packets_.alloc();
      if (b == nullptr) continue;  // lost
      std::copy(bytes.begin(), bytes.end(), b->data);
      b->refs = 1;
      to.on_packet(now, {.buffer = b, .length = static_cast<std::uint32_t>(bytes.size())});
    }
    return any;
  }

  Wire to_server_, to_client_;
  WorkerCounters server_counters_, client_counters_;
  BufferPool packets_{{.slot_size = 2048, .max_slots = 1 << 16}};
  std::unique_ptr<Service> service_;

 public:
  Instant now{1h};
  Client app;
  Shard server;
  Shard client;
  ConnEntry* entry = nullptr;
};

std::unique_ptr<Service> make_service(const ServiceConfig& config) {
  return std::move(make_services(config, 1).front());
}

std::unique_ptr<Service> http(const HttpOptions& options = {}) {
  return std::move(make_http_services(options, 1, nullptr).front());
}

Net net_of(ServiceKind kind) { return Net(make_service({.kind = kind})); }

std::string pattern(std::size_t n) {
  std::string s;
  while (s.size() < n) {
    const Slice piece = chargen_slice(s.size(), n - s.size());
    s.append(reinterpret_cast<const char*>(piece.data()), piece.size());
  }
  return s;
}

std::string get(const std::string& target, const std::string& more = "") {
  return "GET " + target + " HTTP/1.1\r\nHost: x\r\n" + more + "\r\n";
}

std::size_t count(const std::string& text, std::string_view part) {
  std::size_t n = 0;
  for (std::size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) ++n;
  return n;
}

TEST(Factory, KnowsItsKinds) {
  for (const ServiceKind kind :
       {ServiceKind::echo, ServiceKind::discard, ServiceKind::chargen, ServiceKind::http}) {
    EXPECT_EQ(make_service({.kind = kind})->name(), to_string(kind));
  }
  EXPECT_THROW(make_service({.kind = ServiceKind::http, .root = "/nonexistent"}),
               std::system_error);
}

TEST(Echo, SendsBackAndClosesAfterThePeer) {
  Net net = net_of(ServiceKind::echo);
  ASSERT_TRUE(net.app.open);
  const std::string data = pattern(1000000);
  net.send(data);
  EXPECT_FALSE(net.app.peer_closed);
  net.shut();
  EXPECT_EQ(net.app.received, data);
  EXPECT_TRUE(net.app.peer_closed);
  net.run(120s);
  EXPECT_EQ(net.app.reason, CloseReason::normal);
  EXPECT_EQ(net.server.connections(), 0U);
}

TEST(Echo, DataThatWaitsForRoomWhenTheFinComesStillGoesBack) {
  Net net = net_of(ServiceKind::echo);
  net.app.reading = false;
  std::string data = pattern(400000);  // more than the client's window: echo cannot send it all
  net.send(data);
  net.shut();
  EXPECT_TRUE(net.app.received.empty());
  net.read_on();
  net.run(10s);
  EXPECT_EQ(net.app.received.size(), data.size());
  EXPECT_EQ(net.app.received, data);
  EXPECT_TRUE(net.app.peer_closed);
}

TEST(Discard, TakesEverythingAndSaysNothing) {
  Net net = net_of(ServiceKind::discard);
  net.send(pattern(1000000));
  net.shut();
  EXPECT_TRUE(net.app.received.empty());
  EXPECT_TRUE(net.app.peer_closed);
}

TEST(Chargen, SendsThePatternForAsLongAsItIsRead) {
  Net net(make_service({.kind = ServiceKind::chargen}), false);  // reading, it would never end
  net.run(1s);
  const std::size_t held = net.entry->tcp.readable();
  net.run(60s);
  std::string text(held, '\0');
  EXPECT_EQ(net.stream().read({reinterpret_cast<std::uint8_t*>(text.data()), held}), held);
  EXPECT_EQ(text, pattern(held));
  net.run(1s);
  EXPECT_GT(net.entry->tcp.readable(), 0U);
  net.run(60s);
  EXPECT_LE(net.entry->tcp.readable(), 256U << 10);  // the window is full, nothing more comes
}

TEST(Http, KeepsTheConnectionAndPipelines) {
  Net net(http());
  net.send(get("/"));
  EXPECT_EQ(count(net.app.received, "HTTP/1.1 200 OK"), 1U);
  std::string many;
  for (int i = 0; i < 100; ++i) many += get("/bytes/10");
  net.send(many);
  EXPECT_EQ(count(net.app.received, "HTTP/1.1 200 OK"), 101U);
  EXPECT_FALSE(net.app.peer_closed);
}

TEST(Http, AnswersAfterThePeersFin) {
  Net net(http());
  net.stream().shutdown_write();  // nothing asked: closes
  net.run(1s);
  EXPECT_TRUE(net.app.peer_closed);
  Net other(http());
  const std::string request = get("/bytes/3000000");
  other.stream().write(
      Bytes{reinterpret_cast<const std::uint8_t*>(request.data()), request.size()});
  other.stream().shutdown_write();  // request and FIN in one segment
  other.run(10s);
  EXPECT_TRUE(other.app.received.ends_with(pattern(3000000)));
  EXPECT_TRUE(other.app.peer_closed);
  other.run(120s);
  EXPECT_EQ(other.app.reason, CloseReason::normal);
  EXPECT_EQ(other.server.connections(), 0U);
}

TEST(Http, ClosesAfterAnErrorWithoutReset) {
  Net net(http());
  net.send("nonsense\r\n" + pattern(500000));
  EXPECT_TRUE(net.app.received.starts_with("HTTP/1.1 400 "));
  EXPECT_TRUE(net.app.peer_closed);
  EXPECT_FALSE(net.app.closed);
  net.shut();
  net.run(120s);
  EXPECT_EQ(net.app.reason, CloseReason::normal);
}

TEST(Http, HeaderThatTricklesInHasTenSeconds) {
  Net net(http());
  net.send("GET / HTTP/1.1\r\n");
  for (int i = 0; i < 8; ++i) {
    net.send("A: b\r\n");
    net.run(1s);
  }
  EXPECT_TRUE(net.app.received.empty());
  net.run(4s);
  EXPECT_TRUE(net.app.received.starts_with("HTTP/1.1 408 ")) << net.app.received;
  EXPECT_TRUE(net.app.peer_closed);
  net.run(HttpService::kLingerTimeout + 10s);  // we never close: the server gives up
  EXPECT_EQ(net.app.reason, CloseReason::reset);
}

TEST(Http, SilentClientIsClosed) {
  Net net(http());
  net.run(9s);
  EXPECT_FALSE(net.app.peer_closed);
  net.run(3s);  // the wheel is late by up to an eighth
  EXPECT_TRUE(net.app.peer_closed);
  EXPECT_TRUE(net.app.received.empty());
}

TEST(Http, IdleConnectionIsClosedAfterAMinute) {
  Net net(http());
  net.send(get("/bytes/1"));
  net.run(58s);
  EXPECT_FALSE(net.app.peer_closed);
  net.send(get("/bytes/1"));  // starts the minute again
  net.run(58s);
  EXPECT_FALSE(net.app.peer_closed);
  net.run(12s);  // the wheel is late by up to an eighth
  EXPECT_TRUE(net.app.peer_closed);
}

TEST(Http, ClientThatNeverReadsIsBoundedAndEnds) {
  Net net(http());
  net.app.reading = false;
  net.send(get("/bytes/1000000000000"));
  EXPECT_LE(net.server.counters().memory_bytes.get(), 1U << 20);
  net.run(3 * HttpService::kStallTimeout);
  EXPECT_EQ(net.server.connections(), 0U);
  net.send("x");  // with a closed window the RST itself may not be acceptable
  EXPECT_EQ(net.app.reason, CloseReason::reset);
}

TEST(Http, PipeliningWithoutReadingIsBounded) {
  Net net(http());
  net.app.reading = false;
  std::string many;
  for (int i = 0; i < 5000; ++i) many += get("/bytes/1");
  net.stream().write(Bytes{reinterpret_cast<const std::uint8_t*>(many.data()), many.size()});
  net.run(5s);
  EXPECT_LE(net.server.counters().memory_bytes.get(), 2U << 20);
  net.read_on();
  net.run(10s);
  EXPECT_EQ(count(net.app.received, "HTTP/1.1 200 OK"), 5000U);
}

TEST(Http, SlowReaderIsNotCutOff) {
  Net net(http());
  net.app.reading = false;
  net.send(get("/bytes/1000000", "Connection: close\r\n"));
  for (int i = 0; i < 60 && !net.app.closed && !net.app.peer_closed; ++i) {
    Stream s = net.stream();
    std::vector<std::uint8_t> some(40000);
    const std::size_t n = s.read(some);
    net.app.received.append(reinterpret_cast<const char*>(some.data()), n);
    net.run(4s);
  }
  EXPECT_FALSE(net.app.closed);
  net.read_on();
  net.run(1s);
  EXPECT_TRUE(net.app.received.ends_with(pattern(1000000)));
}

}  // namespace
}  // namespace pollux
