// RFC 864: sends the rotating pattern for as long as the peer takes it, out of static memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "workers/service.h"

namespace pollux {

inline constexpr std::size_t kChargenRing = 95;      ///< printing ASCII characters, space first
inline constexpr std::size_t kChargenLine = 72 + 2;  ///< 72 characters, CR LF
inline constexpr std::size_t kChargenPeriod = kChargenRing * kChargenLine;
/// Whole periods, so that the block can be repeated, and large enough that any piece which starts
/// in the first period is longer than the largest packet.
inline constexpr std::size_t kChargenBlock = kChargenPeriod * 38;
static_assert(kChargenBlock >= 256 * 1024);

/// The pattern from octet `position` of the endless stream on, at most `max` octets and at least
/// kChargenBlock - kChargenPeriod of them if `max` allows. Static memory.
Slice chargen_slice(std::uint64_t position, std::uint64_t max);

class ChargenService final : public Service {
 public:
  std::string_view name() const override { return "chargen"; }
  void on_open(Stream& s) override;
  /// RFC 864: "any data received is thrown away".
  void on_readable(Stream& s) override;
  void on_writable(Stream& s) override { pump(s); }
  bool takes_datagrams() const override { return true; }
  /// RFC 864: an answer of up to 512 characters for each datagram; here of as many as it has, for
  /// an answer that is longer than what it answers would serve attackers.
  std::optional<DropReason> on_datagram(const Datagram& d) override;

 private:
  static constexpr std::size_t kMaxCharacters = 512;
  static void pump(Stream& s);
  std::uint64_t position_ = 0;  ///< of the next datagram in the pattern
};

}  // namespace pollux
