// Conditional requests (RFC 9110 13) for a file, and the redirect to a folder.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "engine/services/http_conversation.h"

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
    const std::string request = what + " HTTP/1.1\r\nHost: x\r\n" + fields + "\r\n";
    c.feed(Slice::from_static(
        {reinterpret_cast<const std::uint8_t*>(request.data()), request.size()}));
    std::string out;
    while (c.has_output()) {
      const Slice body = c.head().empty() ? c.body() : Slice{};
      const Bytes piece = c.head().empty() ? body.bytes() : c.head();
      out.append(reinterpret_cast<const char*>(piece.data()), piece.size());
      c.sent(piece.size());
    }
    return out;
  }
  int status(const std::string& fields, const std::string& method = "GET") {
    return std::stoi(ask(method + " /a.txt", fields).substr(9, 3));
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
  const std::string date = "If-Modified-Since: ", not_date = "If-Unmodified-Since: ";
  const struct {
    std::string fields;
    int status;
  } cases[] = {
      {"", 200},
      {date + kThen, 304},
      {date + kLater, 304},
      {date + kBefore, 200},
      {date + "yesterday", 200},
      {"If-None-Match: " + tag_, 304},
      {"If-None-Match: W/" + tag_, 304},  // the weak comparison
      {"If-None-Match: \"other\", " + tag_, 304},
      {"If-None-Match: \"other\"", 200},
      {"If-None-Match: *", 304},
      {"If-None-Match: \"other\"\r\n" + date + kLater, 200},  // it decides alone
      {not_date + kThen, 200},
      {not_date + kLater, 200},
      {not_date + kBefore, 412},
      {not_date + "yesterday", 200},
      {"If-Match: " + tag_, 200},
      {"If-Match: \"other\"", 412},
      {"If-Match: \"other\"\r\nIf-Match: " + tag_, 200},
      {"If-Match: W/" + tag_, 412},  // the strong comparison
      {"If-Match: W/" + tag_ + ", " + tag_, 200},
      {"If-Match: *", 200},
      {"If-Match: " + tag_ + "\r\n" + not_date + kBefore, 200},  // it decides alone
      {"If-Match: \"other\"\r\nIf-None-Match: " + tag_, 412},    // in this order
      {"If-Match: " + tag_ + "\r\nIf-None-Match: " + tag_, 304},
      {"Range: bytes=2-3\r\nIf-Match: \"other\"", 412},
      {"Range: bytes=2-3\r\n" + not_date + kBefore, 412},
      {"Range: bytes=2-3\r\n" + not_date + kThen, 206},
      {"Range: bytes=2-3\r\nIf-Range: " + tag_, 206},
      {"Range: bytes=2-3\r\nIf-Range: W/" + tag_, 200},
      {"Range: bytes=2-3\r\nIf-Range: \"other\"", 200},
      {std::string("Range: bytes=2-3\r\nIf-Range: ") + kThen, 206},
      {std::string("Range: bytes=2-3\r\nIf-Range: ") + kLater, 200},
  };
  for (const auto& c : cases) {
    const std::string fields = c.fields.empty() ? "" : c.fields + "\r\n";
    EXPECT_EQ(status(fields), c.status) << c.fields;
    EXPECT_EQ(status(fields, "HEAD"), c.status == 206 ? 200 : c.status) << c.fields;
  }
}

TEST_F(HttpConditions, APageThatIsMadeHasNoTag) {
  content_.emplace(HttpOptions{});
  const auto status_of = [&](const std::string& fields) {
    return std::stoi(ask("GET /bytes/10", fields).substr(9, 3));
  };
  EXPECT_EQ(status_of("If-Match: *\r\n"), 200);
  EXPECT_EQ(status_of("If-Match: \"a\"\r\n"), 412);
  EXPECT_EQ(status_of("If-Match: \"\"\r\n"), 412);
  EXPECT_EQ(status_of(std::string("If-Unmodified-Since: ") + kBefore + "\r\n"), 200);
}

TEST_F(HttpConditions, ARedirectKeepsTheQuery) {
  EXPECT_EQ(field(ask("GET /dir", ""), "Location: "), "/dir/");
  EXPECT_EQ(field(ask("GET /dir?x=1&y=%0a2?", ""), "Location: "), "/dir/?x=1&y=%0a2?");
}

}  // namespace
}  // namespace pollux
