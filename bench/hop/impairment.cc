#include "bench/hop/impairment.h"

#include <algorithm>
#include <functional>
#include <string_view>
#include <utility>

#include "proto/wire/tcp.h"

namespace pollux::hop {

Bottleneck::Bottleneck(const LinkOptions& options)
    : rate_(options.rate), octets_max_(options.queue_octets), packets_max_(options.queue_packets) {}

bool Bottleneck::admit(Instant now, std::size_t octets, Instant& leaves) {
  leaves = now;
  if (rate_ == 0) return true;
  while (!waiting_.empty() && waiting_.front().leaves <= now) {
    octets_ -= waiting_.front().octets;
    waiting_.pop_front();
  }
  if (octets_max_ != 0 && octets_ + octets > octets_max_) return false;
  if (packets_max_ != 0 && waiting_.size() >= packets_max_) return false;
  free_at_ = std::max(free_at_, now) + Duration{octets * 8 * 1'000'000'000 / rate_};
  leaves = free_at_;
  waiting_.push_back({leaves, octets});
  octets_ += octets;
  return true;
}

double Impairment::Dice::roll() {
  // 53 bits: what a double holds. The standard's distributions may differ between libraries.
  return static_cast<double>(random() >> 11) * 0x1p-53;
}

std::size_t Impairment::FlowHash::operator()(const FlowKey& key) const {
  std::size_t hash = 0;
  for (const Endpoint& end : {key.local, key.remote}) {
    const auto& octets = end.addr.octets();
    const std::string_view text(reinterpret_cast<const char*>(octets.data()), octets.size());
    hash = hash * 31 + std::hash<std::string_view>{}(text) + end.port;
  }
  return hash;
}

Impairment::Impairment(const LinkOptions& options, std::vector<Rule> rules, std::uint64_t seed)
    : options_(options),
      rules_(std::move(rules)),
      loss_dice_(seed * 8),
      burst_dice_(seed * 8 + 1),
      order_dice_(seed * 8 + 2),
      copy_dice_(seed * 8 + 3),
      jitter_dice_(seed * 8 + 4),
      bottleneck_(options) {}

Impairment::Flow& Impairment::flow_of(const TcpView& tcp) {
  return flows_.try_emplace(tcp.flow, rules_).first->second;
}

std::optional<Transmission> Impairment::count_data(Instant now, Flow& flow, const TcpView& tcp) {
  if (tcp.has(wire::tcp_flag::syn)) flow.data.on_syn(tcp.seq);
  if (tcp.payload == 0) return std::nullopt;
  const auto sent = flow.data.on_data(now, tcp.seq, tcp.payload);
  if (!sent) return sent;
  ++counters_.data_packets;
  counters_.data_octets += tcp.payload;
  if (sent->sent_before > 0) ++counters_.retransmitted_packets;
  counters_.retransmitted_octets += sent->sent_before;
  counters_.lag_max = std::max(counters_.lag_max, sent->lag);
  if (sent->spurious) ++counters_.spurious_packets;
  return sent;
}

bool Impairment::lost_by_chance(bool handshake) {
  const bool spared = handshake && options_.spare_handshake;
  if (options_.loss > 0 && loss_dice_.hit(options_.loss) && !spared) {
    ++counters_.lost;
    return true;
  }
  const BurstLoss& burst = options_.burst;
  if (burst.to_bad <= 0) return false;
  bad_ = bad_ ? !burst_dice_.hit(burst.to_good) : burst_dice_.hit(burst.to_bad);
  if (!burst_dice_.hit(bad_ ? burst.loss_bad : burst.loss_good) || spared) return false;
  ++counters_.lost_burst;
  return true;
}

Instant Impairment::release_at(Instant leaves, Duration extra) {
  Instant at = leaves + options_.delay + extra;
  if (options_.jitter.count() > 0) {
    const auto most = static_cast<double>(options_.jitter.count());
    at += Duration{static_cast<std::int64_t>(jitter_dice_.roll() * most)};
  }
  const bool chosen = options_.reorder > 0 && order_dice_.hit(options_.reorder);
  if (chosen) at += options_.reorder_delay;
  if (chosen || extra.count() > 0) {  // the ones behind it do not wait for it
    ++counters_.reordered;
    return at;
  }
  return last_release_ = std::max(at, last_release_);
}

Plan Impairment::pass(Instant now, std::size_t octets, bool handshake, const Verdict& verdict) {
  Plan plan;
  if (verdict.drop) {
    ++counters_.lost_script;
    return plan;
  }
  if (lost_by_chance(handshake)) return plan;
  const bool twice =
      verdict.duplicate || (options_.duplicate > 0 && copy_dice_.hit(options_.duplicate));
  for (unsigned copy = 0; copy < (twice ? 2U : 1U); ++copy) {
    Instant leaves;
    if (!bottleneck_.admit(now, octets, leaves)) {
      if (copy == 0) ++counters_.lost_queue;
      break;
    }
    plan.release[plan.copies++] = release_at(leaves, verdict.delay);
  }
  counters_.queue_octets_max = std::max(counters_.queue_octets_max, bottleneck_.octets());
  if (plan.copies > 0) ++counters_.forwarded;
  if (plan.copies > 1) ++counters_.duplicated;
  return plan;
}

Plan Impairment::on_packet(Instant now, MutableBytes packet) {
  ++counters_.packets;
  counters_.octets += packet.size();
  const auto tcp = view_tcp(packet);
  if (!tcp) return pass(now, packet.size(), false, {});
  Flow& flow = flow_of(*tcp);
  if (strip_options(rules_, *tcp, packet)) ++counters_.stripped;
  const auto sent = count_data(now, flow, *tcp);
  const Verdict verdict = flow.script.on_packet(*tcp, sent, flow.data);
  const Plan plan = pass(now, packet.size(), tcp->has(wire::tcp_flag::syn), verdict);
  if (sent && plan.copies == 0) flow.data.on_lost(now, sent->range);
  if (sent && plan.copies > 0) flow.data.on_forwarded(sent->range);
  return plan;
}

}  // namespace pollux::hop
