#include "engine/rx_stage.h"

#include <algorithm>
#include <utility>

#include "workers/flow_view.h"

namespace pollux {
namespace {

/// A worker on another core starts after this many packets and not after the whole budget.
constexpr std::size_t kPublishEvery = 16;

}  // namespace

Indirection::Indirection(std::size_t workers) {
  for (std::size_t i = 0; i < table_.size(); ++i) {
    table_[i] = static_cast<std::uint8_t>(i % workers);
  }
}

RxStage::RxStage(RxStageOptions options)
    : options_(std::move(options)), indirection_(options_.workers), pool_(options_.pool) {
  for (PacketQueue* queue : options_.queues) inputs_.push_back({queue});
  for (std::size_t w = 0; w < options_.workers; ++w) {
    if (options_.self == w) {
      lanes_.push_back(nullptr);
      continue;
    }
    lanes_.push_back(std::make_unique<Lane>(pool_, options_.ring_slots));
    if (w < options_.wakers.size()) lanes_.back()->waker = options_.wakers[w];
  }
}

std::size_t RxStage::poll(std::span<RxPacket> own) noexcept {
  options_.stage_clock->enter(Stage::ring);
  bring_buffers_home();
  own_count_ = 0;
  more_ = false;
  const std::size_t budget = options_.self ? std::min(own.size(), limits::kBatch) : limits::kBatch;
  std::size_t taken = 0;
  const std::size_t queues = options_.queues.size();
  for (std::size_t i = 0; i < queues && taken < budget; ++i) {
    // What idle queues leave of the budget goes to those after them, one packet at least to each.
    const std::size_t quota = std::max<std::size_t>(1, (budget - taken) / (queues - i));
    taken += drain_queue(inputs_[next_queue_], quota, own);
    next_queue_ = (next_queue_ + 1) % queues;
  }
  last_taken_ = taken;
  return options_.self ? own_count_ : taken;
}

/// To learn that a queue is empty costs a system call, so it is asked for no more packets than it
/// is likely to have: twice as many as last time while it has them. A lone packet goes its way at
/// once, and a full queue is soon read in whole batches.
std::size_t RxStage::drain_queue(Input& input, std::size_t quota,
                                 std::span<RxPacket> own) noexcept {
  quota = std::min(quota, input.burst);
  std::size_t taken = 0;
  while (taken < quota && take_one(*input.queue, own) != RxResult::empty) {
    ++taken;
    if (taken % kPublishEvery == 0) publish();
  }
  publish();
  const bool full = taken == quota;
  input.burst = full ? std::min(2 * input.burst, limits::kBatch) : std::max<std::size_t>(taken, 1);
  more_ |= full;
  return taken;
}

RxResult RxStage::take_one(PacketQueue& queue, std::span<RxPacket> own) noexcept {
  RxPacket packet;
  options_.stage_clock->enter(Stage::read);
  const RxResult result = queue.receive(pool_, packet);
  options_.stage_clock->enter(Stage::classify);
  if (result == RxResult::empty) return result;
  counters_.packets.add();
  if (result == RxResult::no_buffer) {
    counters_.no_buffer.add();
    return result;
  }
  counters_.bytes.add(packet.length);
  const FlowView flow = view_flow(packet.bytes());
  const std::uint32_t hash = flow_hash(options_.key, flow.key);
  packet.hash = flow.transport ? hash : 0;
  const std::size_t worker = indirection_.worker(hash);
  if (options_.self == worker) {
    own[own_count_++] = packet;
  } else {
    stage(*lanes_[worker], packet);
  }
  return result;
}

void RxStage::stage(Lane& lane, const RxPacket& packet) noexcept {
  lane.staged[lane.staged_count++] = packet;
}

void RxStage::publish() noexcept {
  options_.stage_clock->enter(Stage::ring);
  for (const std::unique_ptr<Lane>& lane : lanes_) {
    if (lane && lane->staged_count != 0) publish(*lane);
  }
}

/// A full ring is the worker's overload: what does not fit is dropped and counted, never waited
/// for.
void RxStage::publish(Lane& lane) noexcept {
  const std::span<const RxPacket> batch(lane.staged.data(), lane.staged_count);
  const std::size_t pushed = lane.ring.push(batch);
  lane.staged_count = 0;
  counters_.forwarded.add(pushed);
  for (const RxPacket& packet : batch.subspan(pushed)) {
    counters_.ring_full.add();
    packet.buffer->refs = 0;
    pool_.recycle(packet.buffer);
  }
  if (lane.waker != nullptr) lane.waker->wake();
}

void RxStage::bring_buffers_home() noexcept {
  for (const std::unique_ptr<Lane>& lane : lanes_) {
    if (lane) lane->home.drain();
  }
}

WorkerInbox::WorkerInbox(std::size_t worker, const std::vector<RxStage*>& stages,
                         StageClock& stage_clock)
    : stage_clock_(stage_clock) {
  for (RxStage* stage : stages) {
    if (stage->self() == worker) {
      own_ = stage;
    } else {
      lanes_.push_back(stage->lanes_[worker].get());
    }
  }
}

std::size_t WorkerInbox::poll(std::span<RxPacket> out) noexcept {
  const std::span<RxPacket> for_rings = own_ == nullptr ? out : out.first(out.size() / 2);
  std::size_t n = pop_rings(for_rings);
  more_ = n == for_rings.size();
  if (own_ == nullptr) return n;
  n += own_->poll(out.subspan(n));
  more_ |= own_->more();
  return n;
}

std::size_t WorkerInbox::pop_rings(std::span<RxPacket> out) noexcept {
  stage_clock_.enter(Stage::ring);
  std::size_t n = 0;
  for (std::size_t i = 0; i < lanes_.size() && n < out.size(); ++i) {
    RxStage::Lane& lane = *lanes_[next_lane_];
    const std::span<RxPacket> room = out.subspan(n);
    const std::size_t popped = lane.ring.pop(room);
    for (const RxPacket& packet : room.first(popped)) lane.home.adopt(packet.buffer);
    n += popped;
    next_lane_ = (next_lane_ + 1) % lanes_.size();
  }
  return n;
}

bool WorkerInbox::has_pending() const noexcept {
  return std::ranges::any_of(lanes_, [](const RxStage::Lane* l) { return !l->ring.empty(); });
}

}  // namespace pollux
