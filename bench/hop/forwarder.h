// Moves packets between the two devices at the times that the impairments say.
#pragma once

#include <array>
#include <cstdint>
#include <queue>
#include <string>
#include <vector>

#include "bench/hop/device.h"
#include "bench/hop/impairment.h"
#include "bench/hop/options.h"

namespace pollux::hop {

class Forwarder {
 public:
  explicit Forwarder(const Options& options);

  /// Reads what is there (bounded) and sends what is due. True when there may be more to read.
  bool turn();
  /// When the next packet is due; kNever when none is under way.
  Instant next_due() const;
  const std::array<int, 2> fds() const { return {devices_[0].fd(), devices_[1].fd()}; }
  /// All counters as one line of JSON.
  std::string report() const;

  static Instant now();

 private:
  using Buffer = std::vector<std::uint8_t>;
  struct Pending {
    Instant release;
    std::uint64_t index;  ///< keeps the order of equal times
    Buffer bytes;
  };
  struct Later {
    bool operator()(const Pending& x, const Pending& y) const {
      return x.release != y.release ? x.release > y.release : x.index > y.index;
    }
  };
  /// What is under way in one direction.
  struct Line {
    std::vector<Pending> heap;
    std::uint64_t overflow = 0;  ///< dropped: too many under way
    std::uint64_t refused = 0;   ///< the device did not take it
    std::uint64_t late = 0;      ///< sent more than kLate after their time
    std::int64_t late_us_max = 0;
  };

  bool read_from(std::size_t side);
  void accept(std::size_t direction, MutableBytes packet);
  void push(std::size_t direction, Instant release, Bytes packet);
  void send_due(std::size_t direction);

  const std::size_t hold_;
  std::array<Device, 2> devices_;
  std::array<Impairment, 2> impairments_;
  std::array<Line, 2> lines_;
  std::vector<Buffer> spare_;  ///< buffers to use again
  Buffer read_buffer_;
  std::uint64_t index_ = 0;
};

}  // namespace pollux::hop
