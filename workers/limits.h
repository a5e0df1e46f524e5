// Every bound of one worker, by name.
#pragma once

#include <cstddef>
#include <cstdint>

#include "proto/base/time.h"

namespace pollux::limits {

inline constexpr std::size_t kMaxWorkers = 64;
inline constexpr std::size_t kMaxPacket = 65535;         ///< octets of one IP packet
inline constexpr std::size_t kBatch = 64;                ///< packets per turn
inline constexpr std::size_t kRingSlots = 2048;          ///< packets per ring
inline constexpr std::size_t kMaxConnections = 1 << 20;  ///< per worker
inline constexpr std::size_t kSynBacklog = 4096;         ///< half-open connections per worker
inline constexpr std::size_t kFastOpens = 256;           ///< in SYN-RECEIVED, per worker
inline constexpr std::size_t kSynAcksPerTurn = 256;      ///< sent again on time-out
inline constexpr std::size_t kTimersPerTurn = 512;       ///< connections whose deadline is due
inline constexpr std::size_t kTimeWait = 1 << 18;        ///< TIME-WAIT records per worker
inline constexpr std::size_t kExpirePerTurn = 4096;      ///< TIME-WAIT records
inline constexpr Duration kAckHold = 1ms;                ///< for the rest of a burst
inline constexpr std::size_t kDatagramFlows = 4096;      ///< that services opened, per worker
inline constexpr std::size_t kDatagramSegments = 64;     ///< datagrams in one super-datagram
inline constexpr std::size_t kEchoFlows = 64;            ///< pings under way, per worker
inline constexpr std::size_t kHandOvers = 4 << 20;       ///< octets reassembled for others
inline constexpr std::size_t kTxParts = 64;              ///< pieces of memory in one packet

}  // namespace pollux::limits
