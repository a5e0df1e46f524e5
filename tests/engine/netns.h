// Tests with a network of their own: each one runs in a fresh network namespace.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace pollux::test {

/// The thread that runs the test is in a new, empty network namespace for its time.
class NetnsTest : public testing::Test {
 protected:
  void SetUp() override {
    before_ = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (before_ < 0 || unshare(CLONE_NEWNET) != 0) {
      GTEST_SKIP() << "needs a network namespace of its own (run as root): " << strerror(errno);
    }
  }
  void TearDown() override {
    if (before_ < 0) return;
    EXPECT_EQ(setns(before_, CLONE_NEWNET), 0);
    close(before_);
  }

 private:
  int before_ = -1;
};

/// The same, and a TUN device can be made.
class TunTest : public NetnsTest {
 protected:
  void SetUp() override {
    NetnsTest::SetUp();
    if (IsSkipped()) return;
    if (access("/dev/net/tun", R_OK | W_OK) != 0) {
      GTEST_SKIP() << "needs /dev/net/tun: " << strerror(errno);
    }
  }
};

}  // namespace pollux::test
