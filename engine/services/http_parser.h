// The head of an HTTP/1.x request (RFC 9112), read from octets as they come: any split of the
// input gives the same request. What it holds never exceeds the limits below, whatever is fed.
#pragma once

#include <cstddef>
#include <cstdint>
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
  bool close = false;       ///< Connection: close
  bool keep_alive = false;  ///< Connection: keep-alive
  bool chunked = false;     ///< Transfer-Encoding: chunked
  bool expects_continue = false;
  std::optional<std::uint64_t> content_length;
  std::string range;
  std::string if_range;
  std::string if_modified_since;
  std::string if_none_match;

  /// RFC 9112 9.3: 1.1 persists unless told to close, 1.0 only when asked.
  bool persistent() const { return !close && (minor_version >= 1 || keep_alive); }
};

class HttpRequestParser {
 public:
  enum class Status : std::uint8_t { need_more, complete, error };

  /// Reads up to the end of one head; returns octets taken. Takes nothing once complete or failed.
  std::size_t feed(Bytes in);
  Status status() const { return status_; }
  /// The response status of a failed request: 400, 414, 431, 501 or 505.
  int error() const { return error_; }
  const HttpRequest& request() const { return request_; }
  /// No octet of a request has come yet.
  bool idle() const { return taken_ == 0; }
  /// Ready for the next request.
  void reset() { *this = HttpRequestParser{}; }
  /// Octets of text held now (at most kMaxHead and a constant).
  std::size_t held() const;

 private:
  void fail(int error);
  bool within_limits(std::size_t more);
  void on_line();
  void on_request_line(std::string_view line);
  bool set_target(std::string_view target);
  void on_field(std::string_view line);
  void on_value(std::string_view name, std::string_view value);
  void on_connection(std::string_view value);
  void on_content_length(std::string_view value);
  void on_transfer_encoding(std::string_view value);
  void on_end();

  HttpRequest request_;
  std::string line_;
  std::size_t taken_ = 0;
  std::size_t fields_ = 0;
  int hosts_ = 0;
  int error_ = 0;
  bool have_request_line_ = false;
  bool transfer_encoding_ = false;
  Status status_ = Status::need_more;
};

/// ASCII case does not count.
bool http_iequals(std::string_view a, std::string_view b);
/// Without SP and HTAB at both ends.
std::string_view http_trim(std::string_view s);
/// Decimal digits only, no overflow.
std::optional<std::uint64_t> http_number(std::string_view digits);

}  // namespace pollux
