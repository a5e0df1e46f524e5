#include "engine/cpus.h"

#include <gmock/gmock.h>
#include <pthread.h>
#include <sched.h>

#include <thread>

namespace pollux {
namespace {

using testing::Contains;

TEST(Cpus, CountsWhatThisThreadMayUse) {
  const std::vector<int> cpus = usable_cpus();
  ASSERT_FALSE(cpus.empty());
  std::thread([&] {
    ASSERT_TRUE(pin_current_thread(cpus.back()));
    EXPECT_THAT(usable_cpus(), testing::ElementsAre(cpus.back()));
    EXPECT_EQ(sched_getcpu(), cpus.back());
  }).join();
  EXPECT_EQ(usable_cpus(), cpus);
}

TEST(Cpus, RefusesACpuThatIsNotThere) {
  EXPECT_FALSE(pin_current_thread(-1));
  EXPECT_FALSE(pin_current_thread(60'000));
  EXPECT_FALSE(pin_current_thread(1 << 20));
}

TEST(Cpus, CutsALongName) {
  std::thread([] {
    name_current_thread("a-name-that-is-too-long");
    char name[16];
    pthread_getname_np(pthread_self(), name, sizeof name);
    EXPECT_STREQ(name, "a-name-that-is-");
  }).join();
}

struct Case {
  std::size_t cpus;
  std::optional<unsigned> workers;
  std::optional<bool> dedicated;
  unsigned want_workers;
  bool want_dedicated;
};

TEST(Cpus, PlansWhatIsAutomatic) {
  const Case cases[] = {
      {1, {}, {}, 1, false},   {2, {}, {}, 1, false},   {4, {}, {}, 3, false},
      {4, 2, {}, 2, true},     {4, 3, {}, 3, false},    {2, 2, {}, 2, false},
      {1, {}, true, 1, true},  {2, {}, true, 1, true},  {8, {}, true, 6, true},
      {8, 2, false, 2, false}, {128, {}, {}, 64, true}, {3, 1, {}, 1, true},
  };
  for (const Case& c : cases) {
    const CpuPlan plan = plan_cpus(c.cpus, c.workers, c.dedicated);
    EXPECT_EQ(plan.workers, c.want_workers) << c.cpus << " CPUs";
    EXPECT_EQ(plan.dedicated_rx, c.want_dedicated) << c.cpus << " CPUs";
  }
}

TEST(Cpus, KnowsWhenItIsCrowded) {
  EXPECT_FALSE(plan_cpus(2, {}, {}).crowded);
  EXPECT_TRUE(plan_cpus(2, 1, true).crowded);
  EXPECT_TRUE(plan_cpus(2, 2, false).crowded);
  EXPECT_FALSE(plan_cpus(3, 1, true).crowded);
  EXPECT_TRUE(plan_cpus(1, {}, {}).crowded);
}

}  // namespace
}  // namespace pollux
