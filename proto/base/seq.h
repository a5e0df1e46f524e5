// Sequence numbers: a position is a Seq, a length is a number; comparison is modulo 2^32
// (RFC 9293 3.4), so it never traps and never sorts wrongly at the wrap.
#pragma once

#include <cstdint>

namespace pollux {

class Seq {
 public:
  constexpr Seq() = default;
  constexpr explicit Seq(std::uint32_t v) : v_(v) {}

  constexpr std::uint32_t raw() const { return v_; }

  constexpr Seq operator+(std::uint32_t n) const { return Seq{v_ + n}; }
  constexpr Seq operator-(std::uint32_t n) const { return Seq{v_ - n}; }
  constexpr Seq& operator+=(std::uint32_t n) {
    v_ += n;
    return *this;
  }
  /// Signed distance in octets from `o` to this; exact while both lie within 2^31 of each other.
  constexpr std::int32_t operator-(Seq o) const { return static_cast<std::int32_t>(v_ - o.v_); }

  constexpr bool operator==(const Seq&) const = default;
  constexpr bool operator<(Seq o) const { return *this - o < 0; }
  constexpr bool operator<=(Seq o) const { return *this - o <= 0; }
  constexpr bool operator>(Seq o) const { return *this - o > 0; }
  constexpr bool operator>=(Seq o) const { return *this - o >= 0; }

 private:
  std::uint32_t v_ = 0;
};

constexpr Seq max(Seq a, Seq b) { return a < b ? b : a; }
constexpr Seq min(Seq a, Seq b) { return a < b ? a : b; }

/// Octets from `from` up to `to`; the caller knows that from <= to.
constexpr std::uint32_t distance(Seq from, Seq to) { return to.raw() - from.raw(); }

}  // namespace pollux
