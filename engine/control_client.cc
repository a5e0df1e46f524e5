#include "engine/control_client.h"

#include <sys/socket.h>
#include <sys/time.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <vector>

#include "engine/unix_socket.h"

namespace pollux::engine {
namespace {

using nlohmann::json;

[[noreturn]] void fail_connect(const std::string& path, int error) {
  if (error == ENOENT || error == ECONNREFUSED) {
    throw std::runtime_error("no daemon answers at control socket " + path +
                             "; start one with 'pollux run' or give --control PATH");
  }
  const char* const mend = error == EACCES ? "; run as root or as a member of its group" : "";
  throw std::runtime_error("cannot reach control socket " + path + ": " + std::strerror(error) +
                           mend);
}

void send_all(const OwnedFd& fd, const std::string& path, std::string_view text, int pass) {
  while (!text.empty()) {
    const ssize_t n = send_passing(fd, text, std::exchange(pass, -1));
    if (n < 0) fail_with("cannot ask the daemon at " + path, errno);
    text.remove_prefix(static_cast<std::size_t>(n));
  }
}

OwnedFd ask(const std::string& path, std::string_view command, int pass) {
  const sockaddr_un a = unix_address(path);
  OwnedFd fd = unix_stream_socket(0);
  const timeval limit{.tv_sec = 5, .tv_usec = 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  if (const int error = unix_connect(fd, a); error != 0) fail_connect(path, error);
  send_all(fd, path, std::string(command) + '\n', pass);
  return fd;
}

/// Appends what comes; false at the end of the stream.
bool read_some(const OwnedFd& fd, const std::string& path, std::string& text) {
  std::array<char, 64 * 1024> buffer;
  for (;;) {
    const ssize_t n = ::recv(fd.get(), buffer.data(), buffer.size(), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      fail_with("no answer from the daemon at " + path, errno == EAGAIN ? ETIMEDOUT : errno);
    }
    text.append(buffer.data(), static_cast<std::size_t>(n));
    return n > 0;
  }
}

/// The document that `text` is. Throws when it is none, or an error.
template <class Json>
Json parse_answer(const std::string& path, std::string_view text) {
  Json document = Json::parse(text, nullptr, false);
  if (document.is_discarded()) {
    throw std::runtime_error("the daemon at " + path + " closed without an answer");
  }
  if (document.is_object() && document.contains("error")) {
    const Json& error = document["error"];
    throw std::runtime_error(error.is_string() ? error.template get<std::string>() : error.dump());
  }
  return document;
}

}  // namespace

json control_request(const std::string& path, std::string_view command) {
  const OwnedFd fd = ask(path, command, -1);
  const timeval limit{.tv_sec = 5, .tv_usec = 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  std::string text;
  while (read_some(fd, path, text)) {
  }
  return parse_answer<json>(path, text);
}

ControlCall::ControlCall(const std::string& path, std::string_view command, int pass)
    : path_(path), fd_(ask(path, command, pass)) {}

void ControlCall::stop() const noexcept {
  constexpr std::string_view kStop = "stop\n";
  (void)::send(fd_.get(), kStop.data(), kStop.size(), MSG_NOSIGNAL);  // else it has ended already
}

std::optional<nlohmann::ordered_json> ControlCall::next() {
  std::size_t end = received_.find('\n');
  while (end == std::string::npos) {
    if (!read_some(fd_, path_, received_)) return std::nullopt;
    end = received_.find('\n');
  }
  auto line =
      parse_answer<nlohmann::ordered_json>(path_, std::string_view(received_).substr(0, end));
  received_.erase(0, end + 1);
  return line;
}

}  // namespace pollux::engine
