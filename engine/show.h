// What `pollux show` and `pollux top` print: tables made of the daemon's JSON. A field that a
// daemon does not send shows as "-".
#pragma once

#include <iosfwd>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace pollux::engine {

/// Text for the answer to "show <topic>": stats, connections, workers, queues or config.
std::string render(std::string_view topic, const nlohmann::json& answer);

/// One frame of `top` from two answers to "show stats", `seconds` apart. `before` may be null: then
/// rates are averages since the start.
std::string render_top(const nlohmann::json& before, const nlohmann::json& now, double seconds);

/// Refreshes every second until q or Ctrl-C; prints one plain frame when standard output is no
/// terminal. Returns the exit code; throws like control_request().
int run_top(const std::string& path, std::ostream& out);

}  // namespace pollux::engine
