// The cookies of TCP Fast Open (RFC 7413 4.1.2): a MAC over the client's address, so that only who
// has received one at that address may send data in a SYN that is acted upon at once.
#pragma once

#include "proto/base/addr.h"
#include "proto/base/siphash.h"
#include "proto/wire/tcp.h"

namespace pollux::tcp {

inline constexpr std::uint8_t kFastOpenCookieSize = 8;

/// What a client at `client` gets; good until the secret changes.
wire::FastOpenCookie fast_open_cookie(const HashKey& secret, const IpAddr& client);

/// True when `syn` has a cookie and it is the one of `client`.
bool has_fast_open_cookie(const HashKey& secret, const IpAddr& client, const wire::TcpHeader& syn);

}  // namespace pollux::tcp
