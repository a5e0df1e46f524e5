// Connections that are open and silent, for the memory that they take.
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

#include "bench/load/client.h"

namespace pollux::load {
namespace {

/// Octets of the whole answer that begins with `text`; 0: its head is not there yet.
std::size_t answer_size(const std::string& text) {
  const std::string length = "Content-Length: ";
  const std::size_t end = text.find("\r\n\r\n"), at = text.find(length);
  if (end == text.npos) return 0;
  return end + 4 + (at < end ? std::stoul(text.substr(at + length.size())) : 0);
}

/// A request of about what a browser sends, and its whole answer.
void fetch(int fd) {
  static const std::string request =
      "GET / HTTP/1.1\r\nHost: idle.example\r\nAccept: text/html,*/*;q=0.8\r\n"
      "Accept-Encoding: gzip, deflate\r\nAccept-Language: en\r\nUser-Agent: pollux_client\r\n\r\n";
  if (write(fd, request.data(), request.size()) != static_cast<ssize_t>(request.size())) {
    fail("cannot send a request");
  }
  std::string answer;
  std::array<char, 4096> piece;
  while (answer_size(answer) == 0 || answer.size() < answer_size(answer)) {
    const ssize_t n = read(fd, piece.data(), piece.size());
    if (n <= 0) fail("no answer to a request");
    answer.append(piece.data(), static_cast<std::size_t>(n));
  }
  if (!answer.starts_with("HTTP/1.1 200")) throw std::runtime_error("answered " + answer);
}

}  // namespace

nlohmann::json idle(const Options& options) {
  constexpr std::uint64_t kOthers = 64;
  raise_descriptor_limit(options.connections + kOthers);
  std::vector<Fd> held;
  held.reserve(options.connections);
  for (std::uint32_t i = 0; i < options.connections; ++i) {
    held.push_back(connect_to(options.target(i)));
    if (options.http) fetch(held.back().get());
  }
  const nlohmann::json figures{{"open", held.size()}};
  std::puts(figures.dump().c_str());
  std::fflush(stdout);
  char octet = 0;
  while (read(STDIN_FILENO, &octet, 1) > 0 || errno == EINTR) errno = 0;
  return figures;
}

}  // namespace pollux::load
