// The ceiling for receiving: every super-packet is acknowledged at once, nothing is looked at.
#include <nlohmann/json.hpp>
#include <vector>

#include "bench/stubs/stub.h"

namespace pollux::stubs {
namespace {

class SinkStub final : public Stub {
 public:
  SinkStub(Line& line, const Options& options)
      : line_(line),
        self_(line.self(options.window)),
        batches_(options.ack_batches),
        sink_(self_) {}

  void on_segment(const Arrived& in) override {
    Answer answer{in.ip.dst, in.ip.src, {}};
    if (!sink_.on_segment(in, answer.tcp)) return;
    if (batches_) {
      hold(answer);
    } else {
      send(answer);
    }
  }

  bool turn(Instant) override {
    for (const Answer& answer : held_) send(answer);
    held_.clear();
    return false;
  }

  std::uint64_t octets() const override { return sink_.octets(); }
  void report(nlohmann::json& out) const override { out["out_of_place"] = sink_.out_of_place(); }

 private:
  struct Answer {
    IpAddr from;
    IpAddr to;
    wire::TcpHeader tcp;
  };

  void send(const Answer& answer) { line_.send(answer.from, answer.to, answer.tcp, {}, self_.mss); }

  /// The latest answer to a connection says all that those before it did, but for a SYN or FIN.
  void hold(const Answer& answer) {
    constexpr std::uint8_t kPlain = wire::tcp_flag::ack;
    for (Answer& other : held_) {
      if (other.tcp.dst_port != answer.tcp.dst_port || other.tcp.flags != kPlain) continue;
      other = answer;
      return;
    }
    held_.push_back(answer);
  }

  Line& line_;
  Self self_;
  bool batches_;
  Sink sink_;
  std::vector<Answer> held_;
};

std::unique_ptr<Stub> make(Line& line, const Options& options) {
  return std::make_unique<SinkStub>(line, options);
}

}  // namespace
}  // namespace pollux::stubs

int main(int argc, char** argv) {
  return pollux::stubs::stub_main(argc, argv,
                                  "Acknowledges all that comes to any TCP port and throws it away.",
                                  pollux::stubs::make);
}
