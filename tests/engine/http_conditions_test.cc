// Conditional requests (RFC 9110 13) for a file, and the redirect to a folder.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <utility>

#include "tests/engine/http_talk.h"

namespace pollux {
namespace {

namespace fs = std::filesystem;

constexpr std::time_t kModified = 784111777;           // Sun, 06 Nov 1994 08:49:37 GMT
constexpr std::time_t kNow = kModified + 365 * 86400;  // its tag is strong by then
constexpr const char* kBefore = "Sun, 06 Nov 1994 08:49:36 GMT";
constexpr const char* kThen = "Sun, 06 Nov 1994 08:49:37 GMT";
constexpr const char* kLater = "Sun, 06 Nov 1994 08:49:38 GMT";

class HttpConditions : public testing::Test {
 protected:
  HttpConditions() {
    std::string name = (fs::temp_directory_path() / "pollux-conditions-XXXXXX").string();
    root_ = ::mkdtemp(name.data());
    fs::create_directory(root_ / "dir");
    std::ofstream(root_ / "dir" / "index.html") << "index";
    std::ofstream(root_ / "a.txt") << "0123456789";
    const auto since_1970 = std::chrono::seconds(kModified);
    fs::last_write_time(root_ / "a.txt",
                        std::chrono::file_clock::from_sys(std::chrono::sys_seconds(since_1970)));
    HttpOptions options;
    options.root = root_.string();
    content_.emplace(options);
    tag_ = field(ask("GET /a.txt", ""), "ETag: ");
  }
  ~HttpConditions() override { fs::remove_all(root_); }

  std::string ask(const std::string& what, const std::string& fields) {
    HttpConversation c(*content_);
    c.at({kNow, Instant{1h}});
    std::string request = what;
    request.append(" HTTP/1.1\r\nHost: x\r\n").append(fields).append("\r\n");
    c.feed(Slice::from_static(
        {reinterpret_cast<const std::uint8_t*>(request.data()), request.size()}));
    return take_output(c);
  }
  /// Of the answer; TAG, BEFORE, THEN and LATER in `fields` are the file's tag and dates around its
  /// own.
  int status(const std::string& what, std::string fields) {
    const std::pair<const char*, std::string> words[] = {
        {"TAG", tag_}, {"BEFORE", kBefore}, {"THEN", kThen}, {"LATER", kLater}};
    for (const auto& [word, value] : words) {
      for (std::size_t at = 0; (at = fields.find(word, at)) != std::string::npos;) {
        fields.replace(at, std::strlen(word), value);
        at += value.size();
      }
    }
    if (!fields.empty()) fields.append("\r\n");
    return std::stoi(ask(what, fields).substr(9, 3));
  }
  static std::string field(const std::string& response, const std::string& name) {
    const std::size_t at = response.find(name);
    if (at == std::string::npos) return {};
    const std::size_t begin = at + name.size();
    return response.substr(begin, response.find("\r\n", begin) - begin);
  }

  fs::path root_;
  std::optional<HttpContent> content_;
  std::string tag_;
};

TEST_F(HttpConditions, EachField) {
  ASSERT_GT(tag_.size(), 2U);
  const struct {
    const char* fields;
    int status;
  } cases[] = {
      {"", 200},
      {"If-Modified-Since: THEN", 304},
      {"If-Modified-Since: LATER", 304},
      {"If-Modified-Since: BEFORE", 200},
      {"If-Modified-Since: yesterday", 200},
      {"If-None-Match: TAG", 304},
      {"If-None-Match: W/TAG", 304},  // the weak comparison
      {"If-None-Match: \"other\", TAG", 304},
      {"If-None-Match: \"other\"", 200},
      {"If-None-Match: *", 304},
      {"If-None-Match: \"other\"\r\nIf-Modified-Since: LATER", 200},  // it decides alone
      {"If-Unmodified-Since: THEN", 200},
      {"If-Unmodified-Since: LATER", 200},
      {"If-Unmodified-Since: BEFORE", 412},
      {"If-Unmodified-Since: yesterday", 200},
      {"If-Match: TAG", 200},
      {"If-Match: \"other\"", 412},
      {"If-Match: \"other\"\r\nIf-Match: TAG", 200},
      {"If-Match: W/TAG", 412},  // the strong comparison
      {"If-Match: W/TAG, TAG", 200},
      {"If-Match: *", 200},
      {"If-Match: TAG\r\nIf-Unmodified-Since: BEFORE", 200},  // it decides alone
      {"If-Match: \"other\"\r\nIf-None-Match: TAG", 412},     // in this order
      {"If-Match: TAG\r\nIf-None-Match: TAG", 304},
      {"Range: bytes=2-3\r\nIf-Match: \"other\"", 412},
      {"Range: bytes=2-3\r\nIf-Unmodified-Since: BEFORE", 412},
      {"Range: bytes=2-3\r\nIf-Unmodified-Since: THEN", 206},
      {"Range: bytes=2-3\r\nIf-Range: TAG", 206},
      {"Range: bytes=2-3\r\nIf-Range: W/TAG", 200},
      {"Range: bytes=2-3\r\nIf-Range: \"other\"", 200},
      {"Range: bytes=2-3\r\nIf-Range: THEN", 206},
      {"Range: bytes=2-3\r\nIf-Range: LATER", 200},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(status("GET /a.txt", c.fields), c.status) << c.fields;
    EXPECT_EQ(status("HEAD /a.txt", c.fields), c.status == 206 ? 200 : c.status) << c.fields;
  }
}

TEST_F(HttpConditions, APageThatIsMadeHasNoTag) {
  content_.emplace(HttpOptions{});
  EXPECT_EQ(status("GET /bytes/10", "If-Match: *"), 200);
  EXPECT_EQ(status("GET /bytes/10", "If-Match: \"a\""), 412);
  EXPECT_EQ(status("GET /bytes/10", "If-Match: \"\""), 412);
  EXPECT_EQ(status("GET /bytes/10", "If-Unmodified-Since: BEFORE"), 200);
}

TEST_F(HttpConditions, ARedirectKeepsTheQuery) {
  EXPECT_EQ(field(ask("GET /dir", ""), "Location: "), "/dir/");
  EXPECT_EQ(field(ask("GET /dir?x=1&y=%0a2?", ""), "Location: "), "/dir/?x=1&y=%0a2?");
}

}  // namespace
}  // namespace pollux
