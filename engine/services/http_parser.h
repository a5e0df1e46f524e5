// An HTTP/1.x request (RFC 9112), read from octets as they come: any split of the input gives the
// same request (what is none may be refused sooner or later, by the split). The grammar is
// Boost.Beast's (README.md says what was measured); limits, what must be refused beyond the
// grammar, and status codes are ours. What is held never exceeds the limits below, whatever is fed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "proto/base/bytes.h"

namespace pollux {

namespace http_limits {
inline constexpr std::size_t kMaxRequestLine = 4096;  ///< octets, then 414
inline constexpr std::size_t kMaxHead = 8192;         ///< octets of all lines, then 431
inline constexpr std::size_t kMaxFields = 100;        ///< header lines, then 431
}  // namespace http_limits

/// What the server wants to know of one request.
struct HttpRequest {
  std::string method;
  std::string target;  ///< origin-form: starts with '/', or "*"; not decoded; with the query
  int minor_version = 1;
  bool persistent = false;  ///< RFC 9112 9.3: 1.1 unless told to close, 1.0 only when asked
  bool chunked = false;     ///< Transfer-Encoding: chunked
  bool expects_continue = false;
  std::optional<std::uint64_t> content_length;
  std::string range;
  std::string if_range;
  std::string if_modified_since;
  std::string if_none_match;
  std::string if_match;
  std::string if_unmodified_since;
  std::string content_type;
};

class HttpRequestParser {
 public:
  enum class Status : std::uint8_t { need_more, complete, error };

  HttpRequestParser();
  ~HttpRequestParser();
  HttpRequestParser(const HttpRequestParser&) = delete;
  HttpRequestParser& operator=(const HttpRequestParser&) = delete;

  /// Reads up to the end of one head; returns octets taken. Takes nothing once complete or failed.
  std::size_t feed(Bytes in);
  /// Of the head, until the body turns out to be broken.
  Status status() const { return status_; }
  /// The response status of a failed request: 400, 414, 431, 501 or 505.
  int error() const { return error_; }
  const HttpRequest& request() const;
  /// No octet of a request has come yet.
  bool idle() const { return taken_ == 0 && hold_.empty(); }
  /// Ready for the next request.
  void reset();
  /// Octets of text held now (at most kMaxHead and a constant).
  std::size_t held() const;

  struct Body {
    std::size_t taken = 0;
    Bytes content;  ///< the part of what was taken that is content, within `in`
  };
  /// After a complete head: one step into the body. Framing is taken silently; every call gets
  /// on until the body is done or broken, though not always by an octet.
  Body feed_body(Bytes in);
  /// All of the request has come; without a body at once.
  bool body_done() const;

 private:
  class Beast;
  void fail(int error);
  std::size_t skip_empty_lines(Bytes in);
  std::size_t feed_head(Bytes in);
  std::size_t put(Bytes in);
  Body feed_framing(Bytes in);

  std::unique_ptr<Beast> beast_;
  std::string hold_;  ///< what came of a head or a chunk's framing that is not complete
  std::size_t taken_ = 0;
  int error_ = 0;
  Status status_ = Status::need_more;
};

/// ASCII case does not count.
bool http_iequals(std::string_view a, std::string_view b);
/// Without SP and HTAB at both ends.
std::string_view http_trim(std::string_view s);
/// Decimal digits only, no overflow.
std::optional<std::uint64_t> http_number(std::string_view digits);

}  // namespace pollux
