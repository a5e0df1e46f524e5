#include "engine/services/chargen.h"

#include <algorithm>
#include <array>

#include "engine/services/datagram_guard.h"
#include "engine/services/discard.h"

namespace pollux {
namespace {

struct ChargenSession final : Session {
  std::uint64_t position = 0;
};

using Block = std::array<std::uint8_t, kChargenBlock>;

/// A function and no lambda: that would be constexpr, and the compiler would spend seconds on it.
Block make_block() {
  Block b{};
  for (std::size_t i = 0; i < b.size(); ++i) {
    const std::size_t line = i / kChargenLine;
    const std::size_t column = i % kChargenLine;
    if (column < 72) {
      b[i] = static_cast<std::uint8_t>(' ' + (line + column) % kChargenRing);
    } else {
      b[i] = column == 72 ? '\r' : '\n';
    }
  }
  return b;
}

const Block& block() {
  static const Block pattern = make_block();
  return pattern;
}

}  // namespace

Slice chargen_slice(std::uint64_t position, std::uint64_t max) {
  const std::size_t offset = position % kChargenPeriod;
  const std::size_t n = std::min<std::uint64_t>(max, kChargenBlock - offset);
  return Slice::from_static(Bytes(block()).subspan(offset, n));
}

void ChargenService::on_open(Stream& s) {
  s.attach(std::make_unique<ChargenSession>());
  pump(s);
}

void ChargenService::on_readable(Stream& s) { discard_input(s); }

std::optional<DropReason> ChargenService::on_datagram(const Datagram& d) {
  if (const auto reason = refuse_answer(shard(), d.flow)) return reason;
  d.for_each([&](Bytes asked) {
    const std::size_t n = std::min(asked.size(), kMaxCharacters);
    shard().send_datagram(d.flow, chargen_slice(position_, n).bytes());
    position_ += kChargenLine;  // RFC 864: one line further each time
  });
  return std::nullopt;
}

void ChargenService::pump(Stream& s) {
  auto& session = *s.session<ChargenSession>();
  while (!s.write_shut()) {
    const Slice piece = chargen_slice(session.position, kChargenBlock);
    const std::size_t n = s.write(piece);
    session.position += n;
    if (n < piece.size()) return s.want_writable();
  }
}

}  // namespace pollux
