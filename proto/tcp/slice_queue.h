// A queue of octets as a chain of slices: what a connection has to send, or has received. Positions
// count octets since the queue was made, so that any octet is found by binary search.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "proto/base/buffer.h"

namespace pollux::tcp {

class SliceQueue {
 public:
  std::uint64_t begin() const { return begin_; }
  std::uint64_t end() const { return begin_ + size_; }
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

  void push(Slice s) {
    if (s.empty()) return;
    size_ += s.size();
    entries_.push_back({end(), std::move(s)});
  }

  /// Appends `data` behind the last slice, into the same buffer, when only this queue holds that
  /// buffer and it has room: many small pieces then share one slot. Returns octets taken.
  std::size_t append_copy(Bytes data) {
    if (empty()) return 0;
    Slice& tail = entries_.back().slice;
    Buffer* b = tail.buffer();
    if (b == nullptr || b->refs != 1) return 0;
    std::uint8_t* at = b->data + (tail.data() + tail.size() - b->data);
    const std::size_t room = static_cast<std::size_t>(b->data + b->capacity - at);
    const std::size_t n = std::min(room, data.size());
    if (n == 0) return 0;
    std::memcpy(at, data.data(), n);
    tail = Slice(b, Bytes{tail.data(), tail.size() + n});
    size_ += static_cast<std::uint32_t>(n);
    entries_.back().end = end();
    return n;
  }

  /// The first slice, whole; empty when there is none.
  Slice front() const { return empty() ? Slice{} : entries_[head_].slice; }

  /// Drops `n` octets (at most size()) from the front.
  void pop(std::size_t n) {
    begin_ += n;
    size_ -= static_cast<std::uint32_t>(n);
    while (head_ < entries_.size() && entries_[head_].end <= begin_) entries_[head_++].slice = {};
    if (head_ == entries_.size()) return clear_entries();
    Slice& s = entries_[head_].slice;
    const auto keep = static_cast<std::uint32_t>(entries_[head_].end - begin_);
    s.remove_prefix(s.size() - keep);
    if (head_ >= 64 && head_ * std::size_t{2} >= entries_.size()) compact();
  }

  /// Up to `max` octets from position `at` as spans into `parts`; returns octets covered (fewer
  /// when the spans run out) and how many spans through `count`.
  std::uint32_t gather(std::uint64_t at, std::uint32_t max, std::span<Bytes> parts,
                       std::size_t& count) const {
    std::uint32_t got = 0;
    auto it =
        std::upper_bound(entries_.begin() + static_cast<std::ptrdiff_t>(head_), entries_.end(), at,
                         [](std::uint64_t p, const Entry& e) { return p < e.end; });
    for (; it != entries_.end() && got < max && count < parts.size(); ++it) {
      const std::uint32_t skip = it->slice.size() - static_cast<std::uint32_t>(it->end - at);
      const std::uint32_t n = std::min(it->slice.size() - skip, max - got);
      parts[count++] = it->slice.bytes().subspan(skip, n);
      got += n;
      at += n;
    }
    return got;
  }

  /// Drops all; begin() stays, for nobody took it.
  void clear() {
    size_ = 0;
    clear_entries();
  }
  std::size_t pieces() const { return entries_.size() - head_; }
  std::size_t bookkeeping() const { return pieces() * sizeof(Entry); }  ///< octets

 private:
  struct Entry {
    std::uint64_t end;
    Slice slice;
  };
  /// An empty queue owns next to nothing: an idle connection is small.
  void clear_entries() {
    head_ = 0;
    if (entries_.capacity() > 16) {
      std::vector<Entry>().swap(entries_);
    } else {
      entries_.clear();
    }
  }
  void compact() {
    entries_.erase(entries_.begin(), entries_.begin() + static_cast<std::ptrdiff_t>(head_));
    head_ = 0;
  }

  std::vector<Entry> entries_;
  std::uint64_t begin_ = 0;
  std::uint32_t head_ = 0;
  std::uint32_t size_ = 0;
};

}  // namespace pollux::tcp
