// What `pollux show` prints: tables made of the daemon's JSON. A field that a
// daemon does not send shows as "-".
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace pollux::engine {

/// Text for the answer to "show <topic>": stats, connections, workers, queues or config.
std::string render(std::string_view topic, const nlohmann::json& answer);

}  // namespace pollux::engine
