// Large received packets stay where they are, in a slot of the RX stage. While connections hold one
// the worker counts the whole slot, so that the memory limit sees what is really held.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "proto/base/buffer.h"

namespace pollux {

/// Makes slices of packets that are counted until the last of them goes. One thread.
class PinnedPackets final : public Recycler {
 public:
  Slice pin(Buffer* packet, Bytes payload) {
    if (free_.empty()) free_.push_back(std::make_unique<Pin>());
    Pin* pin = free_.back().release();
    free_.pop_back();
    pin->data = packet->data;
    pin->capacity = packet->capacity;
    pin->recycler = this;
    pin->packet = Slice(packet, payload);
    bytes_ += packet->capacity;
    return Slice(pin, payload);
  }
  void recycle(Buffer* buffer) noexcept override {
    auto* pin = static_cast<Pin*>(buffer);
    bytes_ -= pin->capacity;
    pin->packet = {};
    free_.emplace_back(pin);
  }
  std::uint64_t bytes() const { return bytes_; }

 private:
  struct Pin : Buffer {
    Slice packet;
  };
  std::vector<std::unique_ptr<Pin>> free_;
  std::uint64_t bytes_ = 0;
};

}  // namespace pollux
