#include "engine/load_window.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace pollux {
namespace {

using nlohmann::json;

LoadSample sample(std::uint64_t busy_ms, std::uint64_t idle_ms) {
  LoadSample s;
  s.busy_ns = busy_ms * 1'000'000;
  s.idle_ns = idle_ms * 1'000'000;
  return s;
}

std::uint64_t& ticks(LoadSample& s, Stage stage) {
  return s.ticks[static_cast<std::size_t>(stage)];
}

double sum_of_shares(const json& stages) {
  double sum = 0;
  for (const json& s : stages) sum += s["share"].get<double>();
  return sum;
}

TEST(LoadWindow, DividesBusyTimeByTicks) {
  LoadSample s = sample(300, 100);
  s.received = 1000;
  s.sent = 100;
  ticks(s, Stage::read) = 2;
  ticks(s, Stage::write) = 1;
  LoadWindow w;
  w.look(s);
  const json stages = w.stages();
  EXPECT_DOUBLE_EQ(w.busy_ratio(), 0.75);
  EXPECT_DOUBLE_EQ(stages["read"]["share"], 0.5);
  EXPECT_DOUBLE_EQ(stages["write"]["share"], 0.25);
  EXPECT_DOUBLE_EQ(stages["idle"]["share"], 0.25);
  EXPECT_DOUBLE_EQ(sum_of_shares(stages), 1.0);
  EXPECT_DOUBLE_EQ(stages["read"]["ns_per_packet"], 200'000);     // 200 ms, 1000 received
  EXPECT_DOUBLE_EQ(stages["write"]["ns_per_packet"], 1'000'000);  // 100 ms, 100 sent
  EXPECT_TRUE(stages["idle"]["ns_per_packet"].is_null());
}

TEST(LoadWindow, LooksFromQuestionToQuestion) {
  LoadWindow w;
  w.look(sample(1000, 0));
  w.look(sample(1000, 500));
  EXPECT_DOUBLE_EQ(w.busy_ratio(), 0.0);
  EXPECT_DOUBLE_EQ(w.seconds(), 0.5);
  EXPECT_DOUBLE_EQ(sum_of_shares(w.stages()), 1.0);
}

TEST(LoadWindow, ATooShortWindowKeepsTheLastAnswer) {
  LoadWindow w;
  w.look(sample(200, 200));
  w.look(sample(250, 200));
  EXPECT_DOUBLE_EQ(w.busy_ratio(), 0.5);
  w.look(sample(400, 200));
  EXPECT_DOUBLE_EQ(w.busy_ratio(), 1.0);
}

TEST(LoadWindow, SaysNothingAboutStagesThatNobodySampled) {
  LoadWindow w;
  LoadSample s = sample(100, 100);
  s.received = 10;
  w.look(s);
  EXPECT_TRUE(w.stages()["read"]["share"].is_null());
  EXPECT_TRUE(w.stages()["read"]["ns_per_packet"].is_null());
  EXPECT_DOUBLE_EQ(w.stages()["idle"]["share"], 0.5);
}

}  // namespace
}  // namespace pollux
