// The services over real connections: two shards face each other in virtual time, one serves, the
// other is a client that the test scripts.
#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <system_error>
#include <vector>

#include "engine/live.h"
#include "engine/services/chargen.h"
#include "engine/services/factory.h"
#include "engine/services/http.h"
#include "tests/engine/shard_pair.h"

namespace pollux {
namespace {

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

struct HasApps {
  std::unique_ptr<Service> service;
  Client app;
};

class Net : public HasApps, public ShardPair {
 public:
  explicit Net(std::unique_ptr<Service> served, bool reading = true)
      : HasApps{std::move(served), {}} {
    app.reading = reading;
    server.listen({kServer, 80}, true, *service);
    entry = client.connect(now, kClient, {kServer, 80}, app);
    run(100ms);
  }

  Stream stream() { return Stream(client, *entry); }
  /// One more connection, of `another` client.
  ConnEntry* open(Client& another) {
    ConnEntry* e = client.connect(now, kClient, {kServer, 80}, another);
    run(100ms);
    return e;
  }
  void send(std::string_view text) {
    while (!text.empty() && !app.closed) {
      const std::size_t n = stream().write(bytes_of(text));
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
  for (const ServiceKind kind : {ServiceKind::echo, ServiceKind::discard, ServiceKind::chargen,
                                 ServiceKind::http, ServiceKind::iperf2, ServiceKind::pingpong}) {
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
  net.run(HttpService::kLingerTimeout + 10s);
  EXPECT_EQ(net.app.reason, CloseReason::reset);
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
  EXPECT_EQ(count(net.app.received, "HTTP/1.1"), 2U) << "no 408: nothing had begun";
  net.run(HttpService::kLingerTimeout + 10s);
  EXPECT_EQ(net.app.reason, CloseReason::reset);
}

TEST(Http, ConnectionThatHasRestedGoesOn) {
  Net net(http());
  for (unsigned n = 1; n < 4; ++n) {
    net.send("GET /bytes/1 HTT");
    net.run(HttpService::kRestTime * 2);  // in the middle of a head it keeps what it has
    net.send("P/1.1\r\nHost: x\r\n\r\n");
    EXPECT_EQ(count(net.app.received, "HTTP/1.1 200 OK"), n);
    net.run(HttpService::kRestTime * 2);
  }
  net.send("GET /bytes/1 HTT");
  net.run(HttpService::kHeaderTimeout + 2s);
  EXPECT_EQ(count(net.app.received, "HTTP/1.1 408 "), 1U);
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

TEST(Http, ReaderBelowTheLeastRateIsCutOff) {
  Net net(http());
  net.app.reading = false;
  net.send(get("/bytes/10000000"));
  for (int i = 0; i < 10 && net.server.connections() > 0; ++i) {
    std::vector<std::uint8_t> few(100);
    net.stream().read(few);
    net.run(30s);
  }
  EXPECT_EQ(net.server.connections(), 0U);
}

std::string post(std::size_t length) {
  return "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(length) + "\r\n\r\n";
}

TEST(HttpEchoService, SendsBackAFileLongerThanAllBuffers) {
  Net net(http());
  const std::string body = pattern(3000000);
  net.send(post(body.size()) + body + get("/bytes/1"));
  net.run(5s);
  const std::size_t at = net.app.received.find("\r\n\r\n") + 4;
  EXPECT_EQ(net.app.received.substr(at, body.size()), body);
  EXPECT_EQ(count(net.app.received, "HTTP/1.1 200 OK"), 2U);
}

TEST(HttpEchoService, ClientThatNeverReadsIsBoundedAndEnds) {
  Net net(http());
  net.app.reading = false;
  const std::string body = pattern(900000);
  const std::string in = post(100000000) + body;
  net.stream().write(Bytes{reinterpret_cast<const std::uint8_t*>(in.data()), in.size()});
  net.run(5s);
  EXPECT_LE(net.server.counters().memory_bytes.get(), 2U << 20);
  net.run(3 * HttpService::kStallTimeout);
  EXPECT_EQ(net.server.connections(), 0U);
}

TEST(HttpEchoService, BodyThatDoesNotComeEnds) {
  Net net(http());
  net.send(post(1000000));
  for (int i = 0; i < 4; ++i) {
    net.send("a few octets");
    net.run(13s);
  }
  EXPECT_FALSE(net.app.peer_closed);
  net.run(20s);
  EXPECT_TRUE(net.app.peer_closed);
  EXPECT_EQ(count(net.app.received, "HTTP/1.1"), 1U);  // and no second answer
}

TEST(HttpEchoService, SlowUploadGoesOn) {
  Net net(http());
  net.send(post(100000));
  for (int i = 0; i < 10; ++i) {
    net.send(std::string(10000, 'x'));
    net.run(50s);
  }
  EXPECT_EQ(net.app.received.size() - net.app.received.find("\r\n\r\n") - 4, 100000U);
}

TEST(HttpDripService, OctetsComeOverTime) {
  Net net(http());
  net.send(get("/drip?bytes=100&seconds=10&delay=2", "Connection: close\r\n"));
  EXPECT_TRUE(net.app.received.empty());
  net.run(3s);
  const std::size_t early = net.app.received.size();
  EXPECT_GT(early, 0U);
  EXPECT_FALSE(net.app.peer_closed);
  net.run(5s);
  EXPECT_GT(net.app.received.size(), early + 30);
  net.run(10s);
  EXPECT_TRUE(net.app.received.ends_with(pattern(100)));
  EXPECT_TRUE(net.app.peer_closed);
}

TEST(HttpConnections, PastTheMostIsReset) {
  HttpOptions options;
  options.max_connections = 2;
  Net net(http(options));
  Client second, third, fourth;
  net.open(second);
  ConnEntry* refused = net.open(third);
  EXPECT_TRUE(third.closed);
  EXPECT_EQ(third.reason, CloseReason::reset);
  EXPECT_NE(refused, nullptr);
  EXPECT_FALSE(second.closed);
  net.stream().abort();
  net.run(1s);
  net.open(fourth);
  EXPECT_FALSE(fourth.closed);
}

class HttpEventsService : public testing::Test {
 protected:
  HttpEventsService() : net_(std::move(make_http_services({}, 1, live_).front())) {}

  WorkerCounters counters_;
  std::shared_ptr<LiveStats> live_ =
      std::make_shared<LiveStats>(std::vector<LiveStats::Source>{{&counters_, nullptr}});
  Net net_;
};

TEST_F(HttpEventsService, ComeFourTimesASecond) {
  counters_.rx_bytes.add(12345);
  net_.send(get("/events"));
  net_.run(10s);
  EXPECT_NEAR(count(net_.app.received, "data: {"), 40, 8);
  EXPECT_GT(count(net_.app.received, "\"rx_bytes\":12345,"), 0U);
  EXPECT_FALSE(net_.app.peer_closed);
  net_.shut();
  net_.run(1s);
  EXPECT_TRUE(net_.app.peer_closed);
}

TEST_F(HttpEventsService, WatcherThatNeverReadsIsBoundedAndEnds) {
  net_.app.reading = false;
  net_.send(get("/events"));
  for (int i = 0; i < 30; ++i) {
    net_.run(60s);
    EXPECT_LE(net_.server.counters().memory_bytes.get(), 512U << 10);
  }
  EXPECT_EQ(net_.server.connections(), 0U);
}

TEST_F(HttpEventsService, WatchersAreBounded) {
  std::deque<Client> clients(HttpService::kMaxWatchers + 1);
  std::vector<ConnEntry*> entries;
  for (Client& c : clients) entries.push_back(net_.open(c));
  const std::string request = get("/events");
  for (ConnEntry* e : entries) {
    Stream(net_.client, *e)
        .write(Bytes{reinterpret_cast<const std::uint8_t*>(request.data()), request.size()});
  }
  net_.run(2s);
  std::size_t closed = 0;
  for (const Client& c : clients) closed += c.closed ? 1 : 0;
  EXPECT_EQ(closed, 1U);
}

TEST(LiveStats, OneObjectWithAllWorkers) {
  WorkerCounters a, b;
  RxStageCounters stage;
  a.rx_bytes.add(5);
  a.drop(DropReason::tx_error, 2);
  stage.ring_full.add(3);
  b.connections_open.add(7);
  const LiveStats live({{&a, &stage}, {&b, nullptr}});
  const auto j = nlohmann::json::parse(live.json(Instant{2s}));
  EXPECT_EQ(j["t_ms"], 2000);
  ASSERT_EQ(j["workers"].size(), 2U);
  EXPECT_EQ(j["workers"][0]["rx_bytes"], 5);
  EXPECT_EQ(j["workers"][0]["drops"], 5);
  EXPECT_EQ(j["workers"][1]["connections_open"], 7);
}

/// Runs errands at once, and counts them.
class OwnCrew final : public Crew {
 public:
  explicit OwnCrew(Shard& shard) : shard_(shard) {}
  void post(std::size_t, Mailbox::Errand errand) override {
    ++errands;
    errand(shard_);
  }
  int errands = 0;

 private:
  Shard& shard_;
};

TEST(LiveStats, RoundTripsAreSampledOncePerInterval) {
  Net net = net_of(ServiceKind::echo);
  net.send("hello");
  const auto live = std::make_shared<LiveStats>(
      std::vector<LiveStats::Source>{{&net.server.counters(), nullptr}});
  OwnCrew crew(net.server);
  live->refresh(crew, net.now);
  live->refresh(crew, net.now + 100ms);
  EXPECT_EQ(crew.errands, 1);
  live->refresh(crew, net.now + LiveStats::kInterval);
  EXPECT_EQ(crew.errands, 2);
  const auto j = nlohmann::json::parse(live->json(net.now));
  EXPECT_EQ(j["workers"][0]["rtt_connections"], 1) << j;
}

}  // namespace
}  // namespace pollux
