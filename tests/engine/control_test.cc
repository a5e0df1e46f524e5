// The control socket: requests and answers, limits, stale sockets, a second daemon.
#include "engine/control.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>
#include <vector>

#include "engine/control_client.h"

namespace pollux::engine {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::ThrowsMessage;

class ControlTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "pollux-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    path_ = folder_ + "/run/control.sock";
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  int raw_client() const {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un a{};
    a.sun_family = AF_UNIX;
    std::strncpy(a.sun_path, path_.c_str(), sizeof a.sun_path - 1);
    EXPECT_EQ(::connect(fd, reinterpret_cast<const sockaddr*>(&a), sizeof a), 0);
    return fd;
  }

  std::string folder_;
  std::string path_;
};

/// Serves from its own thread, as the control thread does, until it goes out of scope.
class Loop {
 public:
  Loop(ControlServer& server, ControlServer::Handler handler)
      : thread_([this, &server, handler = std::move(handler)] {
          while (!stop_) {
            pollfd p{server.fd(), POLLIN, 0};
            if (::poll(&p, 1, 10) > 0) server.on_ready(handler);
          }
        }) {}
  ~Loop() {
    stop_ = true;
    thread_.join();
  }

 private:
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

std::string read_to_end(int fd) {
  std::string text;
  char buffer[4096];
  for (ssize_t n; (n = ::read(fd, buffer, sizeof buffer)) > 0;) {
    text.append(buffer, static_cast<std::size_t>(n));
  }
  return text;
}

json echo_command(ControlRequest& request) { return json{{"command", request.command()}}; }

TEST_F(ControlTest, AnswersARequest) {
  ControlServer server(path_);
  const Loop loop(server, echo_command);
  EXPECT_EQ(control_request(path_, "show stats"), (json{{"command", "show stats"}}));
}

TEST_F(ControlTest, LargeAnswersArriveWhole) {
  ControlServer server(path_);
  const std::string big(8u << 20, 'x');
  const Loop loop(server, [&](ControlRequest&) { return json(big); });
  EXPECT_EQ(control_request(path_, "show connections"), json(big));
}

TEST_F(ControlTest, AHandlersExceptionIsTheClientsError) {
  ControlServer server(path_);
  const Loop loop(server, [](ControlRequest&) -> json { throw std::runtime_error("no such"); });
  EXPECT_THAT([&] { control_request(path_, "x"); }, ThrowsMessage<std::runtime_error>("no such"));
}

TEST_F(ControlTest, SocketHasItsModeAndGoesAway) {
  {
    const ControlServer server(path_);
    struct stat info {};
    ASSERT_EQ(::stat(path_.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777u, 0660u);
  }
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(ControlTest, RefusesToReplaceALiveDaemon) {
  const ControlServer first(path_);
  EXPECT_THAT([&] { ControlServer second(path_); },
              ThrowsMessage<std::runtime_error>(HasSubstr("already running")));
  EXPECT_TRUE(std::filesystem::exists(path_));
}

TEST_F(ControlTest, TakesOverAStaleSocket) {
  std::filesystem::create_directories(folder_ + "/run");
  const int dead = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un a{};
  a.sun_family = AF_UNIX;
  std::strncpy(a.sun_path, path_.c_str(), sizeof a.sun_path - 1);
  ASSERT_EQ(::bind(dead, reinterpret_cast<const sockaddr*>(&a), sizeof a), 0);
  ::close(dead);
  ControlServer server(path_);
  const Loop loop(server, echo_command);
  EXPECT_NO_THROW(control_request(path_, "x"));
}

TEST_F(ControlTest, NeverRemovesAFileThatIsNoSocket) {
  std::filesystem::create_directories(folder_ + "/run");
  std::ofstream(path_) << "precious";
  EXPECT_THAT([&] { ControlServer server(path_); },
              ThrowsMessage<std::runtime_error>(HasSubstr("not a socket")));
  EXPECT_TRUE(std::filesystem::exists(path_));
}

TEST_F(ControlTest, SaysWhenNoDaemonIsThere) {
  EXPECT_THAT([&] { control_request(path_, "x"); },
              ThrowsMessage<std::runtime_error>(HasSubstr("no daemon answers")));
}

TEST_F(ControlTest, RefusesAnEndlessRequest) {
  ControlServer server(path_);
  const int fd = raw_client();
  const std::string flood(4096, 'a');
  ASSERT_EQ(::send(fd, flood.data(), flood.size(), MSG_NOSIGNAL), 4096);
  const Loop loop(server, echo_command);
  EXPECT_THAT(read_to_end(fd), HasSubstr("longer than 4096"));
  ::close(fd);
}

TEST_F(ControlTest, ASilentClientIsClosedAndBlocksNobody) {
  ControlServer server(path_);
  const Loop loop(server, echo_command);
  const int silent = raw_client();
  EXPECT_NO_THROW(control_request(path_, "x"));
  EXPECT_EQ(read_to_end(silent), "");
  ::close(silent);
}

TEST_F(ControlTest, ClientsBeyondTheLimitAreClosed) {
  ControlServer server(path_);
  std::vector<int> fds;
  for (int i = 0; i < 16; ++i) {
    fds.push_back(raw_client());
    server.on_ready(echo_command);
  }
  fds.push_back(raw_client());
  server.on_ready(echo_command);
  EXPECT_EQ(read_to_end(fds.back()), "");
  for (const int fd : fds) ::close(fd);
}

/// A daemon whose every request opens a session; the test holds its other ends.
class ControlSessionTest : public ControlTest {
 protected:
  json open(ControlRequest& request) {
    if (request.command() == "ping") return "pong";
    passed_ = request.take_fd();
    links_.push_back(
        request.open_session({.on_gone = [this] { ++gone_; }, .on_stop = [this] { ++stops_; }}));
    if (request.command() == "late failure") throw std::runtime_error("no such");
    return first_;
  }
  /// Serves until `condition` holds, ten seconds at most.
  template <class F>
  void serve_until(ControlServer& server, F&& condition) {
    for (int i = 0; i < 1000 && !condition(); ++i) serve(server);
    ASSERT_TRUE(condition());
  }
  void serve(ControlServer& server) {
    pollfd p{server.fd(), POLLIN, 0};
    if (::poll(&p, 1, 10) > 0) server.on_ready([this](ControlRequest& r) { return open(r); });
  }

  json first_;
  OwnedFd passed_;
  std::vector<std::shared_ptr<ControlLink>> links_;
  int gone_ = 0, stops_ = 0;
};

TEST_F(ControlSessionTest, LinesArriveInOrderUntilItIsFinished) {
  ControlServer server(path_);
  first_ = {{"first", true}};
  ControlCall call(path_, "go");
  serve_until(server, [&] { return !links_.empty(); });
  // From another thread, as a worker would.
  std::thread([&] {
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(links_[0]->send(i));
    links_[0]->finish();
    EXPECT_FALSE(links_[0]->send("late"));
  }).join();
  serve(server);
  EXPECT_EQ(call.next(), (json{{"first", true}}));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(call.next(), json(i));
  EXPECT_EQ(call.next(), std::nullopt);
  EXPECT_EQ(gone_, 0);
}

TEST_F(ControlSessionTest, LastsLongerThanARequestMay) {
  ControlServer server(path_);
  ControlCall call(path_, "go");
  serve_until(server, [&] { return !links_.empty(); });
  for (int i = 0; i < 150; ++i) serve(server);  // a second and a half, most of it waiting
  EXPECT_TRUE(links_[0]->send("still there"));
  serve(server);
  EXPECT_EQ(call.next(), json("still there"));
}

TEST_F(ControlSessionTest, TellsOnceThatTheClientWentAway) {
  ControlServer server(path_);
  {
    const ControlCall call(path_, "go");
    serve_until(server, [&] { return !links_.empty(); });
  }
  serve_until(server, [&] { return gone_ > 0; });
  EXPECT_FALSE(links_[0]->send("anybody?"));
  serve(server);
  EXPECT_EQ(gone_, 1);
}

TEST_F(ControlSessionTest, AClientMayAskForTheEndAndStays) {
  ControlServer server(path_);
  ControlCall call(path_, "go");
  serve_until(server, [&] { return !links_.empty(); });
  EXPECT_EQ(stops_, 0);
  call.stop();
  serve_until(server, [&] { return stops_ == 1; });
  EXPECT_TRUE(links_[0]->send("what there is"));
  links_[0]->finish();
  serve(server);
  EXPECT_EQ(call.next(), json("what there is"));
  EXPECT_EQ(call.next(), std::nullopt);
  EXPECT_EQ(gone_, 0);
  call.stop();  // nobody is there any more
}

TEST_F(ControlSessionTest, TheEndMayBeAskedForInOneBreath) {
  ControlServer server(path_);
  const ControlCall call(path_, "go\nstop");
  serve_until(server, [&] { return stops_ == 1; });
  EXPECT_EQ(links_.size(), 1U);
}

TEST_F(ControlSessionTest, AClientThatDoesNotReadIsClosedAtTheLimit) {
  ControlServer server(path_);
  const ControlCall call(path_, "go");
  serve_until(server, [&] { return !links_.empty(); });
  const json line(std::string(10'000, 'x'));
  std::size_t sent = 0;
  for (; sent < 1000 && links_[0]->send(line); ++sent) {
    if (sent % 50 == 0) serve(server);
  }
  EXPECT_LT(sent * 10'000, 4 * ControlLink::kMaxBacklog);
  serve_until(server, [&] { return gone_ == 1; });
}

TEST_F(ControlSessionTest, AFinishedSessionWaitsASecondForItsReader) {
  ControlServer server(path_);
  const ControlCall call(path_, "go");
  serve_until(server, [&] { return !links_.empty(); });
  for (int i = 0; i < 50; ++i) EXPECT_TRUE(links_[0]->send(std::string(20'000, 'x')));
  serve(server);  // blocked on the socket before the end is known
  links_[0]->finish();
  serve_until(server, [&] { return gone_ == 1; });
}

TEST_F(ControlSessionTest, CarriesADescriptor) {
  ControlServer server(path_);
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  const ControlCall call(path_, "go", pair[1]);
  ::close(pair[1]);
  serve_until(server, [&] { return !links_.empty(); });
  ASSERT_TRUE(passed_.is_open());
  ASSERT_EQ(::write(passed_.get(), "hi", 2), 2);
  passed_ = {};
  EXPECT_EQ(read_to_end(pair[0]), "hi");
  ::close(pair[0]);
}

TEST_F(ControlSessionTest, ADescriptorThatNobodyTakesIsClosed) {
  ControlServer server(path_);
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  ControlCall call(path_, "ping", pair[1]);
  ::close(pair[1]);
  serve(server);
  serve(server);
  EXPECT_EQ(call.next(), json("pong"));
  EXPECT_EQ(read_to_end(pair[0]), "");
  ::close(pair[0]);
}

TEST_F(ControlSessionTest, AHandlersExceptionEndsItWithAnError) {
  ControlServer server(path_);
  ControlCall call(path_, "late failure");
  serve_until(server, [&] { return !links_.empty(); });
  EXPECT_THAT([&] { call.next(); }, ThrowsMessage<std::runtime_error>("no such"));
  EXPECT_FALSE(links_[0]->send("nobody reads this"));
}

TEST_F(ControlSessionTest, TheirNumberIsBoundedAndRequestsStillAnswered) {
  ControlServer server(path_);
  std::vector<std::unique_ptr<ControlCall>> calls;
  for (std::size_t i = 0; i < 64; ++i) {
    calls.push_back(std::make_unique<ControlCall>(path_, "go"));
    serve_until(server, [&] { return links_.size() == i + 1; });
  }
  ControlCall refused(path_, "go");
  for (int i = 0; i < 3; ++i) serve(server);
  EXPECT_THAT([&] { refused.next(); },
              ThrowsMessage<std::runtime_error>(HasSubstr("64 sessions already")));
  ControlCall call(path_, "ping");
  for (int i = 0; i < 3; ++i) serve(server);
  EXPECT_EQ(call.next(), json("pong"));
}

TEST_F(ControlSessionTest, TheServersEndEndsItAfterItsLastLines) {
  auto server = std::make_unique<ControlServer>(path_);
  ControlCall call(path_, "go");
  serve_until(*server, [&] { return !links_.empty(); });
  EXPECT_TRUE(links_[0]->send("last words"));
  server.reset();
  EXPECT_FALSE(links_[0]->send("too late"));
  EXPECT_EQ(call.next(), json("last words"));
  EXPECT_EQ(call.next(), std::nullopt);
  EXPECT_EQ(gone_, 0);
}

}  // namespace
}  // namespace pollux::engine
