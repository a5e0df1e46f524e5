// What a shard holds: where payload lies, what it costs, and the limit.
#include <algorithm>
#include <cstring>

#include "workers/shard.h"

namespace pollux {

namespace {

constexpr std::uint32_t kSmallSlot = 2048;
constexpr std::uint32_t kMediumSlot = 16384;
constexpr std::uint32_t kCrumb = 256;  // octets; what is ahead of a gap and smaller shares a slot

PoolOptions slots(std::uint64_t memory, std::uint32_t size, std::size_t chunk) {
  const std::uint64_t count = std::max<std::uint64_t>(memory / 2 / size, 64);
  return {.slot_size = size, .max_slots = static_cast<std::size_t>(count), .chunk_slots = chunk};
}

}  // namespace

PoolOptions Shard::small_slots(std::uint64_t memory) { return slots(memory, kSmallSlot, 256); }
PoolOptions Shard::medium_slots(std::uint64_t memory) { return slots(memory, kMediumSlot, 64); }

/// Payload stays where it is; what is small goes into a small slot, so that a tiny segment does not
/// pin a slot of 64 KiB, and what is tiny and ahead of a gap lies side by side, so that a comb of
/// single octets costs no slot for each. Past the limit nothing new is kept ahead of a gap.
Slice Shard::hold(tcp::Conn& c, const Segment& s, Slice* crumbs) {
  const Bytes payload = s.payload;
  if (payload.empty()) return {};
  if (s.h.seq > c.rcv_nxt()) {
    const bool room = held() < options_.memory_limit;
    c.set_growth(room);
    if (!room) return pinned_.pin(s.packet.buffer, payload);  // for the moment of its refusal
    if (crumbs != nullptr && payload.size() <= kCrumb) {
      if (Slice crumb = hold_crumb(*crumbs, payload); !crumb.empty()) return crumb;
    }
  }
  Buffer* b = payload.size() <= kSmallSlot ? small_.alloc() : nullptr;
  if (b == nullptr && payload.size() <= kMediumSlot) b = medium_.alloc();
  if (b == nullptr) return pinned_.pin(s.packet.buffer, payload);
  std::memcpy(b->data, payload.data(), payload.size());
  return Slice(b, Bytes{b->data, payload.size()});
}

/// `crumbs` is the used part of the slot that the connection fills; it keeps it, each piece too.
Slice Shard::hold_crumb(Slice& crumbs, Bytes payload) {
  Buffer* b = crumbs.buffer();
  if (b == nullptr || b->capacity - crumbs.size() < payload.size()) {
    b = small_.alloc();
    if (b == nullptr) return {};
    crumbs = Slice(b, Bytes{b->data, 0});
  }
  std::uint8_t* at = b->data + crumbs.size();
  std::memcpy(at, payload.data(), payload.size());
  crumbs = Slice(b, Bytes{b->data, crumbs.size() + payload.size()});
  return Slice(b, Bytes{at, payload.size()});
}

std::size_t Shard::write_copy(ConnEntry& e, Bytes data) {
  std::size_t done = e.tcp.queue_into_tail(data);
  while (done < data.size()) {
    const Bytes rest = data.subspan(done);
    BufferPool& pool = rest.size() <= kSmallSlot ? small_ : medium_;
    Buffer* b = e.tcp.send_room() > 0 ? pool.alloc() : nullptr;
    if (b == nullptr) break;
    const std::size_t n = std::min<std::size_t>(rest.size(), pool.slot_size());
    std::memcpy(b->data, rest.data(), n);
    const std::size_t taken = e.tcp.queue(Slice(b, Bytes{b->data, n}));
    done += taken;
    if (taken < n) break;
  }
  return done;
}

/// What the connection's own lists take; a peer decides how many pieces it sends.
void Shard::account(ConnEntry& e) {
  const auto now = static_cast<std::uint32_t>(e.tcp.bookkeeping());
  bookkeeping_ = bookkeeping_ - e.bookkeeping + now;
  e.bookkeeping = now;
}

std::uint64_t Shard::held() const {
  return std::uint64_t{small_.in_use()} * kSmallSlot +
         std::uint64_t{medium_.in_use()} * kMediumSlot + pinned_.bytes() + bookkeeping_ +
         reassembler_.bytes() + table_.size() * sizeof(ConnEntry) + half_open_.bytes() +
         time_wait_.bytes();
}

/// What peers on this machine have in flight lies in the device's queue, which drops what it cannot
/// hold: half of it is shared out among those that send. Two super-packets keep a sender going.
std::uint32_t Shard::share_of_queue() const {
  constexpr std::uint64_t kLeast = 128U << 10;
  const PortCaps& caps = port_.caps();
  if (caps.queue_packets == 0) return UINT32_MAX;
  const std::uint64_t packet = caps.segmentation ? limits::kMaxPacket : caps.mtu;
  const std::uint64_t share = caps.queue_packets * packet / 2 / active_.count();
  return static_cast<std::uint32_t>(std::clamp<std::uint64_t>(share, kLeast, UINT32_MAX));
}

/// Past the limit new connections are refused and windows stop growing; an offered edge stays.
void Shard::update_memory() {
  const std::uint64_t now = held();
  counters_.memory_bytes.set(now);
  memory_short_ = now > options_.memory_limit;
}

}  // namespace pollux
