#include "tests/sim/link.h"

#include <algorithm>

namespace pollux::sim {

void Link::pass(Instant now, Packet p, Random& r, std::vector<Arrival>& out,
                std::vector<Arrival>& back) {
  if (o_.mtu != 0 && now >= o_.mtu_from && wire_size(p) > o_.mtu) {
    back.push_back({too_big(p, o_.mtu), now + o_.delay});
    return;
  }
  if (!o_.split || p.segment_size == 0) return through_box(now, std::move(p), r, out);
  const Segment whole = *take_apart(p);
  for (const Segment& s : cut(whole, p.segment_size)) {
    through_box(now, put_together(s, 0, p.checksum), r, out);
  }
}

void Link::through_box(Instant now, Packet p, Random& r, std::vector<Arrival>& out) {
  if (!o_.box.any()) return through_wire(now, std::move(p), r, out);
  box_.pass(now, std::move(p), r, passed_);
  for (Packet& q : passed_) through_wire(now, std::move(q), r, out);
  passed_.clear();
}

void Link::on_time(Instant now, Random& r, std::vector<Arrival>& out) {
  box_.on_time(now, passed_);
  for (Packet& q : passed_) through_wire(now, std::move(q), r, out);
  passed_.clear();
}

bool Link::is_lost(const Packet& p, Random& r) {
  if (o_.loss > 0 && chance(r, o_.loss)) return true;
  if (o_.burst.enter > 0) {
    bad_ = bad_ ? !chance(r, o_.burst.leave) : chance(r, o_.burst.enter);
    if (bad_ && chance(r, o_.burst.loss)) return true;
  }
  if ((o_.ack_loss == 0 && o_.ack_thinning <= 1) || !is_pure_ack(p)) return false;
  if (o_.ack_thinning > 1 && ++acks_ % o_.ack_thinning != 0) return true;
  return o_.ack_loss > 0 && chance(r, o_.ack_loss);
}

/// One bit. No checksum covers what comes before the addresses of IPv6: such a packet may be taken.
void Link::corrupt(Packet& p, Random& r) {
  if (p.checksum != ChecksumState::unverified) return;
  const std::uint64_t bit = below(r, p.octets.size() * 8);
  p.corrupt = p.octets[0] >> 4 == 4 || bit >= 64;
  p.octets[bit / 8] = static_cast<std::uint8_t>(p.octets[bit / 8] ^ (1U << (bit % 8)));
}

void Link::through_wire(Instant now, Packet p, Random& r, std::vector<Arrival>& out) {
  Instant leaves = now;
  if (o_.octets_per_s != 0) {
    const Instant start = std::max(wire_free_, now);
    const auto waiting =
        static_cast<std::uint64_t>((start - now).count()) * (o_.octets_per_s / 1000) / 1'000'000;
    // One packet always fits, however large: else a small queue would never pass it.
    if (waiting > 0 && waiting + p.octets.size() > o_.queue_octets) return;
    leaves = start + Duration(p.octets.size() * 1'000'000'000 / o_.octets_per_s);
    wire_free_ = leaves;
  }
  Instant at = leaves + o_.delay;
  const bool faulty = now < o_.heals_at;
  if (!faulty) {
    out.push_back({std::move(p), at});
    return;
  }
  if (is_lost(p, r)) return;
  if (o_.wobble > Duration::zero()) {
    at += Duration(below(r, static_cast<std::uint64_t>(o_.wobble.count()) + 1));
    at = last_arrival_ = std::max(at, last_arrival_);
  }
  const int copies = o_.duplicate > 0 && chance(r, o_.duplicate) ? 2 : 1;
  for (int i = 0; i < copies; ++i) {
    Arrival a{i + 1 == copies ? std::move(p) : p, at};
    if (o_.reorder > 0 && chance(r, o_.reorder)) {
      a.at += Duration(below(r, static_cast<std::uint64_t>(o_.jitter.count()) + 1));
    }
    if (o_.corrupt > 0 && chance(r, o_.corrupt)) corrupt(a.packet, r);
    out.push_back(std::move(a));
  }
}

}  // namespace pollux::sim
