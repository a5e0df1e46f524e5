// TIME-WAIT without the connection: what RFC 9293 3.10.7.4 does with a segment when all that is
// left of a connection are two sequence numbers and TS.Recent.
#pragma once

#include <cstdint>
#include <optional>

#include "proto/base/drop.h"
#include "proto/base/seq.h"
#include "proto/wire/tcp.h"

namespace pollux::tcp {

struct TimeWaitState {
  Seq snd_nxt;
  Seq rcv_nxt;
  std::uint32_t ts_recent = 0;
  std::uint16_t window = 0;  ///< of our last ACK, as on the wire
  bool timestamps = false;
};

struct TimeWaitVerdict {
  enum class Answer : std::uint8_t { none, ack, challenge };
  std::optional<DropReason> dropped;
  Answer answer = Answer::none;  ///< a challenge is for the caller to limit (RFC 5961 7)
  bool restart = false;          ///< 2 MSL begin again
  bool reopen = false;           ///< the SYN may end TIME-WAIT (RFC 6191, MAY-2)
};

/// Judges a segment with `payload` octets and keeps TS.Recent up to date.
TimeWaitVerdict judge_in_time_wait(TimeWaitState& state, const wire::TcpHeader& h,
                                   std::uint32_t payload);

/// The acknowledgement that TIME-WAIT answers with; ports and TSval are the caller's.
wire::TcpHeader time_wait_ack(const TimeWaitState& state);

}  // namespace pollux::tcp
