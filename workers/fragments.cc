// IP fragments of one shard. All pieces of a datagram come to the same worker, by their addresses
// alone; the whole belongs to the worker that its ports hash to, and is handed over as an errand.
#include <atomic>
#include <utility>

#include "workers/crew.h"
#include "workers/flow_view.h"
#include "workers/shard.h"

namespace pollux {

struct HandOvers {
  std::atomic<std::size_t> octets{0};
};

namespace {

constexpr std::uint64_t kFragmentPurpose = 4;
constexpr std::size_t kMaxQuote = 1280;
constexpr IcmpKind kTimeExceededV4{11, 1};  // RFC 792: reassembly
constexpr IcmpKind kTimeExceededV6{3, 1};   // RFC 4443 3.3

/// A reassembled packet as a buffer that goes with its last slice.
class WholePacket final : public Buffer, private Recycler {
 public:
  explicit WholePacket(ip::Reassembler::Octets octets) : octets_(std::move(octets)) {
    data = octets_.data();
    capacity = static_cast<std::uint32_t>(octets_.size());
    recycler = this;
    refs = 1;
  }

 private:
  void recycle(Buffer*) noexcept override { delete this; }
  ip::Reassembler::Octets octets_;
};

/// On its way to another shard, and counted as long. There are no more than slots in a ring.
struct HandOver {
  static std::size_t cost_of(const ip::Reassembler::Octets& o) {
    return std::max(o.size(), limits::kHandOvers / limits::kRingSlots);
  }
  HandOver(ip::Reassembler::Octets o, std::shared_ptr<HandOvers> n)
      : octets(std::move(o)), all(std::move(n)) {
    all->octets.fetch_add(cost, std::memory_order_relaxed);
  }
  HandOver(const HandOver&) = delete;
  HandOver& operator=(const HandOver&) = delete;
  ~HandOver() { all->octets.fetch_sub(cost, std::memory_order_relaxed); }
  ip::Reassembler::Octets octets;
  std::shared_ptr<HandOvers> all;
  const std::size_t cost = cost_of(octets);
};

/// About a first fragment. Of errors nobody is told (RFC 1122 3.2.2), nor of redirects (RFC 4443
/// 2.4) or of what hides behind extension headers: of ICMP it is pings only.
bool may_be_told(std::uint8_t protocol, Bytes first) {
  return protocol == wire::kProtoTcp || protocol == wire::kProtoUdp ||
         icmp::is_echo(protocol, first);
}

}  // namespace

[[gnu::cold]] void Shard::on_fragment(const wire::IpHeader& ip, Bytes payload) {
  ip::Reassembler::Octets whole = reassembler_.add(now_, ip, payload);
  account_for_fragments();
  if (whole.empty()) return;
  counters_.packets_reassembled.add();
  // As the RX stage would have it.
  const FlowView flow = view_flow(whole);
  const std::uint32_t hash = flow_hash(options_.secret, flow.key);
  const std::uint32_t name = flow.transport ? hash : 0;
  if (options_.crew == nullptr || options_.owns(hash)) return on_whole(name, std::move(whole));
  hand_over(options_.worker_of(hash), name, std::move(whole));
}

void Shard::account_for_fragments() {
  const auto [bad, incomplete] = reassembler_.take_drops();
  counters_.drop(DropReason::ip_fragment, bad);
  counters_.drop(DropReason::ip_incomplete, incomplete);
  update_memory();
}

/// Bounded as a ring is: what another worker cannot keep up with is dropped.
[[gnu::noinline, gnu::cold]] void Shard::hand_over(std::size_t worker, std::uint32_t hash,
                                                   ip::Reassembler::Octets whole) {
  if (!hand_overs_) hand_overs_ = std::make_shared<HandOvers>();
  const std::size_t under_way = hand_overs_->octets.load(std::memory_order_relaxed);
  if (under_way + HandOver::cost_of(whole) > limits::kHandOvers) {
    return drop(DropReason::ring_full);
  }
  auto parcel = std::make_shared<HandOver>(std::move(whole), hand_overs_);
  options_.crew->post(worker, [parcel = std::move(parcel), hash](Shard& there) {
    there.on_whole(hash, std::move(parcel->octets));
  });
}

[[gnu::cold]] void Shard::on_whole(std::uint32_t hash, ip::Reassembler::Octets octets) {
  const auto length = static_cast<std::uint32_t>(octets.size());
  RxPacket packet;
  packet.buffer = new WholePacket(std::move(octets));
  packet.hash = hash;
  packet.length = length;
  const Slice held(packet.buffer, packet.bytes());
  --packet.buffer->refs;  // the descriptor's is now `held`
  const auto parsed = wire::parse_ip(packet.bytes(), false);
  deliver(std::get<wire::IpHeader>(parsed), packet);
}

/// Whose first fragment has come is told, if it is not too much (RFC 1122 3.3.2, RFC 8200 4.5).
void Shard::expire_fragments() {
  for (std::size_t i = 0; i < limits::kTimersPerTurn; ++i) {
    const auto expired = reassembler_.expire(now_);
    if (!expired) break;
    account_for_fragments();
    const wire::IpHeader& h = expired->header;
    if (expired->first.empty() || !may_be_told(h.protocol, expired->first)) continue;
    // As much as an error quotes at most, behind the header as it was.
    const Bytes first = Bytes{expired->first}.first(std::min(expired->first.size(), kMaxQuote));
    ip::Reassembler::Octets packet(wire::fragment_header_size(h.is_v4()) + first.size());
    const std::size_t n = wire::emit_ip(h, expired->first.size(), packet);
    std::copy(first.begin(), first.end(), packet.begin() + static_cast<std::ptrdiff_t>(n));
    send_icmp_error(h, kTimeExceededV4, kTimeExceededV6, packet);
  }
}

/// Not to be guessed, and none of another destination's can be told from it (RFC 7739 5.3). Each
/// time another one; of all workers together, too: each has its own residue.
std::uint32_t Shard::next_fragment_id(const wire::IpHeader& ip) {
  const FlowKey between{.local = {ip.src, 0}, .remote = {ip.dst, 0}};
  const std::uint64_t prf = flow_prf(options_.secret, between, kFragmentPurpose);
  const std::uint32_t sent = fragmented_[(prf >> 32U) % fragmented_.size()]++;
  return static_cast<std::uint32_t>(prf + sent * options_.workers + options_.worker);
}

std::uint16_t Shard::fragment_size(bool v4) const {
  return static_cast<std::uint16_t>((port_.caps().mtu - wire::fragment_header_size(v4)) / 8 * 8);
}

/// The IP header of a datagram that the device, or whoever sends it on, cuts.
void Shard::emit_cuttable(wire::IpHeader ip, std::size_t payload_size, MutableBytes head) {
  ip.may_fragment = true;
  ip.id = next_fragment_id(ip);
  wire::emit_ip(ip, payload_size, head);
}

/// `parts[0]` begins with the IP header of `ip`, as if it were one packet, and all is filled in.
[[gnu::cold]] bool Shard::send_fragments(wire::IpHeader ip, std::span<const Bytes> parts) {
  const bool v4 = ip.is_v4();
  const std::size_t header = wire::fragment_header_size(v4);
  const std::size_t most = fragment_size(v4);
  std::size_t left = 0;
  for (const Bytes part : parts) left += part.size();
  left -= wire::ip_header_size(v4);
  ip.id = next_fragment_id(ip);
  Bytes rest = parts[0].subspan(wire::ip_header_size(v4));
  parts = parts.subspan(1);
  std::size_t offset = 0;
  while (left > 0) {
    const std::size_t n = std::min(left, most);
    left -= n;
    ip.fragment_offset = static_cast<std::uint16_t>(offset);
    ip.more_fragments = left > 0;
    offset += n;
    std::uint8_t head[wire::fragment_header_size(false)];
    wire::emit_ip(ip, n, head);
    Bytes pieces[limits::kTxParts] = {Bytes{head, header}};
    std::size_t count = 1;
    for (std::size_t wanted = n; wanted > 0; ++count) {
      while (rest.empty()) {
        rest = parts.front();
        parts = parts.subspan(1);
      }
      pieces[count] = rest.first(std::min(rest.size(), wanted));
      wanted -= pieces[count].size();
      rest = rest.subspan(pieces[count].size());
    }
    const TxPacket tx{.parts = std::span(pieces, count),
                      .header_size = static_cast<std::uint16_t>(header),
                      .v4 = v4};
    if (!send(tx, header + n)) return false;  // the others would be of no use
  }
  counters_.packets_fragmented.add();
  return true;
}

}  // namespace pollux
