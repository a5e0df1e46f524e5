#include "tests/sim/middlebox.h"

#include <algorithm>

namespace pollux::sim {

namespace flag = wire::tcp_flag;

namespace {

constexpr std::size_t kMaxMerged = 9000;  // octets of payload

bool carries_only_data(const Segment& s) {
  return (s.flags & ~flag::psh) == flag::ack && !s.payload.empty();
}

}  // namespace

bool Middlebox::wants_off(const Option& o, bool syn) const {
  switch (o.kind) {
    case option::mss:
      return false;
    case option::window_scale:
      return syn && o_.strip_window_scale;
    case option::sack_permitted:
      return o_.strip_sack_permitted;
    case option::sack:
      return o_.strip_sack;
    case option::timestamps:
      return o_.strip_timestamps;
    default:
      return o_.strip_unknown;
  }
}

void Middlebox::change(Segment& s) const {
  const bool syn = s.has(flag::syn);
  std::erase_if(s.options, [&](const Option& o) { return wants_off(o, syn); });
  if (o_.add_unknown && s.option_octets() <= 32) {
    s.options.insert(s.options.begin(), {option::unknown, {0xde, 0xad, 0xbe, 0xef}});
  }
  if (o_.set_reserved) s.reserved = 0x0f;
  if (o_.clear_reserved) {
    s.reserved = 0;
    if (syn) s.flags = static_cast<std::uint8_t>(s.flags & ~(flag::ece | flag::cwr));
  }
  for (Option& o : s.options) {
    if (o.kind != option::mss || o.body.size() != 2 || o_.clamp_mss == 0) continue;
    store_be16(o.body.data(), std::min(load_be16(o.body.data()), o_.clamp_mss));
  }
}

/// Only what follows without a gap, says the same and carries nothing but data.
bool Middlebox::merge_into_held(const Segment& s, const Packet& p) {
  Segment& h = *held_;
  const bool next = carries_only_data(s) && p.segment_size == 0 && s.src_port == h.src_port &&
                    s.dst_port == h.dst_port && s.ip.src == h.ip.src && s.ip.dst == h.ip.dst &&
                    s.seq == h.seq + static_cast<std::uint32_t>(h.payload.size()) &&
                    s.ack >= h.ack && h.payload.size() + s.payload.size() <= kMaxMerged;
  if (!next) return false;
  h.payload.insert(h.payload.end(), s.payload.begin(), s.payload.end());
  h.ack = s.ack;
  h.window = s.window;
  h.flags = static_cast<std::uint8_t>(h.flags | s.flags);
  h.options = s.options;
  return true;
}

void Middlebox::release(std::vector<Packet>& out) {
  if (held_) out.push_back(put_together(*held_, 0, held_as_.checksum));
  held_.reset();
  let_go_ = kNever;
}

void Middlebox::on_time(Instant now, std::vector<Packet>& out) {
  if (let_go_ <= now) release(out);
}

void Middlebox::pass(Instant now, Packet p, Random& r, std::vector<Packet>& out) {
  std::optional<Segment> s = take_apart(p);
  if (!s) {
    release(out);
    out.push_back(std::move(p));
    return;
  }
  change(*s);
  if (held_ && merge_into_held(*s, p)) return release(out);
  release(out);
  if (carries_only_data(*s) && p.segment_size == 0 && chance(r, o_.merge)) {
    held_ = std::move(s);
    held_as_.checksum = p.checksum;
    let_go_ = now + o_.hold;
    return;
  }
  if (s->payload.size() > 1 && p.segment_size == 0 && chance(r, o_.split)) {
    const std::size_t size = (s->payload.size() + 1) / 2;
    for (const Segment& piece : cut(*s, size)) out.push_back(put_together(piece, 0, p.checksum));
    return;
  }
  out.push_back(put_together(*s, p.segment_size, p.checksum));
}

}  // namespace pollux::sim
