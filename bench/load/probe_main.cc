// How far two CPUs are from each other: a number handed to and fro through one cache line.
#include <sched.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <thread>
#include <vector>

#include "bench/load/sockets.h"

namespace {

using pollux::load::Clock;
using pollux::load::Instant;
using pollux::load::run_on_cpu;

constexpr int kRoundTrips = 100;  // of one sample

struct alignas(128) Line {
  std::atomic<int> value{-2};  ///< nobody is at the other end yet
};

/// Both threads must run at once: for so short a time they go before all ordinary programs.
void take_place(int cpu) {
  run_on_cpu(cpu);
  sched_param priority{};
  priority.sched_priority = 1;
  sched_setscheduler(0, SCHED_RR, &priority);  // without the right to it, it runs as it is
}

/// Waits for an odd number and makes it even; -1 ends it.
void answer(Line& line, int cpu) {
  take_place(cpu);
  line.value.store(0, std::memory_order_release);
  for (int seen = 0; seen >= 0; seen = line.value.load(std::memory_order_acquire)) {
    if (seen % 2 != 0) line.value.store(seen + 1, std::memory_order_release);
  }
}

/// Nanoseconds of one round trip, as a mean of many.
double sample(Line& line) {
  const Instant begin = Clock::now();
  for (int i = 0; i < kRoundTrips; ++i) {
    line.value.store(2 * i + 1, std::memory_order_release);
    while (line.value.load(std::memory_order_acquire) != 2 * i + 2) {
    }
  }
  return std::chrono::duration<double, std::nano>(Clock::now() - begin).count() / kRoundTrips;
}

/// The median of samples: one that was interrupted says nothing.
double probe(int a, int b, std::chrono::duration<double> time) {
  Line line;
  std::thread other([&line, b] { answer(line, b); });
  while (line.value.load(std::memory_order_acquire) < 0) std::this_thread::yield();
  take_place(a);
  std::vector<double> samples;
  const Instant end = Clock::now() + std::chrono::duration_cast<Clock::duration>(time);
  do {
    samples.push_back(sample(line));
  } while (Clock::now() < end);
  line.value.store(-1, std::memory_order_release);
  other.join();
  const auto middle = samples.begin() + static_cast<long>(samples.size() / 2);
  std::nth_element(samples.begin(), middle, samples.end());
  return *middle;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Prints nanoseconds that a cache line takes from one CPU to another and back.");
  std::pair<int, int> cpus{0, 1};
  double seconds = 0.02;
  app.add_option("--cpus", cpus, "The two")->delimiter(',')->capture_default_str();
  app.add_option("--seconds", seconds)->check(CLI::PositiveNumber)->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  std::printf("%.1f\n", probe(cpus.first, cpus.second, std::chrono::duration<double>(seconds)));
  return 0;
}
