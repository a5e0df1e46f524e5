#include "engine/services/http_conversation.h"

#include <algorithm>
#include <array>

#include "engine/services/chargen.h"

namespace pollux {
namespace {

constexpr std::string_view kIndexPage = R"(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>pollux</title>
<style>body{font:16px/1.5 sans-serif;max-width:42em;margin:3em auto;padding:0 1em}
code{background:#eee;padding:0 .2em}</style>
</head>
<body>
<h1>pollux</h1>
<p>This page came through <strong>pollux</strong>, a poll-mode, multi-core TCP/IP engine in user
space: the kernel's TCP never saw this connection. Packets come from a multi-queue TUN device, are
hashed onto worker cores, and each worker owns its connections, its timers and this HTTP server.</p>
<h2>Things to fetch</h2>
<ul>
<li><a href="/bytes/1024"><code>/bytes/1024</code></a>: any number of octets of the RFC 864 pattern,
from static memory and without copying. Ranges work: <code>curl -r 0-99</code></li>
<li><a href="/bytes/1000000000"><code>/bytes/1000000000</code></a>: a gigabyte, to measure with</li>
</ul>
<h2>Things to run</h2>
<ul>
<li><code>pollux show stats</code>: counters of every worker</li>
<li><code>pollux show connections</code>: this connection among others</li>
<li><code>pollux top</code>: the same, live</li>
</ul>
<p>With <code>root = "/some/folder"</code> in its <code>[[service]]</code> this server serves files
from memory maps instead of these pages.</p>
</body>
</html>
)";

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

HttpRange part(std::uint64_t offset, std::uint64_t length) {
  return {HttpRange::Kind::part, offset, length};
}

}  // namespace

std::string http_date(std::time_t t) {
  struct tm tm = {};
  ::gmtime_r(&t, &tm);
  std::array<char, 40> text{};
  const std::size_t n = std::strftime(text.data(), text.size(), "%a, %d %b %Y %H:%M:%S GMT", &tm);
  return {text.data(), n};
}

std::optional<std::time_t> parse_http_date(const std::string& text) {
  for (const char* form :
       {"%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"}) {
    struct tm tm = {};
    const char* end = ::strptime(text.c_str(), form, &tm);
    if (end != nullptr && *end == '\0') return ::timegm(&tm);
  }
  return std::nullopt;
}

HttpRange HttpRange::parse(std::string_view field, std::uint64_t size) {
  constexpr HttpRange kUnsatisfiable{Kind::unsatisfiable, 0, 0};
  if (field.size() < 6 || !http_iequals(field.substr(0, 6), "bytes=")) return {};
  const std::string_view range = http_trim(field.substr(6));
  const std::size_t dash = range.find('-');
  if (dash == std::string_view::npos) return {};
  const auto last = http_number(range.substr(dash + 1));
  if (dash == 0) {
    if (!last) return {};
    if (*last == 0 || size == 0) return kUnsatisfiable;
    const std::uint64_t n = std::min(*last, size);
    return part(size - n, n);
  }
  const auto first = http_number(range.substr(0, dash));
  const bool open = dash + 1 == range.size();
  if (!first || (!open && (!last || *last < *first))) return {};
  if (*first >= size) return kUnsatisfiable;
  return part(*first, (open ? size - 1 : std::min(*last, size - 1)) - *first + 1);
}

HttpContent::HttpContent(const std::string& root) {
  if (!root.empty()) files_.emplace(root);
}

const std::string& HttpContent::Date::of(std::time_t t) {
  if (text_.empty() || time_ != t) text_ = http_date(time_ = t);
  return text_;
}

HttpContent::Found HttpContent::find(std::string_view target, std::time_t now) {
  Found found;
  const auto path = HttpPath::parse(target);
  if (!path) {
    found.status = 400;
    return found;
  }
  if (!files_) return find_built_in(*path);
  const HttpFiles::Found file = files_->find(*path, now);
  found.status = file.status;
  if (file.status == 301) found.location = path->directory_location();
  if (!file.file) return found;
  found.type = file.file->type();
  found.etag = file.file->etag();
  found.modified = file.file->modified();
  found.body.file = file.file;
  found.body.left = file.file->size();
  return found;
}

HttpContent::Found HttpContent::find_built_in(const HttpPath& path) const {
  constexpr std::string_view kBytes = "bytes/";
  Found found;
  if (path.relative.empty() || path.relative == "index.html") {
    found.status = 200;
    found.type = "text/html; charset=utf-8";
    found.body.text = kIndexPage;
    found.body.left = kIndexPage.size();
  } else if (path.relative.starts_with(kBytes) && !path.directory) {
    const auto n = http_number(std::string_view(path.relative).substr(kBytes.size()));
    if (!n) return found;
    found.status = 200;
    found.type = "text/plain; charset=us-ascii";
    found.body.left = *n;
  }
  return found;
}

Bytes HttpConversation::head() const {
  return Bytes{reinterpret_cast<const std::uint8_t*>(head_.data()), head_.size()}.subspan(
      head_sent_);
}

Slice HttpConversation::body() const {
  if (body_.left == 0) return {};
  if (body_.file) return HttpFile::slice(body_.file, body_.offset, body_.left);
  if (body_.text.empty()) return chargen_slice(body_.offset, body_.left);
  const std::string_view text = body_.text.substr(body_.offset, body_.left);
  return Slice::from_static({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
}

void HttpConversation::sent(std::size_t n) {
  if (head_sent_ < head_.size()) {
    head_sent_ += n;
    return;
  }
  body_.offset += n;
  body_.left -= n;
  if (body_.left == 0) body_ = {};
}

std::size_t HttpConversation::feed(Bytes in, std::time_t now) {
  if (closing_ || has_output()) return 0;
  const std::size_t skipped = std::min<std::uint64_t>(skip_, in.size());
  skip_ -= skipped;
  const std::size_t used = parser_.feed(in.subspan(skipped));
  if (parser_.status() == HttpRequestParser::Status::error) {
    respond_error(parser_.error(), now);
    closing_ = true;
  } else if (parser_.status() == HttpRequestParser::Status::complete) {
    respond(now);
    parser_.reset();
  }
  return skipped + used;
}

void HttpConversation::time_out(std::time_t now) {
  closing_ = true;
  // A body that did not come was answered already: a second response would answer nothing.
  if (!parser_.idle()) respond_error(408, now);
}

void HttpConversation::respond(std::time_t now) {
  const HttpRequest& request = parser_.request();
  closing_ = !request.persistent();
  frame_request_body(request);
  if (request.method != "GET" && request.method != "HEAD") {
    return respond_error(is_known_method(request.method) ? 405 : 501, now);
  }
  HttpContent::Found found = content_->find(request.target, now);
  if (found.status == 200) return respond_found(std::move(found), now);
  if (found.status != 301) return respond_error(found.status, now);
  start(301, now);
  add("Location", found.location);
  finish_head("text/plain; charset=utf-8", 0);
}

/// No method that we serve has a use for a body. A short one is read over, anything else ends the
/// connection after the answer; so does a client that waits for 100 (RFC 9110 10.1.1), because it
/// may send its body or leave it.
void HttpConversation::frame_request_body(const HttpRequest& request) {
  const std::uint64_t length = request.content_length.value_or(0);
  if (request.chunked || length > kMaxSkippedBody || (length > 0 && request.expects_continue)) {
    closing_ = true;
  } else {
    skip_ = length;
  }
}

void HttpConversation::respond_error(int status, std::time_t now) {
  static constexpr std::string_view kType = "text/plain; charset=utf-8";
  start(status, now);
  if (status == 405) add("Allow", "GET, HEAD");
  const std::string_view reason = reason_phrase(status);
  finish_head(kType, reason.size() + 1);
  if (parser_.request().method == "HEAD") return;
  head_ += reason;
  head_ += '\n';
}

void HttpConversation::respond_found(HttpContent::Found found, std::time_t now) {
  const bool head_only = parser_.request().method == "HEAD";
  const std::uint64_t size = found.body.left;
  if (not_modified(found)) {
    // RFC 9110 15.4.5: no body, the same validators; no length of a body that is not there.
    start(304, now);
    add_validators(found, now);
    head_ += "\r\n";
    return;
  }
  const int status = head_only ? 200 : apply_range(found);
  start(status, now);
  if (status == 416) {
    add("Content-Range", "bytes */" + std::to_string(size));
    return finish_head("text/plain; charset=utf-8", 0);
  }
  add("Accept-Ranges", "bytes");
  add_validators(found, now);
  if (status == 206) {
    add("Content-Range", "bytes " + std::to_string(found.body.offset) + "-" +
                             std::to_string(found.body.offset + found.body.left - 1) + "/" +
                             std::to_string(size));
  }
  finish_head(found.type, found.body.left);
  if (head_only || found.body.left == 0) return;
  body_ = std::move(found.body);
  const bool in_memory = !body_.file || !body_.file->mapped();
  if (body_.left > kMaxCopiedBody || !in_memory) return;
  const Slice small = body();
  head_.append(reinterpret_cast<const char*>(small.data()), small.size());
  body_ = {};
}

void HttpConversation::add_validators(const HttpContent::Found& found, std::time_t now) {
  if (!found.etag.empty()) add("ETag", found.etag);
  // RFC 9110 8.8.2.1: never later than Date.
  if (found.modified) add("Last-Modified", content_->modified.of(std::min(*found.modified, now)));
}

/// RFC 9110 13.2.2: If-None-Match, where there is one, decides alone.
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

void HttpConversation::start(int status, std::time_t now) {
  head_.clear();
  head_.reserve(kTypicalHead);
  head_sent_ = 0;
  head_ += "HTTP/1.1 " + std::to_string(status) + " ";
  head_ += reason_phrase(status);
  head_ += "\r\n";
  add("Date", content_->today.of(now));
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
