#include "engine/interruption.h"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>

#include "engine/unix_socket.h"

namespace pollux::engine {

Interruption::Interruption() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  signals_ = OwnedFd(::signalfd(-1, &set, SFD_CLOEXEC));
  if (!signals_.is_open()) fail_with("cannot create a signalfd", errno);
}

bool Interruption::wait_for_line(const ControlCall& call) const {
  if (call.has_line()) return true;
  pollfd fds[] = {{call.fd(), POLLIN, 0}, {signals_.get(), POLLIN, 0}};
  while (::poll(fds, 2, -1) < 0 && errno == EINTR) {
  }
  if (fds[1].revents == 0) return true;
  signalfd_siginfo info;
  [[maybe_unused]] const ssize_t n = ::read(signals_.get(), &info, sizeof info);
  return false;
}

}  // namespace pollux::engine
