// Plays the trace once. `callgrind --toggle-collect=pollux_scaling_measured` then counts the
// engine's instructions in its steady state, and nothing else.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>

#include "bench/scaling/rig.h"

using namespace pollux;

// Named for callgrind, which finds a function by its symbol.
extern "C" [[gnu::noinline]] void pollux_scaling_measured(scaling::Rig& rig, Instant now) {
  rig.run(now);
}

namespace {

struct Options {
  std::size_t workers = 1;
  std::size_t flows = 512;
  std::size_t rounds = 20;
  std::size_t warm_up = 8;
};

class Play {
 public:
  explicit Play(const Options& o) : options_(o), rig_(o.workers, o.flows), trace_(o.flows) {}

  void run() {
    trace_.send_syns(rig_.queue());
    step(false);
    trace_.send_acks(rig_.queue());
    step(false);
    for (std::size_t i = 0; i < options_.warm_up; ++i) round(i, false);
    const std::uint64_t before = rig_.received();
    for (std::size_t i = 0; i < options_.rounds; ++i) round(i, true);
    packets_ = rig_.received() - before;
  }
  std::uint64_t packets() const { return packets_; }
  /// Every flow was accepted, and all its data came back.
  bool complete() const {
    return rig_.connections_opened() == options_.flows && trace_.in_step() == options_.flows &&
           packets_ == 2 * options_.flows * options_.rounds;
  }

 private:
  /// One data segment of every flow, then an ACK of its echo; each fourth one is a super-packet.
  void round(std::size_t i, bool measured) {
    trace_.send_data(rig_.queue(), i % 4 == 3 ? 32000 : 1000);
    step(measured);
    trace_.send_acks(rig_.queue());
    step(measured);
  }
  void step(bool measured) {
    now_ += 1ms;
    if (measured) {
      pollux_scaling_measured(rig_, now_);
    } else {
      rig_.run(now_);
    }
    rig_.for_each_sent([&](const scaling::MemoryPort::Sent& s) { trace_.hear(s); });
  }

  const Options options_;
  scaling::Rig rig_;
  scaling::Trace trace_;
  Instant now_{1s};
  std::uint64_t packets_ = 0;
};

}  // namespace

int main(int argc, char** argv) try {
  CLI::App app{"Plays a fixed trace through an RX stage and N workers, in one thread."};
  Options o;
  app.add_option("--workers", o.workers)->check(CLI::Range(1, 64));
  app.add_option("--flows", o.flows)->check(CLI::Range(1, 2000));
  app.add_option("--rounds", o.rounds, "Of data and ACK, measured")->check(CLI::Range(1, 100000));
  app.add_option("--warm-up", o.warm_up, "Rounds that are not");
  CLI11_PARSE(app, argc, argv);
  Play play(o);
  play.run();
  std::printf("{\"workers\": %zu, \"flows\": %zu, \"packets\": %zu, \"complete\": %s}\n", o.workers,
              o.flows, static_cast<std::size_t>(play.packets()),
              play.complete() ? "true" : "false");
  return play.complete() ? 0 : 1;
} catch (const std::exception& e) {
  std::fprintf(stderr, "pollux_scaling: %s\n", e.what());
  return 1;
}
