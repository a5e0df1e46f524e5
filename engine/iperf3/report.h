// Reports of what a test measured, in the forms that iperf3 prints: text and JSON.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "engine/iperf3/recorder.h"

namespace pollux::iperf3 {

/// "1.31 GBytes", as iperf3 rounds it; octets count in 1024, bits in 1000.
std::string format_octets(double octets);
/// In `unit`: k, m, g or t bits, K, M, G or T octets, or 'a', whatever fits.
std::string format_rate(double bits_per_second, char unit = 'a');
bool is_rate_unit(char unit);
/// The host's system, as uname has it.
std::string system_name();

/// The lines of the text form, each with its end. More of them where the test is `verbose`.
namespace text {
/// Before anything is known but the control connection.
std::string opening(const Test& test);
std::string connected(const Test& test);
std::string header(const Test& test);
std::string interval(const Test& test, const IntervalRow& row);
std::string summary(const Test& test, const Summary& summary);
}  // namespace text

/// Members of the JSON form.
nlohmann::ordered_json start_json(const Test& test);
nlohmann::ordered_json interval_json(const Test& test, const IntervalRow& row);
/// Leaves early `intervals` of a whole report out until it has at most so many octets as text;
/// `intervals_left_out` says how many.
void keep_latest_intervals(nlohmann::ordered_json& report, std::size_t octets);
nlohmann::ordered_json end_json(const Test& test, const Summary& summary);

}  // namespace pollux::iperf3
