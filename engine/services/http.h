// HTTP/1.1 server (RFC 9112): the built-in pages, or the files of a folder. This is the transport
// side: back-pressure, time limits, half-close. What is said is HttpConversation's.
#pragma once

#include <string>

#include "engine/services/http_conversation.h"
#include "workers/service.h"

namespace pollux {

class HttpService final : public Service {
 public:
  static constexpr Duration kHeaderTimeout = 10s;      ///< for one request, from its first octet
  static constexpr Duration kIdleTimeout = 60s;        ///< between requests
  static constexpr Duration kStallTimeout = 60s;       ///< a response without progress
  static constexpr Duration kLingerTimeout = 30s;      ///< after our FIN, and for what is queued
  static constexpr std::size_t kSlowestDrain = 16384;  ///< octets a second on top of that

  /// `root` is the folder to serve, "" the built-in pages. Throws std::system_error when the folder
  /// cannot be opened.
  explicit HttpService(const std::string& root) : content_(root) {}

  std::string_view name() const override { return "http"; }
  void on_open(Stream& s) override;
  void on_readable(Stream& s) override { pump(s); }
  void on_writable(Stream& s) override { pump(s); }
  void on_peer_closed(Stream& s) override { pump(s); }
  void on_timer(Stream& s) override;

 private:
  struct Connection;
  void pump(Stream& s);
  static bool flush(Stream& s, Connection& c);
  static void finish(Stream& s, Connection& c);

  HttpContent content_;
};

}  // namespace pollux
