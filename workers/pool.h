// Buffer pools: slots of one size, LIFO so that the hot ones stay in cache, growing in chunks up
// to a bound, one thread each. Buffers that another thread holds come home by a ReturnPath.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "proto/base/buffer.h"
#include "workers/ring.h"

namespace pollux {

struct PoolOptions {
  std::uint32_t slot_size = 2048;  ///< usable octets per slot
  std::size_t max_slots = 1024;
  std::size_t chunk_slots = 64;  ///< grows by this many
  bool huge_pages = false;       ///< madvise(MADV_HUGEPAGE) on the chunks
};

/// A pool used by one thread. alloc() gives a buffer with refs == 0 (the first Slice takes it to 1)
/// whose recycler is the pool itself.
class BufferPool final : public Recycler {
 public:
  explicit BufferPool(const PoolOptions& options);
  ~BufferPool();
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  /// nullptr when max_slots are out. Data is 64-byte aligned; slot stride is not a power of two.
  Buffer* alloc() noexcept;
  /// Back on top of the free stack; sets the recycler back to the pool.
  void recycle(Buffer* buffer) noexcept override;

  std::size_t in_use() const { return in_use_; }
  std::size_t reserved_bytes() const;
  std::uint32_t slot_size() const { return options_.slot_size; }
  const PoolOptions& options() const { return options_; }

 private:
  struct Chunk;
  bool grow() noexcept;
  PoolOptions options_;
  std::vector<std::unique_ptr<Chunk>> chunks_;
  std::vector<Buffer*> free_;
  std::size_t in_use_ = 0;
  std::size_t slots_ = 0;
};

/// The way home for buffers of `pool` (thread A) that thread B holds: B's recycle() pushes to a
/// ring, A's drain() pops from it. The ring holds all slots of the pool, so a push cannot fail.
class ReturnPath final : public Recycler {
 public:
  explicit ReturnPath(BufferPool& pool);
  /// Thread B, on taking a buffer over: from now on it comes home through this path.
  void adopt(Buffer* buffer) noexcept { buffer->recycler = this; }
  /// Thread B.
  void recycle(Buffer* buffer) noexcept override;
  /// Thread A: brings home what has come; returns how many.
  std::size_t drain() noexcept;

 private:
  BufferPool& pool_;
  SpscRing<Buffer*> ring_;
};

}  // namespace pollux
