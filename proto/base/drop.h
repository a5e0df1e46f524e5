// Why a packet was dropped. Every dropped packet counts in exactly one of these.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace pollux {

// name, meaning
#define POLLUX_DROP_REASONS(X)                                            \
  X(ip_malformed, "IP header too short, bad version or lying lengths")    \
  X(ip_checksum, "IPv4 header checksum wrong")                            \
  X(ip_source_route, "IPv4 source route or IPv6 routing header type 0")   \
  X(ip_fragment, "IP fragment that overlaps, doubles another or lies")    \
  X(ip_incomplete, "IP fragment of a datagram that stayed incomplete")    \
  X(ip_extension_headers, "too many or malformed IPv6 extension headers") \
  X(ip_bad_source, "source address that can never send")                  \
  X(ip_not_ours, "destination is not one of the engine's addresses")      \
  X(ip_protocol, "no handler for the IP protocol")                        \
  X(icmp_malformed, "ICMP message too short or of wrong checksum")        \
  X(icmp_ignored, "ICMP message that asks for nothing")                   \
  X(icmp_rate_limited, "ICMP answer withheld by the rate limit")          \
  X(tcp_malformed, "TCP header or option with an illegal length")         \
  X(tcp_checksum, "TCP checksum wrong")                                   \
  X(tcp_no_listener, "no connection and no listener")                     \
  X(tcp_bad_flags, "flag combination that no state accepts")              \
  X(tcp_backlog_full, "SYN beyond the backlog")                           \
  X(tcp_connection_limit, "SYN beyond the connection or memory limit")    \
  X(tcp_out_of_window, "segment outside the receive window")              \
  X(tcp_paws, "timestamp older than the last one (RFC 7323 5)")           \
  X(tcp_bad_ack, "acknowledges what was never sent (RFC 5961 5)")         \
  X(tcp_blind_rst, "RST inside the window but not exact (RFC 5961 3)")    \
  X(tcp_blind_syn, "SYN in a synchronized state (RFC 5961 4)")            \
  X(tcp_duplicate, "nothing in it that was not received before")          \
  X(tcp_ooo_limit, "out-of-order store full, or memory short")            \
  X(tcp_time_wait, "nothing to do for it in TIME-WAIT")                   \
  X(tcp_closed, "data after the local end closed")                        \
  X(udp_malformed, "UDP header too short, lying length or port 0")        \
  X(udp_checksum, "UDP checksum wrong, or absent over IPv6")              \
  X(udp_no_listener, "UDP datagram to a port without a service")          \
  X(udp_ignored, "UDP datagram that its service has no use for")          \
  X(udp_reflection, "UDP answer withheld: it could hit a third party")    \
  X(ring_full, "ring to the worker full")                                 \
  X(no_buffer, "buffer pool exhausted")                                   \
  X(tx_error, "device refused the packet")

enum class DropReason : std::uint8_t {
#define X(name, text) name,
  POLLUX_DROP_REASONS(X)
#undef X
};

#define X(name, text) +1
inline constexpr std::size_t kDropReasons = 0 POLLUX_DROP_REASONS(X);
#undef X

constexpr std::string_view to_string(DropReason r) {
  constexpr std::array<std::string_view, kDropReasons> names{
#define X(name, text) #name,
      POLLUX_DROP_REASONS(X)
#undef X
  };
  return names[static_cast<std::size_t>(r)];
}

}  // namespace pollux
