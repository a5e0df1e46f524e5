// Logging: what reaches the file, and what happens when there is none.
#include "engine/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace pollux::engine {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(Logging, EverythingIsInTheFileWhenItEnds) {
  std::string file = (std::filesystem::temp_directory_path() / "pollux-XXXXXX").string();
  const int fd = ::mkstemp(file.data());
  ASSERT_GE(fd, 0);
  ::close(fd);
  {
    const Logging logging({.level = LogLevel::warn, .file = file});
    for (int i = 0; i < 1000; ++i) spdlog::warn("record {}", i);
    spdlog::info("below the level");
  }
  std::ostringstream text;
  text << std::ifstream(file).rdbuf();
  std::filesystem::remove(file);
  EXPECT_THAT(text.str(), HasSubstr("record 0\n"));
  EXPECT_THAT(text.str(), HasSubstr("record 999\n"));
  EXPECT_THAT(text.str(), Not(HasSubstr("below")));
}

TEST(Logging, AFileThatCannotBeOpenedNamesTheCause) {
  EXPECT_THAT([] { Logging({.level = LogLevel::info, .file = "/proc/none/x"}); },
              testing::ThrowsMessage<std::runtime_error>(
                  HasSubstr("cannot open the log file /proc/none/x: ")));
}

}  // namespace
}  // namespace pollux::engine
