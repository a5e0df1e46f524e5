// Buffers and slices: payload is not copied. A Buffer is one slot of memory with a plain
// (non-atomic) reference count, owned by one thread at a time; a Slice is a view of part of it
// that keeps it alive. When the last Slice goes, the Buffer goes home through its Recycler.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "proto/base/bytes.h"

namespace pollux {

struct Buffer;

/// Where a Buffer goes when nobody holds it. Set by whoever hands the buffer to a thread, so that
/// it always names a way home that is safe from that thread.
class Recycler {
 public:
  virtual void recycle(Buffer* buffer) noexcept = 0;

 protected:
  ~Recycler() = default;
};

struct Buffer {
  std::uint8_t* data = nullptr;
  std::uint32_t capacity = 0;
  std::uint32_t refs = 0;
  Recycler* recycler = nullptr;
  void* home = nullptr;  ///< for the pool's own use
};

/// A reference-counted view of octets. With no buffer it views static memory.
class Slice {
 public:
  Slice() = default;
  /// Views `bytes` inside `buffer` and takes one reference.
  Slice(Buffer* buffer, Bytes bytes)
      : buffer_(buffer), data_(bytes.data()), size_(static_cast<std::uint32_t>(bytes.size())) {
    if (buffer_) ++buffer_->refs;
  }
  /// Views memory that outlives every Slice (constants, chargen's pattern).
  static Slice from_static(Bytes bytes) { return Slice(nullptr, bytes); }

  Slice(const Slice& o) : buffer_(o.buffer_), data_(o.data_), size_(o.size_) {
    if (buffer_) ++buffer_->refs;
  }
  Slice(Slice&& o) noexcept
      : buffer_(std::exchange(o.buffer_, nullptr)),
        data_(std::exchange(o.data_, nullptr)),
        size_(std::exchange(o.size_, 0U)) {}
  Slice& operator=(Slice o) noexcept {
    std::swap(buffer_, o.buffer_);
    std::swap(data_, o.data_);
    std::swap(size_, o.size_);
    return *this;
  }
  ~Slice() {
    if (buffer_ && --buffer_->refs == 0) buffer_->recycler->recycle(buffer_);
  }

  Bytes bytes() const { return {data_, size_}; }
  const std::uint8_t* data() const { return data_; }
  std::uint32_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  Buffer* buffer() const { return buffer_; }

  void remove_prefix(std::uint32_t n) {
    data_ += n;
    size_ -= n;
  }
  void truncate(std::uint32_t n) { size_ = n; }
  Slice sub(std::uint32_t offset, std::uint32_t n) const {
    return Slice(buffer_, Bytes{data_ + offset, n});
  }

 private:
  Buffer* buffer_ = nullptr;
  const std::uint8_t* data_ = nullptr;
  std::uint32_t size_ = 0;
};

}  // namespace pollux
