// Files of one folder, as slices of memory maps. A file is mapped once per worker and stays in a
// bounded cache; once a second the file system is asked whether it is still the same file. The map
// goes when the cache has dropped it and the last Slice of it is gone, even after the cache itself.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <ctime>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "proto/base/buffer.h"

namespace pollux {

/// The path of a request target, decoded and made relative.
struct HttpPath {
  std::string relative;   ///< "a/b.html"; "" is the root. No empty, "." or ".." segment, no NUL.
  bool directory = true;  ///< ended with '/' (or a "." segment)

  /// Decodes %XX first, then looks at the segments (so that %2e%2e and %2f hide nothing); nullopt
  /// for a wrong escape, a NUL octet or a ".." segment. The query is left out.
  static std::optional<HttpPath> parse(std::string_view target);
  /// Absolute and percent-encoded, with a '/' at the end: where a directory is found.
  std::string directory_location() const;
};

class HttpFile {
 public:
  /// Up to this size a file is read; a larger one is mapped.
  static constexpr std::uint64_t kMaxRead = 2048;

  /// Throws std::system_error when it can be neither.
  HttpFile(int fd, const struct stat& st, std::string_view type);
  /// No file: a text that was made, without entity tag and date.
  HttpFile(std::string_view text, std::string_view type);
  ~HttpFile();
  HttpFile(const HttpFile&) = delete;
  HttpFile& operator=(const HttpFile&) = delete;

  std::uint64_t size() const { return static_cast<std::uint64_t>(st_.st_size); }
  std::time_t modified() const { return st_.st_mtim.tv_sec; }
  /// Strong validator of size, time of change to the nanosecond, and inode, in quotes; "" of a
  /// text.
  const std::string& etag() const { return etag_; }
  std::string_view type() const { return type_; }
  bool mapped() const { return map_ != nullptr; }
  bool same_as(const struct stat& st) const;

  /// Octets [offset, offset + n), at most 1 GiB of them. The Slice keeps `file` alive.
  static Slice slice(const std::shared_ptr<const HttpFile>& file, std::uint64_t offset,
                     std::uint64_t n);

 private:
  struct stat st_ = {};
  std::string_view type_;
  std::string etag_;
  std::vector<std::uint8_t> read_;
  void* map_ = nullptr;
  std::uint8_t* data_ = nullptr;  ///< in read_ or the map
};

class HttpFiles {
 public:
  static constexpr std::size_t kMaxFiles = 256;

  /// `listing`: a directory without index.html is listed. Throws std::system_error when `root` is
  /// no folder that can be opened.
  explicit HttpFiles(const std::string& root, std::size_t max_files = kMaxFiles,
                     bool listing = false);
  ~HttpFiles();
  HttpFiles(const HttpFiles&) = delete;
  HttpFiles& operator=(const HttpFiles&) = delete;

  struct Found {
    int status = 404;  ///< 200 with a file; 301 to the directory's own name; 403, 404 or 503
    std::shared_ptr<const HttpFile> file;
  };
  /// `now`: the wall clock. A file that changed shows in another second than the last lookup's.
  Found find(const HttpPath& path, std::time_t now);
  std::size_t cached() const { return index_.size(); }

 private:
  struct Entry {
    std::string name;
    std::shared_ptr<const HttpFile> file;
    std::time_t checked;  ///< when it was found to be the file of that name
  };
  Found find_file(std::string_view view, std::time_t now);
  Found open_file(const std::string& name, std::time_t now);
  Found list(const HttpPath& path) const;
  void remember(const std::string& name, std::shared_ptr<const HttpFile> file, std::time_t now);

  int root_;
  std::size_t max_files_;
  bool listing_;
  std::list<Entry> recent_;  ///< most recently used first
  std::unordered_map<std::string_view, std::list<Entry>::iterator> index_;
};

/// All octets but the unreserved and '/' as %XX.
std::string http_percent_encode(std::string_view path);
std::string_view http_content_type(std::string_view name);

}  // namespace pollux
