// What iperf2's clients and servers (2.0.5 to 2.2) say to each other, as far as a server needs it:
// the head of a test, the head of a datagram, the report at its end. No I/O.
//
//   TCP:  test head, data ...                        UDP:  datagram head, test head, padding
//         or, first: bounce-back messages
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "proto/base/bytes.h"
#include "proto/base/time.h"

namespace pollux::iperf2 {

inline constexpr std::size_t kMinTestHead = 24;        ///< what every client since 2.0.5 sends
inline constexpr std::size_t kTestHead = 80;           ///< as much as matters here
inline constexpr std::size_t kDatagramHead = 16;       ///< id, sec, usec, id's upper half
inline constexpr std::size_t kDatagramTestHead = 108;  ///< behind it, with trip times
inline constexpr std::size_t kReport = 128;            ///< the datagram at the end of a UDP test
inline constexpr std::size_t kMaxAck = 52;     ///< the answer to a test head that asks for it
inline constexpr std::size_t kBurstHead = 56;  ///< begins each burst of a test with trip times
inline constexpr std::uint32_t kDefaultBurst = 128U << 10;  ///< octets of one
inline constexpr std::size_t kBounceHead = 48;              ///< begins each bounce-back message
inline constexpr std::uint32_t kMaxBounce = 1U << 20;       ///< octets of one

/// What a client wants.
struct Test {
  enum class Kind : std::uint8_t {
    sink,         ///< it sends
    reverse,      ///< we send (-R)
    full_duplex,  ///< both, on one connection or flow
    bounce,       ///< each message goes back
  };
  Kind kind = Kind::sink;
  bool wide_sequence = false;     ///< UDP: sequence numbers of 64 bits
  bool wants_ack = false;         ///< TCP: waits for it before it sends
  bool trip_times = false;        ///< TCP: acks and what we send have times of our clock in them
  std::int64_t started_us = 0;    ///< with trip_times, by the client's clock
  bool connect_back = false;      ///< -d or -r: we connect to `back_port`, too
  bool connect_back_now = false;  ///< at once (-d), not after its data (-r)
  std::uint16_t back_port = 0;    ///< of the client's address
  std::uint32_t block = 0;        ///< octets of a datagram or burst; 0: as custom has it
  std::uint64_t rate = 0;         ///< bits a second of what we send; 0: as fast as it goes
  std::uint8_t tos = 0;           ///< of what we send
  std::uint8_t dscp() const { return tos >> 2U; }
  std::optional<Duration> time;  ///< how long we send; else:
  std::uint64_t octets = 0;      ///< how much
};

/// Octets of the test head that begins with `octets`; `octets` has at least kMinTestHead. Never
/// more than kTestHead: what comes behind is of no use here.
std::size_t test_head_size(Bytes octets);
/// Reads a test head of kMinTestHead octets or more; what is not there is zero. Everything is a
/// test of some kind: a client without a head is a sink.
Test parse_test(Bytes head);

/// Writes the answer to a test that wants_ack, at `now_us` since 1970; returns its size, kMaxAck at
/// most.
std::size_t emit_ack(const Test& test, std::int64_t now_us, MutableBytes out);

/// A test head of ours, for a client that asked for trip times of what we send: of TCP kTestHead
/// octets at its begin, of UDP kDatagramTestHead in each datagram.
void emit_test_head(std::int64_t started_us, MutableBytes out);
void emit_datagram_test_head(std::int64_t started_us, MutableBytes out);
/// What a sender with trip times writes in one go.
struct Burst {
  std::int64_t started_us = 0;  ///< the test
  std::int64_t sent_us = 0;
  std::uint32_t id = 0;  ///< from 1 on
  std::uint32_t size = 0;
  std::uint64_t sequence = 0;  ///< octets of all bursts with it
};
void emit_burst(const Burst& b, MutableBytes out);

struct DatagramHead {
  std::int64_t id = 0;       ///< negative: the last one, sent again until it is answered
  std::int64_t sent_us = 0;  ///< by the sender's clock
};
/// nullopt: shorter than kDatagramHead.
std::optional<DatagramHead> parse_datagram(Bytes datagram, bool wide_sequence);
void emit_datagram(const DatagramHead& h, MutableBytes out);

/// Of one flow, as its receiver counts.
struct Report {
  std::uint64_t octets = 0;
  std::uint64_t datagrams = 0;  ///< the highest sequence number
  std::uint64_t lost = 0;
  std::uint64_t out_of_order = 0;
  Duration time{};
  Duration jitter{};
};
/// Writes the kReport octets.
void emit_report(const Report& r, MutableBytes out);

/// The length of a bounce-back message, from its kBounceHead octets; nullopt: it is none.
std::optional<std::uint32_t> bounce_length(Bytes head);
/// Puts in when it came and went, in microseconds since 1970.
void stamp_bounce(MutableBytes head, std::int64_t us);

}  // namespace pollux::iperf2
