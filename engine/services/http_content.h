// What the target of an HTTP request names: a file of the folder, one of the built-in pages, or
// something to measure with. It says what there is; how it is said is HttpConversation's.
#pragma once

#include <cstdint>
#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "engine/services/http_files.h"
#include "proto/base/time.h"

namespace pollux {

struct HttpOptions {
  std::string root;                 ///< the folder to serve, "" for the built-in pages
  bool listing = false;             ///< a directory without index.html is listed
  std::optional<bool> live;         ///< the live page; nullopt: where there is no root
  std::size_t max_connections = 0;  ///< of all workers together; 0: what the engine bears

  bool has_live_page() const { return live.value_or(root.empty()); }
};

/// A body that is sent slowly: `total` octets evenly over `over`.
struct HttpPace {
  Instant start;
  Duration over{};
  std::uint64_t total = 0;

  /// How many octets may have gone by then.
  std::uint64_t due(Instant now) const;
  /// When more than `sent` may go.
  Instant next(std::uint64_t sent) const;
};

/// The body of a response, made piece by piece. No file and no text: chargen's pattern.
struct HttpBody {
  std::shared_ptr<const HttpFile> file;
  std::string_view text;  ///< static memory
  std::uint64_t offset = 0;
  std::uint64_t left = 0;
  std::optional<HttpPace> pace;
};

class HttpContent {
 public:
  /// Where the built-in pages are when `root` has the names.
  static constexpr std::string_view kReserved = ".pollux";
  static constexpr std::uint64_t kMaxDrip = 1'000'000'000;  ///< octets
  static constexpr Duration kMaxDripTime = 3600s;
  static constexpr Duration kMaxDripDelay = 60s;

  /// Throws std::system_error when the folder cannot be opened.
  explicit HttpContent(const HttpOptions& options);

  enum class Kind : std::uint8_t {
    body,    ///< as found, for GET and HEAD
    events,  ///< the live page's, for GET and HEAD
    echo,    ///< the request's own, for POST and PUT
  };
  struct Found {
    int status = 404;  ///< 200, 301 (`location` is set), 400, 403, 404 or 503
    Kind kind = Kind::body;
    HttpBody body;  ///< whole
    std::string_view type;
    std::string location;
    std::string_view etag;  ///< of `body.file`
    std::optional<std::time_t> modified;
    Duration delay{};  ///< before anything is said
    bool ranges = true;
  };
  /// `wall`: the wall clock; `now`: when a body that is sent slowly begins.
  Found find(std::string_view target, std::time_t wall, Instant now);
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
  Found find_file(const HttpPath& path, std::time_t wall);
  Found find_built_in(const HttpPath& path, std::string_view query, Instant now) const;

  bool live_;
  std::optional<HttpFiles> files_;
};

/// The value of `name` in "a=1&b=2"; nullopt when it is not there. Nothing is decoded.
std::optional<std::string_view> http_query(std::string_view query, std::string_view name);

}  // namespace pollux
