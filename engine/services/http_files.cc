#include "engine/services/http_files.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <system_error>
#include <utility>

#include "engine/services/http_listing.h"
#include "engine/services/http_parser.h"

namespace pollux {
namespace {

constexpr std::uint64_t kMaxWindow = std::uint64_t{1} << 30;
constexpr int kOpenFlags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::optional<std::string> percent_decode(std::string_view s) {
  std::string out;
  out.reserve(s.size());
  for (std::size_t i = 0; i < s.size(); ++i) {
    if (s[i] != '%') {
      out += s[i];
      continue;
    }
    if (i + 2 >= s.size()) return std::nullopt;
    const int high = hex_value(s[i + 1]);
    const int low = hex_value(s[i + 2]);
    if (high < 0 || low < 0) return std::nullopt;
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

/// A part of a mapped file with a buffer of its own that ends where the part ends: nobody finds
/// room behind it to append to, and files beyond the 4 GiB of a Buffer are no special case.
struct Window final : Buffer {
  std::shared_ptr<const HttpFile> file;
};

class WindowRecycler final : public Recycler {
 public:
  void recycle(Buffer* buffer) noexcept override { delete static_cast<Window*>(buffer); }
};
// Without state and never destroyed before the slices: they may outlive the cache.
constinit WindowRecycler window_recycler;

/// For kernels and sandboxes without openat2: no symbolic link at all is followed.
int open_by_steps(int root, const std::string& name) {
  int at = root;
  std::size_t begin = 0;
  for (;;) {
    const std::size_t slash = name.find('/', begin);
    const bool last = slash == std::string::npos;
    const std::string step = name.substr(begin, last ? slash : slash - begin);
    const int flags = last ? kOpenFlags : (O_PATH | O_DIRECTORY | O_CLOEXEC);
    const int fd = ::openat(at, step.c_str(), flags | O_NOFOLLOW);
    const int error = errno;
    if (at != root) ::close(at);
    errno = error;
    if (fd < 0 || last) return fd;
    at = fd;
    begin = slash + 1;
  }
}

int open_beneath(int root, const std::string& name) {
  struct open_how how = {};
  how.flags = static_cast<std::uint64_t>(kOpenFlags);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  // EAGAIN: a rename raced with the look at "..".
  for (int attempt = 0; attempt < 4; ++attempt) {
    const long fd = ::syscall(SYS_openat2, root, name.c_str(), &how, sizeof how);
    if (fd >= 0) return static_cast<int>(fd);
    if (errno == ENOSYS || errno == EPERM) return open_by_steps(root, name);
    if (errno != EAGAIN && errno != EINTR) break;
  }
  return -1;
}

int status_of(int error) {
  switch (error) {
    case EACCES:
    case EPERM:
      return 403;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case EAGAIN:
      return 503;
    default:
      return 404;
  }
}

bool is_unreserved(char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' ||
         c == '.' || c == '_' || c == '~' || c == '/';
}

std::string etag_of(const struct stat& st) {
  std::array<char, 80> text{};
  std::snprintf(text.data(), text.size(), "\"%llx-%llx-%llx.%lx\"",
                static_cast<unsigned long long>(st.st_ino),
                static_cast<unsigned long long>(st.st_size),
                static_cast<unsigned long long>(st.st_mtim.tv_sec),
                static_cast<unsigned long>(st.st_mtim.tv_nsec));
  return text.data();
}

}  // namespace

std::optional<HttpPath> HttpPath::parse(std::string_view target) {
  const auto decoded = percent_decode(target.substr(0, target.find('?')));
  if (!decoded || decoded->empty() || decoded->front() != '/') return std::nullopt;
  if (decoded->find('\0') != std::string::npos) return std::nullopt;
  HttpPath path;
  std::string_view rest = *decoded;
  while (!rest.empty()) {
    rest.remove_prefix(1);
    const std::size_t n = std::min(rest.find('/'), rest.size());
    const std::string_view segment = rest.substr(0, n);
    rest.remove_prefix(n);
    if (segment == "..") return std::nullopt;
    path.directory = segment.empty() || segment == ".";
    if (path.directory) continue;
    if (!path.relative.empty()) path.relative += '/';
    path.relative += segment;
  }
  return path;
}

std::string http_percent_encode(std::string_view path) {
  std::string out;
  for (const char c : path) {
    if (is_unreserved(c)) {
      out += c;
      continue;
    }
    std::array<char, 4> escape{};
    std::snprintf(escape.data(), escape.size(), "%%%02X",
                  static_cast<unsigned>(static_cast<unsigned char>(c)));
    out += escape.data();
  }
  return out;
}

std::string HttpPath::directory_location() const {
  return relative.empty() ? "/" : '/' + http_percent_encode(relative) + '/';
}

HttpFile::HttpFile(int fd, const struct stat& st, std::string_view type)
    : st_(st), type_(type), etag_(etag_of(st)) {
  if (size() <= kMaxRead) {
    read_.resize(size());
    const ssize_t n = ::pread(fd, read_.data(), read_.size(), 0);
    if (n != st.st_size) throw std::system_error(n < 0 ? errno : EAGAIN, std::generic_category());
    data_ = read_.data();
    return;
  }
  void* map = ::mmap(nullptr, size(), PROT_READ, MAP_PRIVATE, fd, 0);
  if (map == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "mmap");
  map_ = map;
  data_ = static_cast<std::uint8_t*>(map);
  ::madvise(map, size(), MADV_WILLNEED);
}

HttpFile::HttpFile(std::string_view text, std::string_view type)
    : type_(type), read_(text.begin(), text.end()) {
  st_.st_size = static_cast<off_t>(read_.size());
  data_ = read_.data();
}

HttpFile::~HttpFile() {
  if (mapped()) ::munmap(map_, size());
}

bool HttpFile::same_as(const struct stat& st) const {
  return st_.st_dev == st.st_dev && st_.st_ino == st.st_ino && st_.st_size == st.st_size &&
         st_.st_mtim.tv_sec == st.st_mtim.tv_sec && st_.st_mtim.tv_nsec == st.st_mtim.tv_nsec;
}

Slice HttpFile::slice(const std::shared_ptr<const HttpFile>& file, std::uint64_t offset,
                      std::uint64_t n) {
  if (offset >= file->size()) return {};
  n = std::min({n, file->size() - offset, kMaxWindow});
  if (n == 0) return {};
  auto window = std::make_unique<Window>();
  window->data = file->data_ + offset;
  window->capacity = static_cast<std::uint32_t>(n);
  window->recycler = &window_recycler;
  window->file = file;
  const Bytes bytes{window->data, n};
  return Slice(window.release(), bytes);
}

HttpFiles::HttpFiles(const std::string& root, std::size_t max_files, bool listing)
    : root_(::open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)),
      max_files_(std::max<std::size_t>(max_files, 1)),
      listing_(listing) {
  if (root_ < 0) throw std::system_error(errno, std::generic_category(), "cannot open " + root);
}

HttpFiles::~HttpFiles() { ::close(root_); }

HttpFiles::Found HttpFiles::find(const HttpPath& path, std::time_t now) {
  if (!path.directory) return find_file(path.relative, now);
  const std::string index = path.relative.empty() ? "index.html" : path.relative + "/index.html";
  Found found = find_file(index, now);
  if (found.status == 301) found.status = 404;  // index.html is itself a folder
  return listing_ && found.status == 404 ? list(path) : found;
}

HttpFiles::Found HttpFiles::list(const HttpPath& path) const {
  const int fd = open_beneath(root_, path.relative.empty() ? "." : path.relative);
  if (fd < 0) return {status_of(errno), nullptr};
  const auto text = http_listing(fd, '/' + path.relative);
  if (!text) return {404, nullptr};  // no directory
  return {200, std::make_shared<const HttpFile>(*text, "text/html; charset=utf-8")};
}

HttpFiles::Found HttpFiles::find_file(std::string_view view, std::time_t now) {
  const auto cached = index_.find(view);
  if (cached != index_.end() && cached->second->checked == now) return {200, cached->second->file};
  const std::string name(view);
  if (cached == index_.end()) return open_file(name, now);
  // fstatat may leave the root through a link that changed since, but only a file that was once
  // opened beneath the root has the same device and inode.
  struct stat st = {};
  const auto entry = cached->second;
  if (::fstatat(root_, name.c_str(), &st, 0) == 0 && entry->file->same_as(st)) {
    recent_.splice(recent_.begin(), recent_, entry);
    entry->checked = now;
    return {200, entry->file};
  }
  index_.erase(cached);
  recent_.erase(entry);
  return open_file(name, now);
}

HttpFiles::Found HttpFiles::open_file(const std::string& name, std::time_t now) {
  const int fd = open_beneath(root_, name);
  if (fd < 0) return {status_of(errno), nullptr};
  Found found;
  struct stat st = {};
  if (::fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
    try {
      found = {200, std::make_shared<const HttpFile>(fd, st, http_content_type(name))};
      remember(name, found.file, now);
    } catch (const std::system_error& e) {
      found.status = status_of(e.code().value());
    }
  } else if (S_ISDIR(st.st_mode)) {
    found.status = 301;
  }
  ::close(fd);
  return found;
}

void HttpFiles::remember(const std::string& name, std::shared_ptr<const HttpFile> file,
                         std::time_t now) {
  if (recent_.size() >= max_files_) {
    index_.erase(recent_.back().name);
    recent_.pop_back();
  }
  recent_.push_front({name, std::move(file), now});
  index_.emplace(recent_.front().name, recent_.begin());
}

std::string_view http_content_type(std::string_view name) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 20> kTypes{{
      {"html", "text/html; charset=utf-8"},
      {"htm", "text/html; charset=utf-8"},
      {"txt", "text/plain; charset=utf-8"},
      {"md", "text/plain; charset=utf-8"},
      {"css", "text/css; charset=utf-8"},
      {"csv", "text/csv; charset=utf-8"},
      {"js", "text/javascript; charset=utf-8"},
      {"mjs", "text/javascript; charset=utf-8"},
      {"json", "application/json"},
      {"xml", "application/xml"},
      {"pdf", "application/pdf"},
      {"wasm", "application/wasm"},
      {"gz", "application/gzip"},
      {"svg", "image/svg+xml"},
      {"png", "image/png"},
      {"jpg", "image/jpeg"},
      {"jpeg", "image/jpeg"},
      {"gif", "image/gif"},
      {"webp", "image/webp"},
      {"woff2", "font/woff2"},
  }};
  const std::size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return "application/octet-stream";
  for (const auto& [extension, type] : kTypes) {
    if (http_iequals(name.substr(dot + 1), extension)) return type;
  }
  return "application/octet-stream";
}

}  // namespace pollux
