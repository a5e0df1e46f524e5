// The checksum routines against a plain 16-bit loop, for a header, a small segment, an MTU and a
// super-packet; hot (the same octets again and again) and cold (a walk through more than the
// cache).
#include <benchmark/benchmark.h>

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "proto/wire/checksum.h"

namespace {

using pollux::Bytes;

constexpr std::size_t kColdMemory = std::size_t{256} << 20;

enum class Routine { plain, scalar, avx2, avx512, best };
constexpr const char* kNames[] = {"plain", "scalar", "avx2", "avx512", "best"};

/// What a stack does that never thought about it.
std::uint16_t plain_loop(Bytes data) {
  std::uint32_t sum = 0;
  std::size_t i = 0;
  for (; i + 1 < data.size(); i += 2) {
    sum += pollux::load_be16(data.data() + i);
#if defined(__GNUC__)
    asm("" : "+r"(sum));  // keeps the compiler from making vectors of it
#endif
  }
  if (i < data.size()) sum += std::uint32_t{data[i]} << 8;
  while (sum >> 16) sum = (sum >> 16) + (sum & 0xffff);
  return static_cast<std::uint16_t>(sum);
}

std::uint16_t run(Routine routine, Bytes data) {
  std::uint16_t out = 0;
  switch (routine) {
    case Routine::plain:
      return plain_loop(data);
    case Routine::scalar:
      return pollux::wire::checksum_fold_scalar(data);
    case Routine::best:
      return pollux::wire::checksum_fold(data);
    case Routine::avx2:
    case Routine::avx512:
      pollux::wire::checksum_fold_with(kNames[static_cast<int>(routine)], data, out);
  }
  return out;
}

const std::vector<std::uint8_t>& memory() {
  static const std::vector<std::uint8_t> octets = [] {
    std::vector<std::uint8_t> v(kColdMemory);
    std::minstd_rand random(1);
    for (auto& b : v) b = static_cast<std::uint8_t>(random() >> 8);
    return v;
  }();
  return octets;
}

void hot(benchmark::State& state, Routine routine, std::size_t size) {
  const Bytes data = Bytes{memory()}.subspan(14, size);
  for (auto _ : state) {
    benchmark::DoNotOptimize(data.data());
    benchmark::DoNotOptimize(run(routine, data));
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * size));
}

void cold(benchmark::State& state, Routine routine, std::size_t size) {
  // A prime stride of more than a page: every packet starts in lines and pages not touched lately.
  const std::size_t stride = size + 4099;
  std::size_t at = 14;
  for (auto _ : state) {
    benchmark::DoNotOptimize(run(routine, Bytes{memory()}.subspan(at, size)));
    at += stride;
    if (at + size > kColdMemory) at = 14 + at % 61;
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * size));
}

const bool kRegistered = [] {
  for (const Routine routine :
       {Routine::plain, Routine::scalar, Routine::avx2, Routine::avx512, Routine::best}) {
    const char* name = kNames[static_cast<int>(routine)];
    std::uint16_t sum = 0;
    const bool named = routine == Routine::avx2 || routine == Routine::avx512;
    if (named && !pollux::wire::checksum_fold_with(name, {}, sum)) continue;
    for (const std::size_t size : {20, 64, 1460, 65535}) {
      const std::string tail = std::string(name) + '/' + std::to_string(size);
      benchmark::RegisterBenchmark(("checksum/hot/" + tail).c_str(), hot, routine, size);
      benchmark::RegisterBenchmark(("checksum/cold/" + tail).c_str(), cold, routine, size);
    }
  }
  return true;
}();

}  // namespace
