#include "engine/connect_command.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <nlohmann/json.hpp>
#include <ostream>
#include <stdexcept>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "engine/control_client.h"
#include "engine/owned_fd.h"
#include "engine/unix_socket.h"

namespace pollux::engine {
namespace {

using nlohmann::json;

constexpr std::size_t kPiece = 64U << 10;

std::pair<OwnedFd, OwnedFd> socket_pair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    fail_with("cannot create a pair of sockets", errno);
  }
  return {OwnedFd(ends[0]), OwnedFd(ends[1])};
}

bool write_all(int fd, std::string_view data) {
  while (!data.empty()) {
    const ssize_t n = ::write(fd, data.data(), data.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    data.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

bool send_all(int fd, std::string_view data) {
  while (!data.empty()) {
    const ssize_t n = ::send(fd, data.data(), data.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    data.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

/// The next piece, or empty at the end or an error.
std::string_view read_some(int fd, std::vector<char>& buffer) {
  ssize_t n = 0;
  do n = ::read(fd, buffer.data(), buffer.size());
  while (n < 0 && errno == EINTR);
  return {buffer.data(), n > 0 ? static_cast<std::size_t>(n) : 0};
}

/// Standard input to the connection, then its FIN. A thread of its own: it may sit in read() when
/// the connection ends, and nobody waits for it.
void send_input(std::shared_ptr<OwnedFd> socket) {
  std::thread([socket = std::move(socket)] {
    std::vector<char> buffer(kPiece);
    for (auto piece = read_some(STDIN_FILENO, buffer); !piece.empty();
         piece = read_some(STDIN_FILENO, buffer)) {
      if (!send_all(socket->get(), piece)) return;
    }
    (void)::shutdown(socket->get(), SHUT_WR);
  }).detach();
}

/// The connection to standard output, to its end.
void receive_output(int socket) {
  std::vector<char> buffer(kPiece);
  for (auto piece = read_some(socket, buffer); !piece.empty(); piece = read_some(socket, buffer)) {
    if (!write_all(STDOUT_FILENO, piece)) fail_with("cannot write to standard output", errno);
  }
}

/// Why the connection is over: waits until it is.
std::string closing_word(ControlCall& call) {
  while (const auto line = call.next()) {
    if (line->contains("closed")) return line->at("closed").get<std::string>();
  }
  throw std::runtime_error("the daemon ended");
}

}  // namespace

int run_connect(const ConnectCommand& command, std::ostream& err) {
  auto [ours, theirs] = socket_pair();
  std::string request = "connect " + command.target;
  if (command.timeout_s > 0) request += ' ' + std::to_string(command.timeout_s);
  ControlCall call(command.control, request, theirs.get());
  theirs = {};
  const auto first = call.next();
  if (!first) throw std::runtime_error("the daemon ended");
  if (first->contains("closed")) {
    err << "pollux: cannot connect to " << command.target << ": "
        << first->at("closed").get<std::string>() << '\n';
    return 1;
  }
  const auto socket = std::make_shared<OwnedFd>(std::move(ours));
  send_input(socket);
  receive_output(socket->get());
  const std::string word = closing_word(call);
  if (word == "normal") return 0;
  err << "pollux: connection to " << command.target << " ended: " << word << '\n';
  return 1;
}

}  // namespace pollux::engine
