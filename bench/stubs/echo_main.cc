// The ceiling for round trips: the packet that came in goes back with its ends swapped.
#include "bench/stubs/stub.h"

namespace pollux::stubs {
namespace {

class EchoStub final : public Stub {
 public:
  EchoStub(Line& line, const Options& options) : line_(line), self_(line.self(options.window)) {}

  void on_segment(const Arrived& in) override {
    wire::TcpHeader answer;
    if (!echo(in, self_, answer)) return;
    octets_ += in.payload.size();
    const std::uint16_t options = in.tcp.options.timestamps ? 12 : 0;
    line_.send(in.ip.dst, in.ip.src, answer, in.payload,
               static_cast<std::uint16_t>(self_.mss - options));
  }
  std::uint64_t octets() const override { return octets_; }

 private:
  Line& line_;
  Self self_;
  std::uint64_t octets_ = 0;
};

std::unique_ptr<Stub> make(Line& line, const Options& options) {
  return std::make_unique<EchoStub>(line, options);
}

}  // namespace
}  // namespace pollux::stubs

int main(int argc, char** argv) {
  return pollux::stubs::stub_main(
      argc, argv, "Sends back, on any TCP port, what it receives, and remembers nothing.",
      pollux::stubs::make);
}
