// Counts of durations in nanoseconds, in buckets of at most 1/128 of their value.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace pollux::load {

class Histogram {
 public:
  Histogram();

  void add(std::uint64_t ns);
  void merge(const Histogram& other);
  std::uint64_t count() const { return count_; }
  std::uint64_t max() const { return max_; }
  /// The value that a share (0..1) of all is not above; the middle of its bucket. 0 when empty.
  std::uint64_t quantile(double share) const;

  static constexpr std::size_t bucket_of(std::uint64_t ns);
  static constexpr std::uint64_t lowest_of(std::size_t bucket);
  /// How many fell into each bucket.
  const std::vector<std::uint64_t>& buckets() const { return buckets_; }

 private:
  static constexpr unsigned kBits = 7;
  static constexpr std::uint64_t kHalf = 1U << kBits;  ///< buckets of each power of two

  std::vector<std::uint64_t> buckets_;
  std::uint64_t count_ = 0;
  std::uint64_t max_ = 0;
};

/// Below 2 * kHalf each value has its own bucket; above, the leading kBits + 1 bits say which.
constexpr std::size_t Histogram::bucket_of(std::uint64_t ns) {
  std::size_t shift = 0;
  while ((ns >> shift) >= 2 * kHalf) ++shift;
  return shift * kHalf + (ns >> shift);
}

constexpr std::uint64_t Histogram::lowest_of(std::size_t bucket) {
  if (bucket < 2 * kHalf) return bucket;
  const std::size_t shift = bucket / kHalf - 1;
  return std::uint64_t{bucket - shift * kHalf} << shift;
}

}  // namespace pollux::load
