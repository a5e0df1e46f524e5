// What both ends of the control socket need of UNIX sockets.
#pragma once

#include <sys/un.h>

#include <string>
#include <string_view>

#include "engine/owned_fd.h"

namespace pollux::engine {

/// Throws std::runtime_error("what: words of errno").
[[noreturn]] void fail_with(const std::string& what, int error);

/// Throws std::runtime_error when `path` does not fit.
sockaddr_un unix_address(const std::string& path);
/// A stream socket, close-on-exec; `flags` as SOCK_NONBLOCK. Throws std::runtime_error.
OwnedFd unix_stream_socket(int flags);
/// 0, or the errno of connect().
int unix_connect(const OwnedFd& fd, const sockaddr_un& a);

/// One send(); `pass` (-1: none) goes along with the first octet (SCM_RIGHTS). As send() returns.
ssize_t send_passing(const OwnedFd& fd, std::string_view text, int pass);
/// One recv() into `buffer`; a descriptor that came along replaces `passed`. As recv() returns.
ssize_t receive_passed(const OwnedFd& fd, char* buffer, std::size_t size, OwnedFd& passed);

}  // namespace pollux::engine
