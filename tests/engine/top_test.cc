// What `pollux top` shows, out of answers as the daemon gives them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "engine/top_view.h"

namespace pollux::engine {
namespace {

using nlohmann::json;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

json worker(std::uint64_t octets, double busy) {
  return {{"rx_bytes", octets},
          {"tx_bytes", 2 * octets},
          {"rx_packets", octets / 1000},
          {"tx_packets", octets / 500},
          {"busy_ratio", busy},
          {"connections_open", 3},
          {"rtt_us", 250},
          {"rtt_max_us", 1500},
          {"retransmitted_segments", octets / 100000},
          {"rx_drops", 0}};
}

json connection(const char* remote, std::uint64_t in, std::uint64_t out, double rtt_us) {
  return {{"local", "198.18.0.2:7"},  {"remote", remote},
          {"service", "echo"},        {"worker", 1},
          {"bytes_received", in},     {"bytes_sent", out},
          {"srtt_us", rtt_us},        {"state", "ESTABLISHED"},
          {"retransmits", out / 1000}};
}

/// After `t` seconds of one megabyte a second inward on worker 0 and nothing on worker 1.
json answer(double t) {
  const auto n = static_cast<std::uint64_t>(t * 1e6);
  json a = {{"version", "0.1.0"},
            {"uptime_s", t},
            {"workers", json::array({worker(n, 0.5), worker(0, 0.0)})},
            {"totals", worker(n, 0.25)}};
  a["connections"] = json::array({connection("h:1", n / 10, 0, 900), connection("h:2", n, n, 100),
                                  connection("h:3", 0, 5 * n, 0)});
  return a;
}

TopView view_of(std::initializer_list<double> times) {
  TopView view;
  for (const double t : times) view.add(answer(t));
  return view;
}

std::size_t place(const std::string& text, const std::string& what) {
  const std::size_t at = text.find(what);
  EXPECT_NE(at, text.npos) << what << " in " << text;
  return at;
}

TEST(Top, RatesAreBetweenTheLastTwoAnswers) {
  const std::string text = view_of({10, 12}).render({});
  EXPECT_THAT(text, HasSubstr("pollux 0.1.0  up 0:00:12"));
  EXPECT_THAT(text, HasSubstr("in 8.00Mbit/s 1.00kpkt/s   out 16.0Mbit/s 2.00kpkt/s"));
  EXPECT_THAT(text, HasSubstr("rtt 250us median, 1.5ms longest"));
  EXPECT_THAT(text, HasSubstr("retransmitted 10/s"));
  EXPECT_THAT(text, ContainsRegex("\n0 +50% +8.00M +16.0M +3.00k +3 +250us +10 +0  "));
}

TEST(Top, WithOneAnswerThereAreNoRates) {
  const std::string text = view_of({10}).render({});
  EXPECT_THAT(text, HasSubstr("in -bit/s"));
  EXPECT_THAT(text, ContainsRegex("\n0 +50% +- +- +- +3 +250us +- +-\n"));
}

TEST(Top, ADaemonThatBeganAnewBeginsAnewHere) {
  EXPECT_THAT(view_of({100, 101, 2}).render({}), HasSubstr("in -bit/s"));
  EXPECT_THAT(view_of({100, 101, 2, 3}).render({}), HasSubstr("in 8.00Mbit/s"));
}

TEST(Top, ConnectionsAreSorted) {
  const TopView view = view_of({10, 11});
  const auto order = [&](TopSort sort) {
    const std::string text = view.render({.sort = sort});
    std::vector<std::pair<std::size_t, int>> found;
    for (int i = 1; i <= 3; ++i) found.emplace_back(place(text, "h:" + std::to_string(i)), i);
    std::sort(found.begin(), found.end());
    return std::vector<int>{found[0].second, found[1].second, found[2].second};
  };
  EXPECT_EQ(order(TopSort::rate), (std::vector<int>{3, 2, 1}));
  EXPECT_EQ(order(TopSort::in), (std::vector<int>{2, 1, 3}));
  EXPECT_EQ(order(TopSort::out), (std::vector<int>{3, 2, 1}));
  EXPECT_EQ(order(TopSort::rtt), (std::vector<int>{1, 2, 3}));
  EXPECT_EQ(order(TopSort::retransmits), (std::vector<int>{3, 2, 1}));
}

TEST(Top, SaysWhenItLookedAtSomeOnly) {
  json a = answer(10);
  a["totals"]["connections_open"] = 1000000;
  TopView view;
  view.add(a);
  EXPECT_THAT(view.render({}), HasSubstr("3 of 1000000 connections were looked at"));
}

TEST(Top, FitsItsScreen) {
  for (std::size_t height = 1; height < 30; ++height) {
    for (const std::size_t width : {1UL, 20UL, 80UL, 200UL}) {
      for (const bool keys : {false, true}) {
        const std::string text =
            view_of({1, 2, 3}).render({.width = width, .height = height, .keys = keys});
        std::istringstream in(text);
        std::size_t lines = 0;
        for (std::string line; std::getline(in, line); ++lines) {
          const auto columns =
              std::count_if(line.begin(), line.end(), [](char c) { return (c & 0xc0) != 0x80; });
          EXPECT_LE(static_cast<std::size_t>(columns), width) << line;
        }
        EXPECT_LE(lines, std::max<std::size_t>(height, keys ? 2 : 1)) << width << text;
      }
    }
  }
}

TEST(Top, HistoryIsBoundedAndPlainWithoutUtf8) {
  EXPECT_EQ(sparkline({0, 1, 2, 4}, false), "_-=#");
  EXPECT_EQ(sparkline({0, 4}, true), "▁█");
  EXPECT_EQ(sparkline({0, 0}, false), "__");
  EXPECT_EQ(sparkline({}, true), "");
  TopView view;
  for (int t = 1; t < 100; ++t) view.add(answer(t));
  const std::string text = view.render({.width = 200, .utf8 = false});
  EXPECT_THAT(text, HasSubstr("  " + std::string(TopView::kHistory, '#') + "\n"));
  EXPECT_TRUE(std::all_of(text.begin(), text.end(), [](char c) { return (c & 0x80) == 0; }));
  EXPECT_THAT(view.render({.width = 200}), HasSubstr("█"));
}

TEST(Top, SurvivesAnswersOfAnyShape) {
  TopView view;
  for (const json& a :
       {json(), json(1), json("x"), json::object(), json::array({1, "a"}),
        json{{"totals", 1}, {"workers", 2}, {"connections", 3}}, json{{"workers", {{"a", 1}}}},
        json{{"workers", {1, nullptr}}, {"connections", {1, "x", nullptr}}, {"uptime_s", "x"}}}) {
    EXPECT_NO_THROW(view.add(a)) << a;
    EXPECT_NO_THROW(view.render({})) << a;
  }
}

TEST(Top, TerminalEscapesInNamesAreNotPassedOn) {
  json a = answer(1);
  a["connections"][0]["remote"] = "\x1b[2J\xff";
  TopView view;
  view.add(a);
  EXPECT_THAT(view.render({}), Not(HasSubstr("\x1b")));
}

}  // namespace
}  // namespace pollux::engine
