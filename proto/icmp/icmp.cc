// ICMP and ICMPv6: echo is answered, errors about our own packets go to the transport, the rest is
// ignored. What an error may do to a connection is RFC 1122 4.2.3.9 and RFC 9293 MUST-54..56.
#include "proto/icmp/icmp.h"

#include "proto/wire/checksum.h"

namespace pollux::icmp {
namespace {

using Kind = Error::Kind;

constexpr std::uint8_t kEchoV4 = 8, kEchoReplyV4 = 0, kEchoV6 = 128, kEchoReplyV6 = 129;
/// Of the embedded transport header: ports and sequence number (RFC 792 promises 64 bits).
constexpr std::size_t kTransportQuote = 8;
constexpr std::uint8_t kFragmentHeader = 44;

struct Verdict {
  Kind kind = Kind::soft;
  std::uint32_t mtu = 0;
};

bool checksum_ok(const wire::IpHeader& ip, Bytes message) {
  wire::ChecksumSum sum;
  if (!ip.is_v4()) {
    wire::add_pseudo_header(sum, ip.src, ip.dst, wire::kProtoIcmpV6,
                            static_cast<std::uint32_t>(message.size()));
  }
  sum.add(message);
  return sum.fold() == 0xffff;
}

/// Only the type changes, so the checksum is updated and not computed: HC' = ~(~HC + ~m + m')
/// (RFC 1624 3). Addresses swap places in the ICMPv6 pseudo-header, which its sum does not see.
EchoRequest answer_echo(Bytes message, std::uint8_t reply_type) {
  const std::uint16_t before = load_be16(message.data());
  const std::uint16_t after = static_cast<std::uint16_t>((reply_type << 8) | message[1]);
  wire::ChecksumSum sum;
  sum.add_be16(static_cast<std::uint16_t>(~load_be16(message.data() + 2)));
  sum.add_be16(static_cast<std::uint16_t>(~before));
  sum.add_be16(after);
  // The formula gives 0 where 0xffff is meant when the reply is zeros throughout (identifier and
  // sequence 0, no data); in any other reply the two are the same number.
  const std::uint16_t checksum = sum.checksum();
  return {.reply_type = reply_type,
          .reply_checksum = checksum == 0 ? std::uint16_t{0xffff} : checksum};
}

/// Destination Unreachable: 2 and 3 are hard, 4 is path MTU discovery (RFC 1191), 0, 1 and 5 are
/// soft (MUST-54), and so is what was defined later: a guess must not kill a connection (RFC 5461).
std::optional<Verdict> judge_unreachable_v4(std::uint8_t code, Bytes message) {
  constexpr std::uint8_t kProtocol = 2, kPort = 3, kFragmentationNeeded = 4, kLastCode = 15;
  if (code == kProtocol || code == kPort) return Verdict{Kind::hard};
  if (code == kFragmentationNeeded) {
    return Verdict{Kind::packet_too_big, load_be16(message.data() + 6)};
  }
  if (code > kLastCode) return std::nullopt;
  return Verdict{Kind::soft};
}

/// nullopt: no error for the transport. Source Quench is one of those (MUST-55, RFC 6633).
std::optional<Verdict> judge_error_v4(Bytes message) {
  constexpr std::uint8_t kUnreachable = 3, kTimeExceeded = 11, kParameterProblem = 12;
  switch (message[0]) {
    case kUnreachable:
      return judge_unreachable_v4(message[1], message);
    case kTimeExceeded:
    case kParameterProblem:
      return Verdict{Kind::soft};
    default:
      return std::nullopt;
  }
}

std::optional<Verdict> judge_error_v6(Bytes message) {
  constexpr std::uint8_t kUnreachable = 1, kTooBig = 2, kTimeExceeded = 3, kParameterProblem = 4;
  constexpr std::uint8_t kAdministrative = 1, kPort = 4;
  const std::uint8_t code = message[1];
  switch (message[0]) {
    case kUnreachable:
      return Verdict{code == kAdministrative || code == kPort ? Kind::hard : Kind::soft};
    case kTooBig:
      return Verdict{Kind::packet_too_big, load_be32(message.data() + 4)};
    case kTimeExceeded:
    case kParameterProblem:
      return Verdict{Kind::soft};
    default:
      return std::nullopt;
  }
}

/// The packet of ours that an error quotes. Its tail is cut off, so parse_ip() would refuse it.
struct Quote {
  IpAddr src;
  IpAddr dst;
  std::uint8_t protocol = 0;
  Bytes transport;
};

std::optional<Quote> parse_quote_v4(Bytes b) {
  if (b.size() < wire::kIpv4HeaderSize || b[0] >> 4 != 4) return std::nullopt;
  const std::size_t size = static_cast<std::size_t>(b[0] & 0x0f) * 4;
  if (size < wire::kIpv4HeaderSize || size > b.size()) return std::nullopt;
  if (load_be16(b.data() + 6) & 0x1fff) return std::nullopt;  // no first fragment, no ports
  return Quote{IpAddr::from_v4_octets(b.data() + 12), IpAddr::from_v4_octets(b.data() + 16), b[9],
               b.subspan(size)};
}

std::optional<Quote> parse_quote_v6(Bytes b) {
  if (b.size() < wire::kIpv6HeaderSize || b[0] >> 4 != 6) return std::nullopt;
  // The only extension header that we send is that of a fragment: behind it, or behind ours, comes
  // the transport, or the quote is not ours.
  Quote q{IpAddr::from_v6_octets(b.data() + 8), IpAddr::from_v6_octets(b.data() + 24), b[6],
          b.subspan(wire::kIpv6HeaderSize)};
  if (q.protocol != kFragmentHeader) return q;
  if (q.transport.size() < wire::kIpv6FragmentHeaderSize) return std::nullopt;
  if ((load_be16(&q.transport[2]) & 0xfff8) != 0) return std::nullopt;
  q.protocol = q.transport[0];
  q.transport = q.transport.subspan(wire::kIpv6FragmentHeaderSize);
  return q;
}

Judgement attribute_to_echo(const wire::IpHeader& ip, const Quote& quote, Bytes error,
                            std::uint32_t mtu) {
  const std::uint8_t* request = quote.transport.data();
  if (request[0] != (ip.is_v4() ? kEchoV4 : kEchoV6)) return DropReason::icmp_ignored;
  return EchoError{.local = quote.src,
                   .remote = quote.dst,
                   .from = ip.src,
                   .id = load_be16(request + 4),
                   .sequence = load_be16(request + 6),
                   .type = error[0],
                   .code = error[1],
                   .mtu = mtu};
}

Judgement attribute(const wire::IpHeader& ip, Bytes message, const Verdict& verdict) {
  const Bytes quoted = message.subspan(kHeaderSize);
  const auto quote = ip.is_v4() ? parse_quote_v4(quoted) : parse_quote_v6(quoted);
  if (!quote || quote->transport.size() < kTransportQuote) return DropReason::icmp_malformed;
  // An error travels to whom the packet came from: anything else is forged (RFC 5927 4).
  if (quote->src != ip.dst) return DropReason::icmp_ignored;
  const bool echo =
      ip.is_v4() ? quote->protocol == wire::kProtoIcmp : quote->protocol == wire::kProtoIcmpV6;
  if (echo) return attribute_to_echo(ip, *quote, message, verdict.mtu);
  if (quote->protocol != wire::kProtoTcp && quote->protocol != wire::kProtoUdp) {
    return DropReason::icmp_ignored;
  }
  const std::uint8_t* t = quote->transport.data();
  Error e;
  e.flow = {.local = {quote->src, load_be16(t)}, .remote = {quote->dst, load_be16(t + 2)}};
  e.protocol = quote->protocol;
  e.kind = verdict.kind;
  e.mtu = verdict.mtu;
  if (quote->protocol == wire::kProtoTcp) e.seq = Seq{load_be32(t + 4)};
  return e;
}

}  // namespace

void emit_echo_request(bool v4, std::uint16_t id, std::uint16_t sequence, MutableBytes out) {
  out[0] = v4 ? kEchoV4 : kEchoV6;
  out[1] = 0;
  store_be16(&out[2], 0);
  store_be16(&out[4], id);
  store_be16(&out[6], sequence);
}

bool is_error(std::uint8_t protocol, Bytes message) {
  if (message.empty()) return false;
  const std::uint8_t type = message[0];
  if (protocol == wire::kProtoIcmpV6) return type < 128;
  return protocol == wire::kProtoIcmp &&
         (type == 3 || type == 4 || type == 5 || type == 11 || type == 12);
}

bool is_echo(std::uint8_t protocol, Bytes message) {
  if (message.empty()) return false;
  const std::uint8_t type = message[0];
  if (protocol == wire::kProtoIcmpV6) return type == kEchoV6 || type == kEchoReplyV6;
  return protocol == wire::kProtoIcmp && (type == kEchoV4 || type == kEchoReplyV4);
}

Judgement parse(const wire::IpHeader& ip, Bytes message, bool verify_checksum) {
  if (message.size() < kHeaderSize) return DropReason::icmp_malformed;
  if (verify_checksum && !checksum_ok(ip, message)) return DropReason::icmp_malformed;
  const bool v4 = ip.is_v4();
  if (message[0] == (v4 ? kEchoV4 : kEchoV6)) {
    return answer_echo(message, v4 ? kEchoReplyV4 : kEchoReplyV6);
  }
  if (message[0] == (v4 ? kEchoReplyV4 : kEchoReplyV6)) {
    return EchoReply{.local = ip.dst,
                     .remote = ip.src,
                     .hop_limit = ip.hop_limit,
                     .id = load_be16(&message[4]),
                     .sequence = load_be16(&message[6]),
                     .data = message.subspan(kHeaderSize)};
  }
  const auto verdict = v4 ? judge_error_v4(message) : judge_error_v6(message);
  if (!verdict) return DropReason::icmp_ignored;
  return attribute(ip, message, *verdict);
}

}  // namespace pollux::icmp
