// IP reassembly (RFC 791 3.2, RFC 8200 4.5). Datagrams are put together in bounded memory, and one
// whose fragments overlap is dropped whole (RFC 5722; for IPv4 as well).
#pragma once

#include <array>
#include <cstdint>
#include <list>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "proto/base/addr.h"
#include "proto/base/bytes.h"
#include "proto/base/siphash.h"
#include "proto/base/time.h"
#include "proto/wire/ip.h"

namespace pollux::ip {

struct ReassemblyLimits {
  std::size_t octets = 4U << 20U;  ///< of all incomplete datagrams, bookkeeping included
  std::size_t fragments = 64;      ///< of one datagram
  /// Datagrams begun since between the same two, after which a number of IPv4 is another one's:
  /// there are only 65,536.
  std::size_t distance_v4 = 512;
  Duration time_v4 = 30s;  ///< from the first fragment that came
  Duration time_v6 = 60s;  ///< RFC 8200 4.5
};

class Reassembler {
 public:
  using Octets = std::vector<std::uint8_t>;

  explicit Reassembler(const HashKey& key, const ReassemblyLimits& limits = {})
      : limits_(limits), index_(0, KeyHash{key}) {}

  /// Takes a fragment: `h.is_fragment()`, `payload` is what lies behind its headers. Returns the
  /// whole packet, an option-less header and the payload, when nothing is missing any more; else
  /// nothing. The packet passes parse_ip(), is no fragment, and had its transport header in its
  /// first fragment (RFC 7112; RFC 1858). Where memory is short the oldest datagram goes.
  Octets add(Instant now, const wire::IpHeader& h, Bytes payload);

  /// A datagram that was given up.
  struct Expired {
    wire::IpHeader header;  ///< of its first fragment
    Octets first;           ///< payload of that; empty: it never came, nobody is to be told
  };
  /// Gives one datagram up whose time is over; nullopt: there is none.
  std::optional<Expired> expire(Instant now);
  Instant next_deadline() const;

  /// Octets held, bookkeeping included.
  std::size_t bytes() const { return bytes_; }

  /// Fragments that were dropped since the last call: each once, when it is known.
  struct Drops {
    std::size_t bad = 0;         ///< ip_fragment
    std::size_t incomplete = 0;  ///< ip_incomplete
  };
  Drops take_drops() { return std::exchange(drops_, {}); }

 private:
  struct Key {
    IpAddr src;
    IpAddr dst;
    std::uint32_t id = 0;
    std::uint8_t protocol = 0;  ///< 0 over IPv6, where the number alone tells them apart
    bool operator==(const Key&) const = default;
  };
  struct KeyHash {
    HashKey secret;
    std::size_t operator()(const Key& k) const;
  };
  struct Piece {
    std::size_t offset;
    Octets octets;
    std::size_t end() const { return offset + octets.size(); }
  };
  struct Entry {
    Key key;
    Instant since;
    std::uint32_t number = 0;   ///< of those begun between the same two; IPv4 only
    wire::IpHeader first;       ///< header of the fragment with offset 0, once it is there
    std::vector<Piece> pieces;  ///< by offset, none overlaps
    std::size_t size = 0;       ///< of the payload; 0 until the last fragment is there
    std::size_t received = 0;
    std::size_t cost = 0;
    std::uint8_t ecn_seen = 0;  ///< a bit for each codepoint
    bool dead = false;          ///< what still comes of it is dropped
  };
  using Entries = std::list<Entry>;

  Entries& of_family(bool v4) { return entries_[v4 ? 0 : 1]; }
  Duration time_of(std::size_t family) const {
    return family == 0 ? limits_.time_v4 : limits_.time_v6;
  }
  Key key_of(const wire::IpHeader& h) const;
  std::uint32_t& begun_between(const Key& key);
  Entry* find(const Key& key);
  Entry& begin(Instant now, const Key& key);
  bool insert(Entry& e, const wire::IpHeader& h, Bytes payload);
  Octets join(Entry& e) const;
  bool make_room(std::size_t octets, const Entry* keep);
  void kill(Entry& e);
  void remove(Entries& list, Entries::iterator at);

  ReassemblyLimits limits_;
  std::array<Entries, 2> entries_;  ///< by family, the oldest first
  std::unordered_map<Key, Entries::iterator, KeyHash> index_;
  std::array<std::uint32_t, 256> begun_v4_{};  ///< by the hash of addresses and protocol
  std::size_t bytes_ = 0;
  Drops drops_;
};

}  // namespace pollux::ip
