#include "engine/netlink.h"

#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <stdexcept>
#include <system_error>
#include <thread>

#include "engine/errno_text.h"

namespace pollux {
namespace {

// Large enough for the biggest request here and for an acknowledgement that quotes it.
using MessageBuffer = std::array<char, 1024>;

/// Thrown inside this file so that a caller can look at the errno.
struct NetlinkError : std::system_error {
  NetlinkError(int error, const std::string& tried)
      : std::system_error(error, std::generic_category()), line(tried + ": " + errno_text(error)) {}
  const char* what() const noexcept override { return line.c_str(); }
  std::string line;
};

void check(int error, const std::string& tried) {
  if (error != 0) throw NetlinkError(error, tried);
}

nlmsghdr* new_message(MessageBuffer& buffer, std::uint16_t type, unsigned flags) {
  nlmsghdr* header = mnl_nlmsg_put_header(buffer.data());
  header->nlmsg_type = type;
  header->nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | NLM_F_ACK | flags);
  return header;
}

template <class Body>
Body* put_body(nlmsghdr* header) {
  return static_cast<Body*>(mnl_nlmsg_put_extra_header(header, sizeof(Body)));
}

std::uint8_t family_of(const IpAddr& a) { return a.is_v4() ? AF_INET : AF_INET6; }

void put_octets(nlmsghdr* header, std::uint16_t type, const std::array<std::uint8_t, 16>& octets,
                bool v4) {
  const std::size_t size = v4 ? 4 : 16;
  mnl_attr_put(header, type, size, octets.data() + (16 - size));
}

void put_address(nlmsghdr* header, std::uint16_t type, const IpAddr& a) {
  put_octets(header, type, a.octets(), a.is_v4());
}

/// The kernel refuses a route whose destination has bits behind the prefix.
std::array<std::uint8_t, 16> masked(const Prefix& p) {
  std::array<std::uint8_t, 16> octets = p.addr.octets();
  const unsigned keep = p.length + (p.addr.is_v4() ? 96U : 0U);
  for (unsigned i = 0; i < 16; ++i) {
    const unsigned kept = std::clamp(static_cast<int>(keep) - static_cast<int>(8 * i), 0, 8);
    octets[i] = static_cast<std::uint8_t>(octets[i] & (0xff00U >> kept));
  }
  return octets;
}

/// True for what the kernel answers where IPv6 is not compiled in, switched off at boot, or
/// switched off for the interface by sysctl.
bool means_no_ipv6(int error) {
  return error == EACCES || error == EOPNOTSUPP || error == EAFNOSUPPORT;
}

constexpr std::uint32_t kIpv6MinMtu = 1280;  // RFC 8200 5

/// Runs `set` for every prefix; past the first IPv6 refusal IPv6 ones are left out.
template <class Set>
void for_each_prefix(const std::vector<Prefix>& prefixes, bool& ipv6,
                     std::vector<std::string>& warnings, Set set) {
  for (const Prefix& prefix : prefixes) {
    if (!ipv6 && !prefix.addr.is_v4()) continue;
    try {
      set(prefix);
    } catch (const NetlinkError& e) {
      if (prefix.addr.is_v4() || !means_no_ipv6(e.code().value())) throw;
      ipv6 = false;
      warnings.push_back("going on without IPv6: " + std::string(e.what()));
    }
  }
}

/// The kernel makes an IPv6 address local in a work queue, after it has said that the address is
/// set (addrconf_dad_work), and drops what comes for it until then. A second is far more than it
/// takes.
void wait_until_local(Netlink& netlink, const std::vector<Prefix>& addresses) {
  constexpr auto kStep = std::chrono::milliseconds(1);
  int steps_left = 1000;
  for (const Prefix& p : addresses) {
    if (p.addr.is_v4()) continue;
    while (!netlink.is_local(p.addr) && steps_left-- > 0) std::this_thread::sleep_for(kStep);
  }
}

std::optional<IpAddr> source_for(const Prefix& destination, const std::vector<Prefix>& addresses) {
  for (const Prefix& a : addresses) {
    if (a.addr.is_v4() == destination.addr.is_v4()) return a.addr;
  }
  return std::nullopt;
}

}  // namespace

void Netlink::Closer::operator()(mnl_socket* socket) const noexcept { mnl_socket_close(socket); }

Netlink::Netlink() : socket_(mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC)) {
  if (!socket_) throw NetlinkError(errno, "cannot open a netlink socket");
  if (mnl_socket_bind(socket_.get(), 0, MNL_SOCKET_AUTOPID) < 0) {
    throw NetlinkError(errno, "cannot bind a netlink socket");
  }
}

unsigned Netlink::interface_index(const std::string& name) {
  const unsigned index = if_nametoindex(name.c_str());
  if (index == 0) throw NetlinkError(errno, "cannot find interface " + name);
  return index;
}

/// Sends one request and waits for its acknowledgement; 0 or the errno. `on_answer` sees what comes
/// before it.
int Netlink::request(void* message, AnswerCallback on_answer, void* context) {
  auto* header = static_cast<nlmsghdr*>(message);
  header->nlmsg_seq = ++sequence_;
  if (mnl_socket_sendto(socket_.get(), header, header->nlmsg_len) < 0) return errno;
  const unsigned port = mnl_socket_get_portid(socket_.get());
  alignas(nlmsghdr) std::array<char, 8192> answer;
  for (;;) {
    const ssize_t n = mnl_socket_recvfrom(socket_.get(), answer.data(), answer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    const int run =
        mnl_cb_run(answer.data(), static_cast<std::size_t>(n), sequence_, port, on_answer, context);
    if (run < 0) return errno;
    if (run == MNL_CB_STOP) return 0;
  }
}

void Netlink::set_link(const std::string& name, std::uint32_t mtu, std::uint32_t txqueuelen) {
  alignas(nlmsghdr) MessageBuffer buffer;
  nlmsghdr* header = new_message(buffer, RTM_NEWLINK, 0);
  auto* link = put_body<ifinfomsg>(header);
  link->ifi_index = static_cast<int>(interface_index(name));
  mnl_attr_put_u32(header, IFLA_MTU, mtu);
  mnl_attr_put_u32(header, IFLA_TXQLEN, txqueuelen);
  check(request(header), "cannot set MTU " + std::to_string(mtu) + " and txqueuelen " +
                             std::to_string(txqueuelen) + " on " + name);
}

void Netlink::set_up(const std::string& name) {
  alignas(nlmsghdr) MessageBuffer buffer;
  nlmsghdr* header = new_message(buffer, RTM_NEWLINK, 0);
  auto* link = put_body<ifinfomsg>(header);
  link->ifi_index = static_cast<int>(interface_index(name));
  link->ifi_flags = IFF_UP;
  link->ifi_change = IFF_UP;
  check(request(header), "cannot bring " + name + " up");
}

void Netlink::stop_address_generation(const std::string& name) noexcept {
  alignas(nlmsghdr) MessageBuffer buffer;
  nlmsghdr* header = new_message(buffer, RTM_NEWLINK, 0);
  auto* link = put_body<ifinfomsg>(header);
  link->ifi_index = static_cast<int>(if_nametoindex(name.c_str()));
  nlattr* spec = mnl_attr_nest_start(header, IFLA_AF_SPEC);
  nlattr* inet6 = mnl_attr_nest_start(header, AF_INET6);
  mnl_attr_put_u8(header, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
  mnl_attr_nest_end(header, inet6);
  mnl_attr_nest_end(header, spec);
  if (link->ifi_index != 0) (void)request(header);
}

void Netlink::add_address(const std::string& name, const Prefix& address) {
  alignas(nlmsghdr) MessageBuffer buffer;
  nlmsghdr* header = new_message(buffer, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE);
  auto* body = put_body<ifaddrmsg>(header);
  body->ifa_family = family_of(address.addr);
  body->ifa_prefixlen = address.length;
  body->ifa_index = interface_index(name);
  // Nobody else is on this link: duplicate detection would only keep the address tentative.
  if (!address.addr.is_v4()) body->ifa_flags = IFA_F_NODAD;
  put_address(header, IFA_LOCAL, address.addr);
  put_address(header, IFA_ADDRESS, address.addr);
  const int error = request(header);
  if (error == EEXIST) return;
  check(error, "cannot set address " + address.to_string() + " on " + name);
}

void Netlink::add_route(const std::string& name, const Prefix& destination,
                        const std::optional<IpAddr>& source) {
  alignas(nlmsghdr) MessageBuffer buffer;
  nlmsghdr* header = new_message(buffer, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE);
  auto* body = put_body<rtmsg>(header);
  const bool v4 = destination.addr.is_v4();
  body->rtm_family = family_of(destination.addr);
  body->rtm_dst_len = destination.length;
  body->rtm_table = RT_TABLE_MAIN;
  body->rtm_protocol = RTPROT_STATIC;
  body->rtm_scope = v4 ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
  body->rtm_type = RTN_UNICAST;
  put_octets(header, RTA_DST, masked(destination), v4);
  mnl_attr_put_u32(header, RTA_OIF, interface_index(name));
  if (source) put_address(header, RTA_PREFSRC, *source);
  check(request(header), "cannot route " + destination.to_string() + " to " + name);
}

bool Netlink::is_local(const IpAddr& address) {
  alignas(nlmsghdr) MessageBuffer buffer;
  nlmsghdr* header = new_message(buffer, RTM_GETROUTE, 0);
  auto* body = put_body<rtmsg>(header);
  body->rtm_family = family_of(address);
  body->rtm_dst_len = address.is_v4() ? 32 : 128;
  put_address(header, RTA_DST, address);
  std::uint8_t type = RTN_UNSPEC;
  const auto read_type = [](const nlmsghdr* answer, void* out) {
    const auto* route = static_cast<const rtmsg*>(mnl_nlmsg_get_payload(answer));
    *static_cast<std::uint8_t*>(out) = route->rtm_type;
    return MNL_CB_OK;
  };
  return request(header, read_type, &type) == 0 && type == RTN_LOCAL;
}

std::vector<std::string> configure_interface(const InterfaceOptions& options) {
  std::vector<std::string> warnings;
  bool ipv6 = options.mtu >= kIpv6MinMtu;
  const auto is_v6 = [](const Prefix& p) { return !p.addr.is_v4(); };
  if (!ipv6 && std::ranges::any_of(options.routes, is_v6)) {
    warnings.push_back("going on without IPv6: it needs an MTU of at least 1280, " + options.name +
                       " has " + std::to_string(options.mtu));
  }
  Netlink netlink;
  netlink.set_link(options.name, options.mtu, options.txqueuelen);
  netlink.stop_address_generation(options.name);
  netlink.set_up(options.name);
  for_each_prefix(options.host_addresses, ipv6, warnings,
                  [&](const Prefix& p) { netlink.add_address(options.name, p); });
  if (ipv6) wait_until_local(netlink, options.host_addresses);
  for_each_prefix(options.routes, ipv6, warnings, [&](const Prefix& p) {
    netlink.add_route(options.name, p, source_for(p, options.host_addresses));
  });
  return warnings;
}

}  // namespace pollux
