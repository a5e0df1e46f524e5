#include "workers/pool.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <new>
#include <utility>

namespace pollux {
namespace {

constexpr std::size_t kLine = 64;
constexpr std::size_t kHugePage = std::size_t{2} << 20;

constexpr std::size_t round_up(std::size_t n, std::size_t unit) {
  return (n + unit - 1) / unit * unit;
}

/// An odd number of cache lines, three or more: never a power of two, so that the first lines of
/// the slots (the headers, which every packet touches) spread over all cache sets.
constexpr std::size_t stride_of(std::uint32_t slot_size) {
  const std::size_t lines = round_up(slot_size, kLine) / kLine;
  return std::max<std::size_t>(lines | 1, 3) * kLine;
}

/// On a line of its own: the slots next to each other go to different threads.
struct alignas(kLine) Descriptor : Buffer {};

}  // namespace

/// One mapping and the descriptors of its slots.
struct BufferPool::Chunk {
  Chunk(std::size_t size, std::size_t slots) : bytes(size), descriptors(slots) {}
  Chunk(const Chunk&) = delete;
  Chunk& operator=(const Chunk&) = delete;
  ~Chunk() {
    if (memory != nullptr) ::munmap(memory, bytes);
  }
  bool map(bool huge_pages) noexcept;

  std::uint8_t* memory = nullptr;
  std::size_t bytes;
  std::vector<Descriptor> descriptors;
};

// Huge pages need an aligned address: map one page more and give back both ends.
bool BufferPool::Chunk::map(bool huge_pages) noexcept {
  const std::size_t slack = huge_pages ? kHugePage : 0;
  void* p =
      ::mmap(nullptr, bytes + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) return false;
  memory = static_cast<std::uint8_t*>(p);
  if (!huge_pages) return true;
  const std::size_t past = reinterpret_cast<std::uintptr_t>(p) % kHugePage;
  const std::size_t lead = past == 0 ? 0 : kHugePage - past;
  if (lead != 0) ::munmap(memory, lead);
  memory += lead;
  if (slack != lead) ::munmap(memory + bytes, slack - lead);
  ::madvise(memory, bytes, MADV_HUGEPAGE);  // a wish: refused is fine
  return true;
}

BufferPool::BufferPool(const PoolOptions& options) : options_(options) {
  assert(options_.slot_size > 0 && options_.chunk_slots > 0);
  free_.reserve(options_.max_slots);  // recycle() never allocates
}

BufferPool::~BufferPool() = default;

bool BufferPool::grow() noexcept try {
  const std::size_t slots = std::min(options_.chunk_slots, options_.max_slots - slots_);
  if (slots == 0) return false;
  const std::size_t stride = stride_of(options_.slot_size);
  const std::size_t page = options_.huge_pages ? kHugePage : 4096;
  auto chunk = std::make_unique<Chunk>(round_up(slots * stride, page), slots);
  if (!chunk->map(options_.huge_pages)) return false;
  chunks_.push_back(std::move(chunk));
  Chunk& c = *chunks_.back();
  for (std::size_t i = slots; i-- > 0;) {  // the lowest address ends on top
    Buffer& b = c.descriptors[i];
    b.data = c.memory + i * stride;
    b.capacity = options_.slot_size;
    b.recycler = this;
    free_.push_back(&b);
  }
  slots_ += slots;
  return true;
} catch (const std::bad_alloc&) {
  return false;
}

// `home` is the pool while a slot is out and nullptr while it is in: that is what catches a buffer
// that is recycled twice or to a pool it does not belong to.
Buffer* BufferPool::alloc() noexcept {
  if (free_.empty() && !grow()) return nullptr;
  Buffer* b = free_.back();
  free_.pop_back();
  b->refs = 0;
  b->home = this;
  ++in_use_;
  return b;
}

void BufferPool::recycle(Buffer* buffer) noexcept {
  assert(buffer->home == this && "recycled twice, or to another pool");
  assert(buffer->refs == 0);
  buffer->home = nullptr;
  buffer->recycler = this;
  free_.push_back(buffer);
  --in_use_;
}

std::size_t BufferPool::reserved_bytes() const {
  std::size_t n = free_.capacity() * sizeof(Buffer*);
  for (const auto& c : chunks_) n += c->bytes + c->descriptors.size() * sizeof(Descriptor);
  return n;
}

ReturnPath::ReturnPath(BufferPool& pool) : pool_(pool), ring_(pool.options().max_slots) {}

void ReturnPath::recycle(Buffer* buffer) noexcept {
  [[maybe_unused]] const bool pushed = ring_.push(buffer);
  assert(pushed && "a buffer came home twice");
}

std::size_t ReturnPath::drain() noexcept {
  std::array<Buffer*, 64> batch;
  std::size_t total = 0;
  while (const std::size_t n = ring_.pop(std::span<Buffer*>(batch))) {
    for (std::size_t i = 0; i < n; ++i) pool_.recycle(batch[i]);
    total += n;
  }
  return total;
}

}  // namespace pollux
