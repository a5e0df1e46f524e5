// A peer that opens connections honestly and then sends nonsense from its seed: each of its moves
// is one known trick against TCPs, or a segment with everything drawn around the edges.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/sim/network.h"

namespace pollux::sim {

struct AdversaryOptions {
  std::string address = "198.18.0.66";
  Endpoint target;
  unsigned lines = 1;    ///< connections at a time; one that was reset is opened anew
  unsigned moves = 300;  ///< then it falls silent
  Duration pace = 5ms;   ///< between two moves, at most
};

class Adversary final : public Node {
 public:
  Adversary(Network& network, std::size_t index, const AdversaryOptions& options);
  void receive(Instant now, const Packet& p) override;
  void turn(Instant now) override;
  Instant next_due(Instant) const override { return due_; }

  bool silent() const { return moves_ == o_.moves; }
  std::uint64_t sent() const { return sent_; }
  /// Segments without data that came.
  std::uint64_t answers() const { return answers_; }
  std::uint64_t opened() const { return opened_; }

 private:
  struct Line {
    std::uint16_t port = 0;
    bool open = false;
    bool timestamps = false;
    Seq iss;      ///< ours
    Seq snd_nxt;  ///< what honest data would carry
    Seq edge;     ///< of the window that the engine offers
    Seq acked;    ///< the highest honest ACK so far
    Seq rcv_nxt;  ///< one past the highest octet that came
    Seq irs;
    std::uint8_t shift = 0;  ///< of the engine's window
    std::uint32_t ts_recent = 0;
    Segment syn;
    unsigned tries = 0;
    Packet last;  ///< the last that came, to quote in ICMP
  };
  using Move = void (Adversary::*)(Line&);

  void call(Line& l);
  Segment segment(const Line& l, std::uint8_t flags, std::size_t octets) const;
  void send(const Segment& s);
  void sack(Segment& s, const std::vector<std::pair<Seq, Seq>>& blocks) const;
  Seq around(Seq a, Seq b);

  // The moves
  void be_honest(Line& l);
  void send_anything(Line& l);
  void divide_acks(Line& l);
  void acknowledge_ahead(Line& l);
  void lie_in_sack(Line& l);
  void renege(Line& l);
  void close_window(Line& l);
  void shrink_window(Line& l);
  void comb(Line& l);
  void point_urgent(Line& l);
  void use_old_timestamps(Line& l);
  void overlap(Line& l);
  void break_in(Line& l);
  void garble(Line& l);
  void lie_by_icmp(Line& l);

  AdversaryOptions o_;
  std::vector<Line> lines_;
  Instant due_;
  std::uint16_t next_port_ = 1024;
  unsigned moves_ = 0;
  std::uint64_t sent_ = 0, answers_ = 0, opened_ = 0;
};

}  // namespace pollux::sim
