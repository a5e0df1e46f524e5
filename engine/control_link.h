// The daemon's end of a control request that stays open: lines for the client from any thread.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "engine/owned_fd.h"

namespace pollux::engine {

/// What wakes the control thread when a link has something; outlives the server for those threads
/// that still hold a link.
struct ControlBell {
  ControlBell();  ///< throws std::runtime_error
  void ring() const noexcept;
  void clear() const noexcept;
  OwnedFd event;
};

class ControlLink {
 public:
  /// Octets that may wait for a client that does not read; one that lets more come is closed.
  static constexpr std::size_t kMaxBacklog = 1U << 20;

  explicit ControlLink(std::shared_ptr<const ControlBell> bell) : bell_(std::move(bell)) {}

  /// Queues one line. Any thread; never waits. False when nobody will read it: the client is gone,
  /// too slow, or the link is finished.
  bool send(const nlohmann::ordered_json& line);
  /// Closes when all that was queued is written. Any thread.
  void finish();
  bool is_finished() const;
  /// More came than may wait; nothing more is taken.
  bool is_overrun() const;

  // The server's side: control thread.
  struct Taken {
    std::string text;
    bool finished = false;  ///< nothing comes after `text`
  };
  Taken take();
  void close();

 private:
  std::shared_ptr<const ControlBell> bell_;
  mutable std::mutex mutex_;
  std::string queued_;
  bool finished_ = false;
  bool overrun_ = false;
  bool closed_ = false;
};

/// `document` as one line, with its end; what is not UTF-8 is replaced.
std::string to_line(const nlohmann::json& document);
std::string to_line(const nlohmann::ordered_json& document);

}  // namespace pollux::engine
