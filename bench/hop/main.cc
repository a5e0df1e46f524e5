// pollux_hop: a path with delay, a bottleneck, loss and worse between two TUN devices.

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>

#include "bench/hop/forwarder.h"
#include "bench/hop/options.h"

namespace {

using pollux::Duration;
using pollux::Instant;
using pollux::hop::Forwarder;

volatile sig_atomic_t stop_asked = 0;
volatile sig_atomic_t report_asked = 0;

void on_signal(int number) {
  if (number == SIGUSR1) {
    report_asked = 1;
  } else {
    stop_asked = 1;
  }
}

/// Installs the handlers and blocks the signals; returns the mask to sleep with, which lets them
/// in.
sigset_t take_signals() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  sigset_t blocked;
  sigemptyset(&blocked);
  for (const int number : {SIGINT, SIGTERM, SIGUSR1}) {
    sigaction(number, &action, nullptr);
    sigaddset(&blocked, number);
  }
  sigset_t before;
  sigprocmask(SIG_BLOCK, &blocked, &before);
  return before;
}

void say(const std::string& line) {
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

/// Sleeps until a packet comes, one is due, or a signal arrives; only looks when `busy`.
void wait(const Forwarder& forwarder, bool busy, const sigset_t& mask) {
  const auto fds = forwarder.fds();
  pollfd wanted[] = {{fds[0], POLLIN, 0}, {fds[1], POLLIN, 0}};
  const Instant due = forwarder.next_due();
  timespec limit{};
  if (!busy && due != pollux::kNever) {
    const Duration left = std::max(due - Forwarder::now(), Duration{0});
    limit = {left.count() / 1'000'000'000, left.count() % 1'000'000'000};
  }
  const bool forever = !busy && due == pollux::kNever;
  ppoll(wanted, 2, forever ? nullptr : &limit, &mask);
}

/// The path must not get slower because the ends of it are busy.
void go_before_others() {
  sched_param priority{};
  priority.sched_priority = 1;
  if (sched_setscheduler(0, SCHED_RR, &priority) != 0) {
    std::fprintf(stderr, "pollux_hop: no real-time scheduling: %s\n", std::strerror(errno));
  }
}

void run(const pollux::hop::Options& options) {
  const sigset_t mask = take_signals();
  prctl(PR_SET_TIMERSLACK, 1UL);  // nanoseconds; the default is 50 us
  if (options.realtime) go_before_others();
  Forwarder forwarder(options);
  say("ready");
  while (stop_asked == 0) {
    const bool busy = forwarder.turn();
    wait(forwarder, busy, mask);
    if (report_asked != 0) {
      report_asked = 0;
      say(forwarder.report());
    }
  }
  say(forwarder.report());
}

}  // namespace

int main(int argc, char** argv) {
  pollux::hop::Options options;
  const int status = pollux::hop::parse_command_line(argc, argv, options);
  if (status >= 0) return status;
  try {
    run(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "pollux_hop: %s\n", error.what());
    return 1;
  }
  return 0;
}
