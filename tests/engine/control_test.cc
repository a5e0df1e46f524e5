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
#include <vector>

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

json echo_command(std::string_view command) { return json{{"command", command}}; }

TEST_F(ControlTest, AnswersARequest) {
  ControlServer server(path_);
  const Loop loop(server, echo_command);
  EXPECT_EQ(control_request(path_, "show stats"), (json{{"command", "show stats"}}));
}

TEST_F(ControlTest, LargeAnswersArriveWhole) {
  ControlServer server(path_);
  const std::string big(8u << 20, 'x');
  const Loop loop(server, [&](std::string_view) { return json(big); });
  EXPECT_EQ(control_request(path_, "show connections"), json(big));
}

TEST_F(ControlTest, AHandlersExceptionIsTheClientsError) {
  ControlServer server(path_);
  const Loop loop(server, [](std::string_view) -> json { throw std::runtime_error("no such"); });
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

}  // namespace
}  // namespace pollux::engine
