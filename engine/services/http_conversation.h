// One HTTP/1.1 connection without its transport: octets of requests in, octets of responses out.
// One response exists at a time, so a client that pipelines without reading costs no more memory
// than one that does not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "engine/services/http_files.h"
#include "engine/services/http_parser.h"

namespace pollux {

/// The body of a response, made piece by piece. No file and no text: chargen's pattern.
struct HttpBody {
  std::shared_ptr<const HttpFile> file;
  std::string_view text;  ///< static memory
  std::uint64_t offset = 0;
  std::uint64_t left = 0;
};

/// What a target names: the folder, or the built-in pages.
class HttpContent {
 public:
  /// "" is the built-in pages. Throws std::system_error when the folder cannot be opened.
  explicit HttpContent(const std::string& root);

  struct Found {
    int status = 404;  ///< 200, 301 (`location` is set), 400, 403, 404 or 503
    HttpBody body;     ///< whole
    std::string_view type;
    std::string location;
    std::string_view etag;  ///< of `body.file`
    std::optional<std::time_t> modified;
  };
  Found find(std::string_view target, std::time_t now);
  /// http_date() of the latest time that it was asked for, kept: the same is wanted again and
  /// again.
  class Date {
   public:
    const std::string& of(std::time_t t);

   private:
    std::time_t time_ = 0;
    std::string text_;
  };
  Date today, modified;

 private:
  Found find_built_in(const HttpPath& path) const;
  std::optional<HttpFiles> files_;
};

class HttpConversation {
 public:
  /// Octets of a request's body that are read over to keep the connection.
  static constexpr std::uint64_t kMaxSkippedBody = 1 << 20;

  /// A body up to this size is copied behind its head, so that small responses pack.
  static constexpr std::uint64_t kMaxCopiedBody = 2048;

  explicit HttpConversation(HttpContent& content) : content_(&content) {}

  /// Reads up to the end of one request; returns octets taken, 0 while there is output. `now` is
  /// the wall clock, for Date.
  std::size_t feed(Bytes in, std::time_t now);

  bool has_output() const { return !head().empty() || body_.left > 0; }
  /// What is to be sent first, by copying.
  Bytes head() const;
  /// What is to be sent when head() is empty; without copying. At least 64 KiB unless it ends.
  Slice body() const;
  /// `n` octets of head(), or when that is empty of body(), are on their way.
  void sent(std::size_t n);

  /// After the output comes the end of the connection.
  bool closing() const { return closing_; }
  /// A request has begun and is not complete.
  bool mid_request() const { return !parser_.idle() || skip_ > 0; }
  /// The request did not come in time: 408 if it had begun, then the end.
  void time_out(std::time_t now);

 private:
  void respond(std::time_t now);
  void respond_error(int status, std::time_t now);
  void respond_found(HttpContent::Found found, std::time_t now);
  void frame_request_body(const HttpRequest& request);
  void start(int status, std::time_t now);
  void finish_head(std::string_view type, std::uint64_t length);
  void add(std::string_view name, std::string_view value);
  bool not_modified(const HttpContent::Found& found) const;
  void add_validators(const HttpContent::Found& found, std::time_t now);
  bool range_allowed(const HttpContent::Found& found) const;
  int apply_range(HttpContent::Found& found) const;

  HttpContent* content_;
  HttpRequestParser parser_;
  std::string head_;
  std::size_t head_sent_ = 0;
  HttpBody body_;
  std::uint64_t skip_ = 0;  ///< octets of the request's body still to read over
  bool closing_ = false;
};

/// IMF-fixdate (RFC 9110 5.6.7).
std::string http_date(std::time_t t);
/// Any of the three forms of RFC 9110 5.6.7.
std::optional<std::time_t> parse_http_date(const std::string& text);

/// One byte range of a body of `size` octets (RFC 9110 14.1.2).
struct HttpRange {
  enum class Kind : std::uint8_t { whole, part, unsatisfiable };
  Kind kind = Kind::whole;  ///< whole: no, several or malformed ranges, which are ignored
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  static HttpRange parse(std::string_view field, std::uint64_t size);
};

}  // namespace pollux
