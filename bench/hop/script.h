// Scripted impairment: rules that name single packets of a TCP flow.
//
//   DIRECTION ACTION MATCH [nth N|N..M|all]
//
//   DIRECTION  a>b, b>a, both
//   ACTION     drop, delay TIME, duplicate, strip OPTION
//   MATCH      packet N[..M]   the N-th packet of data, counted by first transmissions
//              seq A..B        a packet with data in [A, B), octets from the start of the stream
//              ack N[..M]      the N-th packet without data, SYN or FIN
//              syn, fin        a packet with that flag
//   nth        which transmission of that packet; the first when not said
//   OPTION     sack-permitted, timestamps: from every SYN, with no MATCH
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bench/hop/data_flow.h"
#include "bench/hop/tcp_view.h"
#include "proto/base/time.h"

namespace pollux::hop {

/// First and last, both included.
struct Numbers {
  std::uint64_t first = 1;
  std::uint64_t last = 1;

  bool contains(std::uint64_t n) const { return first <= n && n <= last; }
  bool operator==(const Numbers&) const = default;
};

struct Rule {
  enum class Action { drop, delay, duplicate, strip };
  enum class Match { packet, seq, ack, syn, fin };

  bool a_to_b = false;
  bool b_to_a = false;
  Action action = Action::drop;
  Match match = Match::packet;
  Duration delay{0};
  std::uint8_t option = 0;  ///< of strip
  Numbers which;            ///< packet, ack
  Range range;              ///< seq
  Numbers nth;
};

/// Throws std::invalid_argument that says what is wrong with which word.
Rule parse_rule(std::string_view line);
/// Rules, one a line; empty lines and what follows a '#' are skipped. Errors name the line.
std::vector<Rule> parse_script(std::string_view text);
/// "250us", "20ms", "1.5s" or "0".
Duration parse_duration(std::string_view text);

/// What the rules ask for one packet.
struct Verdict {
  bool drop = false;
  bool duplicate = false;
  Duration delay{0};
};

/// The rules of one direction, applied to one flow.
class FlowScript {
 public:
  explicit FlowScript(const std::vector<Rule>& rules);

  /// `sent` is there for a packet with data. Call once for each packet of the flow, in order.
  Verdict on_packet(const TcpView& tcp, const std::optional<Transmission>& sent,
                    const DataFlow& flow);

 private:
  bool matches(std::size_t i, const TcpView& tcp, const std::optional<Transmission>& sent,
               const DataFlow& flow);
  void learn(const Transmission& sent);
  static bool matches_range(const Rule& rule, Range wanted, const Transmission& sent,
                            const DataFlow& flow);

  const std::vector<Rule>* rules_;
  std::vector<std::optional<Range>>
      found_;  ///< of each `packet` rule: where its packets begin, end
  std::uint64_t syns_ = 0, fins_ = 0, acks_ = 0;
};

/// Takes options out of a SYN as the rules ask; true when something was there.
bool strip_options(const std::vector<Rule>& rules, const TcpView& tcp, MutableBytes packet);

}  // namespace pollux::hop
