// What is drawn for one life of some connections: two engines, the two directions of the path
// between them, what the applications do, and how long that may take.
#pragma once

#include <algorithm>

#include "tests/sim/host.h"
#include "tests/sim/peer.h"

namespace pollux::sim {

inline constexpr std::uint16_t kPort = 7;

struct Scenario {
  HostOptions host[2];
  LinkOptions link[2];
  Plan plan[2];
  std::size_t connections = 1;
  Duration heals_after{};
  bool aborts = false;
};

HostOptions draw_host(Random& r, bool v4, std::size_t index, bool offload);
/// Plain faults: loss, duplicates, reordering, corruption.
LinkOptions draw_link(Random& r, Instant heals_at);
/// Bursts, lost and thinned ACKs, wobbling delay, a hop whose MTU shrinks.
void draw_more_faults(Random& r, LinkOptions& l, std::uint32_t mtu, bool v4);
MiddleboxOptions draw_middlebox(Random& r);
Plan draw_plan(Random& r);
/// The two plans of a connection fit each other.
void marry(Plan& a, Plan& b);
Scenario draw(Random& r, Instant start);

/// How long an exchange may take on a path without faults: what the rate, the round trips and slow
/// readers ask for.
Duration transfer_time(const Scenario& s);
/// From when the path has healed on: time-outs that had backed off, then the transfer.
Duration time_from_healing(const Scenario& s, Duration longest_rto);

}  // namespace pollux::sim
