#include "engine/unix_socket.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace pollux::engine {
namespace {

/// Ancillary data with room for one descriptor; the kernel closes those that do not fit.
union PassedFd {
  cmsghdr header;
  char room[CMSG_SPACE(sizeof(int))];
};

}  // namespace

void fail_with(const std::string& what, int error) {
  throw std::runtime_error(what + ": " + std::strerror(error));
}

sockaddr_un unix_address(const std::string& path) {
  sockaddr_un a{};
  a.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof a.sun_path) {
    throw std::runtime_error("control socket path '" + path + "' must have 1..107 characters");
  }
  std::memcpy(a.sun_path, path.data(), path.size());
  return a;
}

OwnedFd unix_stream_socket(int flags) {
  OwnedFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0));
  if (!fd.is_open()) fail_with("cannot create a UNIX socket", errno);
  return fd;
}

int unix_connect(const OwnedFd& fd, const sockaddr_un& a) {
  return ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&a), sizeof a) == 0 ? 0 : errno;
}

ssize_t send_passing(const OwnedFd& fd, std::string_view text, int pass) {
  iovec part{const_cast<char*>(text.data()), text.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  PassedFd passed{};
  if (pass >= 0) {
    passed.header.cmsg_level = SOL_SOCKET;
    passed.header.cmsg_type = SCM_RIGHTS;
    passed.header.cmsg_len = CMSG_LEN(sizeof pass);
    std::memcpy(CMSG_DATA(&passed.header), &pass, sizeof pass);
    message.msg_control = &passed;
    message.msg_controllen = sizeof passed;
  }
  return ::sendmsg(fd.get(), &message, MSG_NOSIGNAL);
}

ssize_t receive_passed(const OwnedFd& fd, char* buffer, std::size_t size, OwnedFd& passed) {
  iovec part{buffer, size};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  PassedFd room{};
  message.msg_control = &room;
  message.msg_controllen = sizeof room;
  const ssize_t n = ::recvmsg(fd.get(), &message, MSG_CMSG_CLOEXEC);
  if (n < 0) return n;
  const cmsghdr* const c = CMSG_FIRSTHDR(&message);
  if (c != nullptr && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
    int received = -1;
    std::memcpy(&received, CMSG_DATA(c), sizeof received);
    passed = OwnedFd(received);
  }
  return n;
}

}  // namespace pollux::engine
