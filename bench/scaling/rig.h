// N workers behind one RX stage, in one thread and in virtual time, with a device in memory and
// peers that play a fixed trace: what a packet costs in instructions, whatever N is.
//
//  Trace ─► MemoryQueue ─► RxStage ─► ring 0..N-1 ─► inbox ─► worker ─► shard ─► MemoryPort ─►
//  Trace
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "engine/event_sleeper.h"
#include "engine/rx_stage.h"
#include "engine/services/echo.h"
#include "proto/wire/tcp.h"
#include "workers/worker.h"

namespace pollux::scaling {

/// Packets that wait to be read.
class MemoryQueue final : public PacketQueue {
 public:
  void add(Bytes head, std::size_t payload);
  RxResult receive(BufferPool& pool, RxPacket& packet) noexcept override;
  int fd() const noexcept override { return -1; }

 private:
  struct Packet {
    std::array<std::uint8_t, 100> head;
    std::uint32_t head_size;
    std::uint32_t payload;
  };
  std::vector<Packet> packets_;
  std::size_t next_ = 0;
};

/// Keeps what the peers have to know of the segments that were sent.
class MemoryPort final : public TxPort {
 public:
  struct Sent {
    std::array<std::uint8_t, 64> tcp;  ///< the header
    std::uint32_t tcp_size;
    std::uint32_t payload;
  };
  explicit MemoryPort(std::size_t most) { sent_.reserve(most); }
  bool transmit(const TxPacket& packet) noexcept override;
  const PortCaps& caps() const noexcept override { return caps_; }
  std::vector<Sent>& sent() { return sent_; }

 private:
  const PortCaps caps_{.mtu = 1500, .checksum = true, .segmentation = true};
  std::vector<Sent> sent_;
};

/// The engine: everything of it but device, threads and sleep.
class Rig {
 public:
  /// `flows`: how many packets may be on their way in one step.
  Rig(std::size_t workers, std::size_t flows);

  MemoryQueue& queue() { return queue_; }
  /// Reads the queue until it is empty, then lets each worker run until it has nothing to do.
  void run(Instant now);
  template <class F>
  void for_each_sent(F&& f) {
    for (auto& lane : lanes_) {
      for (const MemoryPort::Sent& s : lane->port.sent()) f(s);
      lane->port.sent().clear();
    }
  }
  /// Packets that workers took, counted since the start.
  std::uint64_t received() const;
  std::uint64_t connections_opened() const;

 private:
  struct Lane {
    explicit Lane(std::size_t flows) : port(flows) {}
    WorkerCounters counters;
    EventSleeper sleeper{{}};
    EchoService echo;
    MemoryPort port;
    std::unique_ptr<WorkerInbox> inbox;
    std::unique_ptr<Shard> shard;
    std::unique_ptr<Worker> worker;
  };
  MemoryQueue queue_;
  std::unique_ptr<RxStage> stage_;  // its buffers are in the lanes: destroyed last
  std::vector<std::unique_ptr<Lane>> lanes_;
};

/// The far ends of all flows: handshake, then round after round a segment of data and, when its
/// echo is there, an ACK.
class Trace {
 public:
  explicit Trace(std::size_t flows);
  void send_syns(MemoryQueue& queue);
  void send_data(MemoryQueue& queue, std::uint32_t size);
  void send_acks(MemoryQueue& queue);
  void hear(const MemoryPort::Sent& sent);
  /// Flows whose last data came back whole.
  std::size_t in_step() const;
  std::size_t flows() const { return flows_.size(); }

 private:
  struct Flow {
    std::uint32_t next = 1000;  ///< SND.NXT
    std::uint32_t heard = 0;    ///< RCV.NXT
    std::uint32_t echoed = 0;   ///< octets that came back
    std::uint32_t sent = 0;
    std::uint32_t stamp = 1;
    std::uint32_t echo_stamp = 0;
  };
  void send(MemoryQueue& queue, std::size_t i, std::uint8_t flags, std::uint32_t size);
  std::vector<Flow> flows_;
};

}  // namespace pollux::scaling
