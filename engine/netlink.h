// Interface set-up over rtnetlink: addresses, link state and routes of the TUN device.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "proto/base/addr.h"

struct mnl_socket;
struct nlmsghdr;

namespace pollux {

/// What an interface should look like.
struct InterfaceOptions {
  std::string name;
  std::uint32_t mtu = 1500;
  std::uint32_t txqueuelen = 1000;
  std::vector<Prefix> host_addresses;  ///< the kernel's own, set on the interface
  std::vector<Prefix> routes;          ///< the engine's, routed to the interface
};

/// A route netlink socket in the network namespace of the thread that made it. Every call waits
/// for the kernel's answer and throws std::runtime_error with one line: what was tried and why it
/// failed. Each may be repeated: what is there already is brought to what is asked.
class Netlink {
 public:
  Netlink();

  /// Throws when there is no such interface.
  static unsigned interface_index(const std::string& name);

  void set_link(const std::string& name, std::uint32_t mtu, std::uint32_t txqueuelen);
  void set_up(const std::string& name);
  /// No link-local address, so no router solicitations towards the engine. Best effort.
  void stop_address_generation(const std::string& name) noexcept;
  void add_address(const std::string& name, const Prefix& address);
  /// Routes `destination` to the interface; `source` is what local sockets get by default.
  void add_route(const std::string& name, const Prefix& destination,
                 const std::optional<IpAddr>& source);
  /// True when the kernel delivers packets to `address` to itself.
  bool is_local(const IpAddr& address);

 private:
  using AnswerCallback = int (*)(const nlmsghdr*, void*);
  int request(void* message, AnswerCallback on_answer = nullptr, void* context = nullptr);

  struct Closer {
    void operator()(mnl_socket* socket) const noexcept;
  };
  std::unique_ptr<mnl_socket, Closer> socket_;
  std::uint32_t sequence_ = 0;
};

/// Brings an existing interface to `options` and up. Where the kernel has no IPv6 on it (disabled,
/// or the MTU is below 1,280), what is IPv6 is left out with one line in the result, which is
/// empty when all was done. Throws std::runtime_error on any other failure.
std::vector<std::string> configure_interface(const InterfaceOptions& options);

}  // namespace pollux
