#include "engine/services/http_parser.h"

#include <algorithm>
#include <charconv>
#include <cstring>

namespace pollux {
namespace {

bool is_token_char(char c) {
  if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z')) return true;
  return c != '\0' && std::strchr("!#$%&'*+-.^_`|~", c) != nullptr;
}

bool is_token(std::string_view s) {
  return !s.empty() && std::all_of(s.begin(), s.end(), is_token_char);
}

/// RFC 9110 5.5: VCHAR, obs-text, SP and HTAB.
bool is_field_value(std::string_view s) {
  return std::all_of(s.begin(), s.end(), [](char c) {
    const auto u = static_cast<unsigned char>(c);
    return u == '\t' || (u >= 0x20 && u != 0x7f);
  });
}

/// Graphic ASCII; a fragment never travels (RFC 9112 3.2).
bool is_target(std::string_view s) {
  return !s.empty() &&
         std::all_of(s.begin(), s.end(), [](char c) { return c > 0x20 && c < 0x7f && c != '#'; });
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; }

/// Takes the next element of a comma-separated list off `list`.
std::string_view next_element(std::string_view& list) {
  const std::size_t comma = list.find(',');
  const std::string_view element = http_trim(list.substr(0, comma));
  list = comma == std::string_view::npos ? std::string_view{} : list.substr(comma + 1);
  return element;
}

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

std::size_t HttpRequestParser::held() const {
  return line_.size() + request_.method.size() + request_.target.size() + request_.range.size() +
         request_.if_range.size() + request_.if_modified_since.size() +
         request_.if_none_match.size();
}

void HttpRequestParser::fail(int error) {
  status_ = Status::error;
  error_ = error;
}

std::size_t HttpRequestParser::feed(Bytes in) {
  std::size_t used = 0;
  while (used < in.size() && status_ == Status::need_more) {
    const Bytes rest = in.subspan(used);
    const void* lf = std::memchr(rest.data(), '\n', rest.size());
    const std::size_t n =
        lf ? static_cast<std::size_t>(static_cast<const std::uint8_t*>(lf) - rest.data()) + 1
           : rest.size();
    if (!within_limits(n)) break;
    line_.append(reinterpret_cast<const char*>(rest.data()), n);
    taken_ += n;
    used += n;
    if (lf) on_line();
  }
  return used;
}

bool HttpRequestParser::within_limits(std::size_t more) {
  if (!have_request_line_ && line_.size() + more > http_limits::kMaxRequestLine) {
    fail(414);
  } else if (taken_ + more > http_limits::kMaxHead) {
    fail(431);
  }
  return status_ != Status::error;
}

void HttpRequestParser::on_line() {
  std::string_view line = line_;
  line.remove_suffix(1);
  // RFC 9112 2.2: a bare LF ends a line too; a CR anywhere else is refused as a control character.
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  if (!have_request_line_) {
    // RFC 9112 2.2: an empty line in front of the request line is ignored. It stays counted in
    // taken_, so that a peer cannot send them for ever.
    if (!line.empty()) on_request_line(line);
  } else if (line.empty()) {
    on_end();
  } else if (++fields_ > http_limits::kMaxFields) {
    fail(431);
  } else {
    on_field(line);
  }
  line_.clear();
}

void HttpRequestParser::on_request_line(std::string_view line) {
  const std::size_t first = line.find(' ');
  const std::size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) return fail(400);
  const std::string_view method = line.substr(0, first);
  const std::string_view target = line.substr(first + 1, last - first - 1);
  const std::string_view version = line.substr(last + 1);
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  if (!is_token(method) || !is_target(target) || version.size() != 8 ||
      version.substr(0, 5) != "HTTP/" || !digit(version[5]) || version[6] != '.' ||
      !digit(version[7])) {
    return fail(400);
  }
  if (version[5] != '1') return fail(505);
  request_.method = method;
  request_.minor_version = version[7] - '0';
  if (!set_target(target)) return fail(400);
  have_request_line_ = true;
}

/// RFC 9112 3.2: origin-form, absolute-form, and for methods that we refuse anyway the other two.
bool HttpRequestParser::set_target(std::string_view target) {
  if (target.front() == '/') {
    request_.target = target;
    return true;
  }
  if (target.size() > 7 && http_iequals(target.substr(0, 7), "http://")) {
    const std::size_t path = target.find_first_of("/?", 7);
    if (path == 7) return false;
    request_.target = path == std::string_view::npos ? "/" : target.substr(path);
    if (request_.target.front() == '?') request_.target.insert(0, 1, '/');
    return true;
  }
  request_.target = "*";
  return (target == "*" && request_.method == "OPTIONS") || request_.method == "CONNECT";
}

void HttpRequestParser::on_field(std::string_view line) {
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) return fail(400);
  // RFC 9112 5.1 and 5.2: no space before the colon, no folded lines; both make the name no token.
  const std::string_view name = line.substr(0, colon);
  const std::string_view value = http_trim(line.substr(colon + 1));
  if (!is_token(name) || !is_field_value(value)) return fail(400);
  on_value(name, value);
}

void HttpRequestParser::on_value(std::string_view name, std::string_view value) {
  const auto is = [name](std::string_view field) { return http_iequals(name, field); };
  if (is("Host")) {
    ++hosts_;
  } else if (is("Connection")) {
    on_connection(value);
  } else if (is("Content-Length")) {
    on_content_length(value);
  } else if (is("Transfer-Encoding")) {
    on_transfer_encoding(value);
  } else if (is("Expect")) {
    request_.expects_continue = http_iequals(value, "100-continue");
  } else if (is("Range")) {
    request_.range = value;
  } else if (is("If-Range")) {
    request_.if_range = value;
  } else if (is("If-Modified-Since")) {
    request_.if_modified_since = value;
  } else if (is("If-None-Match")) {
    if (!request_.if_none_match.empty()) request_.if_none_match += ',';
    request_.if_none_match += value;
  }
}

void HttpRequestParser::on_connection(std::string_view value) {
  while (!value.empty()) {
    const std::string_view option = next_element(value);
    if (http_iequals(option, "close")) request_.close = true;
    if (http_iequals(option, "keep-alive")) request_.keep_alive = true;
  }
}

/// RFC 9112 6.3: a list of equal numbers is one number, anything else unrecoverable.
void HttpRequestParser::on_content_length(std::string_view value) {
  if (value.empty()) return fail(400);
  while (!value.empty()) {
    const auto n = http_number(next_element(value));
    if (!n || (request_.content_length && *request_.content_length != *n)) return fail(400);
    request_.content_length = n;
  }
}

void HttpRequestParser::on_transfer_encoding(std::string_view value) {
  if (transfer_encoding_) return fail(400);
  transfer_encoding_ = true;
  if (!http_iequals(value, "chunked")) return fail(501);
  request_.chunked = true;
}

void HttpRequestParser::on_end() {
  // RFC 9112 3.2: exactly one Host in 1.1. 6.1: both framings at once is how requests are smuggled.
  if (hosts_ > 1 || (hosts_ == 0 && request_.minor_version >= 1)) return fail(400);
  if (transfer_encoding_ && (request_.content_length || request_.minor_version == 0)) {
    return fail(400);
  }
  status_ = Status::complete;
}

}  // namespace pollux
