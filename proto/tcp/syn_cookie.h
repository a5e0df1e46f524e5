// SYN cookies (RFC 4987 3.6): a passive open that keeps nothing until the peer has shown that its
// address is real. All that must be known later travels in the SYN-ACK and comes back in the ACK:
//
//   ISN        28 bits MAC | 3 bits MSS | 1 bit of the 64-s counter    (the low four are masked)
//   TSval      26 bits timestamp | ECN | SACK | 4 bits window scale    (when the peer has
//   timestamps)
//
// The MAC is SipHash-2-4 over both ends, the peer's ISN, the counter and the MSS. A cookie is good
// for the rest of its 64 s and the 64 s after them. A peer without timestamps gets a connection
// without scaling and SACK.
#pragma once

#include <cstdint>
#include <optional>

#include "proto/base/addr.h"
#include "proto/base/siphash.h"
#include "proto/base/time.h"
#include "proto/wire/tcp.h"

namespace pollux::tcp {

/// When a SYN is answered by a cookie and not remembered.
enum class CookiePolicy : std::uint8_t {
  when_needed,  ///< past three quarters of the backlog
  always,
  never,  ///< SYNs past the backlog are dropped
};

inline constexpr Duration kCookieTick = 64s;
inline constexpr Duration kCookieLifetime = 2 * kCookieTick;  ///< at most

/// What is sent and what comes back are cut down to what a cookie can carry.
struct CookieSyn {
  wire::TcpHeader syn;  ///< answer this one
  Seq iss;              ///< with this ISN
};

/// The cookie for `syn`. `timestamps`: we use them, if the peer does too.
CookieSyn make_cookie(const HashKey& secret, const FlowKey& flow, const wire::TcpHeader& syn,
                      std::uint16_t default_mss, bool timestamps, Instant now);

/// The TSval of the cookie's SYN-ACK: the latest value not after `clock` whose low bits hold the
/// options of `syn`, so that the timestamps of the connection never go back.
std::uint32_t cookie_timestamp(std::uint32_t clock, const wire::TcpHeader& syn);

/// The SYN (as answered) that `ack` completes; nullopt when its number is no cookie of ours or is
/// too old. Costs two MACs at most and allocates nothing.
std::optional<wire::TcpHeader> open_cookie(const HashKey& secret, const FlowKey& flow,
                                           const wire::TcpHeader& ack, bool timestamps,
                                           Instant now);

/// The timestamp clock of a flow: milliseconds and an offset of its own (RFC 7323 5.4, 7.1).
constexpr std::uint32_t timestamp_at(Instant now, std::uint32_t offset) {
  return static_cast<std::uint32_t>(to_ms(now.time_since_epoch())) + offset;
}

}  // namespace pollux::tcp
