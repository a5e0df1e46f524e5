// A worker's descriptors of the host's kernel: the far side of proxies. Not the packet path: what
// the engine itself carries never passes here, and a worker without such descriptors pays a branch
// a turn. One thread.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "engine/owned_fd.h"
#include "workers/pool.h"
#include "workers/worker.h"

namespace pollux {

/// Is told what its descriptor is ready for.
class HostHandler {
 public:
  virtual ~HostHandler() = default;
  /// `events` of epoll(7), edge-triggered: each comes once, and again after EAGAIN. None: what the
  /// handler asked for with HostPoller::again().
  virtual void on_ready(std::uint32_t events, Instant now) = 0;
};

class HostPoller final : public EventSource {
 public:
  using Id = std::uint64_t;
  static constexpr Id kNone = 0;

  HostPoller();  ///< throws std::runtime_error
  ~HostPoller() override;
  HostPoller(const HostPoller&) = delete;
  HostPoller& operator=(const HostPoller&) = delete;

  /// Readable when poll() has something to do: a sleeper waits on it.
  int fd() const { return epoll_.get(); }
  /// Watches `fd` for reading and writing until remove(), and keeps `handler` alive as long. kNone
  /// when the kernel refuses (errno).
  Id add(int fd, std::shared_ptr<HostHandler> handler);
  /// Before the descriptor is closed. A handler may remove itself, or another.
  void remove(Id id, int fd);
  /// Calls the handler once more in the next turn.
  void again(Id id) { again_.push_back(id); }
  bool poll(Instant now) noexcept override;
  std::size_t size() const { return handlers_.size(); }

  /// For what is read from the host in large pieces; outlives the shard that sends it on.
  BufferPool& buffers() { return buffers_; }

 private:
  void dispatch(Id id, std::uint32_t events, Instant now);

  OwnedFd epoll_;
  BufferPool buffers_;
  // Not by descriptor: the number of one that was closed comes again while its events are under
  // way.
  std::unordered_map<Id, std::shared_ptr<HostHandler>> handlers_;
  std::vector<std::shared_ptr<HostHandler>> removed_;  ///< alive until the end of poll()
  std::vector<Id> again_;
  Id next_id_ = 1;
  bool polling_ = false;
};

}  // namespace pollux
