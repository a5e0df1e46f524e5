// The ceiling for sending: super-packets from one block of memory, as fast as windows open.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <vector>

#include "bench/stubs/source_flow.h"
#include "bench/stubs/stub.h"

namespace pollux::stubs {
namespace {

class SourceStub final : public Stub {
 public:
  SourceStub(Line& line, const Options& options)
      : line_(line), self_(line.self(options.window)), block_(1 << 16, std::uint8_t{'x'}) {}

  void on_segment(const Arrived& in) override {
    now_ = std::chrono::steady_clock::now();
    if (in.has(wire::tcp_flag::syn)) return accept(in);
    const auto found = flows_.find(in.tcp.src_port);
    if (found == flows_.end()) return;
    SourceFlow& flow = found->second;
    const std::uint64_t acked = flow.octets_acked();
    flow.on_segment(in, now_);
    octets_ += flow.octets_acked() - acked;
    if (flow.peer_finished()) reset(flow);
    if (flow.closed() || flow.peer_finished()) forget(found->first);
  }

  /// One piece of each flow, so that acknowledgements are read in between.
  bool turn(Instant when) override {
    bool sent = false;
    for (auto& [port, flow] : flows_) sent |= send_piece(flow);
    if (when >= next_look_) {
      next_look_ = when + kLook;
      for (auto& [port, flow] : flows_) flow.on_time(when);
    }
    return sent;
  }

  std::uint64_t octets() const override { return octets_; }

  void report(nlohmann::json& out) const override {
    std::uint64_t resent = resent_;
    for (const auto& [port, flow] : flows_) resent += flow.octets_resent();
    out["octets_resent"] = resent;
  }

 private:
  /// All clients of a measurement have one address: the port is the flow.
  using Flows = std::unordered_map<std::uint16_t, SourceFlow>;

  void accept(const Arrived& in) {
    forget(in.tcp.src_port);
    flows_.try_emplace(in.tcp.src_port, in, self_.mss, line_.caps().segmentation, now_);
    line_.send(in.ip.dst, in.ip.src, syn_ack(in, self_), {}, self_.mss);
  }

  bool send_piece(SourceFlow& flow) {
    const auto piece = flow.next();
    if (!piece) return false;
    const Bytes payload = Bytes(block_).first(piece->size);
    return line_.send(flow.own(), flow.peer(), flow.header(piece->seq, self_), payload, flow.mss());
  }

  /// There is no end to what it sends, so the peer's FIN is answered with a RST.
  void reset(const SourceFlow& flow) {
    wire::TcpHeader rst = flow.header(flow.reset_seq(), self_);
    rst.flags = wire::tcp_flag::rst | wire::tcp_flag::ack;
    line_.send(flow.own(), flow.peer(), rst, {}, self_.mss);
  }

  void forget(std::uint16_t port) {
    const auto found = flows_.find(port);
    if (found == flows_.end()) return;
    resent_ += found->second.octets_resent();
    flows_.erase(found);
  }

  static constexpr auto kLook = std::chrono::milliseconds(20);

  Line& line_;
  Self self_;
  std::vector<std::uint8_t> block_;
  Flows flows_;
  Instant now_;
  Instant next_look_;
  std::uint64_t octets_ = 0;
  std::uint64_t resent_ = 0;
};

std::unique_ptr<Stub> make(Line& line, const Options& options) {
  return std::make_unique<SourceStub>(line, options);
}

}  // namespace
}  // namespace pollux::stubs

int main(int argc, char** argv) {
  return pollux::stubs::stub_main(
      argc, argv, "Sends without end to whoever connects to any TCP port.", pollux::stubs::make);
}
