// A shard with a port that records what it sends and a service that records what it is told.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <optional>
#include <vector>

#include "proto/wire/checksum.h"
#include "proto/wire/tcp.h"
#include "workers/shard.h"

namespace pollux {

namespace flag = wire::tcp_flag;

inline const IpAddr kHere = *IpAddr::parse("198.18.0.2");
inline const IpAddr kHere6 = *IpAddr::parse("2001:2::2");
inline const IpAddr kThere = *IpAddr::parse("198.18.0.1");
inline const IpAddr kThere6 = *IpAddr::parse("2001:2::1");
inline constexpr std::uint16_t kPort = 7;

struct Sent {
  wire::IpHeader ip;
  std::vector<std::uint8_t> payload;
  wire::TcpHeader tcp;
  std::uint16_t segment_size = 0;
  bool partial_checksum = false, fragments = false;  ///< as the port was told
  std::vector<std::uint8_t> octets;                  ///< the whole packet
};

class RecordingPort final : public TxPort {
 public:
  PortCaps capabilities;
  bool refuse = false;
  std::size_t room = SIZE_MAX;  ///< packets that it takes before it refuses
  std::deque<Sent> sent;

  bool transmit(const TxPacket& packet) noexcept override {
    if (refuse || sent.size() == room) return false;
    std::vector<std::uint8_t> octets;
    for (const Bytes p : packet.parts) octets.insert(octets.end(), p.begin(), p.end());
    Sent s;
    s.ip = std::get<wire::IpHeader>(wire::parse_ip(octets, true));
    EXPECT_FALSE(s.ip.is_fragment() && packet.partial_checksum) << "no device does that";
    const Bytes payload = Bytes(octets).subspan(s.ip.header_size, s.ip.payload_size);
    s.payload.assign(payload.begin(), payload.end());
    s.segment_size = packet.segment_size;
    s.partial_checksum = packet.partial_checksum;
    s.fragments = packet.fragments;
    s.octets = octets;
    if (s.ip.protocol == wire::kProtoTcp) {
      EXPECT_GT(wire::parse_tcp(payload, s.tcp), 0U);
      EXPECT_TRUE(wire::tcp_checksum_ok(s.ip.src, s.ip.dst, payload));
    }
    sent.push_back(std::move(s));
    return true;
  }
  const PortCaps& caps() const noexcept override { return capabilities; }
};

class Recorder final : public Service {
 public:
  std::string_view name() const override { return "recorder"; }
  void on_open(Stream& s) override {
    ++opened;
    if (abort_on_open) s.abort();
  }
  void on_readable(Stream& s) override {
    ++called;
    if (keep) return;
    while (!s.peek().empty()) {
      const std::size_t n = s.peek().size();
      octets += n;
      s.consume(n);
    }
  }
  void on_peer_closed(Stream& s) override {
    ++called;
    s.shutdown_write();
  }
  void on_timer(Stream&) override { ++timers; }
  void on_closed(Stream&, CloseReason r) override { reasons.push_back(r); }

  bool keep = false, abort_on_open = false;
  int opened = 0, called = 0, timers = 0;
  std::size_t octets = 0;
  std::vector<CloseReason> reasons;
};

class ShardTest : public testing::Test {
 protected:
  ShardTest() {
    options.secret = {1, 2};
    options.addresses = {{kHere, 32}, {kHere6, 128}};
  }
  ~ShardTest() override {
    if (!shard_) return;
    expect_each_packet_counted_once();
    shard_.reset();
    EXPECT_EQ(pool_.in_use(), 0U);
  }

  Shard& shard() {
    if (!shard_) {
      shard_.emplace(options, port, counters, now);
      shard_->listen({{}, kPort}, true, service);
    }
    return *shard_;
  }

  /// Every packet of this test is either taken or dropped, and `taken` says how many were.
  void expect_each_packet_counted_once() {
    std::uint64_t drops = 0;
    for (const Counter& d : counters.drops) drops += d.get();
    drops -= this->drops(DropReason::tx_error);
    EXPECT_EQ(counters.rx_packets.get(), given_);
    EXPECT_EQ(drops, given_ - taken);
  }
  std::uint64_t drops(DropReason r) const {
    return counters.drops[static_cast<std::size_t>(r)].get();
  }

  void packet(Bytes octets, ChecksumState checksum = ChecksumState::unverified,
              std::uint16_t segment_size = 0) {
    Buffer* b = pool_.alloc();
    ASSERT_NE(b, nullptr);
    b->refs = 1;
    std::memcpy(b->data, octets.data(), octets.size());
    ++given_;
    shard().on_packet(now, {.buffer = b,
                            .length = static_cast<std::uint32_t>(octets.size()),
                            .segment_size = segment_size,
                            .checksum = checksum});
  }
  static std::vector<std::uint8_t> ip_packet(const IpAddr& src, const IpAddr& dst,
                                             std::uint8_t protocol, Bytes payload) {
    std::vector<std::uint8_t> p(wire::ip_header_size(dst.is_v4()) + payload.size());
    wire::IpHeader ip;
    ip.src = src;
    ip.dst = dst;
    ip.protocol = protocol;
    const std::size_t n = wire::emit_ip(ip, payload.size(), p);
    std::copy(payload.begin(), payload.end(), p.begin() + static_cast<std::ptrdiff_t>(n));
    return p;
  }
  std::vector<std::uint8_t> tcp_packet(wire::TcpHeader h, std::size_t data, const IpAddr& src,
                                       const IpAddr& dst) const {
    std::uint8_t head[wire::kTcpMaxHeaderSize];
    const std::size_t n = wire::emit_tcp(h, head);
    std::vector<std::uint8_t> segment(head, head + n);
    segment.resize(n + data, 'x');
    wire::ChecksumSum sum;
    wire::add_pseudo_header(sum, src, dst, wire::kProtoTcp,
                            static_cast<std::uint32_t>(segment.size()));
    sum.add(segment);
    store_be16(segment.data() + wire::kTcpChecksumOffset, sum.checksum());
    return ip_packet(src, dst, wire::kProtoTcp, segment);
  }
  static wire::TcpHeader header(std::uint8_t flags, std::uint32_t seq, std::uint32_t ack = 0,
                                std::uint16_t from = 1000, std::uint16_t to = kPort) {
    wire::TcpHeader h;
    h.src_port = from;
    h.dst_port = to;
    h.seq = Seq{seq};
    h.ack = Seq{ack};
    h.flags = flags;
    h.window = 65535;
    return h;
  }
  void segment(const wire::TcpHeader& h, std::size_t data = 0) {
    packet(tcp_packet(h, data, kThere, kHere));
    shard().finish_turn(now);
  }
  /// An ICMP "port unreachable" from kThere about our segment from `from` to `to` with `seq`.
  void port_unreachable(std::uint16_t from, std::uint16_t to, std::uint32_t seq) {
    std::vector<std::uint8_t> m(8 + 20 + 8);
    m[0] = m[1] = 3;
    wire::IpHeader quoted;
    quoted.src = kHere;
    quoted.dst = kThere;
    quoted.protocol = wire::kProtoTcp;
    wire::emit_ip(quoted, 20, MutableBytes(m).subspan(8));
    store_be16(m.data() + 28, from);
    store_be16(m.data() + 30, to);
    store_be32(m.data() + 32, seq);
    wire::ChecksumSum sum;
    sum.add(m);
    store_be16(m.data() + 2, sum.checksum());
    packet(ip_packet(kThere, kHere, wire::kProtoIcmp, m));
    shard().finish_turn(now);
  }
  /// Opens from `from`; our ISS is in `iss` afterwards, the peer's is 100.
  void open(std::uint16_t from = 1000) {
    segment(header(flag::syn, 100, 0, from));
    iss = port.sent.back().tcp.seq.raw();
    segment(header(flag::ack, 101, iss + 1, from));
    taken += 2;
  }
  void pass(Duration d) {
    const Instant to = now + d;
    while (shard().next_deadline() <= to) {
      now = std::max(now, shard().next_deadline());
      shard().on_timers(now);
      shard().finish_turn(now);
    }
    now = to;
  }

  ShardOptions options;
  RecordingPort port;
  Recorder service;
  WorkerCounters counters;
  Instant now{Duration{1'000'000'000}};
  std::uint64_t taken = 0;
  std::uint32_t iss = 0;

 private:
  std::uint64_t given_ = 0;
  BufferPool pool_{{.slot_size = 65536, .max_slots = 4096, .chunk_slots = 16}};
  std::optional<Shard> shard_;
};

}  // namespace pollux
