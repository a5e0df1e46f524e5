#include "engine/top.h"

#include <langinfo.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <clocale>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>
#include <thread>

#include "engine/control_client.h"
#include "engine/top_view.h"

namespace pollux::engine {
namespace {

using Clock = std::chrono::steady_clock;

/// Raw keyboard and the alternate screen, given back on every way out.
class Screen {
 public:
  explicit Screen(std::ostream& out) : out_(out), raw_(::tcgetattr(STDIN_FILENO, &saved_) == 0) {
    enter();
  }
  ~Screen() { leave(); }
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  void enter() {
    if (raw_) {
      termios t = saved_;
      t.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
      ::tcsetattr(STDIN_FILENO, TCSANOW, &t);
    }
    out_ << "\x1b[?1049h\x1b[?25l" << std::flush;
  }
  void leave() {
    if (raw_) ::tcsetattr(STDIN_FILENO, TCSANOW, &saved_);
    out_ << "\x1b[?25h\x1b[?1049l" << std::flush;
  }
  bool keyboard() const { return raw_; }

  /// The size comes anew each time: it may have changed.
  void fit(TopLayout& layout) const {
    winsize size{};
    if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return;
    layout.width = size.ws_col;
    layout.height = size.ws_row;
  }
  void frame(std::string text) {
    for (std::size_t at = 0; (at = text.find('\n', at)) != std::string::npos; at += 4) {
      text.replace(at, 1, "\x1b[K\n");
    }
    out_ << "\x1b[H" << text << "\x1b[J" << std::flush;
  }

 private:
  std::ostream& out_;
  termios saved_{};
  bool raw_;
};

/// The signals that matter here, as a descriptor, for as long as it lives.
class Signals {
 public:
  Signals() {
    ::sigemptyset(&set_);
    for (const int s : {SIGINT, SIGTERM, SIGHUP, SIGWINCH, SIGTSTP}) ::sigaddset(&set_, s);
    ::pthread_sigmask(SIG_BLOCK, &set_, &before_);
    fd_ = ::signalfd(-1, &set_, SFD_NONBLOCK | SFD_CLOEXEC);
  }
  ~Signals() {
    ::close(fd_);
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;
  int fd() const { return fd_; }
  std::optional<int> next() const {
    signalfd_siginfo info{};
    if (::read(fd_, &info, sizeof info) != sizeof info) return std::nullopt;
    return static_cast<int>(info.ssi_signo);
  }

 private:
  sigset_t set_{}, before_{};
  int fd_ = -1;
};

class Top {
 public:
  Top(const TopOptions& options, std::ostream& out) : options_(options), screen_(out) {
    layout_.utf8 = std::string_view(::nl_langinfo(CODESET)) == "UTF-8";
    layout_.keys = screen_.keyboard();
  }

  int run() {
    const auto interval = std::chrono::duration_cast<Clock::duration>(
        std::chrono::duration<double>(options_.interval_s));
    auto due = Clock::now();
    while (!over_) {
      if (Clock::now() >= due) {
        view_.add(control_request(options_.control, "show top"));
        due = Clock::now() + interval;
      }
      draw();
      wait(due);
    }
    return 0;
  }

 private:
  void draw() {
    screen_.fit(layout_);
    screen_.frame(view_.render(layout_));
  }

  /// Until `due`, or until something happened that shows.
  void wait(Clock::time_point due) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(due - Clock::now()).count();
    pollfd p[2] = {{signals_.fd(), POLLIN, 0}, {keyboard_open_ ? STDIN_FILENO : -1, POLLIN, 0}};
    if (left <= 0 || ::poll(p, 2, static_cast<int>(left)) <= 0) return;
    if (p[0].revents != 0) on_signal();
    if (p[1].revents != 0) on_key();
  }

  void on_signal() {
    const auto signal = signals_.next();
    if (!signal || *signal == SIGWINCH) return;
    if (*signal != SIGTSTP) {
      over_ = true;
      return;
    }
    screen_.leave();
    ::raise(SIGSTOP);
    screen_.enter();
  }

  void on_key() {
    char key = 0;
    if (::read(STDIN_FILENO, &key, 1) != 1) keyboard_open_ = false;
    if (key == 'q' || key == 'Q') over_ = true;
    constexpr std::string_view keys = "riotx";
    const std::size_t sort = key == 0 ? keys.npos : keys.find(key);
    if (sort != keys.npos) layout_.sort = static_cast<TopSort>(sort);
  }

  const TopOptions& options_;
  Signals signals_;  // first: a signal that comes later finds the terminal restored
  Screen screen_;
  TopView view_;
  TopLayout layout_;
  bool keyboard_open_ = true;
  bool over_ = false;
};

int print_once(const TopOptions& options, std::ostream& out) {
  TopView view;
  view.add(control_request(options.control, "show top"));
  std::this_thread::sleep_for(std::chrono::duration<double>(options.interval_s));
  view.add(control_request(options.control, "show top"));
  TopLayout layout;
  layout.width = 1000;
  layout.utf8 = std::string_view(::nl_langinfo(CODESET)) == "UTF-8";
  out << view.render(layout);
  return 0;
}

}  // namespace

int run_top(const TopOptions& options, std::ostream& out) {
  std::setlocale(LC_CTYPE, "");
  if (options.once || ::isatty(STDOUT_FILENO) == 0) return print_once(options, out);
  return Top(options, out).run();
}

}  // namespace pollux::engine
