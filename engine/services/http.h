// HTTP/1.1 server (RFC 9112): the built-in pages, or the files of a folder. This is the transport
// side: back-pressure, time limits, numbers of connections, half-close. What is said is
// HttpConversation's.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/live.h"
#include "engine/services/http_conversation.h"
#include "workers/service.h"

namespace pollux {

/// What the services of all workers hold together. Each writes its own counters only.
class HttpCommon {
 public:
  /// `live`: what /events tells; nullptr: there is no live page.
  HttpCommon(HttpOptions options, std::size_t workers, std::shared_ptr<LiveStats> live);

  struct alignas(kSharedLine) Lane {
    Counter connections;
    Counter watchers;  ///< of /events
  };
  const HttpOptions& options() const { return options_; }
  LiveStats* live() const { return live_.get(); }
  Lane& lane(std::size_t worker) { return lanes_[worker]; }
  std::uint64_t connections() const;
  std::uint64_t watchers() const;

 private:
  HttpOptions options_;
  std::shared_ptr<LiveStats> live_;
  std::vector<Lane> lanes_;
};

class HttpService final : public Service {
 public:
  static constexpr Duration kHeaderTimeout = 10s;  ///< for one request's head, from its first octet
  static constexpr Duration kIdleTimeout = 60s;    ///< between requests
  static constexpr Duration kRestTime = 1s;        ///< of that, until buffers are given back
  static constexpr Duration kStallTimeout = 60s;   ///< for kLeastProgress, of either body
  static constexpr std::size_t kLeastProgress = 4096;  ///< octets
  static constexpr Duration kLingerTimeout = 30s;      ///< after our FIN, and for what is queued
  static constexpr std::size_t kSlowestDrain = 16384;  ///< octets a second on top of that
  static constexpr Duration kLeastPause = 10ms;        ///< between pieces of a slow body
  static constexpr std::uint64_t kMaxWatchers = 32;    ///< of the live page, on all workers
  static constexpr std::size_t kMaxUnread = 65536;     ///< octets of events that wait for a watcher

  /// The service of worker `worker`. Throws std::system_error when the folder cannot be opened.
  HttpService(std::shared_ptr<HttpCommon> common, std::size_t worker);

  std::string_view name() const override { return "http"; }
  void on_listen(Shard& shard) override { shard_ = &shard; }
  void on_open(Stream& s) override;
  void on_readable(Stream& s) override { pump(s); }
  void on_writable(Stream& s) override { pump(s); }
  void on_peer_closed(Stream& s) override { pump(s); }
  void on_timer(Stream& s) override;
  void on_closed(Stream& s, CloseReason) override;

 private:
  struct Connection;
  void pump(Stream& s);
  bool flush(Stream& s, Connection& c);
  void pause(Stream& s, Connection& c, Instant until);
  void await(Stream& s, Connection& c, bool answered);
  void tell(Stream& s, Connection& c);
  static void finish(Stream& s, Connection& c);

  std::shared_ptr<HttpCommon> common_;
  HttpCommon::Lane& lane_;
  HttpContent content_;
  Shard* shard_ = nullptr;
};

/// One for each worker. Throws like HttpService's constructor.
std::vector<std::unique_ptr<Service>> make_http_services(const HttpOptions& options,
                                                         std::size_t workers,
                                                         std::shared_ptr<LiveStats> live);

}  // namespace pollux
