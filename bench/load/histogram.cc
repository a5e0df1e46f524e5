#include "bench/load/histogram.h"

#include <algorithm>
#include <cmath>

namespace pollux::load {
namespace {

constexpr std::uint64_t kLongest = 100'000'000'000;  // 100 s; what is longer counts as that

}  // namespace

Histogram::Histogram() : buckets_(bucket_of(kLongest) + 1) {}

void Histogram::add(std::uint64_t ns) {
  ++buckets_[bucket_of(std::min(ns, kLongest))];
  ++count_;
  max_ = std::max(max_, ns);
}

void Histogram::merge(const Histogram& other) {
  for (std::size_t i = 0; i < buckets_.size(); ++i) buckets_[i] += other.buckets_[i];
  count_ += other.count_;
  max_ = std::max(max_, other.max_);
}

std::uint64_t Histogram::quantile(double share) const {
  const double wanted = std::ceil(share * static_cast<double>(count_));
  const auto rank = std::max<std::uint64_t>(1, static_cast<std::uint64_t>(wanted));
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    seen += buckets_[i];
    if (seen >= rank && buckets_[i] != 0) return (lowest_of(i) + lowest_of(i + 1) - 1) / 2;
  }
  return 0;
}

}  // namespace pollux::load
