#include "proto/ip/reassembly.h"

#include <algorithm>
#include <utility>

namespace pollux::ip {
namespace {

constexpr std::uint64_t kPurpose = 0x66726167;
/// What an entry and a piece take beside their octets, roughly.
constexpr std::size_t kEntryCost = 384;
constexpr std::size_t kPieceCost = 64;
constexpr std::size_t kMaxPayloadV4 = 65535 - wire::kIpv4HeaderSize;
constexpr std::size_t kMaxPayloadV6 = 65535;
constexpr std::uint8_t kEcnMask = 3, kCongested = 3;
constexpr std::uint8_t kHopByHop = 0, kFragment = 44;

/// What a fragment says about its own length is possible.
bool is_sound(const wire::IpHeader& h, Bytes payload) {
  // Hop-by-hop options belong in front, and a fragment holds no other (RFC 8200 4.1).
  if (!h.is_v4() && (h.protocol == kHopByHop || h.protocol == kFragment)) return false;
  if (payload.empty() || (h.more_fragments && payload.size() % 8 != 0)) return false;
  return h.fragment_offset + payload.size() <= (h.is_v4() ? kMaxPayloadV4 : kMaxPayloadV6);
}

std::size_t transport_header_size(std::uint8_t protocol, Bytes transport) {
  if (protocol == wire::kProtoTcp) {
    return transport.size() < 20 ? 20 : std::max<std::size_t>(20, (transport[12] >> 4) * 4U);
  }
  const bool eight =
      protocol == wire::kProtoUdp || protocol == wire::kProtoIcmp || protocol == wire::kProtoIcmpV6;
  return eight ? 8 : 0;
}

}  // namespace

std::size_t Reassembler::KeyHash::operator()(const Key& k) const {
  const FlowKey flow{.local = {k.dst, static_cast<std::uint16_t>(k.id >> 16)},
                     .remote = {k.src, static_cast<std::uint16_t>(k.id)}};
  return flow_prf(secret, flow, kPurpose + k.protocol);
}

Reassembler::Octets Reassembler::add(Instant now, const wire::IpHeader& h, Bytes payload) {
  if (!is_sound(h, payload)) {
    ++drops_.bad;
    return {};
  }
  const Key key = key_of(h);
  Entry* e = find(key);
  const bool unwanted = e != nullptr && e->dead;
  if (!unwanted && !make_room(payload.size() + kPieceCost + (e == nullptr ? kEntryCost : 0), e)) {
    ++drops_.incomplete;
    return {};
  }
  if (e == nullptr) e = &begin(now, key);
  if (unwanted || !insert(*e, h, payload)) {
    ++drops_.bad;
    return {};
  }
  if (e->size == 0 || e->received != e->size) return {};
  Octets whole = join(*e);
  if (whole.empty()) {
    kill(*e);
    return {};
  }
  remove(of_family(h.is_v4()), index_.at(key));
  return whole;
}

Reassembler::Key Reassembler::key_of(const wire::IpHeader& h) const {
  return {h.src, h.dst, h.id, h.is_v4() ? h.protocol : std::uint8_t{0}};
}

/// Who shares a count with others only has his unfinished datagrams given up sooner.
std::uint32_t& Reassembler::begun_between(const Key& key) {
  Key between = key;
  between.id = 0;
  return begun_v4_[index_.hash_function()(between) % begun_v4_.size()];
}

/// The datagram that a fragment belongs to, if some of it is here already.
Reassembler::Entry* Reassembler::find(const Key& key) {
  const auto at = index_.find(key);
  if (at == index_.end()) return nullptr;
  Entry& e = *at->second;
  if (!key.src.is_v4() || begun_between(key) - e.number <= limits_.distance_v4) return &e;
  drops_.incomplete += e.pieces.size();
  remove(of_family(true), at->second);
  return nullptr;
}

Reassembler::Entry& Reassembler::begin(Instant now, const Key& key) {
  Entries& list = of_family(key.src.is_v4());
  Entry& e = list.emplace_back();
  e.key = key;
  e.since = now;
  if (key.src.is_v4()) e.number = begun_between(key)++;
  e.cost = kEntryCost;
  bytes_ += e.cost;
  index_.emplace(key, std::prev(list.end()));
  return e;
}

/// False when the fragment is not wanted; where that tells that somebody lies, the datagram is
/// dead.
bool Reassembler::insert(Entry& e, const wire::IpHeader& h, Bytes payload) {
  const std::size_t begin = h.fragment_offset, end = begin + payload.size();
  const auto next = std::upper_bound(e.pieces.begin(), e.pieces.end(), begin,
                                     [](std::size_t at, const Piece& p) { return at < p.offset; });
  if (next != e.pieces.begin()) {
    const Piece& before = *std::prev(next);
    const bool same = before.offset == begin && std::ranges::equal(before.octets, payload) &&
                      h.more_fragments == (end != e.size);
    if (same) return false;  // the network doubled it
    if (before.end() > begin) return kill(e), false;
  }
  const bool overlaps = next != e.pieces.end() && next->offset < end;
  const bool past_the_end = e.size != 0 && end > e.size;
  const bool second_end = !h.more_fragments && (e.size != 0 || next != e.pieces.end());
  if (overlaps || past_the_end || second_end || e.pieces.size() == limits_.fragments) {
    return kill(e), false;
  }
  if (begin == 0) e.first = h;
  if (!h.more_fragments) e.size = end;
  e.ecn_seen |= static_cast<std::uint8_t>(1U << (h.tos & kEcnMask));
  e.pieces.insert(next, Piece{begin, Octets(payload.begin(), payload.end())});
  e.received += payload.size();
  e.cost += payload.size() + kPieceCost;
  bytes_ += payload.size() + kPieceCost;
  return true;
}

/// The packet that was sent; nothing when it cannot be one.
Reassembler::Octets Reassembler::join(Entry& e) const {
  wire::IpHeader h = e.first;
  h.fragment_offset = 0;
  h.more_fragments = false;
  h.id = 0;
  // RFC 3168 5.3: congestion met by one of them is the datagram's, and none may hide it.
  if ((e.ecn_seen & 1U << kCongested) != 0) {
    if ((e.ecn_seen & 1U) != 0) return {};
    h.tos |= kCongested;
  }
  const std::size_t header = wire::ip_header_size(h.is_v4());
  Octets whole(header + e.size);
  wire::emit_ip(h, e.size, whole);
  for (const Piece& p : e.pieces)
    std::ranges::copy(p.octets, whole.begin() + static_cast<std::ptrdiff_t>(header + p.offset));
  const auto parsed = wire::parse_ip(whole, false);
  const auto* ip = std::get_if<wire::IpHeader>(&parsed);
  if (ip == nullptr || ip->is_fragment()) return {};
  const std::size_t needed =
      ip->header_size - header +
      transport_header_size(ip->protocol, Bytes{whole}.subspan(ip->header_size));
  return needed <= e.pieces.front().octets.size() ? whole : Octets{};
}

std::optional<Reassembler::Expired> Reassembler::expire(Instant now) {
  for (std::size_t family = 0; family < entries_.size(); ++family) {
    Entries& list = entries_[family];
    if (list.empty() || list.front().since + time_of(family) > now) continue;
    Entry& e = list.front();
    Expired expired{e.first, {}};
    drops_.incomplete += e.pieces.size();
    if (!e.pieces.empty() && e.pieces.front().offset == 0) {
      expired.first = std::move(e.pieces.front().octets);
    }
    remove(list, list.begin());
    return expired;
  }
  return std::nullopt;
}

Instant Reassembler::next_deadline() const {
  Instant next = kNever;
  for (std::size_t family = 0; family < entries_.size(); ++family) {
    const Entries& list = entries_[family];
    if (!list.empty()) next = std::min(next, list.front().since + time_of(family));
  }
  return next;
}

/// What is whole stays for microseconds only: who floods with pieces throws out his own. False when
/// there is nothing left to throw out but `keep`.
bool Reassembler::make_room(std::size_t octets, const Entry* keep) {
  while (bytes_ + octets > limits_.octets) {
    Entries* from = nullptr;
    Entries::iterator oldest;
    for (Entries& list : entries_) {
      auto at = list.begin();
      if (at != list.end() && &*at == keep) ++at;
      if (at == list.end() || (from != nullptr && oldest->since <= at->since)) continue;
      from = &list;
      oldest = at;
    }
    if (from == nullptr) return false;
    drops_.incomplete += oldest->pieces.size();
    remove(*from, oldest);
  }
  return true;
}

/// RFC 5722 4: nothing of it is used, nor what still comes.
void Reassembler::kill(Entry& e) {
  drops_.bad += e.pieces.size();
  bytes_ -= e.cost - kEntryCost;
  e.cost = kEntryCost;
  std::vector<Piece>().swap(e.pieces);  // its memory, too
  e.dead = true;
}

void Reassembler::remove(Entries& list, Entries::iterator at) {
  bytes_ -= at->cost;
  index_.erase(at->key);
  list.erase(at);
}

}  // namespace pollux::ip
