#include "tests/sim/peer.h"

#include <algorithm>

namespace pollux::sim {

const std::vector<std::uint8_t>& pattern() {
  static const auto octets = [] {
    Random r(1);
    std::vector<std::uint8_t> v(kPatternSize);
    for (auto& o : v) o = static_cast<std::uint8_t>(r() >> 32);
    return v;
  }();
  return octets;
}

struct Peer::Talk final : Session {
  std::size_t sent = 0;
  std::size_t read = 0;
  Instant read_from{};
  bool timer = false;
  bool peer_closed = false;
  bool shut = false;
};

void Peer::on_open(Stream& s) {
  ++opened;
  auto talk = std::make_unique<Talk>();
  talk->read_from = s.now() + plan_.read_pause;
  s.attach(std::move(talk));
  s.set_nodelay(plan_.nodelay);
  send(s);
}

void Peer::send(Stream& s) {
  Talk& t = *s.session<Talk>();
  if (plan_.wait_for_peer && !t.peer_closed) return;
  while (t.sent < plan_.octets) {
    const std::size_t most = std::min(plan_.max_write, plan_.octets - t.sent);
    const Bytes piece = Bytes(pattern()).subspan(plan_.salt + t.sent, 1 + below(random_, most));
    const std::size_t room = s.writable();
    const std::size_t n = plan_.zero_copy ? s.write(Slice::from_static(piece)) : s.write(piece);
    if (n > room) complain("write() took more than writable()");
    if (n == 0) {
      s.want_writable();
      return;
    }
    t.sent += n;
    if (plan_.close == CloseWhen::abort && t.sent > plan_.octets / 2) return s.abort();
  }
  close(s);
}

void Peer::close(Stream& s) {
  Talk& t = *s.session<Talk>();
  if (t.shut || t.sent < plan_.octets) return;
  if (plan_.close == CloseWhen::abort) return s.abort();
  if (plan_.close == CloseWhen::peer_closed && !t.peer_closed) return;
  t.shut = true;
  s.shutdown_write();
  if (!s.write_shut()) complain("the write side is open after shutdown_write()");
}

void Peer::read(Stream& s, std::size_t most) {
  Talk& t = *s.session<Talk>();
  while (most > 0) {
    const Slice piece = s.peek();
    if (piece.empty()) return;
    const std::size_t n = std::min<std::size_t>(piece.size(), most);
    if (t.read + n > plan_.peer_octets) return complain("more octets than were sent");
    const auto expected = pattern().begin() + static_cast<std::ptrdiff_t>(plan_.peer_salt + t.read);
    if (!std::equal(piece.data(), piece.data() + n, expected)) {
      return complain("wrong octets at position " + std::to_string(t.read));
    }
    t.read += n;
    most -= n;
    s.consume(n);
  }
}

void Peer::on_readable(Stream& s) {
  Talk& t = *s.session<Talk>();
  const bool slow = plan_.read_quota != 0;
  if (!slow && s.now() >= t.read_from) return read(s, SIZE_MAX);
  if (t.timer) return;
  t.timer = true;
  s.set_timer(std::max(t.read_from, s.now() + (slow ? plan_.read_every : Duration::zero())));
}

void Peer::on_timer(Stream& s) {
  Talk& t = *s.session<Talk>();
  t.timer = false;
  read(s, plan_.read_quota != 0 ? plan_.read_quota : SIZE_MAX);
  if (s.readable() > 0) on_readable(s);
}

void Peer::on_peer_closed(Stream& s) {
  Talk& t = *s.session<Talk>();
  if (t.peer_closed) complain("on_peer_closed twice");
  t.peer_closed = true;
  if (t.read + s.readable() != plan_.peer_octets) complain("the FIN came before the data");
  send(s);
}

void Peer::on_closed(Stream& s, CloseReason reason) {
  ++closed;
  reasons.push_back(reason);
  Talk* t = s.session<Talk>();
  if (t == nullptr) return;
  read(s, SIZE_MAX);  // what a slow reader has not taken yet
  const bool all = t->sent == plan_.octets && t->read == plan_.peer_octets && t->peer_closed;
  if (all) ++complete;
  if (reason == CloseReason::normal && !all) complain("a normal close before all was exchanged");
}

}  // namespace pollux::sim
