#include "tests/sim/scenario.h"

#include "tests/sim/controls.h"

namespace pollux::sim {

HostOptions draw_host(Random& r, bool v4, std::size_t index, bool offload) {
  HostOptions h;
  h.address = (v4 ? "198.18.0." : "2001:2::") + std::to_string(index + 1);
  h.caps.mtu = v4 ? pick(r, {296U, 576U, 1280U, 1500U, 9000U}) : pick(r, {1280U, 1500U, 9000U});
  h.caps.checksum = h.caps.segmentation = offload;
  h.shard.secret = {r(), r()};
  tcp::Options& t = h.shard.tcp;
  const auto& controls = all_congestion_controls();
  t.congestion_control = controls[below(r, controls.size())];
  t.sack = chance(r, 0.6);
  t.timestamps = chance(r, 0.6);
  t.window_scaling = chance(r, 0.8);
  t.delayed_ack = pick<Duration>(r, {1ms, 40ms, 200ms});
  t.receive_buffer = pick(r, {300U, 1000U, 3000U, 10000U, 65535U, 200000U, 6U << 20});
  t.send_buffer = pick(r, {500U, 3000U, 20000U, 100000U, 6U << 20});
  return h;
}

LinkOptions draw_link(Random& r, Instant heals_at) {
  LinkOptions l;
  l.delay = Duration(between(r, 10, 100000) * 1000);
  if (chance(r, 0.3)) l.delay = Duration(between(r, 10, 500) * 1000);
  if (chance(r, 0.5)) {
    l.octets_per_s = between(r, 20, 10000) * 1000;
    l.queue_octets = between(r, 3000, 100000);
  }
  l.split = chance(r, 0.5);
  l.heals_at = heals_at;
  if (chance(r, 0.25)) return l;
  if (chance(r, 0.6)) l.loss = pick(r, {0.01, 0.05, 0.1, 0.3});
  if (chance(r, 0.3)) l.duplicate = 0.05;
  if (chance(r, 0.3)) l.reorder = pick(r, {0.05, 0.3});
  if (chance(r, 0.3)) l.corrupt = 0.05;
  l.jitter = l.delay + 5ms;
  return l;
}

void draw_more_faults(Random& r, LinkOptions& l, std::uint32_t mtu, bool v4) {
  if (chance(r, 0.25)) {
    l.burst = {.enter = pick(r, {0.005, 0.02, 0.05}),
               .leave = pick(r, {0.1, 0.3, 0.5}),
               .loss = pick(r, {0.5, 0.9, 1.0})};
  }
  if (chance(r, 0.2)) l.ack_loss = pick(r, {0.1, 0.3, 0.6});
  if (chance(r, 0.15)) l.ack_thinning = pick(r, {2U, 3U, 8U});
  if (chance(r, 0.25)) l.wobble = Duration(between(r, 1, 30000) * 1000);
  const std::uint32_t least = v4 ? 296 : 1280;
  if (mtu > least && chance(r, 0.2)) {
    l.mtu = static_cast<std::uint32_t>(between(r, least, mtu - 1));
    l.mtu_from = Instant{Duration{1s}} + Duration(between(r, 0, 2000) * 1'000'000);
  }
}

MiddleboxOptions draw_middlebox(Random& r) {
  MiddleboxOptions m;
  if (chance(r, 0.6)) return m;
  m.strip_sack_permitted = chance(r, 0.15);
  m.strip_sack = chance(r, 0.1);
  m.strip_timestamps = chance(r, 0.15);
  m.strip_window_scale = chance(r, 0.15);
  m.strip_unknown = chance(r, 0.2);
  m.add_unknown = chance(r, 0.2);
  m.set_reserved = chance(r, 0.2);
  m.clear_reserved = !m.set_reserved && chance(r, 0.2);
  if (chance(r, 0.2)) m.clamp_mss = pick<std::uint16_t>(r, {256, 536, 1220, 1400});
  if (chance(r, 0.3)) m.split = pick(r, {0.05, 0.5});
  if (chance(r, 0.3)) m.merge = pick(r, {0.1, 0.5});
  m.hold = Duration(between(r, 10, 3000) * 1000);
  return m;
}

Plan draw_plan(Random& r) {
  Plan p;
  p.octets = chance(r, 0.15) ? 0 : between(r, 1, pick(r, {100U, 5000U, 50000U}));
  p.salt = below(r, kPatternSize / 2);
  p.max_write = pick(r, {10U, 700U, 5000U, 50000U});
  if (p.octets > 5000) p.max_write = std::max<std::size_t>(p.max_write, 500);
  p.zero_copy = chance(r, 0.5);
  p.nodelay = chance(r, 0.3);
  p.close = chance(r, 0.6) ? CloseWhen::sent : CloseWhen::peer_closed;
  if (chance(r, 0.2)) {
    p.read_quota = between(r, 1, 3000);
    if (chance(r, 0.2)) p.read_quota = between(r, 1, 100);
    p.read_every = Duration(between(r, 1, 100) * 1'000'000);
  }
  if (chance(r, 0.15)) p.read_pause = Duration(between(r, 1, 20000) * 1'000'000);
  return p;
}

void marry(Plan& a, Plan& b) {
  // Both waiting for the other would be a deadlock of the plan's own making.
  if (a.close == CloseWhen::peer_closed) b.close = CloseWhen::sent;
  a.peer_octets = b.octets;
  a.peer_salt = b.salt;
  b.peer_octets = a.octets;
  b.peer_salt = a.salt;
}

/// A cookie is the whole memory of a handshake: when its ACK is lost, or late, nobody knows of it
/// any more. Only paths that keep all packets in order are fair to it.
void draw_cookies(Scenario& s) {
  s.host[1].shard.syn_cookies = tcp::CookiePolicy::always;
  for (LinkOptions& l : s.link) {
    l.octets_per_s = 0;
    l.loss = l.ack_loss = l.reorder = l.corrupt = 0;
    l.burst = {};
    l.ack_thinning = 1;
    l.mtu = 0;
  }
}

Scenario draw(Random& r, Instant start) {
  Scenario s;
  const bool v4 = chance(r, 0.7);
  const bool offload = chance(r, 0.5);
  s.heals_after = Duration(between(r, 0, 20000) * 1'000'000);
  for (std::size_t i = 0; i < 2; ++i) {
    s.host[i] = draw_host(r, v4, i, offload);
    s.link[i] = draw_link(r, start + s.heals_after);
    s.plan[i] = draw_plan(r);
  }
  const MiddleboxOptions box = draw_middlebox(r);
  for (std::size_t i = 0; i < 2; ++i) {
    s.link[i].box = box;
    draw_more_faults(r, s.link[i], std::min(s.host[0].caps.mtu, s.host[1].caps.mtu), v4);
  }
  marry(s.plan[0], s.plan[1]);
  Plan& b = s.plan[1];
  b.wait_for_peer = s.plan[0].close == CloseWhen::sent && chance(r, 0.3);
  if (chance(r, 0.05)) b.close = CloseWhen::abort;
  s.aborts = b.close == CloseWhen::abort;
  // The one RST of an abort may be lost, and who waits in FIN-WAIT-2 sends nothing.
  if (s.aborts) {
    s.host[0].shard.tcp.keepalive = 20s;
    s.host[0].shard.tcp.keepalive_interval = 1s;
  }
  s.connections = chance(r, 0.8) ? 1 : between(r, 2, 4);
  if (chance(r, 0.05)) draw_cookies(s);
  return s;
}

Duration transfer_time(const Scenario& s) {
  Duration d = s.aborts ? 30s : 0s;
  for (std::size_t i = 0; i < 2; ++i) {
    const Plan& p = s.plan[i];
    const auto octets = static_cast<std::int64_t>(p.octets * s.connections);
    d += p.read_pause * 9 / 8;  // the wheel may be late by an eighth
    if (p.read_quota != 0) {
      // Each time it reads no more than a window full.
      const std::size_t most = s.host[i].shard.tcp.receive_buffer;
      d += p.read_every * (p.peer_octets / std::min(p.read_quota, most) + 1) * 2;
    }
    const tcp::Options& t = s.host[1 - i].shard.tcp;
    const auto window = std::min({t.receive_buffer, s.host[i].shard.tcp.send_buffer, 200U});
    const Duration trip = s.link[0].delay + s.link[1].delay + t.delayed_ack;
    d += trip * (octets / window + 3) * 2;
    if (s.link[i].octets_per_s != 0) {
      d += Duration(octets * 1'000'000'000 / static_cast<std::int64_t>(s.link[i].octets_per_s)) * 4;
    }
  }
  return d;
}

Duration time_from_healing(const Scenario& s, Duration longest_rto) {
  return 4 * std::max<Duration>(longest_rto, 200ms) + transfer_time(s);
}

}  // namespace pollux::sim
