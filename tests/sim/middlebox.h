// The devices in the middle that touch what passes: options stripped or added, reserved bits
// cleared, the MSS rewritten, segments cut in two and neighbours merged. Checksums come out right.
#pragma once

#include <optional>
#include <vector>

#include "proto/base/time.h"
#include "tests/sim/packet.h"
#include "tests/sim/random.h"

namespace pollux::sim {

struct MiddleboxOptions {
  // Where both directions of a path strip alike, the ends agree about what was negotiated.
  bool strip_sack_permitted = false;
  bool strip_sack = false;  ///< SACK blocks, though they were negotiated
  bool strip_timestamps = false;
  bool strip_window_scale = false;
  bool strip_unknown = false;
  bool add_unknown = false;     ///< an option of kind 253
  bool set_reserved = false;    ///< sets the reserved bits, which a receiver must ignore
  bool clear_reserved = false;  ///< clears them, and the ECN flags of a SYN
  std::uint16_t clamp_mss = 0;  ///< the most that a SYN may offer; 0: as it is
  double split = 0;             ///< of segments: cut in two
  double merge = 0;             ///< of segments: held to be merged with the next of the flow
  Duration hold = 2ms;          ///< for so long

  bool any() const {
    return strip_sack_permitted || strip_sack || strip_timestamps || strip_window_scale ||
           strip_unknown || add_unknown || set_reserved || clear_reserved || clamp_mss != 0 ||
           split > 0 || merge > 0;
  }
};

class Middlebox {
 public:
  explicit Middlebox(const MiddleboxOptions& options) : o_(options) {}
  /// What goes on now, in order, is appended to `out`.
  void pass(Instant now, Packet p, Random& r, std::vector<Packet>& out);
  /// Lets go of what was held long enough.
  void on_time(Instant now, std::vector<Packet>& out);
  Instant next_due() const { return held_ ? let_go_ : kNever; }

 private:
  void change(Segment& s) const;
  bool wants_off(const Option& o, bool syn) const;
  bool merge_into_held(const Segment& s, const Packet& p);
  void release(std::vector<Packet>& out);

  MiddleboxOptions o_;
  std::optional<Segment> held_;
  Packet held_as_;  ///< checksum state of what is held; no octets
  Instant let_go_ = kNever;
};

}  // namespace pollux::sim
