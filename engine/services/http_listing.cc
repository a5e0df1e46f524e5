#include "engine/services/http_listing.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string_view>
#include <vector>

#include "engine/services/http_files.h"

namespace pollux {
namespace {

struct Entry {
  std::string name;
  bool folder;
  std::uint64_t size;
  bool operator<(const Entry& o) const { return name < o.name; }
};

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

/// Folders and regular files as they are in the directory: where a link leads is not looked at.
std::vector<Entry> entries(DIR* directory, bool& more) {
  std::vector<Entry> list;
  while (const dirent* d = ::readdir(directory)) {
    if (d->d_name[0] == '.') continue;
    struct stat st = {};
    if (::fstatat(::dirfd(directory), d->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
    if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode)) continue;
    more = list.size() == kHttpListed;
    if (more) break;
    list.push_back({d->d_name, S_ISDIR(st.st_mode), static_cast<std::uint64_t>(st.st_size)});
  }
  std::sort(list.begin(), list.end());
  return list;
}

}  // namespace

std::optional<std::string> http_listing(int fd, const std::string& title) {
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::fdopendir(fd), &::closedir);
  if (!directory) {
    ::close(fd);
    return std::nullopt;
  }
  const std::string name = escaped(title);
  std::string out = "<!DOCTYPE html>\n<meta charset=\"utf-8\">\n<title>" + name + "</title>\n<h1>" +
                    name + "</h1>\n<ul>\n";
  if (title != "/") out += "<li><a href=\"../\">../</a></li>\n";
  bool more = false;
  for (const Entry& e : entries(directory.get(), more)) {
    // "./" keeps a name with a colon from being taken for a scheme.
    const char* end = e.folder ? "/" : "";
    out += "<li><a href=\"./" + http_percent_encode(e.name) + end + "\">" + escaped(e.name) + end;
    out += "</a>" + (e.folder ? "" : ' ' + std::to_string(e.size)) + "</li>\n";
  }
  return out + "</ul>\n" + (more ? "<p>There are more.</p>\n" : "");
}

}  // namespace pollux
