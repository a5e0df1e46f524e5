// The state diagram of RFC 9293 figure 5 as data: the eleven states and their legal edges.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace pollux::tcp {

enum class State : std::uint8_t {
  closed,
  listen,
  syn_sent,
  syn_received,
  established,
  fin_wait_1,
  fin_wait_2,
  close_wait,
  closing,
  last_ack,
  time_wait,
};
inline constexpr std::size_t kStates = 11;

constexpr std::string_view to_string(State s) {
  constexpr std::array<std::string_view, kStates> names{
      "CLOSED",     "LISTEN",     "SYN-SENT", "SYN-RECEIVED", "ESTABLISHED", "FIN-WAIT-1",
      "FIN-WAIT-2", "CLOSE-WAIT", "CLOSING",  "LAST-ACK",     "TIME-WAIT"};
  return names[static_cast<std::size_t>(s)];
}

namespace detail {
constexpr std::uint16_t bit(State s) {
  return static_cast<std::uint16_t>(1U << static_cast<unsigned>(s));
}
template <class... S>
constexpr std::uint16_t set(S... s) {
  return static_cast<std::uint16_t>((bit(s) | ... | 0));
}
}  // namespace detail

/// Legal successors of each state. CLOSED can follow each (RST, time-out, abort).
inline constexpr std::array<std::uint16_t, kStates> kEdges{
    /* closed       */ detail::set(State::listen, State::syn_sent, State::syn_received),
    /* listen       */ detail::set(State::syn_received, State::syn_sent, State::closed),
    /* syn_sent     */ detail::set(State::syn_received, State::established, State::closed),
    /* syn_received */
    detail::set(State::established, State::fin_wait_1, State::close_wait, State::closed),
    /* established  */ detail::set(State::fin_wait_1, State::close_wait, State::closed),
    /* fin_wait_1   */
    detail::set(State::fin_wait_2, State::closing, State::time_wait, State::closed),
    /* fin_wait_2   */ detail::set(State::time_wait, State::closed),
    /* close_wait   */ detail::set(State::last_ack, State::closed),
    /* closing      */ detail::set(State::time_wait, State::closed),
    /* last_ack     */ detail::set(State::closed),
    /* time_wait    */ detail::set(State::closed),
};

constexpr bool edge_exists(State from, State to) {
  return (kEdges[static_cast<std::size_t>(from)] & detail::bit(to)) != 0;
}

/// Both ends have seen each other's SYN.
constexpr bool is_synchronized(State s) { return s >= State::established; }
/// The local side has not sent or queued its FIN.
constexpr bool may_send(State s) { return s == State::established || s == State::close_wait; }
/// The peer may still send new octets.
constexpr bool may_receive(State s) {
  return s == State::established || s == State::fin_wait_1 || s == State::fin_wait_2;
}

}  // namespace pollux::tcp
