#include "engine/services/http_conversation.h"

#include <algorithm>
#include <array>
#include <cstdio>

#include "engine/http_date.h"
#include "engine/services/chargen.h"

namespace pollux {
namespace {

std::string_view reason_phrase(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 206:
      return "Partial Content";
    case 301:
      return "Moved Permanently";
    case 304:
      return "Not Modified";
    case 400:
      return "Bad Request";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 412:
      return "Precondition Failed";
    case 414:
      return "URI Too Long";
    case 416:
      return "Range Not Satisfiable";
    case 431:
      return "Request Header Fields Too Large";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "Error";
  }
}

/// What is sent for a peer that waits for it before it sends its body (RFC 9110 10.1.1).
constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
constexpr std::string_view kText = "text/plain; charset=utf-8";
constexpr std::size_t kTypicalHead = 512;  // octets, with a small body behind it

/// RFC 9110 15.6.2: 405 is for methods that we know, 501 for those that we do not.
bool is_known_method(std::string_view m) {
  static constexpr std::array<std::string_view, 9> kKnown{
      "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"};
  return std::find(kKnown.begin(), kKnown.end(), m) != kKnown.end();
}

/// Whether `field` (If-None-Match) lists `etag`; the weak comparison of RFC 9110 8.8.3.2.
bool lists_etag(std::string_view field, std::string_view etag) {
  if (http_trim(field) == "*") return true;
  // Entity tags may hold commas, ours does not: looking for it with its quotes is exact.
  return !etag.empty() && field.find(etag) != std::string_view::npos;
}

/// The same of If-Match; the strong comparison: a weak tag is like no other.
bool lists_strong_etag(std::string_view field, std::string_view etag) {
  if (http_trim(field) == "*") return true;
  if (etag.empty()) return false;
  for (auto at = field.find(etag); at != field.npos; at = field.find(etag, at + 1)) {
    if (!field.substr(0, at).ends_with("W/")) return true;
  }
  return false;
}

/// A position in a range; one that is too large for the type is beyond every end.
std::optional<std::uint64_t> position_of(std::string_view digits) {
  const bool all =
      std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (digits.empty() || !all) return std::nullopt;
  return http_number(digits).value_or(UINT64_MAX);
}

HttpRange part(std::uint64_t offset, std::uint64_t length) {
  return {HttpRange::Kind::part, offset, length};
}

}  // namespace

HttpRange HttpRange::parse(std::string_view field, std::uint64_t size) {
  constexpr HttpRange kUnsatisfiable{Kind::unsatisfiable, 0, 0};
  if (field.size() < 6 || !http_iequals(field.substr(0, 6), "bytes=")) return {};
  const std::string_view range = http_trim(field.substr(6));
  const std::size_t dash = range.find('-');
  if (dash == std::string_view::npos) return {};
  const auto last = position_of(range.substr(dash + 1));
  if (dash == 0) {
    if (!last) return {};
    if (*last == 0 || size == 0) return kUnsatisfiable;
    const std::uint64_t n = std::min(*last, size);
    return part(size - n, n);
  }
  const auto first = position_of(range.substr(0, dash));
  const bool open = dash + 1 == range.size();
  if (!first || (!open && (!last || *last < *first))) return {};
  if (*first >= size) return kUnsatisfiable;
  return part(*first, (open ? size - 1 : std::min(*last, size - 1)) - *first + 1);
}

Bytes HttpConversation::head() const {
  if (now_.turn < quiet_until_) return {};
  return Bytes{reinterpret_cast<const std::uint8_t*>(head_.data()), head_.size()}.subspan(
      head_sent_);
}

/// Octets of the body that may go now.
std::uint64_t HttpConversation::body_octets() const {
  if (!piece_.empty()) return piece_.size();
  if (!body_.pace) return body_.left;
  const std::uint64_t due = body_.pace->due(now_.turn);
  return due - std::min(due, body_.offset);
}

Slice HttpConversation::body() const {
  if (!piece_.empty()) return piece_;
  const std::uint64_t n = body_octets();
  if (n == 0) return {};
  if (body_.file) return HttpFile::slice(body_.file, body_.offset, n);
  if (body_.text.empty()) return chargen_slice(body_.offset, n);
  const std::string_view text = body_.text.substr(body_.offset, n);
  return Slice::from_static({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
}

void HttpConversation::sent(std::size_t n) {
  if (head_sent_ < head_.size()) {
    head_sent_ += n;
    return;
  }
  if (!piece_.empty()) {
    piece_.remove_prefix(static_cast<std::uint32_t>(n));
    if (piece_.empty()) piece_ = {};  // gives the buffer back
    return;
  }
  body_.offset += n;
  body_.left -= n;
  if (body_.left == 0) body_ = {};
}

std::optional<Instant> HttpConversation::resumes_at() const {
  if (has_output()) return std::nullopt;
  if (now_.turn < quiet_until_) return quiet_until_;
  if (body_.pace) return body_.pace->next(body_.offset);
  return events_ ? std::optional(kNever) : std::nullopt;
}

void HttpConversation::say_event(std::string_view data) {
  head_.assign("data: ");
  head_ += data;
  head_ += "\n\n";
  head_sent_ = 0;
}

std::size_t HttpConversation::feed(const Slice& in) {
  if (closing() || has_output() || resumes_at()) return 0;
  if (reading_ != Reading::head) return feed_body(in);
  const std::size_t used = parser_.feed(in.bytes());
  if (parser_.status() == HttpRequestParser::Status::error) {
    respond_error(parser_.error());
    closing_ = true;
  } else if (parser_.status() == HttpRequestParser::Status::complete) {
    respond();
    if (parser_.body_done()) end_body();
  }
  return used;
}

std::size_t HttpConversation::feed_body(const Slice& in) {
  const HttpRequestParser::Body step = parser_.feed_body(in.bytes());
  if (parser_.status() == HttpRequestParser::Status::error) {
    // In the middle of a response nothing but its end can tell.
    closing_ = true;
    reading_ = Reading::skipped;
    return in.size();
  }
  if (reading_ == Reading::echoed && !step.content.empty()) {
    const auto offset = static_cast<std::uint32_t>(step.content.data() - in.data());
    say_piece(in.sub(offset, static_cast<std::uint32_t>(step.content.size())));
  }
  if (parser_.body_done()) end_body();
  return step.taken;
}

/// In chunks where the request was: its end, like ours, is then known when it comes.
void HttpConversation::say_piece(const Slice& piece) {
  piece_ = piece;
  if (!chunks_) return;
  std::array<char, 24> line{};
  std::snprintf(line.data(), line.size(), "%s%x\r\n", first_chunk_ ? "" : "\r\n", piece.size());
  first_chunk_ = false;
  head_.assign(line.data());
  head_sent_ = 0;
}

void HttpConversation::end_body() {
  if (reading_ == Reading::echoed && chunks_) {
    // The last of the framing comes without content: no piece is on its way now.
    head_.assign(first_chunk_ ? "0\r\n\r\n" : "\r\n0\r\n\r\n");
    head_sent_ = 0;
  }
  reading_ = Reading::head;
  parser_.reset();
}

void HttpConversation::time_out() {
  closing_ = true;
  // A body that did not come was answered already: a second response would answer nothing.
  const bool asked = reading_ == Reading::head && !parser_.idle();
  reading_ = Reading::head;
  if (asked) respond_error(408);
}

void HttpConversation::respond() {
  const HttpRequest& request = parser_.request();
  closing_ = !request.persistent;
  const bool get = request.method == "GET" || request.method == "HEAD";
  const bool post = request.method == "POST" || request.method == "PUT";
  HttpContent::Found found = content_->find(request.target, now_.wall, now_.turn);
  const bool is_echo = found.status == 200 && found.kind == HttpContent::Kind::echo;
  if (is_echo && post) return respond_echo();
  frame_request_body(request);
  if (!get || is_echo) {
    return respond_error(is_known_method(request.method) ? 405 : 501,
                         is_echo ? "POST, PUT" : "GET, HEAD");
  }
  if (found.status == 301) return respond_redirect(std::move(found.location));
  if (found.status != 200) return respond_error(found.status);
  if (found.kind == HttpContent::Kind::events) return respond_events(found);
  respond_found(std::move(found));
}

void HttpConversation::respond_redirect(std::string location) {
  const std::string& target = parser_.request().target;
  if (const auto query = target.find('?'); query != target.npos) location += target.substr(query);
  start(301);
  add("Location", location);
  finish_head(kText, 0);
}

/// Its end is that of the connection.
void HttpConversation::respond_events(const HttpContent::Found& found) {
  closing_ = true;
  start(200);
  add("Content-Type", found.type);
  add("Cache-Control", "no-store");
  head_ += "\r\n";
  events_ = parser_.request().method == "GET";
}

/// The request's body, sent back while it comes. What a page of another site makes a browser send
/// here must not come back as a page of ours, hence the last two fields.
void HttpConversation::respond_echo() {
  const HttpRequest& request = parser_.request();
  reading_ = Reading::echoed;
  chunks_ = request.chunked;
  first_chunk_ = true;
  start(200);
  add("Content-Type",
      request.content_type.empty() ? "application/octet-stream" : request.content_type);
  if (chunks_) {
    add("Transfer-Encoding", "chunked");
  } else {
    add("Content-Length", std::to_string(request.content_length.value_or(0)));
  }
  add("X-Content-Type-Options", "nosniff");
  add("Content-Security-Policy", "sandbox");
  head_ += "\r\n";
  if (request.expects_continue) head_.insert(0, kContinue);
}

/// Nothing but echo has a use for a body. A short one is read over, anything else ends the
/// connection after the answer; so does a client that waits for 100 (RFC 9110 10.1.1), because it
/// may send its body or leave it.
void HttpConversation::frame_request_body(const HttpRequest& request) {
  const std::uint64_t length = request.content_length.value_or(0);
  if (request.chunked || length > kMaxSkippedBody || (length > 0 && request.expects_continue)) {
    closing_ = true;
  } else if (length > 0) {
    reading_ = Reading::skipped;
  }
}

void HttpConversation::respond_error(int status, std::string_view allow) {
  start(status);
  if (status == 405) add("Allow", allow);
  const std::string_view reason = reason_phrase(status);
  finish_head(kText, reason.size() + 1);
  if (parser_.request().method == "HEAD") return;
  head_ += reason;
  head_ += '\n';
}

void HttpConversation::respond_found(HttpContent::Found found) {
  const bool head_only = parser_.request().method == "HEAD";
  const std::uint64_t size = found.body.left;
  if (condition_failed(found)) return respond_error(412);
  if (not_modified(found)) {
    // RFC 9110 15.4.5: no body, the same validators; no length of a body that is not there.
    start(304);
    add_validators(found);
    head_ += "\r\n";
    return;
  }
  const int status = head_only || !found.ranges ? 200 : apply_range(found);
  start(status);
  if (status == 416) {
    add("Content-Range", "bytes */" + std::to_string(size));
    return finish_head(kText, 0);
  }
  if (found.ranges) add("Accept-Ranges", "bytes");
  add_validators(found);
  if (status == 206) {
    add("Content-Range", "bytes " + std::to_string(found.body.offset) + "-" +
                             std::to_string(found.body.offset + found.body.left - 1) + "/" +
                             std::to_string(size));
  }
  finish_head(found.type, found.body.left);
  quiet_until_ = now_.turn + found.delay;
  if (head_only || found.body.left == 0) return;
  body_ = std::move(found.body);
  const bool in_memory = !body_.file || !body_.file->mapped();
  if (body_.left > kMaxCopiedBody || !in_memory || body_.pace) return;
  const Slice small = body();
  head_.append(reinterpret_cast<const char*>(small.data()), small.size());
  body_ = {};
}

void HttpConversation::add_validators(const HttpContent::Found& found) {
  if (!found.etag.empty()) add("ETag", found.etag);
  // RFC 9110 8.8.2.1: never later than Date.
  if (found.modified)
    add("Last-Modified", content_->modified.of(std::min(*found.modified, now_.wall)));
}

/// RFC 9110 13.2.2: the first two steps. If-Match, where there is one, decides alone.
bool HttpConversation::condition_failed(const HttpContent::Found& found) const {
  const HttpRequest& request = parser_.request();
  if (!request.if_match.empty()) return !lists_strong_etag(request.if_match, found.etag);
  if (request.if_unmodified_since.empty() || !found.modified) return false;
  const auto since = parse_http_date(request.if_unmodified_since);
  return since && *found.modified > *since;
}

/// The next two: If-None-Match, where there is one, decides alone.
bool HttpConversation::not_modified(const HttpContent::Found& found) const {
  const HttpRequest& request = parser_.request();
  if (!request.if_none_match.empty()) return lists_etag(request.if_none_match, found.etag);
  if (request.if_modified_since.empty() || !found.modified) return false;
  const auto since = parse_http_date(request.if_modified_since);
  return since && *found.modified <= *since;
}

/// RFC 9110 13.1.5: If-Range holds for the very same representation only.
bool HttpConversation::range_allowed(const HttpContent::Found& found) const {
  const HttpRequest& request = parser_.request();
  if (request.range.empty()) return false;
  if (request.if_range.empty()) return true;
  if (request.if_range.front() == '"') return request.if_range == found.etag;
  const auto date = parse_http_date(request.if_range);
  return date && found.modified && *date == *found.modified;
}

int HttpConversation::apply_range(HttpContent::Found& found) const {
  if (!range_allowed(found)) return 200;
  const HttpRange range = HttpRange::parse(parser_.request().range, found.body.left);
  if (range.kind == HttpRange::Kind::whole) return 200;
  if (range.kind == HttpRange::Kind::unsatisfiable) return 416;
  found.body.offset = range.offset;
  found.body.left = range.length;
  return 206;
}

void HttpConversation::start(int status) {
  head_.clear();
  head_.reserve(kTypicalHead);
  head_sent_ = 0;
  head_ += "HTTP/1.1 " + std::to_string(status) + " ";
  head_ += reason_phrase(status);
  head_ += "\r\n";
  add("Date", content_->today.of(now_.wall));
  add("Server", "pollux");
  const bool must_close = closing_ || parser_.status() == HttpRequestParser::Status::error;
  if (must_close) {
    add("Connection", "close");
  } else if (parser_.request().minor_version == 0) {
    add("Connection", "keep-alive");
  }
}

void HttpConversation::finish_head(std::string_view type, std::uint64_t length) {
  add("Content-Type", type);
  add("Content-Length", std::to_string(length));
  head_ += "\r\n";
}

void HttpConversation::add(std::string_view name, std::string_view value) {
  head_ += name;
  head_ += ": ";
  head_ += value;
  head_ += "\r\n";
}

}  // namespace pollux
