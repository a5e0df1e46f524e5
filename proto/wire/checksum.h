// The Internet checksum (RFC 1071), any alignment and length; AVX-512 or AVX2 chosen at run time.
#pragma once

#include <cstdint>

#include "proto/base/addr.h"
#include "proto/base/bytes.h"

namespace pollux::wire {

/// Running one's-complement sum over pieces that are laid end to end, odd lengths included.
/// Order of the bytes is the wire's; `fold()` gives the 16-bit sum, not complemented.
class ChecksumSum {
 public:
  void add(Bytes piece);
  void add_be16(std::uint16_t v) { sum_ += v; }  ///< only at an even offset
  void add_be32(std::uint32_t v) { sum_ += (v >> 16) + (v & 0xffff); }
  std::uint16_t fold() const;
  /// What goes into a checksum field.
  std::uint16_t checksum() const { return static_cast<std::uint16_t>(~fold()); }

 private:
  std::uint64_t sum_ = 0;
  bool odd_ = false;
};

/// Adds the pseudo-header of RFC 9293 3.1 / RFC 8200 8.1. `length`: upper-layer header and data.
void add_pseudo_header(ChecksumSum& sum, const IpAddr& src, const IpAddr& dst,
                       std::uint8_t protocol, std::uint32_t length);

/// 16-bit big-endian-word sum of `data` (not complemented) by the best routine of this CPU.
std::uint16_t checksum_fold(Bytes data);
/// The scalar reference routine, for tests and benchmarks.
std::uint16_t checksum_fold_scalar(Bytes data);
/// Same by name ("scalar", "avx2", "avx512"); false when this CPU cannot run it.
bool checksum_fold_with(const char* routine, Bytes data, std::uint16_t& out);

}  // namespace pollux::wire
