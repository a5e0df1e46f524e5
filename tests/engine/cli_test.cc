// The command line: exit codes, help, overrides, and what `show` prints.
#include "engine/cli.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "engine/show.h"

namespace pollux::engine {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

struct Outcome {
  int code;
  std::string out;
  std::string err;
  std::vector<Config> ran;
};

Outcome pollux(std::vector<const char*> words, int daemon_code = 0) {
  words.insert(words.begin(), "pollux");
  std::ostringstream out, err;
  Outcome o{};
  o.code = run_cli(
      static_cast<int>(words.size()), words.data(),
      [&](const Config& c) {
        o.ran.push_back(c);
        return daemon_code;
      },
      out, err);
  o.out = out.str();
  o.err = err.str();
  return o;
}

class CliRun : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "pollux-XXXXXX").string();
    const int fd = ::mkstemp(pattern.data());
    ASSERT_GE(fd, 0);
    ::close(fd);
    file_ = pattern;
  }
  void TearDown() override { std::filesystem::remove(file_); }
  void write(const std::string& text) { std::ofstream(file_) << text; }
  std::string file_;
};

TEST_F(CliRun, RunsTheDaemonWithTheEffectiveConfiguration) {
  write("[engine]\nworkers = 2\n");
  const Outcome o =
      pollux({"run", "-c", file_.c_str(), "--set", "tun.mtu=9000", "--set", "log.level=off"}, 1);
  EXPECT_EQ(o.code, 1);
  ASSERT_EQ(o.ran.size(), 1u);
  EXPECT_EQ(o.ran[0].engine.workers, 2u);
  EXPECT_EQ(o.ran[0].tun.mtu, 9000u);
}

TEST_F(CliRun, CheckDoesNotStartIt) {
  write("");
  const Outcome o = pollux({"run", "-c", file_.c_str(), "--check"});
  EXPECT_EQ(o.code, 0);
  EXPECT_TRUE(o.ran.empty());
}

TEST_F(CliRun, BadConfigurationIsTwoWithALinePerMistake) {
  write("[engine]\nworkers = 0\nrx = 1\n");
  const Outcome o = pollux({"run", "-c", file_.c_str()});
  EXPECT_EQ(o.code, 2);
  EXPECT_EQ(std::count(o.err.begin(), o.err.end(), '\n'), 2);
  EXPECT_THAT(o.err, HasSubstr(file_ + ":2:11: engine.workers: expected"));
  EXPECT_TRUE(o.ran.empty());
}

TEST_F(CliRun, AListOverrideStaysWhole) {
  write("");
  const Outcome o = pollux(
      {"run", "-c", file_.c_str(), "--check", "--set", "tun.address=[\"10.0.0.1\", \"10.0.0.2\"]"});
  EXPECT_EQ(o.code, 0) << o.err;
}

TEST_F(CliRun, ADaemonThatCannotStartIsOneLineAndOne) {
  write("");
  const std::vector<const char*> words{"pollux", "run", "-c", file_.c_str()};
  std::ostringstream out, err;
  const auto daemon = [](const Config&) -> int { throw std::runtime_error("no TUN; run as root"); };
  EXPECT_EQ(run_cli(4, words.data(), daemon, out, err), 1);
  EXPECT_EQ(err.str(), "pollux: no TUN; run as root\n");
}

TEST(Cli, BadUsageIsTwo) {
  for (const std::vector<const char*>& words :
       std::vector<std::vector<const char*>>{{},
                                             {"run"},
                                             {"fly"},
                                             {"show"},
                                             {"show", "everything"},
                                             {"run", "-c"},
                                             {"top", "--x"},
                                             {"top", "--interval", "0"},
                                             {"top", "--interval", "soon"}}) {
    EXPECT_EQ(pollux(words).code, 2);
  }
}

TEST(Cli, HelpAndVersionAreZero) {
  EXPECT_THAT(pollux({"version"}).out, HasSubstr("pollux 0."));
  EXPECT_THAT(pollux({"help"}).out, HasSubstr("run"));
  EXPECT_THAT(pollux({"--help"}).out, HasSubstr("Exit codes"));
  const Outcome o = pollux({"run", "--help"});
  EXPECT_EQ(o.code, 0);
  EXPECT_THAT(o.out, HasSubstr("--check"));
}

TEST(Cli, NoDaemonIsOneAndOneLine) {
  const Outcome o = pollux({"show", "stats", "--control", "/nonexistent/p.sock"});
  EXPECT_EQ(o.code, 1);
  EXPECT_THAT(o.err, HasSubstr("no daemon answers at control socket /nonexistent/p.sock"));
  EXPECT_EQ(std::count(o.err.begin(), o.err.end(), '\n'), 1);
}

json sample_stats() {
  const json counters = {{"rx_packets", 1000},
                         {"rx_bytes", 64000},
                         {"tx_packets", 5},
                         {"busy_ratio", 0.125},
                         {"connections_open", 3},
                         {"memory_bytes", 2048},
                         {"drops", {{"tcp_paws", 4}, {"tcp_closed", 0}}}};
  return {{"version", "0.1.0"},
          {"uptime_s", 10},
          {"workers", json::array({counters, counters})},
          {"totals", counters}};
}

TEST(Show, StatsNameDropsThatHappened) {
  const std::string text = render("stats", sample_stats());
  EXPECT_THAT(text, HasSubstr("timestamp older than the last one"));
  EXPECT_THAT(text, Not(HasSubstr("tcp_closed")));
  EXPECT_THAT(text, HasSubstr("12.5%"));
}

TEST(Show, ConnectionsLookLikeSs) {
  const json list = json::array({{{"local", "198.18.0.2:7"},
                                  {"remote", "198.18.0.1:40000"},
                                  {"state", "ESTABLISHED"},
                                  {"srtt_us", 1500},
                                  {"ssthresh_bytes", nullptr}}});
  const std::string text = render("connections", list);
  EXPECT_THAT(text, HasSubstr("198.18.0.1:40000"));
  EXPECT_THAT(text, HasSubstr("rtt:1.500/-"));
  EXPECT_THAT(text, HasSubstr("1 connection\n"));
}

TEST(Show, WorkersShowWhereTheTimeGoes) {
  const json stages = {{"read", {{"share", 0.25}, {"ns_per_packet", 812.4}}},
                       {"idle", {{"share", 0.75}, {"ns_per_packet", nullptr}}}};
  const std::string text =
      render("workers",
             json::array({{{"worker", 0}, {"stages", stages}}, {{"worker", "rx"}, {"turns", 5}}}));
  EXPECT_THAT(text, HasSubstr("share of time"));
  EXPECT_THAT(text, HasSubstr("25.0%"));
  EXPECT_THAT(text, HasSubstr("75.0%"));
  EXPECT_THAT(text, HasSubstr("812"));
}

TEST(Show, QueuesShowTheDeviceAndItsStages) {
  const std::string text = render(
      "queues", {{"interface", "pollux0"}, {"stages", {{{"stage", 0}, {"ring_full_drops", 12}}}}});
  EXPECT_THAT(text, HasSubstr("pollux0"));
  EXPECT_THAT(text, HasSubstr("ring_full_drops"));
}

TEST(Show, SurvivesAnswersOfAnyShape) {
  for (const char* topic : {"stats", "connections", "workers", "queues", "config"}) {
    for (const json& answer :
         {json(), json(1), json("x"), json::object(), json::array(), json::array({1, "a"}),
          json{{"totals", 1}, {"workers", 2}}, json{{"workers", {{"a", 1}}}}}) {
      EXPECT_NO_THROW(render(topic, answer)) << topic << answer;
    }
  }
}

TEST(Show, TerminalEscapesInNamesAreNotPassedOn) {
  const json list = json::array({{{"state", "\x1b[2J"}}});
  EXPECT_THAT(render("connections", list), Not(HasSubstr("\x1b")));
}

}  // namespace
}  // namespace pollux::engine
