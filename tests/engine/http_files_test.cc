#include "engine/services/http_files.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>

namespace pollux {
namespace {

namespace fs = std::filesystem;

class HttpFilesTest : public testing::Test {
 protected:
  HttpFilesTest() {
    std::string name = (fs::temp_directory_path() / "pollux-files-XXXXXX").string();
    base_ = ::mkdtemp(name.data());
    fs::create_directories(root() / "sub");
    write("root/a.txt", "alpha");
    write("root/large", "alpha" + std::string(100000, 'z'));
    write("root/sub/index.html", "<p>sub");
    write("secret.txt", "secret");
  }
  ~HttpFilesTest() override { fs::remove_all(base_); }

  fs::path root() const { return base_ / "root"; }
  void write(const std::string& name, const std::string& content) const {
    std::ofstream(base_ / name, std::ios::binary) << content;
  }
  static std::string text(const HttpFiles::Found& f) {
    const Slice s = HttpFile::slice(f.file, 0, f.file->size());
    return {reinterpret_cast<const char*>(s.data()), s.size()};
  }
  /// Each in a second of its own.
  HttpFiles::Found get(HttpFiles& files, const std::string& target) {
    ++now_;
    return get_again(files, target);
  }
  HttpFiles::Found get_again(HttpFiles& files, const std::string& target) const {
    const auto path = HttpPath::parse(target);
    return path ? files.find(*path, now_) : HttpFiles::Found{400, nullptr};
  }
  /// What the kernel itself says about maps of files below the root.
  std::size_t maps() const {
    std::ifstream in("/proc/self/maps");
    std::size_t n = 0;
    for (std::string line; std::getline(in, line);) {
      if (line.find(root().string()) != std::string::npos) ++n;
    }
    return n;
  }

  fs::path base_;
  std::time_t now_ = 1'000'000;
};

TEST(HttpPath, Table) {
  struct Row {
    const char* target;
    const char* relative;
    bool directory;
  };
  for (const Row& r : {Row{"/", "", true}, Row{"/a", "a", false}, Row{"/a/", "a", true},
                       Row{"//a///b", "a/b", false}, Row{"/./a/.", "a", true},
                       Row{"/a%20b?c=%zz", "a b", false}, Row{"/%61%2Fb", "a/b", false},
                       Row{"/...", "...", false}, Row{"/a..b/..c", "a..b/..c", false}}) {
    const auto path = HttpPath::parse(r.target);
    ASSERT_TRUE(path) << r.target;
    EXPECT_EQ(path->relative, r.relative) << r.target;
    EXPECT_EQ(path->directory, r.directory) << r.target;
  }
  for (const char* bad :
       {"", "a", "*", "/..", "/../a", "/a/../b", "/%2e%2e/a", "/.%2E", "/%2e./", "/a%2f..%2fb",
        "/..%2fsecret.txt", "/%00", "/a%00.txt", "/%", "/%4", "/%4g", "/%-1", "?", "%2e%2e"}) {
    EXPECT_FALSE(HttpPath::parse(bad)) << bad;
  }
}

TEST(HttpPath, NeverLeavesTheRoot) {
  const auto alphabet = rc::gen::element('/', '.', '%', '2', 'e', 'E', 'f', 'F', '0', 'a', '?');
  EXPECT_TRUE(rc::check([&] {
    const auto target = "/" + *rc::gen::container<std::string>(alphabet);
    const auto path = HttpPath::parse(target);
    if (!path) return true;
    RC_ASSERT(path->relative.find('\0') == std::string::npos);
    if (path->relative.empty()) return path->directory;
    for (const auto& segment : fs::path(path->relative)) {
      RC_ASSERT(!segment.empty() && segment != ".." && segment != "." && segment != "/");
    }
    return true;
  }));
}

TEST(HttpPath, LocationOfADirectoryIsEncodedAndOnThisHost) {
  EXPECT_EQ(HttpPath::parse("//evil.example/x")->directory_location(), "/evil.example/x/");
  EXPECT_EQ(HttpPath::parse("/a%0d%0aSet-Cookie:b")->directory_location(),
            "/a%0D%0ASet-Cookie%3Ab/");
  EXPECT_EQ(HttpPath::parse("/")->directory_location(), "/");
}

TEST_F(HttpFilesTest, ServesFilesAndIndexes) {
  HttpFiles files(root());
  EXPECT_EQ(text(get(files, "/a.txt")), "alpha");
  EXPECT_EQ(get(files, "/a.txt").file->type(), "text/plain; charset=utf-8");
  EXPECT_EQ(text(get(files, "/sub/")), "<p>sub");
  EXPECT_EQ(get(files, "/sub").status, 301);
  EXPECT_EQ(get(files, "/").status, 404);  // no index.html, and no listing
  EXPECT_EQ(get(files, "/none").status, 404);
  EXPECT_EQ(get(files, "/a.txt/").status, 404);
  EXPECT_EQ(get(files, "/a.txt/b").status, 404);
  EXPECT_EQ(get(files, "/" + std::string(3000, 'x')).status, 404);
}

TEST_F(HttpFilesTest, ListsDirectoriesOnlyWhenToldTo) {
  write("root/b<&>\".txt", "12345");
  write("root/a:b", "");
  write("root/.hidden", "");
  fs::create_symlink("../secret.txt", root() / "link");
  HttpFiles plain(root().string());
  EXPECT_EQ(get(plain, "/").status, 404);
  HttpFiles files(root().string(), HttpFiles::kMaxFiles, true);
  const HttpFiles::Found found = get(files, "/");
  ASSERT_EQ(found.status, 200);
  EXPECT_EQ(found.file->type(), "text/html; charset=utf-8");
  EXPECT_EQ(found.file->etag(), "");
  const std::string page = text(found);
  const char* expected =
      "<ul>\n"
      "<li><a href=\"./a.txt\">a.txt</a> 5</li>\n"
      "<li><a href=\"./a%3Ab\">a:b</a> 0</li>\n"
      "<li><a href=\"./b%3C%26%3E%22.txt\">b&lt;&amp;&gt;&quot;.txt</a> 5</li>\n"
      "<li><a href=\"./large\">large</a> 100005</li>\n"
      "<li><a href=\"./sub/\">sub/</a></li>\n"
      "</ul>\n";
  EXPECT_NE(page.find(expected), std::string::npos) << page;
  EXPECT_EQ(text(get(files, "/sub/")), "<p>sub");  // index.html goes before
  EXPECT_EQ(get(files, "/a.txt/").status, 404);
  EXPECT_EQ(get(files, "/none/").status, 404);
  EXPECT_EQ(files.cached(), 1U);  // no page of them is kept
  fs::create_directory(root() / "empty");
  EXPECT_NE(text(get(files, "/empty/")).find("../"), std::string::npos);
}

TEST_F(HttpFilesTest, ListingsAreBounded) {
  for (int i = 0; i < 1100; ++i) write("root/sub/n" + std::to_string(i), "");
  fs::remove(root() / "sub/index.html");
  HttpFiles files(root().string(), HttpFiles::kMaxFiles, true);
  const std::string page = text(get(files, "/sub/"));
  std::size_t n = 0;
  for (std::size_t at = 0; (at = page.find("<li>", at)) != std::string::npos; ++at) ++n;
  EXPECT_EQ(n, 1001U);  // and the one up
  EXPECT_NE(page.find("There are more."), std::string::npos);
}

TEST_F(HttpFilesTest, RootMustBeAFolder) {
  EXPECT_THROW(HttpFiles((base_ / "nothing").string()), std::system_error);
  EXPECT_THROW(HttpFiles((root() / "a.txt").string()), std::system_error);
}

TEST_F(HttpFilesTest, LinksOutOfTheRootAreRefused) {
  fs::create_symlink("../secret.txt", root() / "relative");
  fs::create_symlink(base_ / "secret.txt", root() / "absolute");
  fs::create_directory_symlink(base_, root() / "up");
  fs::create_symlink("a.txt", root() / "inside");
  fs::create_symlink("/proc/self/exe", root() / "magic");
  HttpFiles files(root());
  for (const char* target : {"/relative", "/absolute", "/up/secret.txt", "/magic"}) {
    EXPECT_EQ(get(files, target).status, 404) << target;
  }
  EXPECT_EQ(text(get(files, "/inside")), "alpha");
}

TEST_F(HttpFilesTest, TheFileSystemIsAskedOnceASecond) {
  HttpFiles files(root());
  const auto before = get(files, "/a.txt");
  fs::remove(root() / "a.txt");
  EXPECT_EQ(get_again(files, "/a.txt").file, before.file);
  EXPECT_EQ(get(files, "/a.txt").status, 404);
}

TEST_F(HttpFilesTest, ACachedNameThatBecomesALinkOutIsRefused) {
  HttpFiles files(root());
  EXPECT_EQ(get(files, "/a.txt").status, 200);
  fs::remove(root() / "a.txt");
  fs::create_symlink(base_ / "secret.txt", root() / "a.txt");
  EXPECT_EQ(get(files, "/a.txt").status, 404);
}

TEST_F(HttpFilesTest, OnlyRegularFiles) {
  ASSERT_EQ(::mkfifo((root() / "fifo").c_str(), 0600), 0);
  HttpFiles files(root());
  EXPECT_EQ(get(files, "/fifo").status, 404);  // and opening it does not wait for a writer
}

TEST_F(HttpFilesTest, EmptyFile) {
  write("root/empty", "");
  HttpFiles files(root());
  const auto found = get(files, "/empty");
  ASSERT_EQ(found.status, 200);
  EXPECT_EQ(found.file->size(), 0U);
  EXPECT_TRUE(HttpFile::slice(found.file, 0, 1).empty());
}

TEST_F(HttpFilesTest, ChangedFileIsMappedAnew) {
  HttpFiles files(root());
  const auto before = get(files, "/a.txt");
  EXPECT_EQ(get(files, "/a.txt").file, before.file);  // unchanged: the same map
  write("root/b", "beta and more");
  fs::rename(root() / "b", root() / "a.txt");
  const auto after = get(files, "/a.txt");
  EXPECT_EQ(text(after), "beta and more");
  EXPECT_EQ(text(before), "alpha");  // who reads the old one still has it
  EXPECT_NE(after.file->etag(), before.file->etag());
  fs::remove(root() / "a.txt");
  EXPECT_EQ(get(files, "/a.txt").status, 404);
  EXPECT_EQ(files.cached(), 0U);
}

TEST_F(HttpFilesTest, MapGoesWithTheLastSlice) {
  Slice kept;
  {
    HttpFiles files(root());
    auto found = get(files, "/large");
    kept = HttpFile::slice(found.file, 1, 3);
    EXPECT_EQ(maps(), 1U);
  }
  EXPECT_EQ(maps(), 1U);  // the cache is gone, the slice is not
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(kept.data()), kept.size()), "lph");
  Slice copy = kept.sub(1, 1);
  kept = {};
  EXPECT_EQ(maps(), 1U);
  copy = {};
  EXPECT_EQ(maps(), 0U);
}

TEST_F(HttpFilesTest, CacheIsBounded) {
  HttpFiles files(root(), 3);
  for (int i = 0; i < 20; ++i) {
    const std::string name = "f" + std::to_string(i);
    write("root/" + name, std::string(5000, 'x'));
    EXPECT_EQ(get(files, "/" + name).status, 200);
    EXPECT_EQ(get(files, "/large").status, 200);  // recently used: stays
    EXPECT_LE(files.cached(), 3U);
    EXPECT_LE(maps(), 3U);
  }
}

TEST_F(HttpFilesTest, NobodyFindsRoomBehindASlice) {
  HttpFiles files(root());
  const auto found = get(files, "/large");
  const Slice part = HttpFile::slice(found.file, 1, 2);
  // A send queue may append to the last buffer of its own; a read-only map must not offer that.
  EXPECT_EQ(part.data() + part.size(), part.buffer()->data + part.buffer()->capacity);
}

TEST_F(HttpFilesTest, SmallFilesAreNotMapped) {
  HttpFiles files(root());
  EXPECT_EQ(text(get(files, "/a.txt")), "alpha");
  EXPECT_EQ(maps(), 0U);
}

}  // namespace
}  // namespace pollux
