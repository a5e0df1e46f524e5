#include "engine/services/iperf2_wire.h"

#include <algorithm>

namespace pollux::iperf2 {
namespace {

// The first word of a test head.
constexpr std::uint32_t kVersion1 = 0x80000000;    // -d or -r
constexpr std::uint32_t kExtend = 0x40000000;      // more than kMinTestHead
constexpr std::uint32_t kSequence64 = 0x08000000;  // UDP
constexpr std::uint32_t kVersion2 = 0x04000000;    // kReverse and kFullDuplex count
constexpr std::uint32_t kPeerDetect = 0x02000000;  // wants an ack
constexpr std::uint32_t kBounce = 0x00800000;
constexpr std::uint32_t kHasLength = 0x00010000;
constexpr std::uint32_t kLengthMask = 0x000001fe;
constexpr std::uint32_t kRunNow = 0x00000001;
// The upper flags of the extension.
constexpr std::uint16_t kTripTimes = 0x0010;
constexpr std::uint16_t kFqRate = 0x0200;
constexpr std::uint16_t kReverse = 0x0400;
constexpr std::uint16_t kFullDuplex = 0x0800;

constexpr std::size_t kBounceTos = 14;  // behind flags, size, id and more flags
constexpr std::uint32_t kAckType = 2;
constexpr std::uint32_t kVersionUpper = 0x00020001, kVersionLower = 0x00080003;  // as 2.1.8 says
constexpr std::int64_t kMicroseconds = 1'000'000;

Test::Kind kind_of(std::uint32_t flags, std::uint16_t upper) {
  if ((flags & kVersion2) == 0) return Test::Kind::sink;
  if ((upper & kReverse) != 0) return Test::Kind::reverse;
  return (upper & kFullDuplex) != 0 ? Test::Kind::full_duplex : Test::Kind::sink;
}

/// Octets, or where it is negative hundredths of a second.
void read_amount(std::uint32_t word, Test& test) {
  const auto amount = static_cast<std::int32_t>(word);
  if (amount < 0) {
    test.time = 10ms * -std::int64_t{amount};
  } else {
    test.octets = static_cast<std::uint32_t>(amount);
  }
}

/// 0 is no limit.
void limit(std::uint64_t& rate, std::uint64_t to) {
  if (to != 0 && (rate == 0 || to < rate)) rate = to;
}

std::int64_t read_time(Reader& in) {
  const std::int64_t seconds = in.be32();
  return seconds * kMicroseconds + in.be32();
}

struct Writer {
  std::uint8_t* at;
  Writer& u32(std::uint64_t v) {
    store_be32(at, static_cast<std::uint32_t>(v));
    at += 4;
    return *this;
  }
  Writer& zeros(std::size_t words) {
    while (words-- > 0) u32(0);
    return *this;
  }
  Writer& time(std::int64_t us) {
    return u32(static_cast<std::uint64_t>(us / kMicroseconds))
        .u32(static_cast<std::uint64_t>(us % kMicroseconds));
  }
  /// Seconds and microseconds; more than the field holds is its maximum.
  Writer& duration(Duration d) {
    const std::int64_t us = to_us(d);
    return u32(static_cast<std::uint64_t>(std::min<std::int64_t>(us / kMicroseconds, UINT32_MAX)))
        .u32(static_cast<std::uint64_t>(us % kMicroseconds));
  }
};

}  // namespace

std::size_t test_head_size(Bytes octets) {
  const std::uint32_t flags = load_be32(octets.data());
  if ((flags & kHasLength) == 0 || (flags & kBounce) != 0) return kMinTestHead;
  return std::clamp<std::size_t>((flags & kLengthMask) >> 1, kMinTestHead, kTestHead);
}

Test parse_test(Bytes head) {
  Reader in(head);
  const std::uint32_t flags = in.be32();
  Test test;
  test.wide_sequence = (flags & kSequence64) != 0;
  test.wants_ack = (flags & kPeerDetect) != 0;
  test.connect_back = (flags & kVersion1) != 0;
  test.connect_back_now = (flags & kRunNow) != 0;
  in.be32();  // threads: each has a connection of its own
  test.back_port = static_cast<std::uint16_t>(in.be32());
  test.block = in.be32();
  in.be32();  // window
  read_amount(in.be32(), test);
  in.bytes(8);  // type and length of the extension
  const std::uint16_t upper = in.be16();
  in.bytes(12);  // lower flags, version
  const std::uint16_t tos = in.be16();
  const std::uint64_t rate = in.be32();
  const std::uint64_t rate_upper = in.be32() >> 8;
  in.be32();  // prefetch
  const bool extended = (flags & kExtend) != 0 && in.ok();
  in.be32();
  test.started_us = read_time(in);
  test.trip_times = extended && in.ok() && (upper & kTripTimes) != 0;
  const std::uint64_t pace = in.be32();
  const std::uint64_t pace_upper = in.be32();
  if ((flags & kBounce) != 0) {
    test.kind = Test::Kind::bounce;
    test.tos = static_cast<std::uint8_t>(load_be16(&head[kBounceTos]));
  } else if (extended) {
    test.kind = kind_of(flags, upper);
    test.tos = static_cast<std::uint8_t>(tos);
    test.rate = rate | rate_upper << 32;
    if (in.ok() && (upper & kFqRate) != 0) limit(test.rate, (pace | pace_upper << 32) * 8);
  }
  return test;
}

std::size_t emit_ack(const Test& test, std::int64_t now_us, MutableBytes out) {
  constexpr std::size_t plain = 28;
  const std::size_t size = test.trip_times ? kMaxAck : plain;
  Writer w{out.data()};
  w.u32(kAckType).u32(size).u32(0).u32(kVersionUpper).u32(kVersionLower).zeros(2);
  if (test.trip_times) w.time(test.started_us).time(now_us).time(now_us);
  return size;
}

void emit_test_head(std::int64_t started_us, MutableBytes out) {
  Writer w{out.data()};
  w.u32(kExtend | kHasLength | kTestHead << 1).zeros(7);
  w.u32(std::uint32_t{kTripTimes} << 16).u32(kVersionUpper).u32(kVersionLower).zeros(5);
  w.time(started_us).zeros(2);
}

void emit_datagram_test_head(std::int64_t started_us, MutableBytes out) {
  Writer w{out.data()};
  w.u32(kExtend | kSequence64 | kHasLength | kDatagramTestHead << 1).zeros(7);
  w.u32(std::uint32_t{kTripTimes} << 16).u32(kVersionUpper).u32(kVersionLower).zeros(13);
  w.time(started_us).zeros(1);
}

void emit_burst(const Burst& b, MutableBytes out) {
  Writer w{out.data()};
  w.u32(kExtend | kHasLength | kTestHead << 1).zeros(2);
  w.time(b.started_us).time(b.sent_us).zeros(4);
  w.u32(b.id).u32(b.size).u32(b.sequence);
}

std::optional<DatagramHead> parse_datagram(Bytes datagram, bool wide_sequence) {
  if (datagram.size() < kDatagramHead) return std::nullopt;
  Reader in(datagram);
  const std::uint64_t id = in.be32();
  const std::int64_t sent_us = read_time(in);
  const std::uint64_t upper = in.be32();
  return DatagramHead{.id = wide_sequence ? static_cast<std::int64_t>(id | upper << 32)
                                          : static_cast<std::int32_t>(id),
                      .sent_us = sent_us};
}

void emit_datagram(const DatagramHead& h, MutableBytes out) {
  const auto id = static_cast<std::uint64_t>(h.id);
  Writer{out.data()}.u32(id).time(h.sent_us).u32(id >> 32);
}

void emit_report(const Report& r, MutableBytes out) {
  constexpr std::size_t transit_words = 15;  // not measured: the clocks are not the same
  Writer{out.data()}
      .zeros(kDatagramHead / 4)
      .u32(kVersion1 | kSequence64)
      .u32(r.octets >> 32)
      .u32(r.octets)
      .duration(r.time)
      .u32(r.lost)
      .u32(r.out_of_order)
      .u32(r.datagrams)
      .duration(r.jitter)
      .zeros(transit_words)
      .u32(r.lost >> 32)
      .u32(r.out_of_order >> 32)
      .u32(r.datagrams >> 32);
}

std::optional<std::uint32_t> bounce_length(Bytes head) {
  if ((load_be32(head.data()) & kBounce) == 0) return std::nullopt;
  const std::uint32_t length = load_be32(&head[4]);
  if (length < kBounceHead || length > kMaxBounce) return std::nullopt;
  return length;
}

void stamp_bounce(MutableBytes head, std::int64_t us) {
  Writer w{&head[28]};  // behind flags, size, id, more flags, run time and the client's own stamp
  w.time(us).time(us);
}

}  // namespace pollux::iperf2
