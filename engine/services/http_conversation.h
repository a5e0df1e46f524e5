// One HTTP/1.1 connection without its transport: octets of requests in, octets of responses out.
// One response exists at a time, so a client that pipelines without reading costs no more memory
// than one that does not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ctime>
#include <optional>
#include <string>
#include <string_view>

#include "engine/services/http_content.h"
#include "engine/services/http_parser.h"

namespace pollux {

/// When something is said: the wall clock for dates, the turn's instant for what goes slowly.
struct HttpTime {
  std::time_t wall = 0;
  Instant turn{};
};

class HttpConversation {
 public:
  /// Octets of a request's body that are read over to keep the connection.
  static constexpr std::uint64_t kMaxSkippedBody = 1 << 20;

  /// A body up to this size is copied behind its head, so that small responses pack.
  static constexpr std::uint64_t kMaxCopiedBody = 2048;

  explicit HttpConversation(HttpContent& content) : content_(&content) {}

  /// What the time is, for all calls until the next.
  void at(HttpTime now) { now_ = now; }
  /// Reads a request's head, or a piece of its body; returns octets taken, 0 while there is output.
  std::size_t feed(const Slice& in);

  bool has_output() const { return !head().empty() || body_octets() > 0; }
  /// What is to be sent first, by copying.
  Bytes head() const;
  /// What is to be sent when head() is empty; without copying. At least 64 KiB unless it ends.
  Slice body() const;
  /// `n` octets of head(), or when that is empty of body(), are on their way.
  void sent(std::size_t n);

  /// The response is not at its end, and has no more to say before then; kNever: say_event().
  std::optional<Instant> resumes_at() const;
  /// The response is a stream of events.
  bool streams_events() const { return events_; }
  /// One event of `data`, a line, in a stream of them.
  void say_event(std::string_view data);

  /// After the output comes the end of the connection.
  bool closing() const { return closing_ && reading_ != Reading::echoed; }
  /// A request has begun and is not complete.
  bool mid_request() const { return !parser_.idle(); }
  /// Its head is complete, octets of its body are not.
  bool mid_body() const { return reading_ != Reading::head; }
  /// The request did not come in time: 408 if it had begun, then the end.
  void time_out();

 private:
  /// What the next octets of the peer are.
  enum class Reading : std::uint8_t { head, skipped, echoed };

  std::uint64_t body_octets() const;
  std::size_t feed_body(const Slice& in);
  void end_body();
  void respond();
  void respond_error(int status, std::string_view allow = "GET, HEAD");
  void respond_found(HttpContent::Found found);
  void respond_redirect(std::string location);
  void respond_events(const HttpContent::Found& found);
  void respond_echo();
  void say_piece(const Slice& piece);
  void frame_request_body(const HttpRequest& request);
  void start(int status);
  void finish_head(std::string_view type, std::uint64_t length);
  void add(std::string_view name, std::string_view value);
  bool condition_failed(const HttpContent::Found& found) const;
  bool not_modified(const HttpContent::Found& found) const;
  void add_validators(const HttpContent::Found& found);
  bool range_allowed(const HttpContent::Found& found) const;
  int apply_range(HttpContent::Found& found) const;

  HttpContent* content_;
  HttpTime now_;
  HttpRequestParser parser_;
  std::string head_;
  std::size_t head_sent_ = 0;
  HttpBody body_;
  Slice piece_;            ///< of the request's body, on its way back
  Instant quiet_until_{};  ///< nothing is said before
  Reading reading_ = Reading::head;
  bool chunks_ = false;  ///< how the echo is framed
  bool first_chunk_ = false;
  bool events_ = false;
  bool closing_ = false;
};

/// One byte range of a body of `size` octets (RFC 9110 14.1.2).
struct HttpRange {
  enum class Kind : std::uint8_t { whole, part, unsatisfiable };
  Kind kind = Kind::whole;  ///< whole: no, several or malformed ranges, which are ignored
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  static HttpRange parse(std::string_view field, std::uint64_t size);
};

}  // namespace pollux
