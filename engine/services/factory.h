// Makes the services of a worker from what the configuration says.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "workers/service.h"

namespace pollux {

/// One [[service]] of the configuration.
struct ServiceOptions {
  std::string kind{};  ///< "echo", "discard", "chargen", "http"
  std::uint16_t port = 0;
  std::string address{};  ///< "": every address of the engine
  std::string root{};     ///< http: the folder to serve, "" for the built-in pages
  std::optional<tcp::CcKind> congestion_control{};  ///< nullopt: that of all connections
  bool fast_open = true;                            ///< data in a SYN is taken (RFC 7413)
};

/// A new service object, for one worker; nullptr for a kind that is not known. Throws
/// std::system_error when what the service needs (http's root) cannot be opened.
std::unique_ptr<Service> make_service(const ServiceOptions& options);

}  // namespace pollux
