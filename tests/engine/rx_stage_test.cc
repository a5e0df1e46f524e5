#include "engine/rx_stage.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <atomic>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <thread>

#include "proto/wire/ip.h"
#include "workers/flow_view.h"

namespace pollux {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

using Octets = std::vector<std::uint8_t>;

constexpr HashKey kKey{0x0123456789abcdef, 0xfedcba9876543210};

FlowKey flow_v4(std::uint16_t remote_port) {
  return {{IpAddr::v4(0xc6120002), 80}, {IpAddr::v4(0xc6120001), remote_port}};
}
FlowKey flow_v6(std::uint16_t remote_port) {
  return {{IpAddr::parse("2001:2::2").value(), 80},
          {IpAddr::parse("2001:2::1").value(), remote_port}};
}

Octets ip_packet(const IpAddr& src, const IpAddr& dst, std::uint8_t protocol,
                 const Octets& payload) {
  wire::IpHeader ip;
  ip.src = src;
  ip.dst = dst;
  ip.protocol = protocol;
  Octets packet(wire::ip_header_size(dst.is_v4()));
  wire::emit_ip(ip, payload.size(), packet);
  packet.insert(packet.end(), payload.begin(), payload.end());
  return packet;
}

/// The first octets of a transport header that goes from `from` to `to`, and a mark to tell
/// packets by.
Octets ports(std::uint16_t from, std::uint16_t to, std::uint8_t mark = 0) {
  Octets p(20);
  store_be16(&p[0], from);
  store_be16(&p[2], to);
  p[8] = mark;
  return p;
}

Octets packet_of(const FlowKey& flow, std::uint8_t mark = 0) {
  return ip_packet(flow.remote.addr, flow.local.addr, wire::kProtoTcp,
                   ports(flow.remote.port, flow.local.port, mark));
}

/// An ICMP error from a router on the way, quoting what the engine sent in `flow`.
Octets icmp_error_about(const FlowKey& flow) {
  const bool v4 = flow.local.addr.is_v4();
  const Octets sent = ip_packet(flow.local.addr, flow.remote.addr, wire::kProtoTcp,
                                ports(flow.local.port, flow.remote.port));
  Octets message{static_cast<std::uint8_t>(v4 ? 3 : 1), 0, 0, 0, 0, 0, 0, 0};
  message.insert(message.end(), sent.begin(), sent.end() - 12);  // 8 octets of TCP are left
  const IpAddr router = v4 ? IpAddr::v4(0x0a000001) : IpAddr::parse("2001:db8::1").value();
  return ip_packet(router, flow.local.addr, v4 ? wire::kProtoIcmp : wire::kProtoIcmpV6, message);
}

/// A queue in memory.
class FakeQueue final : public PacketQueue {
 public:
  RxResult receive(BufferPool& pool, RxPacket& packet) noexcept override {
    ++asked;
    if (packets.empty()) return RxResult::empty;
    const Octets octets = std::move(packets.front());
    packets.pop_front();
    Buffer* buffer = pool.alloc();
    if (buffer == nullptr) return RxResult::no_buffer;
    buffer->refs = 1;
    std::copy(octets.begin(), octets.end(), buffer->data + 12);
    packet.buffer = buffer;
    packet.offset = 12;
    packet.length = static_cast<std::uint32_t>(octets.size());
    return RxResult::packet;
  }
  int fd() const noexcept override { return -1; }

  std::deque<Octets> packets;
  int asked = 0;
};

struct CountingWaker final : Waker {
  void wake() noexcept override { ++count; }
  int count = 0;
};

RxStageOptions stage_options(std::vector<PacketQueue*> queues, std::size_t workers,
                             std::optional<std::size_t> self = {}) {
  RxStageOptions o;
  o.key = kKey;
  o.queues = std::move(queues);
  o.workers = workers;
  o.self = self;
  o.pool.slot_size = 256;
  o.pool.max_slots = 256;
  o.ring_slots = 128;
  return o;
}

void let_go(const RxPacket& packet) {
  const Slice slice(packet.buffer, packet.bytes());
  --packet.buffer->refs;  // the descriptor's own, the Slice's is left
}

/// The packets that an inbox has, and their buffers go home.
std::vector<Octets> take_all(WorkerInbox& inbox) {
  std::vector<Octets> all;
  std::array<RxPacket, 16> out;
  while (const std::size_t n = inbox.poll(out)) {
    for (const RxPacket& p : std::span(out).first(n)) {
      all.emplace_back(p.bytes().begin(), p.bytes().end());
      let_go(p);
    }
  }
  return all;
}

std::uint16_t port_that_hashes_to(std::size_t worker, std::size_t workers) {
  const Indirection indirection(workers);
  for (std::uint16_t port = 1024;; ++port) {
    if (indirection.worker(flow_hash(kKey, flow_v4(port))) == worker) return port;
  }
}

TEST(FlowView, NamesTheFlowAsTheEngineSeesIt) {
  for (const FlowKey& flow : {flow_v4(1234), flow_v6(1234)}) {
    const FlowView view = view_flow(packet_of(flow));
    EXPECT_TRUE(view.transport);
    EXPECT_EQ(view.key, flow);
  }
}

TEST(FlowView, AnIcmpErrorBelongsToTheFlowThatItQuotes) {
  for (const FlowKey& flow : {flow_v4(1234), flow_v6(1234)}) {
    const FlowView view = view_flow(icmp_error_about(flow));
    EXPECT_EQ(view.key, flow);
    EXPECT_FALSE(view.transport);
  }
}

TEST(FlowView, AnEchoGoesByAddresses) {
  const FlowKey flow = flow_v4(0);
  const FlowView view = view_flow(
      ip_packet(flow.remote.addr, flow.local.addr, wire::kProtoIcmp, {8, 0, 0, 0, 1, 2, 3, 4}));
  EXPECT_EQ(view.key, (FlowKey{{flow.local.addr, 0}, {flow.remote.addr, 0}}));
  EXPECT_FALSE(view.transport);
}

TEST(FlowView, SeesPortsBehindOptionsAndExtensionHeaders) {
  Octets v4 = packet_of(flow_v4(1234));
  v4[0] = 0x46;
  v4.insert(v4.begin() + 20, {1, 1, 1, 1});
  EXPECT_EQ(view_flow(v4).key, flow_v4(1234));

  Octets v6 = packet_of(flow_v6(1234));
  v6[6] = 0;  // hop-by-hop, then destination options of 16 octets, then an atomic fragment
  v6.insert(v6.begin() + 40,
            {60, 0, 1, 4,  0, 0, 0, 0,  //
             44, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 1});
  EXPECT_EQ(view_flow(v6).key, flow_v6(1234));
  EXPECT_TRUE(view_flow(v6).transport);
}

TEST(FlowView, FragmentsGoByTheirAddresses) {
  for (const bool first : {true, false}) {
    Octets v4 = packet_of(flow_v4(1234));
    if (first) v4[6] = 0x20;
    if (!first) v4[7] = 1;
    EXPECT_FALSE(view_flow(v4).transport);
    EXPECT_EQ(view_flow(v4).key.local.port, 0);
    EXPECT_EQ(view_flow(v4).key.remote.port, 0);
    Octets v6 = packet_of(flow_v6(1234));
    v6[6] = 44;
    v6.insert(v6.begin() + 40, {6, 0, 0, static_cast<std::uint8_t>(first ? 1 : 8), 0, 0, 0, 1});
    EXPECT_FALSE(view_flow(v6).transport);
    EXPECT_EQ(view_flow(v6).key.remote.port, 0);
  }
}

TEST(FlowView, AQuotedFirstFragmentHasItsPorts) {
  for (const FlowKey& flow : {flow_v4(1234), flow_v6(1234)}) {
    Octets error = icmp_error_about(flow);
    const bool v4 = flow.remote.addr.is_v4();
    const std::size_t quote = (v4 ? 20U : 40U) + 8;
    if (v4) {
      error[quote + 6] = 0x20;
    } else {
      const std::uint8_t protocol = std::exchange(error[quote + 6], std::uint8_t{44});
      error.insert(error.begin() + static_cast<std::ptrdiff_t>(quote + 40),
                   {protocol, 0, 0, 1, 0, 0, 0, 1});
    }
    EXPECT_EQ(view_flow(error).key, flow);
  }
}

TEST(FlowView, AnyOctetsAreSafe) {
  EXPECT_TRUE(rc::check("octets of no meaning", [](Octets packet) {
    packet.shrink_to_fit();
    view_flow(packet);
  }));
  EXPECT_TRUE(rc::check("a packet cut and changed", [] {
    const FlowKey flow = *rc::gen::element(flow_v4(7), flow_v6(7));
    Octets packet = *rc::gen::element(packet_of(flow), icmp_error_about(flow));
    for (int i = 0; i < 4; ++i) {
      packet[*rc::gen::inRange<std::size_t>(0, packet.size())] =
          *rc::gen::arbitrary<std::uint8_t>();
    }
    const Octets cut(packet.begin(),
                     packet.begin() + *rc::gen::inRange<std::ptrdiff_t>(0, std::ssize(packet)));
    view_flow(cut);
  }));
}

TEST(Indirection, SpreadsOverAllWorkers) {
  const Indirection indirection(3);
  std::map<std::size_t, int> share;
  for (std::uint32_t top = 0; top < 256; ++top) ++share[indirection.worker(top << 24U)];
  EXPECT_THAT(share, ElementsAre(std::pair(0U, 86), std::pair(1U, 85), std::pair(2U, 85)));
}

TEST(RxStage, EveryPacketOfAFlowGoesToTheWorkerOfItsHash) {
  FakeQueue queue;
  RxStage stage(stage_options({&queue}, 3));
  WorkerInbox inboxes[3] = {{0, {&stage}}, {1, {&stage}}, {2, {&stage}}};
  const Indirection indirection(3);
  for (std::uint16_t port = 2000; port < 2020; ++port) {
    queue.packets.push_back(packet_of(flow_v4(port)));
    queue.packets.push_back(packet_of(flow_v6(port)));
    queue.packets.push_back(icmp_error_about(flow_v4(port)));
  }
  EXPECT_EQ(stage.poll({}), 60U);
  std::size_t seen = 0;
  for (std::size_t worker = 0; worker < 3; ++worker) {
    for (const Octets& packet : take_all(inboxes[worker])) {
      EXPECT_EQ(indirection.worker(flow_hash(kKey, view_flow(packet).key)), worker);
      ++seen;
    }
  }
  EXPECT_EQ(seen, 60U);
  EXPECT_EQ(stage.counters().packets.get(), 60U);
  EXPECT_EQ(stage.counters().forwarded.get(), 60U);
}

TEST(RxStage, TheHashIsTheFlowsAndZeroForOthers) {
  FakeQueue queue;
  RxStage stage(stage_options({&queue}, 1));
  WorkerInbox inbox(0, {&stage});
  queue.packets = {packet_of(flow_v6(7)), icmp_error_about(flow_v6(7)), Octets{0x45}};
  stage.poll({});
  std::array<RxPacket, 4> out;
  ASSERT_EQ(inbox.poll(out), 3U);
  EXPECT_EQ(out[0].hash, flow_hash(kKey, flow_v6(7)));
  EXPECT_EQ(out[1].hash, 0U);
  EXPECT_EQ(out[2].hash, 0U);
  for (const RxPacket& p : std::span(out).first(3)) let_go(p);
}

TEST(RxStage, KeepsTheOrderWithinAFlow) {
  FakeQueue queue;
  RxStage stage(stage_options({&queue}, 2));
  WorkerInbox inboxes[2] = {{0, {&stage}}, {1, {&stage}}};
  for (std::uint8_t i = 0; i < 50; ++i) queue.packets.push_back(packet_of(flow_v4(7), i));
  stage.poll({});
  std::vector<std::uint8_t> marks;
  for (WorkerInbox& inbox : inboxes) {
    for (const Octets& packet : take_all(inbox)) marks.push_back(packet[28]);
  }
  ASSERT_THAT(marks, SizeIs(50));
  EXPECT_TRUE(std::is_sorted(marks.begin(), marks.end()));
}

TEST(RxStage, AFullRingDropsAndCountsAndKeepsTheBuffers) {
  FakeQueue queue;
  RxStageOptions o = stage_options({&queue}, 1);
  o.ring_slots = 10;
  RxStage stage(o);
  WorkerInbox inbox(0, {&stage});
  for (std::uint8_t i = 0; i < 25; ++i) queue.packets.push_back(packet_of(flow_v4(7), i));
  EXPECT_EQ(stage.poll({}), 25U);
  EXPECT_EQ(stage.counters().ring_full.get(), 15U);
  EXPECT_EQ(stage.counters().forwarded.get(), 10U);
  EXPECT_EQ(stage.pool().in_use(), 10U);
  const std::vector<Octets> got = take_all(inbox);
  ASSERT_THAT(got, SizeIs(10));
  EXPECT_EQ(got.back()[28], 9);
  stage.poll({});  // brings the buffers home
  EXPECT_EQ(stage.pool().in_use(), 0U);
}

TEST(RxStage, AnExhaustedPoolIsCountedAndPassesOver) {
  FakeQueue queue;
  RxStageOptions o = stage_options({&queue}, 1);
  o.pool.max_slots = o.pool.chunk_slots = 4;
  RxStage stage(o);
  WorkerInbox inbox(0, {&stage});
  for (int i = 0; i < 6; ++i) queue.packets.push_back(packet_of(flow_v4(7)));
  stage.poll({});
  EXPECT_EQ(stage.counters().no_buffer.get(), 2U);
  EXPECT_EQ(stage.counters().packets.get(), 6U);
  EXPECT_THAT(take_all(inbox), SizeIs(4));
  queue.packets.push_back(packet_of(flow_v4(7)));
  stage.poll({});
  EXPECT_EQ(stage.counters().no_buffer.get(), 2U);
  EXPECT_THAT(take_all(inbox), SizeIs(1));
}

TEST(RxStage, SharesItsBudgetAmongBusyQueues) {
  FakeQueue queues[3];
  RxStage stage(stage_options({&queues[0], &queues[1], &queues[2]}, 1));
  WorkerInbox inbox(0, {&stage});
  for (int i = 0; i < 100; ++i) {
    queues[0].packets.push_back(packet_of(flow_v4(1)));
    queues[2].packets.push_back(packet_of(flow_v4(3)));
  }
  EXPECT_EQ(stage.poll({}), limits::kBatch);
  EXPECT_LT(queues[0].packets.size(), 100U);
  EXPECT_LT(queues[2].packets.size(), 100U);
  take_all(inbox);
}

TEST(RxStage, ALonePacketGoesItsWayBeforeTheQueueIsAskedAgain) {
  FakeQueue queue;
  RxStage stage(stage_options({&queue}, 1, 0));
  WorkerInbox inbox(0, {&stage});
  EXPECT_THAT(take_all(inbox), IsEmpty());
  EXPECT_FALSE(inbox.more());
  std::array<RxPacket, 64> out;
  for (int i = 0; i < 3; ++i) {
    queue.packets.push_back(packet_of(flow_v4(7)));
    queue.asked = 0;
    ASSERT_EQ(inbox.poll(out), 1U);
    let_go(out[0]);
    EXPECT_EQ(queue.asked, 1);
    EXPECT_TRUE(inbox.more());
    EXPECT_EQ(inbox.poll(out), 0U);
    EXPECT_FALSE(inbox.more());
  }
}

TEST(RxStage, AFullQueueIsSoonReadInWholeBatches) {
  FakeQueue queue;
  RxStage stage(stage_options({&queue}, 1, 0));
  WorkerInbox inbox(0, {&stage});
  std::array<RxPacket, limits::kBatch> out;
  inbox.poll(out);
  for (int i = 0; i < 250; ++i) queue.packets.push_back(packet_of(flow_v4(7)));
  std::vector<std::size_t> taken;
  while (const std::size_t n = inbox.poll(out)) {
    for (const RxPacket& p : std::span(out).first(n)) let_go(p);
    taken.push_back(n);
  }
  EXPECT_THAT(taken, ElementsAre(1, 2, 4, 8, 16, 32, 64, 64, 59));
}

TEST(RxStage, WakesAWorkerAfterItsBatchAndNobodyElse) {
  FakeQueue queue;
  CountingWaker wakers[2];
  RxStageOptions o = stage_options({&queue}, 2);
  o.wakers = {&wakers[0], &wakers[1]};
  RxStage stage(o);
  WorkerInbox inbox(1, {&stage});
  const std::uint16_t port = port_that_hashes_to(1, 2);
  for (int i = 0; i < 5; ++i) queue.packets.push_back(packet_of(flow_v4(port)));
  EXPECT_FALSE(inbox.has_pending());
  stage.poll({});
  EXPECT_TRUE(inbox.has_pending());
  EXPECT_EQ(wakers[0].count, 0);
  EXPECT_EQ(wakers[1].count, 1);
  stage.poll({});
  EXPECT_EQ(wakers[1].count, 1);
  take_all(inbox);
}

TEST(RxStage, InlineGivesItsOwnAndForwardsTheRest) {
  FakeQueue queue0;
  FakeQueue queue1;
  RxStage stage0(stage_options({&queue0}, 2, 0));
  RxStage stage1(stage_options({&queue1}, 2, 1));
  WorkerInbox inbox0(0, {&stage0, &stage1});
  WorkerInbox inbox1(1, {&stage0, &stage1});
  EXPECT_EQ(inbox0.own_stage(), &stage0);
  const std::uint16_t to0 = port_that_hashes_to(0, 2);
  const std::uint16_t to1 = port_that_hashes_to(1, 2);
  queue0.packets = {packet_of(flow_v4(to0), 1), packet_of(flow_v4(to1), 2)};
  queue1.packets = {packet_of(flow_v4(to0), 3)};
  std::array<RxPacket, 8> out;
  ASSERT_EQ(inbox0.poll(out), 1U);
  EXPECT_EQ(out[0].bytes()[28], 1);
  EXPECT_EQ(stage0.last_taken(), 2U);
  let_go(out[0]);
  ASSERT_EQ(inbox1.poll(out), 1U);
  EXPECT_EQ(out[0].bytes()[28], 2);
  let_go(out[0]);
  ASSERT_EQ(inbox0.poll(out), 1U);
  EXPECT_EQ(out[0].bytes()[28], 3);
  let_go(out[0]);
  inbox0.poll(out);
  inbox1.poll(out);
  EXPECT_EQ(stage0.pool().in_use(), 0U);
  EXPECT_EQ(stage1.pool().in_use(), 0U);
}

TEST(RxStage, InlineNeverTakesMoreThanThereIsRoomFor) {
  FakeQueue queue;
  RxStage stage(stage_options({&queue}, 1, 0));
  WorkerInbox inbox(0, {&stage});
  for (int i = 0; i < 20; ++i) queue.packets.push_back(packet_of(flow_v4(7)));
  std::array<RxPacket, 6> out;
  EXPECT_EQ(inbox.poll(out), 6U);
  EXPECT_EQ(queue.packets.size(), 14U);
  for (const RxPacket& p : out) let_go(p);
}

TEST(RxStage, AWorkerWithoutAQueueLivesOnItsRings) {
  FakeQueue queue;
  RxStage stage0(stage_options({&queue}, 2, 0));
  RxStage stage1(stage_options({}, 2, 1));
  WorkerInbox inbox0(0, {&stage0, &stage1});
  WorkerInbox inbox1(1, {&stage0, &stage1});
  queue.packets.push_back(packet_of(flow_v4(port_that_hashes_to(1, 2))));
  EXPECT_THAT(take_all(inbox1), IsEmpty());
  EXPECT_THAT(take_all(inbox0), IsEmpty());
  EXPECT_THAT(take_all(inbox1), SizeIs(1));
}

TEST(RxStage, RingsAndOwnQueueShareABatch) {
  FakeQueue queue0;
  FakeQueue queue1;
  RxStage stage0(stage_options({&queue0}, 2, 0));
  RxStage stage1(stage_options({&queue1}, 2, 1));
  WorkerInbox inbox0(0, {&stage0, &stage1});
  WorkerInbox inbox1(1, {&stage0, &stage1});
  const std::uint16_t to0 = port_that_hashes_to(0, 2);
  for (int i = 0; i < 30; ++i) {
    queue0.packets.push_back(packet_of(flow_v4(to0), 'q'));
    queue1.packets.push_back(packet_of(flow_v4(to0), 'r'));
  }
  std::array<RxPacket, 64> all;
  EXPECT_EQ(inbox1.poll(all), 0U);
  std::array<RxPacket, 8> out;
  ASSERT_EQ(inbox0.poll(out), 8U);
  std::string marks;
  for (const RxPacket& p : out) {
    marks += static_cast<char>(p.bytes()[28]);
    let_go(p);
  }
  EXPECT_EQ(marks, "rrrrqqqq");
  take_all(inbox0);
}

/// A queue that never ends until it is told to.
class EndlessQueue final : public PacketQueue {
 public:
  RxResult receive(BufferPool& pool, RxPacket& packet) noexcept override {
    if (left == 0) return RxResult::empty;
    FakeQueue one;
    one.packets.push_back(packet_of(flow_v4(static_cast<std::uint16_t>(left % 50))));
    --left;
    return one.receive(pool, packet);
  }
  int fd() const noexcept override { return -1; }
  std::uint32_t left = 20'000;
};

TEST(RxStage, ThreadsLoseNothingUncounted) {
  EndlessQueue queue;
  RxStage stage(stage_options({&queue}, 2));
  std::atomic<bool> done{false};
  std::atomic<std::uint64_t> got{0};
  std::vector<std::thread> workers;
  for (std::size_t w = 0; w < 2; ++w) {
    workers.emplace_back([&, w] {
      WorkerInbox inbox(w, {&stage});
      std::array<RxPacket, 32> out;
      for (;;) {
        const bool last = done.load();
        const std::size_t n = inbox.poll(out);
        for (const RxPacket& p : std::span(out).first(n)) let_go(p);
        got += n;
        if (n == 0 && last) return;
        if (n == 0) std::this_thread::yield();
      }
    });
  }
  while (stage.poll({}) != 0) std::this_thread::yield();
  done = true;
  for (std::thread& t : workers) t.join();
  const RxStageCounters& c = stage.counters();
  EXPECT_EQ(c.packets.get(), 20'000U);
  EXPECT_EQ(got + c.ring_full.get() + c.no_buffer.get(), 20'000U);
  stage.poll({});
  EXPECT_EQ(stage.pool().in_use(), 0U);
}

}  // namespace
}  // namespace pollux
