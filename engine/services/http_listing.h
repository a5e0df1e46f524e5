// The page that lists a directory.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

namespace pollux {

/// Entries on one page; what more there is, the page only says.
inline constexpr std::size_t kHttpListed = 1000;

/// The directory at `fd` as HTML, sorted by name, folders with a '/', names that begin with a dot
/// left out. Closes `fd`. nullopt when it is no directory.
std::optional<std::string> http_listing(int fd, const std::string& title);

}  // namespace pollux
