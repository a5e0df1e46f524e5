// Parsing the headers of a data segment: IPv4 and TCP, with timestamps as nearly every segment has
// them, and with a SACK option behind them, which takes the long way.
#include <benchmark/benchmark.h>

#include <array>
#include <cstdint>

#include "proto/wire/ip.h"
#include "proto/wire/tcp.h"

namespace pollux::bench {
namespace {

struct Packet {
  std::array<std::uint8_t, 1500> octets{};
};

Packet packet(bool sack) {
  Packet p;
  wire::TcpHeader h;
  h.src_port = 40000;
  h.dst_port = 7;
  h.flags = wire::tcp_flag::ack;
  h.options.timestamps = wire::TcpTimestamps{1, 2};
  if (sack) {
    h.options.sack_count = 1;
    h.options.sack[0] = {Seq{10}, Seq{20}};
  }
  wire::IpHeader ip;
  ip.src = IpAddr::v4(0xc6120001);
  ip.dst = IpAddr::v4(0xc6120002);
  ip.protocol = wire::kProtoTcp;
  const std::size_t at = wire::emit_ip(ip, p.octets.size() - 20, MutableBytes{p.octets});
  wire::emit_tcp(h, MutableBytes{p.octets}.subspan(at));
  return p;
}

void parse(benchmark::State& state, bool sack, bool verify) {
  const Packet p = packet(sack);
  const std::uint8_t* data = p.octets.data();
  wire::TcpHeader h;
  for (auto _ : state) {
    benchmark::DoNotOptimize(data);
    const auto parsed = wire::parse_ip(Bytes{data, p.octets.size()}, verify);
    const auto& ip = std::get<wire::IpHeader>(parsed);
    benchmark::DoNotOptimize(
        wire::parse_tcp(Bytes{data, p.octets.size()}.subspan(ip.header_size, ip.payload_size), h));
    benchmark::DoNotOptimize(h);
  }
}
BENCHMARK_CAPTURE(parse, timestamps, false, false)->Name("parse/timestamps");
BENCHMARK_CAPTURE(parse, timestamps_verified, false, true)
    ->Name("parse/timestamps_header_checksum");
BENCHMARK_CAPTURE(parse, sack, true, false)->Name("parse/timestamps_sack");

}  // namespace
}  // namespace pollux::bench
