#include "engine/iperf3/registry.h"

#include <fmt/format.h>

#include <algorithm>

namespace pollux::iperf3 {

namespace {

/// Who has a network of IPv6 has all its addresses; link-local ones are everybody's (fe80::/10).
bool is_same_client(const IpAddr& a, const IpAddr& b) {
  const bool link_local = a.high() >> 54 == 0xfe80 >> 6;
  return a == b || (!a.is_v4() && !b.is_v4() && !link_local && a.high() == b.high());
}

}  // namespace

Registry::Begun Registry::begin(const Cookie& cookie, std::size_t home, const IpAddr& peer) {
  const std::lock_guard lock(mutex_);
  if (tests_.size() >= limits_.max_tests) {
    return {nullptr, fmt::format("{} tests are running", limits_.max_tests)};
  }
  const auto own = std::count_if(tests_.begin(), tests_.end(), [&](const auto& t) {
    return is_same_client(t.second.test->peer(), peer);
  });
  if (static_cast<std::size_t>(own) >= limits_.max_tests_per_client) {
    return {nullptr, fmt::format("{} tests of this client are running", own)};
  }
  auto [at, fresh] = tests_.try_emplace(std::string(cookie.text()));
  if (!fresh) return {nullptr, "the cookie of another test"};
  at->second.test = std::make_shared<Test>(cookie, home, peer, true);
  return {at->second.test};
}

bool Registry::open(const TestPtr& test) {
  const std::lock_guard lock(mutex_);
  if (test->parameters.udp) {
    for (const auto& [cookie, entry] : tests_) {
      if (entry.open && entry.test->parameters.udp && entry.test->peer() == test->peer()) {
        return false;
      }
    }
  }
  tests_.at(std::string(test->cookie().text())).open = true;
  return true;
}

void Registry::close(const TestPtr& test) {
  const std::lock_guard lock(mutex_);
  const auto at = tests_.find(std::string(test->cookie().text()));
  if (at != tests_.end()) at->second.open = false;
}

void Registry::end(const TestPtr& test) {
  const std::lock_guard lock(mutex_);
  tests_.erase(std::string(test->cookie().text()));
}

Registry::Meaning Registry::meaning(const Cookie& cookie) const {
  const std::lock_guard lock(mutex_);
  const auto at = tests_.find(std::string(cookie.text()));
  if (at == tests_.end()) return Meaning::control;
  return at->second.open && !at->second.test->parameters.udp ? Meaning::stream : Meaning::refused;
}

Registry::Joined Registry::join(const Cookie& cookie, const FlowKey& flow, std::size_t worker,
                                Instant opened_at) {
  const std::lock_guard lock(mutex_);
  const auto at = tests_.find(std::string(cookie.text()));
  if (at == tests_.end() || !at->second.open || at->second.test->peer() != flow.remote.addr) {
    return {};
  }
  return add(at->second, flow, worker, opened_at);
}

Registry::Joined Registry::join_datagrams(const FlowKey& flow, std::size_t worker) {
  const std::lock_guard lock(mutex_);
  for (auto& [cookie, entry] : tests_) {
    if (!entry.open || !entry.test->parameters.udp) continue;
    if (entry.test->peer() == flow.remote.addr) return add(entry, flow, worker, {});
  }
  return {};
}

Registry::Joined Registry::add(Entry& entry, const FlowKey& flow, std::size_t worker,
                               Instant opened_at) {
  Test& test = *entry.test;
  if (test.slots.size() >= test.parameters.streams()) return {};
  auto slot = std::make_unique<Slot>();
  slot->flow = flow;
  slot->worker = worker;
  slot->opened_at = opened_at;
  slot->joined = joined_++;
  test.slots.push_back(std::move(slot));
  const bool complete = test.slots.size() == test.parameters.streams();
  if (complete) entry.open = false;
  return {.test = entry.test, .slot = test.slots.back().get(), .complete = complete};
}

std::size_t Registry::tests() const {
  const std::lock_guard lock(mutex_);
  return tests_.size();
}

}  // namespace pollux::iperf3
