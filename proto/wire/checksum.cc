// The Internet checksum. One's-complement addition does not care about byte order (RFC 1071 2(B)):
// every routine adds words as the CPU loads them and swaps the 16-bit result once at the end.
#include "proto/wire/checksum.h"

#include <bit>
#include <cstring>
#include <string_view>

#if defined(__x86_64__)
#include <immintrin.h>
#define POLLUX_X86 1
#endif

namespace pollux::wire {
namespace {

/// Headers and small segments: below this a vector set-up costs more than it saves.
constexpr std::size_t kSmallSize = 96;

template <typename T>
T load(const std::uint8_t* p) {
  T v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

constexpr std::uint64_t add_with_carry(std::uint64_t a, std::uint64_t b) {
  a += b;
  return a + (a < b ? 1 : 0);
}

/// Folds 64 bits to 16; zero only for zero, so all routines agree on 0x0000 and 0xffff.
constexpr std::uint16_t fold64(std::uint64_t s) {
  s = (s >> 32) + (s & 0xffff'ffff);
  s = (s >> 32) + (s & 0xffff'ffff);
  s = (s >> 16) + (s & 0xffff);
  s = (s >> 16) + (s & 0xffff);
  return static_cast<std::uint16_t>(s);
}

constexpr std::uint16_t swap16(std::uint16_t v) {
  return static_cast<std::uint16_t>((v << 8) | (v >> 8));
}

constexpr std::uint16_t to_wire_order(std::uint16_t native) {
  return std::endian::native == std::endian::little ? swap16(native) : native;
}

/// Adds the last 0..7 octets; an odd one is padded with zero on the right (RFC 1071 1).
inline std::uint64_t add_tail(std::uint64_t sum, const std::uint8_t* p, std::size_t n) {
  std::uint64_t tail = 0;
  if (n & 4) {
    tail += load<std::uint32_t>(p);
    p += 4;
  }
  if (n & 2) {
    tail += load<std::uint16_t>(p);
    p += 2;
  }
  if (n & 1) {
    const std::uint8_t last[2] = {*p, 0};
    tail += load<std::uint16_t>(last);
  }
  return add_with_carry(sum, tail);
}

inline std::uint64_t sum_small(std::uint64_t sum, const std::uint8_t* p, std::size_t n) {
  for (; n >= 8; n -= 8, p += 8) sum = add_with_carry(sum, load<std::uint64_t>(p));
  return add_tail(sum, p, n);
}

/// Four independent carry chains, so that the additions overlap.
std::uint64_t sum_scalar(const std::uint8_t* p, std::size_t n) {
  std::uint64_t a = 0, b = 0, c = 0, d = 0;
  for (; n >= 32; n -= 32, p += 32) {
    a = add_with_carry(a, load<std::uint64_t>(p));
    b = add_with_carry(b, load<std::uint64_t>(p + 8));
    c = add_with_carry(c, load<std::uint64_t>(p + 16));
    d = add_with_carry(d, load<std::uint64_t>(p + 24));
  }
  a = add_with_carry(add_with_carry(a, b), add_with_carry(c, d));
  return sum_small(a, p, n);
}

#if POLLUX_X86

// Per 64-bit lane with words w = hi * 2^32 + lo: `all` keeps sum(w) modulo 2^64 and `high` keeps
// sum(hi) exactly (fewer than 2^32 words). sum(lo) = all - high * 2^32 is then exact modulo 2^64,
// and it is below 2^64: three operations per vector instead of the usual four.
template <typename Vector>
struct Lanes {
  Vector all;
  Vector high;
};

typedef std::uint64_t Vec256 __attribute__((vector_size(32)));
typedef std::uint64_t Vec512 __attribute__((vector_size(64)));

/// Each lane's sum is brought to 34 bits, so that all lanes add up without a carry.
template <typename Vector>
[[gnu::always_inline]] inline std::uint64_t reduce(const Lanes<Vector>& x) {
  const Vector low = x.all - (x.high << 32);
  const Vector lanes = (low & 0xffff'ffff) + (low >> 32) + (x.high & 0xffff'ffff) + (x.high >> 32);
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < sizeof(Vector) / 8; ++i) sum += lanes[i];
  return sum;
}

template <typename Vector>
[[gnu::always_inline]] inline void add_vector(Lanes<Vector>& x, const Vector& v) {
  x.all += v;
  x.high += v >> 32;
}

__attribute__((target("avx2"))) std::uint64_t sum_avx2(const std::uint8_t* p, std::size_t n) {
  Lanes<Vec256> x{{}, {}}, y{{}, {}};
  for (; n >= 64; n -= 64, p += 64) {
    Vec256 v, w;
    std::memcpy(&v, p, sizeof v);
    std::memcpy(&w, p + 32, sizeof w);
    add_vector(x, v);
    add_vector(y, w);
  }
  x.all += y.all;
  x.high += y.high;
  return sum_small(reduce(x), p, n);
}

// The rest is the end of the last 64 octets, with those added before blanked in the register. (A
// masked load would do without, and takes 0.3 us where the page is not in the TLB.)
__attribute__((target("avx512f,avx512bw"))) std::uint64_t sum_avx512(const std::uint8_t* p,
                                                                     std::size_t n) {
  if (n < 64) return sum_small(0, p, n);
  const std::uint64_t odd = n & 1 ? add_tail(0, p + n - 1, 1) : 0;
  n &= ~std::size_t{1};  // words stay words in what is loaded from its end
  Lanes<Vec512> x{{}, {}}, y{{}, {}};
  for (; n >= 128; n -= 128, p += 128) {
    Vec512 v, w;
    std::memcpy(&v, p, sizeof v);
    std::memcpy(&w, p + 64, sizeof w);
    add_vector(x, v);
    add_vector(y, w);
  }
  if (n >= 64) {
    Vec512 v;
    std::memcpy(&v, p, sizeof v);
    add_vector(x, v);
    n -= 64;
    p += 64;
  }
  if (n != 0) {
    const __mmask64 news = ~std::uint64_t{0} << (64 - n);
    const __m512i v = _mm512_maskz_mov_epi8(news, _mm512_loadu_si512(p + n - 64));
    add_vector(y, reinterpret_cast<Vec512>(v));
  }
  x.all += y.all;
  x.high += y.high;
  return add_with_carry(reduce(x), odd);
}

#endif  // POLLUX_X86

using Routine = std::uint64_t (*)(const std::uint8_t*, std::size_t);

bool has_avx2() {
#if POLLUX_X86
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") != 0;
#else
  return false;
#endif
}

bool has_avx512() {
#if POLLUX_X86
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0;
#else
  return false;
#endif
}

/// The routine of that name, or null when this CPU cannot run it.
Routine find_routine(std::string_view name) {
  if (name == "scalar") return sum_scalar;
#if POLLUX_X86
  if (name == "avx2" && has_avx2()) return sum_avx2;
  if (name == "avx512" && has_avx512()) return sum_avx512;
#endif
  return nullptr;
}

Routine best_routine() {
  static const Routine best = find_routine(has_avx512() ? "avx512"
                                           : has_avx2() ? "avx2"
                                                        : "scalar");
  return best;
}

inline std::uint64_t sum_best(Bytes data) {
  if (data.size() <= kSmallSize) return sum_small(0, data.data(), data.size());
  return best_routine()(data.data(), data.size());
}

}  // namespace

void ChecksumSum::add(Bytes piece) {
  std::uint16_t s = checksum_fold(piece);
  if (odd_) s = swap16(s);  // the piece starts in the middle of a word (RFC 1071 2(B))
  sum_ += s;
  odd_ ^= (piece.size() & 1) != 0;
}

std::uint16_t ChecksumSum::fold() const { return fold64(sum_); }

void add_pseudo_header(ChecksumSum& sum, const IpAddr& src, const IpAddr& dst,
                       std::uint8_t protocol, std::uint32_t length) {
  if (dst.is_v4()) {
    sum.add_be32(src.v4_value());
    sum.add_be32(dst.v4_value());
  } else {
    sum.add(src.octets());
    sum.add(dst.octets());
  }
  sum.add_be16(protocol);
  sum.add_be32(length);
}

std::uint16_t checksum_fold(Bytes data) { return to_wire_order(fold64(sum_best(data))); }

std::uint16_t checksum_fold_scalar(Bytes data) {
  return to_wire_order(fold64(sum_scalar(data.data(), data.size())));
}

bool checksum_fold_with(const char* routine, Bytes data, std::uint16_t& out) {
  const Routine sum = find_routine(routine);
  if (sum == nullptr) return false;
  out = to_wire_order(fold64(sum(data.data(), data.size())));
  return true;
}

}  // namespace pollux::wire
