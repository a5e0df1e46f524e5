// The golden table is compared to the last digit: what changes it is meant to, or is a mistake.
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

#include "tests/sim/golden.h"

namespace pollux::sim {
namespace {

constexpr const char* kFile = POLLUX_SIM_DIR "/golden.txt";
constexpr const char* kRegenerate =
    "POLLUX_GOLDEN=write build/release/tests/sim_tests --gtest_filter='Golden.*'";

std::vector<std::string> lines_of(std::istream&& in) {
  std::vector<std::string> lines;
  for (std::string l; std::getline(in, l);) lines.push_back(l);
  return lines;
}

std::string difference(const std::vector<std::string>& file, const std::vector<std::string>& now) {
  std::string text;
  for (std::size_t i = 0; i < std::max(file.size(), now.size()); ++i) {
    const std::string was = i < file.size() ? file[i] : "", is = i < now.size() ? now[i] : "";
    if (was == is) continue;
    if (!was.empty()) text += "- " + was + "\n";
    if (!is.empty()) text += "+ " + is + "\n";
  }
  return text;
}

TEST(Golden, JainsIndex) {
  EXPECT_DOUBLE_EQ(jain({5, 5, 5, 5}), 1);
  EXPECT_DOUBLE_EQ(jain({7, 0, 0, 0}), 0.25);
  EXPECT_DOUBLE_EQ(jain({3, 1}), 0.8);
}

TEST(Golden, Table) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the same figures, only slower";
#endif
  const std::string table = golden_table();
  const char* mode = std::getenv("POLLUX_GOLDEN");
  if (mode != nullptr && std::strcmp(mode, "write") == 0) {
    std::ofstream(kFile) << table;
    std::printf("%s%s is written\n", table.c_str(), kFile);
    return;
  }
  const auto file = lines_of(std::ifstream(kFile));
  const auto now = lines_of(std::istringstream(table));
  EXPECT_EQ(file.size(), now.size());
  const std::string diff = difference(file, now);
  EXPECT_TRUE(diff.empty()) << "the file (-) and this build (+) differ:\n"
                            << diff << "if it is meant: " << kRegenerate;
}

}  // namespace
}  // namespace pollux::sim
