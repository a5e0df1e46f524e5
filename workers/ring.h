// Single-producer single-consumer ring with batch calls: the one header that sees
// Boost.Lockfree. Capacity is fixed at construction; a push never blocks.
#pragma once

#include <boost/lockfree/spsc_queue.hpp>
#include <cstddef>
#include <span>

#include "workers/shared_line.h"

namespace pollux {

template <class T>
class alignas(kSharedLine) SpscRing {
 public:
  explicit SpscRing(std::size_t slots) : q_(slots) {}
  /// Producer: pushes as many as fit, in order; returns how many.
  std::size_t push(std::span<const T> items) { return q_.push(items.data(), items.size()); }
  bool push(const T& item) { return q_.push(item); }
  /// Consumer: pops up to out.size(); returns how many.
  std::size_t pop(std::span<T> out) { return q_.pop(out.data(), out.size()); }
  /// Consumer: true when there is nothing to pop.
  bool empty() const { return q_.read_available() == 0; }
  /// Consumer: how many there are to pop.
  std::size_t size() const { return q_.read_available(); }

 private:
  boost::lockfree::spsc_queue<T> q_;
};

}  // namespace pollux
