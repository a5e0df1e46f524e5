// The golden table: what four flows get out of one bottleneck, over loss, round trip, rate and
// congestion control, in virtual time, so that every run on every machine gives the same figures.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "proto/base/time.h"
#include "proto/tcp/congestion.h"

namespace pollux::sim {

struct Cell {
  tcp::CcKind control = tcp::CcKind::reno;
  unsigned loss_per_mille = 0;
  Duration round_trip{};
  unsigned mbit_per_s = 0;
};

struct Figures {
  double goodput = 0;        ///< Mbit/s of all four flows, of the application's octets
  double fairness = 0;       ///< Jain's index: 1 when all get the same, 1/4 when one gets all
  double retransmitted = 0;  ///< of all segments, percent
};

/// Of Jain, Chiu and Hawe (1984): (sum x)^2 / (n sum x^2).
double jain(const std::vector<double>& shares);

std::vector<Cell> all_cells();
Figures measure(const Cell& cell);
/// All cells, on all cores; a heading and one line a cell.
std::string golden_table();

}  // namespace pollux::sim
