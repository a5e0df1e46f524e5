#include "engine/services/http_content.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "engine/http_date.h"
#include "engine/services/http_pages.h"
#include "engine/services/http_parser.h"

namespace pollux {
namespace {

/// A decimal number of seconds; `fallback` when it is not there, nullopt when it is none.
std::optional<Duration> seconds(std::optional<std::string_view> text, Duration fallback,
                                Duration most) {
  if (!text) return fallback;
  double value = 0;
  const char* end = text->data() + text->size();
  const auto [at, error] = std::from_chars(text->data(), end, value, std::chars_format::fixed);
  if (error != std::errc{} || at != end || !std::isfinite(value) || std::signbit(value)) {
    return std::nullopt;
  }
  if (value > std::chrono::duration<double>(most).count()) return std::nullopt;
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(value));
}

HttpContent::Found pattern(std::uint64_t octets) {
  HttpContent::Found found;
  found.status = 200;
  found.type = "text/plain; charset=us-ascii";
  found.body.left = octets;
  return found;
}

HttpContent::Found page(const HttpPage& page) {
  HttpContent::Found found;
  if (page.content.empty()) return found;
  found.status = 200;
  found.type = http_content_type(page.name.empty() ? "index.html" : page.name);
  found.body.text = page.content;
  found.body.left = page.content.size();
  return found;
}

/// "/drip?bytes=N&seconds=S&delay=D", as httpbin has it; ten octets over two seconds by default.
HttpContent::Found drip(std::string_view query, Instant now) {
  const auto text = http_query(query, "bytes");
  const auto octets = text ? http_number(*text) : std::optional<std::uint64_t>(10);
  const auto over = seconds(http_query(query, "seconds"), 2s, HttpContent::kMaxDripTime);
  const auto delay = seconds(http_query(query, "delay"), 0s, HttpContent::kMaxDripDelay);
  HttpContent::Found found;
  found.status = 400;
  if (!octets || *octets > HttpContent::kMaxDrip || !over || !delay) return found;
  found = pattern(*octets);
  found.ranges = false;  // a part of it would come at another pace
  found.delay = *delay;
  found.body.pace = HttpPace{now + *delay, *over, *octets};
  return found;
}

}  // namespace

std::optional<std::string_view> http_query(std::string_view query, std::string_view name) {
  while (!query.empty()) {
    const std::string_view pair = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(pair.size() + 1, query.size()));
    const std::size_t equals = pair.find('=');
    if (equals == name.size() && pair.substr(0, equals) == name) return pair.substr(equals + 1);
  }
  return std::nullopt;
}

std::uint64_t HttpPace::due(Instant now) const {
  if (now < start) return 0;
  if (now - start >= over) return total;
  // The first octet goes at once, the last at the end; doubles are exact enough below 2^30 octets.
  const double share =
      static_cast<double>((now - start).count()) / static_cast<double>(over.count());
  return std::min(total, 1 + static_cast<std::uint64_t>(share * static_cast<double>(total - 1)));
}

Instant HttpPace::next(std::uint64_t sent) const {
  if (total < 2 || sent == 0) return start;
  const double share = static_cast<double>(sent) / static_cast<double>(total - 1);
  const auto due = static_cast<Duration::rep>(std::ceil(share * static_cast<double>(over.count())));
  return start + std::min(Duration(due), over);
}

HttpContent::HttpContent(const HttpOptions& options) : live_(options.has_live_page()) {
  if (!options.root.empty()) files_.emplace(options.root, HttpFiles::kMaxFiles, options.listing);
}

const std::string& HttpContent::Date::of(std::time_t t) {
  if (text_.empty() || time_ != t) text_ = http_date(time_ = t);
  return text_;
}

HttpContent::Found HttpContent::find(std::string_view target, std::time_t wall, Instant now) {
  auto path = HttpPath::parse(target);
  if (!path) {
    Found found;
    found.status = 400;
    return found;
  }
  const std::size_t mark = target.find('?');
  const std::string_view query = mark == target.npos ? "" : target.substr(mark + 1);
  if (!files_) return find_built_in(*path, query, now);
  if (!live_ || !path->relative.starts_with(kReserved)) return find_file(*path, wall);
  const std::string rest = path->relative.substr(kReserved.size());
  if (!rest.empty() && rest.front() != '/') return find_file(*path, wall);
  if (rest.empty() && !path->directory) {  // the page's links are relative
    Found found;
    found.status = 301;
    found.location = path->directory_location();
    return found;
  }
  path->relative = rest.empty() ? rest : rest.substr(1);
  return find_built_in(*path, query, now);
}

HttpContent::Found HttpContent::find_file(const HttpPath& path, std::time_t wall) {
  Found found;
  const HttpFiles::Found file = files_->find(path, wall);
  found.status = file.status;
  if (file.status == 301) found.location = path.directory_location();
  if (!file.file) return found;
  found.type = file.file->type();
  found.etag = file.file->etag();
  if (!found.etag.empty()) found.modified = file.file->modified();
  found.body.file = file.file;
  found.body.left = file.file->size();
  return found;
}

HttpContent::Found HttpContent::find_built_in(const HttpPath& path, std::string_view query,
                                              Instant now) const {
  constexpr std::string_view kBytes = "bytes/";
  const std::string_view name = path.relative;
  if (path.directory) return name.empty() ? page(http_page(name, live_)) : Found{};
  if (name.starts_with(kBytes)) {
    const auto n = http_number(name.substr(kBytes.size()));
    return n ? pattern(*n) : Found{};
  }
  if (name == "drip") return drip(query, now);
  Found found;
  if (name == "echo") {
    found.status = 200;
    found.kind = Kind::echo;
    return found;
  }
  if (live_ && name == "events") {
    found.status = 200;
    found.kind = Kind::events;
    found.type = "text/event-stream";
    return found;
  }
  return page(http_page(name, live_));
}

}  // namespace pollux
