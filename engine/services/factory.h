// Makes the services of all workers from what the configuration says.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "engine/config.h"
#include "workers/service.h"

namespace pollux {

class HostPoller;
class LiveStats;

/// The service objects of one [[service]], one for each worker; what the workers share about it,
/// those objects hold together. `hosts`: each worker's descriptors of the host, for what needs
/// them. `live`: what http's live page shows; nullptr: it has none. Throws std::runtime_error
/// (http's root as std::system_error) when what the service needs cannot be had.
std::vector<std::unique_ptr<Service>> make_services(
    const ServiceConfig& config, std::size_t workers, std::span<HostPoller* const> hosts = {},
    const std::shared_ptr<LiveStats>& live = nullptr);

}  // namespace pollux
