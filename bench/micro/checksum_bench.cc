// The checksum routines beside what others do, for a header, a small segment, an MTU and a
// super-packet: hot (the same octets again and again) in whole cache lines and from an odd address,
// and cold (a walk through far more than the caches, in whole cache lines). `read` only reads the
// octets, as fast as loads go: what memory gives.
#include <benchmark/benchmark.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>

#include "proto/wire/checksum.h"

namespace pollux::bench {
namespace {

constexpr std::size_t kColdMemory = std::size_t{256} << 20;
constexpr std::size_t kLine = 64;

/// As DPDK's rte_raw_cksum does: a plain loop over 16-bit words, for the compiler to make vectors
/// of.
std::uint16_t plain_loop(Bytes data) {
  std::uint32_t sum = 0;  // 65,535 octets cannot overflow it
  const std::uint8_t* p = data.data();
  for (std::size_t words = data.size() / 2; words != 0; --words, p += 2) {
    std::uint16_t word;
    std::memcpy(&word, p, sizeof word);
    sum += word;
  }
  if (data.size() & 1) sum += data.back();
  sum = (sum >> 16) + (sum & 0xffff);
  return static_cast<std::uint16_t>((sum >> 16) + (sum & 0xffff));
}

#if defined(__x86_64__)
/// As Linux does since 6.5: two chains of additions with carry, 40 octets each.
std::uint16_t adc_loop(Bytes data) {
  std::uint64_t a = 0, b = 0;
  const std::uint8_t* p = data.data();
  std::size_t n = data.size();
  for (; n >= 80; n -= 80, p += 80) {
    asm("add 0(%[p]), %[a]\n\t"
        "adc 8(%[p]), %[a]\n\t"
        "adc 16(%[p]), %[a]\n\t"
        "adc 24(%[p]), %[a]\n\t"
        "adc 32(%[p]), %[a]\n\t"
        "adc $0, %[a]\n\t"
        "add 40(%[p]), %[b]\n\t"
        "adc 48(%[p]), %[b]\n\t"
        "adc 56(%[p]), %[b]\n\t"
        "adc 64(%[p]), %[b]\n\t"
        "adc 72(%[p]), %[b]\n\t"
        "adc $0, %[b]"
        : [a] "+r"(a), [b] "+r"(b)
        : [p] "r"(p), "m"(*reinterpret_cast<const std::uint8_t(*)[80]>(p))
        : "cc");
  }
  asm("add %[b], %[a]\n\tadc $0, %[a]" : [a] "+r"(a) : [b] "r"(b) : "cc");
  for (; n >= 8; n -= 8, p += 8) {
    asm("add (%[p]), %[a]\n\tadc $0, %[a]"
        : [a] "+r"(a)
        : [p] "r"(p), "m"(*reinterpret_cast<const std::uint8_t(*)[8]>(p))
        : "cc");
  }
  std::uint64_t tail = 0;
  for (std::size_t i = 0; i < n; ++i) tail |= std::uint64_t{p[i]} << 8 * i;
  asm("add %[b], %[a]\n\tadc $0, %[a]" : [a] "+r"(a) : [b] "r"(tail) : "cc");
  a = (a >> 32) + (a & 0xffff'ffff);
  a = (a >> 32) + (a & 0xffff'ffff);
  a = (a >> 16) + (a & 0xffff);
  return static_cast<std::uint16_t>((a >> 16) + (a & 0xffff));
}

/// One load for each 64 octets and nothing that depends on it but an OR.
__attribute__((target("avx512f"))) std::uint16_t read_only(Bytes data) {
  typedef std::uint64_t Vec __attribute__((vector_size(64), aligned(1)));
  Vec a{}, b{}, c{}, d{};
  const std::uint8_t* p = data.data();
  std::size_t n = data.size();
  for (; n >= 256; n -= 256, p += 256) {
    const auto* v = reinterpret_cast<const Vec*>(p);
    a |= v[0];
    b |= v[1];
    c |= v[2];
    d |= v[3];
  }
  for (; n >= 64; n -= 64, p += 64) a |= *reinterpret_cast<const Vec*>(p);
  if (n != 0) a[0] |= *p;
  a |= b | c | d;
  return static_cast<std::uint16_t>(a[0] | a[1] | a[2] | a[3] | a[4] | a[5] | a[6] | a[7]);
}
#endif

template <const char* name>
std::uint16_t named(Bytes data) {
  std::uint16_t out = 0;
  wire::checksum_fold_with(name, data, out);
  return out;
}
constexpr char kAvx2[] = "avx2";
constexpr char kAvx512[] = "avx512";

bool can_run(const char* name) {
  std::uint16_t sum = 0;
  return wire::checksum_fold_with(name, {}, sum);
}

const std::uint8_t* memory() {
  static const std::uint8_t* lines = [] {
    auto* octets = static_cast<std::uint8_t*>(std::aligned_alloc(4096, kColdMemory));
    std::mt19937_64 random(1);
    for (std::size_t i = 0; i < kColdMemory; i += sizeof(std::uint64_t)) {
      const std::uint64_t word = random();
      std::memcpy(octets + i, &word, sizeof word);
    }
    return octets;
  }();
  return lines;
}

using Routine = std::uint16_t (*)(Bytes);

void hot(benchmark::State& state, Routine routine, std::size_t size, std::size_t offset) {
  const std::uint8_t* data = memory() + offset;
  for (auto _ : state) {
    benchmark::DoNotOptimize(data);
    benchmark::DoNotOptimize(routine(Bytes{data, size}));
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * size));
}

/// What comes next lies a page and a line further: in a set of its own, in lines and pages that
/// nobody touched lately.
void cold(benchmark::State& state, Routine routine, std::size_t size) {
  const std::size_t stride = (size + kLine - 1) / kLine * kLine + 4096 + kLine;
  static std::size_t at = 0;  // goes on from run to run: a short run must not find its own lines
  for (auto _ : state) {
    if (at + size > kColdMemory) at = at % (7 * kLine) / kLine * kLine;
    benchmark::DoNotOptimize(routine(Bytes{memory() + at, size}));
    at += stride;
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * size));
}

void add(const std::string& name, Routine routine) {
  for (const std::size_t size : {20, 64, 1460, 65535}) {
    const std::string tail = name + '/' + std::to_string(size);
    benchmark::RegisterBenchmark(("checksum/hot/" + tail).c_str(), hot, routine, size, 0);
    benchmark::RegisterBenchmark(("checksum/odd/" + tail).c_str(), hot, routine, size, 1);
    benchmark::RegisterBenchmark(("checksum/cold/" + tail).c_str(), cold, routine, size);
  }
}

/// A loop to compare with that sums up wrongly would be no comparison. It keeps the CPU's order.
void require_right(Routine loop) {
  std::array<std::uint8_t, 4096> octets;
  constexpr std::size_t most = octets.size() - 8;
  std::mt19937 random(1);
  for (auto& o : octets) o = static_cast<std::uint8_t>(random());
  for (std::size_t n = 1; n < most; n += 1 + n / 16) {
    const Bytes data{octets.data() + n % 8, n};
    const std::uint16_t sum = loop(data);
    const auto swapped = static_cast<std::uint16_t>(sum << 8 | sum >> 8);
    if (swapped != wire::checksum_fold_scalar(data)) std::abort();
  }
}

const bool kRegistered = [] {
  require_right(plain_loop);
  add("plain", plain_loop);
  add("scalar", wire::checksum_fold_scalar);
  if (can_run(kAvx2)) add(kAvx2, named<kAvx2>);
  if (can_run(kAvx512)) add(kAvx512, named<kAvx512>);
  add("best", wire::checksum_fold);
#if defined(__x86_64__)
  require_right(adc_loop);
  add("adc", adc_loop);
  if (can_run(kAvx512)) add("read", read_only);
#endif
  return true;
}();

}  // namespace
}  // namespace pollux::bench
