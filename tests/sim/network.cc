#include "tests/sim/network.h"

#include <algorithm>
#include <cstring>

namespace pollux::sim {

namespace {

constexpr std::uint64_t kMaxStepsAtOnce = 10000;
constexpr std::size_t kMaxFlights = 200000;

IpAddr destination(const Packet& p) {
  const std::uint8_t* b = p.octets.data();
  return b[0] >> 4 == 4 ? IpAddr::from_v4_octets(b + 16) : IpAddr::from_v6_octets(b + 24);
}

}  // namespace

/// One multiplication for each eight octets: not against an enemy, only against a difference.
void Network::mix(std::uint64_t v) {
  fingerprint_ = (fingerprint_ ^ v) * 0x9e3779b97f4a7c15ULL;
  fingerprint_ ^= fingerprint_ >> 29;
}

void Network::mix(const Packet& p) {
  mix(p.octets.size() << 16 | p.segment_size);
  std::size_t at = 0;
  for (; at + 8 <= p.octets.size(); at += 8) {
    std::uint64_t v = 0;
    std::memcpy(&v, p.octets.data() + at, 8);
    mix(v);
  }
  for (; at < p.octets.size(); ++at) mix(p.octets[at]);
}

std::size_t Network::node_of(const Packet& p) const {
  const IpAddr to = destination(p);
  std::size_t i = 0;
  while (i < nodes_.size() && nodes_[i]->address != to) ++i;
  return i;
}

void Network::send(std::size_t from, Packet p) {
  ++packets_;
  if (careful_) {
    mix(static_cast<std::uint64_t>(now_.time_since_epoch().count()));
    mix(p);
  }
  const std::size_t to = node_of(p);
  if (to == nodes_.size() || nodes_[from]->gone) return;
  last_to_[from] = to;
  links_[from].pass(now_, std::move(p), random_, out_, back_);
  launch(out_, to);
  launch(back_, from);
}

void Network::launch(std::vector<Arrival>& arrivals, std::size_t to) {
  for (Arrival& a : arrivals) {
    flights_.push_back({a.at, order_++, to, std::move(a.packet)});
    std::push_heap(flights_.begin(), flights_.end(), std::greater<>());
  }
  arrivals.clear();
  if (flights_.size() > kMaxFlights) throw Broken("a packet storm");
}

Instant Network::next_due() const {
  Instant due = flights_.empty() ? kNever : flights_.front().at;
  for (const auto& n : nodes_) {
    if (!n->gone) due = std::min(due, n->next_due(now_));
  }
  for (const Link& l : links_) due = std::min(due, l.next_due());
  return due;
}

void Network::deliver_due() {
  for (std::size_t i = 0; i < links_.size(); ++i) {
    if (links_[i].next_due() > now_) continue;
    links_[i].on_time(now_, random_, out_);
    launch(out_, last_to_[i]);
  }
  while (!flights_.empty() && flights_.front().at <= now_) {
    std::pop_heap(flights_.begin(), flights_.end(), std::greater<>());
    const Flight f = std::move(flights_.back());
    flights_.pop_back();
    Node& n = *nodes_[f.to];
    if (n.gone) continue;
    if (careful_) mix(f.order ^ static_cast<std::uint64_t>(now_.time_since_epoch().count()));
    n.receive(now_, f.packet);
    n.touched_ = true;
  }
}

bool Network::step() {
  const Instant due = next_due();
  if (due == kNever) return false;
  steps_here_ = due > now_ ? 0 : steps_here_ + 1;
  if (steps_here_ > kMaxStepsAtOnce) throw Broken("the clock stands still: endless work");
  now_ = std::max(now_, due);
  deliver_due();
  for (const auto& n : nodes_) {
    if (n->gone || (!n->touched_ && n->next_due(now_) > now_)) continue;
    n->touched_ = false;
    n->turn(now_);
    if (careful_) n->check(now_);
  }
  if (!broken_.empty()) throw Broken(broken_);
  return true;
}

void Network::run_until(const std::function<bool()>& done, Duration bound, const char* what) {
  const Instant limit = now_ + bound;
  while (!done()) {
    if (!step()) throw Broken(std::string(what) + ": nothing is due any more");
    if (now_ > limit) throw Broken(std::string(what) + ": no end within the bound");
  }
}

void Network::run_to(Instant until) {
  while (next_due() <= until) step();
  now_ = std::max(now_, until);
}

}  // namespace pollux::sim
