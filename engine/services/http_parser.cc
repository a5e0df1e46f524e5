#include "engine/services/http_parser.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <charconv>

namespace pollux {
namespace {

namespace http = boost::beast::http;
using Error = boost::beast::error_code;
using Text = boost::beast::string_view;

/// Graphic ASCII; a fragment never travels (RFC 9112 3.2).
bool is_target(std::string_view s) {
  return !s.empty() &&
         std::all_of(s.begin(), s.end(), [](char c) { return c > 0x20 && c < 0x7f && c != '#'; });
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; }

/// The response status for a request line whose version Beast does not take: 505 where it is one.
int status_of_version(std::string_view line) {
  const std::size_t method = line.find(' ');
  const std::size_t target = line.find(' ', method + 1);
  if (method == std::string_view::npos || target == std::string_view::npos) return 400;
  const std::string_view v = line.substr(target + 1, 8);
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  if (v.size() != 8 || !v.starts_with("HTTP/") || !digit(v[5]) || v[6] != '.' || !digit(v[7])) {
    return 400;
  }
  return v == "HTTP/1.0" || v == "HTTP/1.1" ? 400 : 505;
}

/// RFC 9112 3.2: origin-form, absolute-form, and for methods that we refuse anyway the other two.
bool set_target(HttpRequest& request, std::string_view target) {
  if (target.front() == '/') {
    request.target = target;
    return true;
  }
  if (target.size() > 7 && http_iequals(target.substr(0, 7), "http://")) {
    const std::size_t path = target.find_first_of("/?", 7);
    if (path == 7) return false;
    request.target = path == std::string_view::npos ? std::string_view("/") : target.substr(path);
    if (request.target.front() == '?') request.target.insert(0, 1, '/');
    return true;
  }
  request.target = '*';
  return (target == "*" && request.method == "OPTIONS") || request.method == "CONNECT";
}

Bytes octets(const std::string& s) {
  return {reinterpret_cast<const std::uint8_t*>(s.data()), s.size()};
}

/// Octets up to the end of the first line, or of all.
std::size_t line_size(Bytes in) {
  return static_cast<std::size_t>(std::find(in.begin(), in.end(), '\n') - in.begin());
}

/// Beast asserts on four octets of a last chunk, "0\r\n\r": what may become one waits for a fifth.
bool too_short(const std::string& framing) { return framing.size() < 5 && framing.front() == '0'; }

}  // namespace

bool http_iequals(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return lower(x) == lower(y); });
}

std::string_view http_trim(std::string_view s) {
  const std::size_t first = s.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return s.substr(first, s.find_last_not_of(" \t") - first + 1);
}

std::optional<std::uint64_t> http_number(std::string_view digits) {
  std::uint64_t n = 0;
  if (digits.empty() || digits.front() == '+' || digits.front() == '-') return std::nullopt;
  const auto [end, err] = std::from_chars(digits.data(), digits.data() + digits.size(), n);
  if (err != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
  return n;
}

/// What Beast reads, as the service wants it, and what Beast would let pass.
class HttpRequestParser::Beast final : public http::basic_parser<true> {
 public:
  Beast() {
    header_limit(http_limits::kMaxHead);
    body_limit(UINT64_MAX);  // whoever reads bodies has limits; "none" refuses every length in 1.74
  }

  HttpRequest request;
  Bytes content;  ///< what the last put() found of the body
  int error = 0;  ///< the status where it is not 400
  bool have_line = false;
  bool framing = false;  ///< of a chunk comes next, not content

 private:
  static std::string_view view(Text t) { return {t.data(), t.size()}; }
  static void add_to_list(std::string& list, std::string_view value) {
    if (!list.empty()) list += ',';
    list += value;
  }
  void refuse(int status, Error& ec) {
    error = status;
    ec = http::error::bad_field;
  }
  void on_request_impl(http::verb, Text method, Text target, int version, Error& ec) override {
    request.method = view(method);
    request.minor_version = version % 10;
    have_line = true;
    if (!is_target(view(target)) || !set_target(request, view(target))) refuse(400, ec);
  }
  void on_response_impl(int, Text, int, Error&) override {}
  void on_field_impl(http::field name, Text, Text text, Error& ec) override {
    if (++fields_ > http_limits::kMaxFields) return refuse(431, ec);
    if (done_) return;  // a trailer changes nothing
    const std::string_view value = view(text);
    switch (name) {
      case http::field::host:
        ++hosts_;
        break;
      case http::field::transfer_encoding:
        if (!http_iequals(value, "chunked")) return refuse(501, ec);
        request.chunked = true;
        break;
      case http::field::expect:
        request.expects_continue = http_iequals(value, "100-continue");
        break;
      case http::field::range:
        request.range = value;
        break;
      case http::field::if_range:
        request.if_range = value;
        break;
      case http::field::if_modified_since:
        request.if_modified_since = value;
        break;
      case http::field::if_none_match:
        add_to_list(request.if_none_match, value);
        break;
      case http::field::if_match:
        add_to_list(request.if_match, value);
        break;
      case http::field::if_unmodified_since:
        request.if_unmodified_since = value;
        break;
      case http::field::content_type:
        request.content_type = value;
        break;
      default:
        break;
    }
  }
  void on_header_impl(Error& ec) override {
    const bool v1_0 = request.minor_version == 0;
    // RFC 9112 3.2: exactly one Host in 1.1. 6.1: chunks in 1.0 are how requests are smuggled.
    if (hosts_ > 1 || (hosts_ == 0 && !v1_0) || (request.chunked && v1_0)) return refuse(400, ec);
    request.persistent = keep_alive();
    if (v1_0) request.expects_continue = false;  // RFC 9110 10.1.1
    if (const auto length = content_length()) request.content_length = *length;
    done_ = true;
    framing = request.chunked;
  }
  void on_body_init_impl(const boost::optional<std::uint64_t>&, Error&) override {}
  std::size_t on_body_impl(Text body, Error&) override { return take(body); }
  void on_chunk_header_impl(std::uint64_t size, Text, Error&) override { framing = size == 0; }
  std::size_t on_chunk_body_impl(std::uint64_t left, Text body, Error&) override {
    framing = body.size() == left;
    return take(body);
  }
  void on_finish_impl(Error&) override {}
  std::size_t take(Text body) {
    content = {reinterpret_cast<const std::uint8_t*>(body.data()), body.size()};
    return body.size();
  }

  std::size_t fields_ = 0;
  int hosts_ = 0;
  bool done_ = false;
};

HttpRequestParser::HttpRequestParser() : beast_(std::make_unique<Beast>()) {}
HttpRequestParser::~HttpRequestParser() = default;

const HttpRequest& HttpRequestParser::request() const { return beast_->request; }

void HttpRequestParser::reset() {
  std::destroy_at(beast_.get());
  std::construct_at(beast_.get());
  hold_.clear();
  taken_ = 0;
  error_ = 0;
  status_ = Status::need_more;
}

std::size_t HttpRequestParser::held() const {
  const HttpRequest& r = request();
  return hold_.size() + r.method.size() + r.target.size() + r.range.size() + r.if_range.size() +
         r.if_modified_since.size() + r.if_none_match.size() + r.if_match.size() +
         r.if_unmodified_since.size() + r.content_type.size();
}

void HttpRequestParser::fail(int error) {
  status_ = Status::error;
  error_ = error;
}

std::size_t HttpRequestParser::feed(Bytes in) {
  std::size_t used = skip_empty_lines(in);
  while (used < in.size() && status_ == Status::need_more) used += feed_head(in.subspan(used));
  return used;
}

/// RFC 9112 2.2: an empty line in front of the request line is ignored. It counts in taken_, so
/// that a peer cannot send them for ever.
std::size_t HttpRequestParser::skip_empty_lines(Bytes in) {
  if (status_ != Status::need_more || beast_->have_line || !hold_.empty()) return 0;
  const auto end =
      std::find_if(in.begin(), in.end(), [](auto c) { return c != '\r' && c != '\n'; });
  const auto n = std::min(static_cast<std::size_t>(end - in.begin()), http_limits::kMaxHead);
  taken_ += n;
  if (taken_ > http_limits::kMaxHead) fail(431);
  return n;
}

/// Beast takes whole lines; what is left of one is held, and put before what comes next.
std::size_t HttpRequestParser::feed_head(Bytes in) {
  const std::size_t before = hold_.size();
  if (before > 0) {
    in = in.first(std::min(in.size(), http_limits::kMaxHead));
    hold_.append(reinterpret_cast<const char*>(in.data()), in.size());
  }
  const Bytes all = before > 0 ? octets(hold_) : in;
  if (!beast_->have_line && line_size(all) > http_limits::kMaxRequestLine) {
    fail(414);
    return in.size();
  }
  const std::size_t read = put(all);
  taken_ += read;
  if (status_ == Status::error) return in.size();
  const std::size_t rest = status_ == Status::complete ? 0 : all.size() - read;
  if (taken_ + rest > http_limits::kMaxHead) fail(431);
  if (status_ == Status::complete) {
    hold_.clear();
    return read - before;
  }
  if (before > 0) {
    hold_.erase(0, read);
  } else {
    hold_.assign(reinterpret_cast<const char*>(in.data()) + read, rest);
  }
  return in.size();
}

/// Octets read; status_ tells the rest.
std::size_t HttpRequestParser::put(Bytes in) {
  Error ec;
  const std::size_t read = beast_->put(boost::asio::buffer(in.data(), in.size()), ec);
  if (ec == http::error::need_more) return read;
  if (!ec) {
    if (beast_->is_header_done()) status_ = Status::complete;
  } else if (beast_->error != 0) {
    fail(beast_->error);
  } else if (ec == http::error::bad_version) {
    fail(status_of_version({reinterpret_cast<const char*>(in.data()), in.size()}));
  } else {
    fail(ec == http::error::header_limit ? 431 : 400);
  }
  return read;
}

bool HttpRequestParser::body_done() const { return beast_->is_done(); }

HttpRequestParser::Body HttpRequestParser::feed_body(Bytes in) {
  if (in.empty() || body_done() || status_ != Status::complete) return {};
  if (beast_->framing) return feed_framing(in);
  beast_->content = {};
  const std::size_t taken = put(in);
  return {taken, beast_->content};
}

/// The line before a chunk, or all that follows the last one. It must be in one piece.
HttpRequestParser::Body HttpRequestParser::feed_framing(Bytes in) {
  const std::size_t before = hold_.size();
  in = in.first(std::min(in.size(), http_limits::kMaxHead));
  if (before == 0 && in.size() >= 5) {  // as nearly always: nothing to hold
    const std::size_t read = put(in);
    if (read > 0) return {read, {}};
  }
  if (status_ == Status::error) return {in.size(), {}};
  hold_.append(reinterpret_cast<const char*>(in.data()), in.size());
  const std::size_t read = too_short(hold_) ? 0 : put(octets(hold_));
  if (status_ == Status::error) return {in.size(), {}};
  if (read > 0) {
    hold_.clear();
    return {read - before, {}};
  }
  if (hold_.size() > http_limits::kMaxHead) fail(431);
  return {in.size(), {}};
}

}  // namespace pollux
