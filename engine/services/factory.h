// Makes the services of all workers from what the configuration says.
#pragma once

#include <memory>
#include <vector>

#include "engine/config.h"
#include "workers/service.h"

namespace pollux {

/// The service objects of one [[service]], one for each worker; what the workers share about it,
/// those objects hold together. Throws std::system_error when what the service needs (http's root)
/// cannot be opened.
std::vector<std::unique_ptr<Service>> make_services(const ServiceConfig& config,
                                                    std::size_t workers);

}  // namespace pollux
