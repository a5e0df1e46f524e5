#include "tests/sim/sweep.h"

#include <gtest/gtest.h>
#include <oneapi/tbb/parallel_for.h>

#include <unistd.h>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>

#include "tests/sim/packet.h"

namespace pollux::sim {

namespace {

thread_local std::uint64_t running_seed = 0;  // of this thread's network
char running_test[128];

void tell_seed(int signal) {
  char text[256];
  const int n = std::snprintf(text, sizeof text, "\nPOLLUX_SEED=%llu sim_tests --gtest_filter=%s\n",
                              static_cast<unsigned long long>(running_seed), running_test);
  if (write(STDERR_FILENO, text, static_cast<std::size_t>(n)) < 0) std::_Exit(3);
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

/// The smallest seed that failed, so that what is printed does not depend on the threads.
class Failures {
 public:
  void add(std::uint64_t seed, const std::string& what) {
    const std::lock_guard lock(mutex_);
    if (any_.load() && seed > seed_) return;
    seed_ = seed;
    what_ = what;
    any_ = true;
  }
  bool before(std::uint64_t seed) {
    if (!any_.load()) return false;
    const std::lock_guard lock(mutex_);
    return seed_ < seed;
  }
  void tell() const {
    if (!any_.load()) return;
    ADD_FAILURE() << what_ << "\nPOLLUX_SEED=" << seed_
                  << " sim_tests --gtest_filter=" << running_test;
  }

 private:
  std::mutex mutex_;
  std::atomic<bool> any_ = false;
  std::uint64_t seed_ = 0;
  std::string what_;
};

std::uint64_t number(const char* variable, std::uint64_t otherwise) {
  const char* n = std::getenv(variable);
  return n == nullptr ? otherwise : std::strtoull(n, nullptr, 10);
}

}  // namespace

void tell_seed_when_killed() {
  const auto* info = testing::UnitTest::GetInstance()->current_test_info();
  std::snprintf(running_test, sizeof running_test, "%s.%s", info->test_suite_name(), info->name());
  for (const int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE}) std::signal(signal, tell_seed);
}

void sweep(std::uint64_t seeds, const std::function<Lived(std::uint64_t)>& life) {
  tell_seed_when_killed();
  const std::uint64_t one = number("POLLUX_SEED", 0);
  const std::uint64_t first = one == 0 ? 1 : one;
  const std::uint64_t end = one == 0 ? number("POLLUX_SEEDS", seeds) + 1 : one + 1;
  std::atomic<std::uint64_t> connections = 0, packets = 0;
  Failures failures;
  tbb::parallel_for(first, end, [&](std::uint64_t seed) {
    if (failures.before(seed)) return;
    running_seed = seed;
    try {
      const Lived lived = life(seed);
      connections += lived.connections;
      packets += lived.packets;
    } catch (const Broken& b) {
      failures.add(seed, b.what());
    }
  });
  failures.tell();
  std::printf("%llu seeds, %llu connections, %llu packets\n",
              static_cast<unsigned long long>(end - first),
              static_cast<unsigned long long>(connections.load()),
              static_cast<unsigned long long>(packets.load()));
}

}  // namespace pollux::sim
