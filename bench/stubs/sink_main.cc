// The ceiling for receiving: every super-packet is acknowledged at once, nothing is looked at.
#include <nlohmann/json.hpp>

#include "bench/stubs/stub.h"

namespace pollux::stubs {
namespace {

class SinkStub final : public Stub {
 public:
  SinkStub(Line& line, const Options& options)
      : line_(line), self_(line.self(options.window)), sink_(self_) {}

  void on_segment(const Arrived& in) override {
    wire::TcpHeader answer;
    if (sink_.on_segment(in, answer)) line_.send(in.ip.dst, in.ip.src, answer, {}, self_.mss);
  }
  std::uint64_t octets() const override { return sink_.octets(); }
  void report(nlohmann::json& out) const override { out["out_of_place"] = sink_.out_of_place(); }

 private:
  Line& line_;
  Self self_;
  Sink sink_;
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
