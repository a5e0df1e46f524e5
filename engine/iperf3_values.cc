#include "engine/iperf3_values.h"

#include <cctype>
#include <charconv>
#include <cmath>
#include <map>
#include <stdexcept>
#include <string_view>

namespace pollux::engine {

std::optional<std::uint64_t> scaled(const std::string& text, double base) {
  double number = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc{} || !(number >= 0)) return std::nullopt;
  const std::string_view unit(rest, static_cast<std::size_t>(end - rest));
  constexpr std::string_view kUnits = "KMGT";
  if (unit.size() > 1) return std::nullopt;
  if (!unit.empty()) {
    const auto power = kUnits.find(static_cast<char>(std::toupper(unit[0])));
    if (power == std::string_view::npos) return std::nullopt;
    number *= std::pow(base, static_cast<double>(power + 1));
  }
  if (number > 1e18) return std::nullopt;
  return static_cast<std::uint64_t>(number);
}

std::optional<unsigned> tos_of(const std::string& text) {
  try {
    std::size_t used = 0;
    const unsigned long v = std::stoul(text, &used, 0);
    if (used == text.size() && v <= 255) return static_cast<unsigned>(v);
  } catch (const std::exception&) {
  }
  return std::nullopt;
}

std::optional<unsigned> dscp_of(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  static const std::map<std::string, unsigned> names{
      {"cs0", 0},   {"cs1", 8},   {"cs2", 16},     {"cs3", 24},       {"cs4", 32},
      {"cs5", 40},  {"cs6", 48},  {"cs7", 56},     {"af11", 10},      {"af12", 12},
      {"af13", 14}, {"af21", 18}, {"af22", 20},    {"af23", 22},      {"af31", 26},
      {"af32", 28}, {"af33", 30}, {"af41", 34},    {"af42", 36},      {"af43", 38},
      {"ef", 46},   {"le", 1},    {"lowdelay", 4}, {"throughput", 2}, {"reliability", 1}};
  if (const auto at = names.find(text); at != names.end()) return at->second;
  const auto number = tos_of(text);
  return number && *number < 64 ? number : std::nullopt;
}

std::optional<Rate> rate_of(const std::string& text) {
  constexpr std::uint64_t kMostBlocks = 1000;
  const std::size_t slash = text.find('/');
  const auto bits = scaled(text.substr(0, slash), 1000);
  if (!bits) return std::nullopt;
  if (slash == text.npos) return Rate{*bits, {}};
  const auto burst = scaled(text.substr(slash + 1), 1);
  if (!burst || *burst == 0 || *burst > kMostBlocks) return std::nullopt;
  return Rate{*bits, burst};
}

}  // namespace pollux::engine
