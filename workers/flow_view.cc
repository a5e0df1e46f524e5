#include "workers/flow_view.h"

#include <optional>
#include <utility>

#include "proto/icmp/icmp.h"
#include "proto/wire/ip.h"

namespace pollux {
namespace {

/// Addresses, and the payload behind the IP headers as far as it is there.
struct IpView {
  IpAddr src;
  IpAddr dst;
  std::uint8_t protocol = 0;
  Bytes payload;
};

/// Which pieces of a datagram count as having no ports: all of them come to one worker, but what an
/// error quotes is named by those that it has.
enum class Portless : std::uint8_t { fragments, later_fragments };

std::optional<IpView> view_v4(Bytes packet, Portless portless) {
  const std::size_t header_size = std::size_t{packet[0] & 0x0fU} * 4;
  if (header_size < wire::kIpv4HeaderSize || packet.size() < header_size) return std::nullopt;
  IpView v{IpAddr::from_v4_octets(&packet[12]), IpAddr::from_v4_octets(&packet[16]), packet[9],
           packet.subspan(header_size)};
  const unsigned without = portless == Portless::fragments ? 0x3fff : 0x1fff;
  if ((load_be16(&packet[6]) & without) != 0) v.payload = {};
  return v;
}

constexpr std::uint8_t kHopByHop = 0;
constexpr std::uint8_t kRouting = 43;
constexpr std::uint8_t kFragment = 44;
constexpr std::uint8_t kDestinationOptions = 60;

/// Octets of the extension header at the front of `rest`; 0 when it is none or ends too early.
std::size_t extension_size(std::uint8_t protocol, Bytes rest) {
  if (rest.size() < 8) return 0;
  std::size_t size = 0;
  if (protocol == kFragment) size = 8;
  if (protocol == kHopByHop || protocol == kRouting || protocol == kDestinationOptions) {
    size = (std::size_t{rest[1]} + 1) * 8;
  }
  return size <= rest.size() ? size : 0;
}

std::optional<IpView> view_v6(Bytes packet, Portless portless) {
  const unsigned without = portless == Portless::fragments ? 0xfff9 : 0xfff8;
  if (packet.size() < wire::kIpv6HeaderSize) return std::nullopt;
  IpView v{IpAddr::from_v6_octets(&packet[8]), IpAddr::from_v6_octets(&packet[24]), packet[6],
           packet.subspan(wire::kIpv6HeaderSize)};
  for (unsigned i = 0; i < wire::kMaxExtensionHeaders; ++i) {
    const std::size_t size = extension_size(v.protocol, v.payload);
    if (size == 0) break;
    const bool piece = v.protocol == kFragment && (load_be16(&v.payload[2]) & without) != 0;
    v.protocol = v.payload[0];
    v.payload = piece ? Bytes{} : v.payload.subspan(size);
  }
  return v;
}

std::optional<IpView> view_ip(Bytes packet, Portless portless) {
  if (packet.size() < wire::kIpv4HeaderSize) return std::nullopt;
  const unsigned version = packet[0] >> 4U;
  if (version == 4) return view_v4(packet, portless);
  return version == 6 ? view_v6(packet, portless) : std::nullopt;
}

FlowView view_transport(const IpView& ip) {
  FlowView flow{{{ip.dst, 0}, {ip.src, 0}}, false};
  const bool has_ports = ip.protocol == wire::kProtoTcp || ip.protocol == wire::kProtoUdp;
  if (!has_ports || ip.payload.size() < 4) return flow;
  flow.key.remote.port = load_be16(&ip.payload[0]);
  flow.key.local.port = load_be16(&ip.payload[2]);
  flow.transport = true;
  return flow;
}

}  // namespace

FlowView view_flow(Bytes packet) {
  const std::optional<IpView> ip = view_ip(packet, Portless::fragments);
  if (!ip) return {};
  if (!icmp::is_error(ip->protocol, ip->payload) || ip->payload.size() < icmp::kHeaderSize)
    return view_transport(*ip);
  const std::optional<IpView> quoted =
      view_ip(ip->payload.subspan(icmp::kHeaderSize), Portless::later_fragments);
  if (!quoted) return view_transport(*ip);
  // What is quoted is a packet that we sent: its source is our end.
  FlowView flow = view_transport(*quoted);
  std::swap(flow.key.local, flow.key.remote);
  flow.transport = false;
  return flow;
}

}  // namespace pollux
