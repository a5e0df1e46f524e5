// A deliberately naive TCP (RFC 793 in spirit), written without the engine's own code: no options,
// MSS 536, a fixed window of segments (one: stop and wait), go-back-N, a fixed time-out, an ACK for
// every segment, nothing kept out of order. IPv4, one connection. What it cannot talk to is broken.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/sim/network.h"
#include "tests/sim/peer.h"

namespace pollux::sim {

struct NaiveOptions {
  std::string address = "198.18.0.2";
  Plan plan;  ///< octets, salt, peer_octets, peer_salt and close; the rest is ignored
  unsigned segments = 1;
  std::uint16_t window = 2048;  ///< offered, always
  Duration rto = 1s;
};

class NaiveTcp final : public Node {
 public:
  NaiveTcp(Network& network, std::size_t index, const NaiveOptions& options);
  void listen(std::uint16_t port);
  void connect(const Endpoint& remote, std::uint16_t local_port);
  void receive(Instant now, const Packet& p) override;
  void turn(Instant now) override;
  Instant next_due(Instant) const override { return due_; }

  /// All was sent and acknowledged, all was read.
  bool complete() const { return fin_acked() && fin_received_ && read_ == o_.plan.peer_octets; }
  bool was_reset() const { return reset_; }

 private:
  enum class State : std::uint8_t { closed, listen, syn_sent, syn_received, open };
  struct In;
  bool take_apart(const Packet& p, In& in) const;
  void open(const In& in, Instant now);
  void take_ack(const In& in);
  void take_text(const In& in);
  void send_all(Instant now);
  void emit(std::uint32_t seq, std::uint8_t flags, std::size_t from, std::size_t octets);
  std::uint32_t end() const { return iss_ + 1 + static_cast<std::uint32_t>(o_.plan.octets); }
  bool may_fin() const { return o_.plan.close != CloseWhen::peer_closed || fin_received_; }
  bool fin_acked() const { return state_ == State::open && una_ == end() + 1; }
  bool anything_left() const;

  NaiveOptions o_;
  State state_ = State::closed;
  std::uint32_t peer_address_ = 0, own_address_;
  std::uint16_t port_ = 0, peer_port_ = 0;
  std::uint32_t iss_ = 0, una_ = 0, nxt_ = 0, rcv_nxt_ = 0;
  std::uint32_t peer_window_ = 0;
  std::size_t read_ = 0;
  Instant due_ = kNever;
  bool timed_out_ = false, fin_received_ = false, ack_owed_ = false, reset_ = false;
};

}  // namespace pollux::sim
