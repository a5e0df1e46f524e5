#include "proto/tcp/fast_open.h"

#include <algorithm>

namespace pollux::tcp {

namespace {

constexpr std::uint8_t kPurpose = 34;  // keeps the MAC apart from other uses of the secret

}  // namespace

wire::FastOpenCookie fast_open_cookie(const HashKey& secret, const IpAddr& client) {
  std::array<std::uint8_t, 17> message{};
  std::copy_n(client.octets().begin(), 16, message.begin());
  message[16] = kPurpose;
  const std::uint64_t mac = siphash24(secret, message);
  wire::FastOpenCookie cookie;
  cookie.size = kFastOpenCookieSize;
  store_be32(cookie.octets.data(), static_cast<std::uint32_t>(mac >> 32));
  store_be32(cookie.octets.data() + 4, static_cast<std::uint32_t>(mac));
  return cookie;
}

bool has_fast_open_cookie(const HashKey& secret, const IpAddr& client, const wire::TcpHeader& syn) {
  const auto& given = syn.options.fast_open;
  return given && given->size > 0 && *given == fast_open_cookie(secret, client);
}

}  // namespace pollux::tcp
