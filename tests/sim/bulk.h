// Services for measurements: one sends without end, one takes and counts, two exchange a little
// every second.
#pragma once

#include <cstdint>
#include <vector>

#include "tests/sim/peer.h"
#include "workers/service.h"

namespace pollux::sim {

class Source final : public Service {
 public:
  std::string_view name() const override { return "source"; }
  void on_open(Stream& s) override { on_writable(s); }
  void on_writable(Stream& s) override {
    while (s.write(Slice::from_static(pattern())) > 0) {
    }
    s.want_writable();
  }
};

class Sink final : public Service {
 public:
  std::string_view name() const override { return "sink"; }
  void on_open(Stream& s) override {
    auto mine = std::make_unique<Number>();
    mine->number = taken.size();
    taken.push_back(0);
    s.attach(std::move(mine));
  }
  void on_readable(Stream& s) override {
    std::uint64_t& octets = taken[s.session<Number>()->number];
    octets += s.readable();
    while (s.readable() > 0) s.consume(s.peek().size());
  }
  std::vector<std::uint64_t> taken;  ///< octets, per connection

 private:
  struct Number final : Session {
    std::size_t number = 0;
  };
};

/// Says `octets` every `pause`; what comes is read.
class Chatter final : public Service {
 public:
  Chatter(std::size_t octets, Duration pause) : octets_(octets), pause_(pause) {}
  std::string_view name() const override { return "chatter"; }
  void on_open(Stream& s) override { on_timer(s); }
  void on_timer(Stream& s) override {
    s.write(Slice::from_static(Bytes(pattern()).first(octets_)));
    s.set_timer(s.now() + pause_);
  }
  void on_readable(Stream& s) override {
    while (s.readable() > 0) s.consume(s.peek().size());
  }

 private:
  std::size_t octets_;
  Duration pause_;
};

}  // namespace pollux::sim
