// Octets on the wire: spans, big-endian loads and stores, and a Reader that cannot over-read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace pollux {

using Bytes = std::span<const std::uint8_t>;
using MutableBytes = std::span<std::uint8_t>;

constexpr std::uint16_t load_be16(const std::uint8_t* p) {
  return static_cast<std::uint16_t>((p[0] << 8) | p[1]);
}
constexpr std::uint32_t load_be32(const std::uint8_t* p) {
  return (std::uint32_t{p[0]} << 24) | (std::uint32_t{p[1]} << 16) | (std::uint32_t{p[2]} << 8) |
         std::uint32_t{p[3]};
}
constexpr void store_be16(std::uint8_t* p, std::uint16_t v) {
  p[0] = static_cast<std::uint8_t>(v >> 8);
  p[1] = static_cast<std::uint8_t>(v);
}
constexpr void store_be32(std::uint8_t* p, std::uint32_t v) {
  p[0] = static_cast<std::uint8_t>(v >> 24);
  p[1] = static_cast<std::uint8_t>(v >> 16);
  p[2] = static_cast<std::uint8_t>(v >> 8);
  p[3] = static_cast<std::uint8_t>(v);
}

/// A cursor over octets. Reading past the end returns zeros and makes ok() false for good.
class Reader {
 public:
  constexpr explicit Reader(Bytes b) : b_(b) {}
  constexpr bool ok() const { return ok_; }
  constexpr std::size_t left() const { return b_.size(); }
  constexpr std::uint8_t u8() { return take(1) ? last_[0] : std::uint8_t{0}; }
  constexpr std::uint16_t be16() { return take(2) ? load_be16(last_) : std::uint16_t{0}; }
  constexpr std::uint32_t be32() { return take(4) ? load_be32(last_) : 0U; }
  /// The next `n` octets, or an empty span (and ok() false) when fewer are left.
  constexpr Bytes bytes(std::size_t n) { return take(n) ? Bytes{last_, n} : Bytes{}; }

 private:
  constexpr bool take(std::size_t n) {
    if (!ok_ || n > b_.size()) return ok_ = false;
    last_ = b_.data();
    b_ = b_.subspan(n);
    return true;
  }
  Bytes b_;
  const std::uint8_t* last_ = nullptr;
  bool ok_ = true;
};

}  // namespace pollux
