// IP fragments of one shard. All pieces of a datagram come to the same worker, by their addresses
// alone; the whole belongs to the worker that its ports hash to, and is handed over as an errand.
#include <atomic>
#include <utility>

#include "workers/crew.h"
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

/// On its way to another shard, and counted as long.
struct HandOver {
  HandOver(ip::Reassembler::Octets o, std::shared_ptr<HandOvers> n)
      : octets(std::move(o)), all(std::move(n)) {
    all->octets.fetch_add(octets.size(), std::memory_order_relaxed);
  }
  HandOver(const HandOver&) = delete;
  HandOver& operator=(const HandOver&) = delete;
  ~HandOver() { all->octets.fetch_sub(size, std::memory_order_relaxed); }
  ip::Reassembler::Octets octets;
  std::shared_ptr<HandOvers> all;
  const std::size_t size = octets.size();
};

/// About a first fragment: of errors nobody is told (RFC 1122 3.2.2), nor of what hides behind
/// extension headers and may be one.
bool may_be_told(std::uint8_t protocol, Bytes first) {
  const bool transport = protocol == wire::kProtoTcp || protocol == wire::kProtoUdp;
  const bool icmp = protocol == wire::kProtoIcmp || protocol == wire::kProtoIcmpV6;
  return transport || (icmp && !icmp::is_error(protocol, first));
}

/// As the RX stage would have it; nullopt: it has no ports.
std::optional<std::uint32_t> hash_of(const HashKey& secret, Bytes whole) {
  const auto parsed = wire::parse_ip(whole, false);
  const auto& h = std::get<wire::IpHeader>(parsed);  // the reassembler has looked
  FlowKey flow{.local = {h.dst, 0}, .remote = {h.src, 0}};
  if (h.protocol != wire::kProtoTcp && h.protocol != wire::kProtoUdp) return std::nullopt;
  flow.remote.port = load_be16(&whole[h.header_size]);
  flow.local.port = load_be16(&whole[h.header_size + std::size_t{2}]);
  return flow_hash(secret, flow);
}

}  // namespace

[[gnu::cold]] void Shard::on_fragment(const wire::IpHeader& ip, Bytes payload) {
  ip::Reassembler::Octets whole = reassembler_.add(now_, ip, payload);
  account_for_fragments();
  if (whole.empty()) return;
  counters_.packets_reassembled.add();
  const auto hash = hash_of(options_.secret, whole);
  // What has no ports is at home where its addresses lead, here.
  if (!hash || options_.crew == nullptr || options_.owns(*hash)) {
    return on_whole(hash.value_or(0), std::move(whole));
  }
  hand_over(options_.worker_of(*hash), *hash, std::move(whole));
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
  if (hand_overs_->octets.load(std::memory_order_relaxed) + whole.size() > limits::kHandOvers) {
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

/// `parts[0]` begins with the IP header of `ip`, as if it were one packet, and all is filled in.
[[gnu::cold]] bool Shard::send_fragments(wire::IpHeader ip, std::span<const Bytes> parts) {
  const bool v4 = ip.is_v4();
  const std::size_t header = wire::fragment_header_size(v4);
  const std::size_t most = (port_.caps().mtu - header) / 8 * 8;
  std::size_t left = 0;
  for (const Bytes part : parts) left += part.size();
  left -= wire::ip_header_size(v4);
  // Not to be guessed (RFC 7739), and another one each time.
  const FlowKey between{.local = {ip.src, 0}, .remote = {ip.dst, 0}};
  ip.id = static_cast<std::uint32_t>(
              flow_prf(options_.secret, between, kFragmentPurpose + (options_.worker << 8))) +
          next_fragmented_++;
  Bytes rest = parts[0].subspan(wire::ip_header_size(v4));
  parts = parts.subspan(1);
  std::size_t offset = 0;
  counters_.packets_fragmented.add();
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
  return true;
}

}  // namespace pollux
