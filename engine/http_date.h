// Dates as HTTP and iperf3 write them.
#pragma once

#include <ctime>
#include <optional>
#include <string>

namespace pollux {

/// IMF-fixdate (RFC 9110 5.6.7).
std::string http_date(std::time_t t);
/// Any of the three forms of RFC 9110 5.6.7.
std::optional<std::time_t> parse_http_date(const std::string& text);

}  // namespace pollux
