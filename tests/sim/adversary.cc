#include "tests/sim/adversary.h"

#include <algorithm>

#include "proto/wire/checksum.h"

namespace pollux::sim {

namespace flag = wire::tcp_flag;

namespace {

constexpr unsigned kMaxTries = 20;

std::vector<std::uint8_t> octets_of(Seq s) {
  std::vector<std::uint8_t> b(4);
  store_be32(b.data(), s.raw());
  return b;
}

/// For packets that were garbled: only the checksum stays right, so that the rest is looked at.
void fix_checksum(Packet& p, const Segment& s) {
  const std::size_t ip = wire::ip_header_size(s.ip.is_v4());
  std::uint8_t* b = p.octets.data() + ip;
  store_be16(b + wire::kTcpChecksumOffset, 0);
  const Bytes segment{b, p.octets.size() - ip};
  wire::ChecksumSum sum;
  wire::add_pseudo_header(sum, s.ip.src, s.ip.dst, wire::kProtoTcp,
                          static_cast<std::uint32_t>(segment.size()));
  sum.add(segment);
  store_be16(b + wire::kTcpChecksumOffset, sum.checksum());
}

}  // namespace

Adversary::Adversary(Network& network, std::size_t index, const AdversaryOptions& options)
    : Node(network, index, *IpAddr::parse(options.address)),
      o_(options),
      lines_(options.lines),
      due_(network.now()) {}

Segment Adversary::segment(const Line& l, std::uint8_t flags, std::size_t octets) const {
  Random& r = network_.random();
  Segment s;
  s.ip.src = address;
  s.ip.dst = o_.target.addr;
  s.ip.protocol = wire::kProtoTcp;
  s.src_port = l.port;
  s.dst_port = o_.target.port;
  s.seq = l.snd_nxt;
  s.ack = l.rcv_nxt;
  s.flags = flags;
  s.window = pick<std::uint16_t>(r, {1000, 10000, 65535});
  s.payload.resize(octets, static_cast<std::uint8_t>(r()));
  if (l.timestamps) {
    Option o{option::timestamps, std::vector<std::uint8_t>(8)};
    store_be32(o.body.data(), static_cast<std::uint32_t>(to_ms(network_.now().time_since_epoch())));
    store_be32(o.body.data() + 4, l.ts_recent);
    s.options.push_back(std::move(o));
  }
  return s;
}

void Adversary::send(const Segment& s) {
  ++sent_;
  network_.send(index(), put_together(s, 0, ChecksumState::unverified));
}

/// SYN, the same again until it is answered.
void Adversary::call(Line& l) {
  Random& r = network_.random();
  if (l.tries++ > 0) return send(l.syn);
  l.port = next_port_++;
  l.iss = Seq{static_cast<std::uint32_t>(r())};
  l.snd_nxt = l.iss + 1;
  l.timestamps = chance(r, 0.5);
  Segment& s = l.syn = segment(l, flag::syn, 0);
  s.seq = l.iss;
  s.ack = Seq{};
  s.options.push_back({option::mss, {static_cast<std::uint8_t>(r() % 8), 100}});
  if (chance(r, 0.7)) s.options.push_back({option::sack_permitted, {}});
  if (chance(r, 0.7)) {
    s.options.push_back({option::window_scale, {static_cast<std::uint8_t>(below(r, 16))}});
  }
  send(s);
}

void Adversary::receive(Instant, const Packet& p) {
  const std::optional<Segment> s = take_apart(p);
  if (s && s->payload.empty()) ++answers_;
  if (!s || s->src_port != o_.target.port) return;
  const auto l = std::find_if(lines_.begin(), lines_.end(),
                              [&](const Line& x) { return x.port == s->dst_port; });
  if (l == lines_.end()) return;
  if (s->has(flag::rst)) {
    *l = Line{};
    return;
  }
  const bool syn = s->has(flag::syn);
  const auto size = static_cast<std::uint32_t>(s->payload.size()) + (syn ? 1U : 0U) +
                    (s->has(flag::fin) ? 1U : 0U);
  for (const Option& o : s->options) {
    if (syn && o.kind == option::window_scale) l->shift = o.body[0];
    if (o.kind == option::timestamps) l->ts_recent = load_be32(o.body.data());
  }
  if (!l->open) {
    if (!syn) return;
    l->open = true;
    ++opened_;
    l->irs = l->acked = s->seq;
    l->rcv_nxt = l->edge = s->seq;
    l->edge = s->ack;
  }
  l->rcv_nxt = max(l->rcv_nxt, s->seq + size);
  l->edge = max(l->edge, s->ack + (std::uint32_t{s->window} << (syn ? 0 : l->shift)));
  l->last = p;
  if (syn) send(segment(*l, flag::ack, 0));
}

void Adversary::turn(Instant now) {
  if (due_ > now) return;
  if (silent()) {
    due_ = kNever;
    return;
  }
  static constexpr Move kMoves[] = {&Adversary::be_honest,     &Adversary::be_honest,
                                    &Adversary::be_honest,     &Adversary::send_anything,
                                    &Adversary::send_anything, &Adversary::divide_acks,
                                    &Adversary::lie_in_sack,   &Adversary::acknowledge_ahead,
                                    &Adversary::renege,        &Adversary::close_window,
                                    &Adversary::shrink_window, &Adversary::comb,
                                    &Adversary::point_urgent,  &Adversary::use_old_timestamps,
                                    &Adversary::overlap,       &Adversary::break_in,
                                    &Adversary::garble,        &Adversary::lie_by_icmp};
  Random& r = network_.random();
  due_ = now + Duration(below(r, static_cast<std::uint64_t>(o_.pace.count())) + 1000);
  ++moves_;
  Line& l = lines_[below(r, lines_.size())];
  if (!l.open) {
    if (l.tries == kMaxTries) l = Line{};
    call(l);
    return;
  }
  (this->*kMoves[below(r, std::size(kMoves))])(l);
}

/// A number near one of the two, or far from both.
Seq Adversary::around(Seq a, Seq b) {
  Random& r = network_.random();
  const auto little = static_cast<std::uint32_t>(below(r, pick(r, {2U, 10U, 3000U, 100000U})));
  const Seq base = chance(r, 0.5) ? a : b;
  if (chance(r, 0.05)) return Seq{static_cast<std::uint32_t>(r())};
  if (chance(r, 0.05)) return base + 0x80000000U - little;
  return chance(r, 0.5) ? base + little : base - little;
}

/// Acknowledges all and sends a little: else every trick meets a connection that stands still.
void Adversary::be_honest(Line& l) {
  Random& r = network_.random();
  Segment s = segment(l, flag::ack, chance(r, 0.5) ? between(r, 1, 1000) : 0);
  const auto room = static_cast<std::size_t>(std::max(l.edge - l.snd_nxt, 0));
  s.payload.resize(std::min(s.payload.size(), room));
  l.snd_nxt += static_cast<std::uint32_t>(s.payload.size());
  l.acked = l.rcv_nxt;
  send(s);
}

void Adversary::send_anything(Line& l) {
  Random& r = network_.random();
  Segment s = segment(l, static_cast<std::uint8_t>(r()), chance(r, 0.5) ? below(r, 1400) : 0);
  if (chance(r, 0.7)) s.flags = static_cast<std::uint8_t>((s.flags | flag::ack) & ~flag::rst);
  if (chance(r, 0.7)) s.flags = static_cast<std::uint8_t>(s.flags & ~flag::syn);
  s.seq = around(l.snd_nxt, l.edge);
  s.ack = around(l.acked, l.rcv_nxt);
  s.window = static_cast<std::uint16_t>(r());
  s.urgent = static_cast<std::uint16_t>(r());
  s.reserved = static_cast<std::uint8_t>(below(r, 16));
  send(s);
}

/// An ACK for each octet (Savage et al. 1999): must not open cwnd faster.
void Adversary::divide_acks(Line& l) {
  for (unsigned i = 0; i < 60 && l.acked < l.rcv_nxt; ++i) {
    l.acked += 1;
    Segment s = segment(l, flag::ack, 0);
    s.ack = l.acked;
    send(s);
  }
}

/// Of what is on its way at best, and of what was never sent.
void Adversary::acknowledge_ahead(Line& l) {
  Random& r = network_.random();
  Segment s = segment(l, flag::ack, 0);
  s.ack = l.rcv_nxt + static_cast<std::uint32_t>(below(r, pick(r, {100U, 20000U, 1U << 20})));
  send(s);
}

void Adversary::sack(Segment& s, const std::vector<std::pair<Seq, Seq>>& blocks) const {
  Option o{option::sack, {}};
  for (const auto& [begin, end] : blocks) {
    for (const Seq q : {begin, end}) {
      const auto b = octets_of(q);
      o.body.insert(o.body.end(), b.begin(), b.end());
    }
  }
  s.options.push_back(std::move(o));
}

/// Blocks that are empty, turned round, overlapping, below SND.UNA (D-SACK), beyond SND.NXT.
void Adversary::lie_in_sack(Line& l) {
  Random& r = network_.random();
  Segment s = segment(l, flag::ack, 0);
  s.ack = chance(r, 0.7) ? l.acked : around(l.acked, l.rcv_nxt);
  std::vector<std::pair<Seq, Seq>> blocks(between(r, 1, 3));
  for (auto& [begin, end] : blocks) {
    begin = around(l.acked, l.rcv_nxt);
    end = chance(r, 0.8) ? begin + static_cast<std::uint32_t>(below(r, 5000))
                         : around(l.acked, l.rcv_nxt);
  }
  sack(s, blocks);
  send(s);
}

/// Everything but the first octet is there; the next ACK has forgotten it (RFC 2018 8).
void Adversary::renege(Line& l) {
  Segment s = segment(l, flag::ack, 0);
  s.ack = l.acked;
  if (l.acked + 1 < l.rcv_nxt) sack(s, {{l.acked + 1, l.rcv_nxt}});
  send(s);
  s = segment(l, flag::ack, 0);
  s.ack = l.acked;
  for (int i = 0; i < 4; ++i) send(s);
}

void Adversary::close_window(Line& l) {
  Segment s = segment(l, flag::ack, 0);
  s.ack = l.acked = l.rcv_nxt;
  s.window = 0;
  send(s);
}

void Adversary::shrink_window(Line& l) {
  Segment s = segment(l, flag::ack, 0);
  s.ack = l.acked;
  s.window = static_cast<std::uint16_t>(below(network_.random(), 30));
  send(s);
}

/// One octet at every second offset: each is a hole more to keep.
void Adversary::comb(Line& l) {
  const auto start = static_cast<std::uint32_t>(below(network_.random(), 1000));
  for (std::uint32_t i = 0; i < 150; ++i) {
    Segment s = segment(l, flag::ack, 1);
    s.seq = l.snd_nxt + start + 2 * i + 1;
    send(s);
  }
}

void Adversary::point_urgent(Line& l) {
  Random& r = network_.random();
  Segment s = segment(l, flag::ack | flag::urg, below(r, 100));
  s.urgent = static_cast<std::uint16_t>(r());
  send(s);
  l.snd_nxt += static_cast<std::uint32_t>(s.payload.size());
}

void Adversary::use_old_timestamps(Line& l) {
  Random& r = network_.random();
  Segment s = segment(l, flag::ack, below(r, 100));
  std::erase_if(s.options, [](const Option& o) { return o.kind == option::timestamps; });
  Option o{option::timestamps, octets_of(Seq{static_cast<std::uint32_t>(r())})};
  const auto echo = octets_of(Seq{static_cast<std::uint32_t>(r())});
  o.body.insert(o.body.end(), echo.begin(), echo.end());
  s.options.push_back(std::move(o));
  send(s);
}

/// The same places with other octets.
void Adversary::overlap(Line& l) {
  Random& r = network_.random();
  for (int i = 0; i < 5; ++i) {
    Segment s = segment(l, flag::ack, between(r, 1, 1400));
    s.seq = around(l.snd_nxt, l.snd_nxt);
    send(s);
  }
}

/// SYN, RST and FIN beside the numbers that would be right (RFC 5961).
void Adversary::break_in(Line& l) {
  Random& r = network_.random();
  Segment s = segment(l,
                      pick<std::uint8_t>(r, {flag::syn, flag::rst, flag::rst | flag::ack,
                                             flag::syn | flag::ack, flag::fin | flag::ack}),
                      0);
  s.seq = around(l.snd_nxt, l.edge);
  if (chance(r, 0.1)) s.seq = l.snd_nxt;
  if (s.has(flag::syn)) s.options.push_back({option::window_scale, {14}});
  send(s);
}

/// Options of illegal lengths, data offsets past the end.
void Adversary::garble(Line& l) {
  Random& r = network_.random();
  Segment s = segment(l, flag::ack, below(r, 200));
  s.options.push_back({option::unknown, std::vector<std::uint8_t>(below(r, 20))});
  Packet p = put_together(s, 0, ChecksumState::unverified);
  const std::size_t tcp = wire::ip_header_size(s.ip.is_v4());
  for (std::size_t i = tcp + wire::kTcpHeaderSize; i < p.octets.size(); ++i) {
    p.octets[i] = static_cast<std::uint8_t>(chance(r, 0.5) ? below(r, 12) : r());
  }
  if (chance(r, 0.3)) p.octets[tcp + 12] = static_cast<std::uint8_t>(r());
  fix_checksum(p, s);
  ++sent_;
  network_.send(index(), std::move(p));
}

/// A path that carries next to nothing (RFC 5927 7).
void Adversary::lie_by_icmp(Line& l) {
  if (l.last.octets.empty()) return;
  ++sent_;
  Random& r = network_.random();
  network_.send(index(),
                too_big(l.last, pick(r, {0U, 67U, 68U, 300U, 576U, 1279U, 1280U, 65535U})));
}

}  // namespace pollux::sim
