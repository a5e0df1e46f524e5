#include "bench/hop/device.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <stdexcept>
#include <string>
#include <system_error>

namespace pollux::hop {
namespace {

/// A descriptor that closes itself.
class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }
  int release() {
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }

 private:
  int fd_;
};

[[noreturn]] void fail(const std::string& what) {
  throw std::runtime_error(what + ": " + std::generic_category().message(errno));
}

/// In a named network namespace while it lives.
class Inside {
 public:
  explicit Inside(const std::string& netns) : home_(netns.empty() ? -1 : open_own()) {
    if (netns.empty()) return;
    const std::string path = "/run/netns/" + netns;
    const Fd there(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (there.get() < 0) fail("cannot open namespace " + path);
    if (setns(there.get(), CLONE_NEWNET) != 0) fail("cannot enter namespace " + netns);
  }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;
  ~Inside() {
    if (home_.get() >= 0) setns(home_.get(), CLONE_NEWNET);
  }

 private:
  static int open_own() {
    const int fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (fd < 0) fail("cannot open /proc/self/ns/net");
    return fd;
  }
  Fd home_;
};

ifreq request_for(const std::string& name) {
  ifreq request{};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  return request;
}

int open_tun(const std::string& name) {
  Fd fd(open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (fd.get() < 0) fail("cannot open /dev/net/tun");
  ifreq request = request_for(name);
  request.ifr_flags = IFF_TUN | IFF_NO_PI;
  if (ioctl(fd.get(), TUNSETIFF, &request) != 0) fail("cannot create TUN device " + name);
  // A device that another program made may still have offloads on: packets would come unfinished.
  if (ioctl(fd.get(), TUNSETOFFLOAD, 0) != 0) fail("cannot turn off the offloads of " + name);
  return fd.release();
}

void set_up(const std::string& name, std::uint32_t mtu, std::uint32_t txqueuelen) {
  const Fd control(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request = request_for(name);
  request.ifr_mtu = static_cast<int>(mtu);
  if (ioctl(control.get(), SIOCSIFMTU, &request) != 0) fail("cannot set the MTU of " + name);
  request = request_for(name);
  request.ifr_qlen = static_cast<int>(txqueuelen);
  if (ioctl(control.get(), SIOCSIFTXQLEN, &request) != 0) {
    fail("cannot set the queue length of " + name);
  }
  request = request_for(name);
  if (ioctl(control.get(), SIOCGIFFLAGS, &request) != 0) fail("cannot read the flags of " + name);
  request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
  if (ioctl(control.get(), SIOCSIFFLAGS, &request) != 0) fail("cannot set up " + name);
}

}  // namespace

Device::Device(const DeviceName& name, std::uint32_t mtu, std::uint32_t txqueuelen) {
  const Inside inside(name.netns);
  Fd fd(open_tun(name.name));
  set_up(name.name, mtu, txqueuelen);
  fd_ = fd.release();
}

Device::~Device() { close(fd_); }

std::size_t Device::read(MutableBytes buffer) {
  const ssize_t n = ::read(fd_, buffer.data(), buffer.size());
  if (n >= 0) return static_cast<std::size_t>(n);
  // EBADFD: the device was taken away under us; that ends the run, the rest is "not now".
  if (errno == EBADFD || errno == EIO) fail("cannot read from a TUN device");
  return 0;
}

bool Device::write(Bytes packet) {
  return ::write(fd_, packet.data(), packet.size()) == static_cast<ssize_t>(packet.size());
}

}  // namespace pollux::hop
