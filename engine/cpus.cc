#include "engine/cpus.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "workers/limits.h"

namespace pollux {
namespace {

struct CpuSetDeleter {
  void operator()(cpu_set_t* set) const noexcept { CPU_FREE(set); }
};
using CpuSet = std::unique_ptr<cpu_set_t, CpuSetDeleter>;

constexpr std::size_t kMaxCpus = 1 << 16;

}  // namespace

std::vector<int> usable_cpus() {
  std::vector<int> cpus;
  // The kernel answers EINVAL to a mask that is smaller than its own.
  for (std::size_t count = CPU_SETSIZE; count <= kMaxCpus; count *= 2) {
    const CpuSet set(CPU_ALLOC(count));
    const std::size_t size = CPU_ALLOC_SIZE(count);
    CPU_ZERO_S(size, set.get());
    if (sched_getaffinity(0, size, set.get()) != 0) {
      if (errno == EINVAL) continue;
      break;
    }
    for (std::size_t cpu = 0; cpu < count; ++cpu) {
      if (CPU_ISSET_S(cpu, size, set.get())) cpus.push_back(static_cast<int>(cpu));
    }
    break;
  }
  if (cpus.empty()) cpus.push_back(0);
  return cpus;
}

bool pin_current_thread(int cpu) noexcept {
  if (cpu < 0 || static_cast<std::size_t>(cpu) >= kMaxCpus) return false;
  const auto index = static_cast<std::size_t>(cpu);
  const CpuSet set(CPU_ALLOC(index + 1));
  const std::size_t size = CPU_ALLOC_SIZE(index + 1);
  CPU_ZERO_S(size, set.get());
  CPU_SET_S(index, size, set.get());
  return pthread_setaffinity_np(pthread_self(), size, set.get()) == 0;
}

void name_current_thread(const std::string& name) noexcept {
  constexpr std::size_t kMaxName = 15;
  char text[kMaxName + 1] = {};
  name.copy(text, kMaxName);
  pthread_setname_np(pthread_self(), text);
}

CpuPlan plan_cpus(std::size_t cpus, std::optional<unsigned> workers,
                  std::optional<bool> dedicated_rx) {
  CpuPlan plan;
  const std::size_t others = dedicated_rx.value_or(false) ? 2 : 1;
  const std::size_t wanted = cpus > others ? cpus - others : 1;
  plan.workers = workers.value_or(static_cast<unsigned>(std::min(wanted, limits::kMaxWorkers)));
  plan.dedicated_rx = dedicated_rx.value_or(cpus >= std::size_t{plan.workers} + 2);
  plan.crowded = plan.workers + (plan.dedicated_rx ? 2U : 1U) > cpus;
  return plan;
}

}  // namespace pollux
