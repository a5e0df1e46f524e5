// CPUs and threads: how many there are to use, who runs where.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace pollux {

/// The CPUs that this process may run on, ascending (sched_getaffinity: a container's share counts
/// and not what the machine has).
std::vector<int> usable_cpus();

/// False when the kernel refuses: no such CPU or not allowed.
bool pin_current_thread(int cpu) noexcept;

/// As `top` and `ps` show it; cut to the kernel's 15 characters.
void name_current_thread(const std::string& name) noexcept;

struct CpuPlan {
  unsigned workers = 1;
  bool dedicated_rx = false;
  bool crowded = false;  ///< fewer CPUs than threads, one for the applications included
};

/// Fills in what is "auto" (nullopt). Workers: one CPU is left to the applications that talk to
/// the engine, and one to a dedicated RX thread that was asked for. RX: dedicated where there are
/// CPUs for it and for one more beside the workers, else inline.
CpuPlan plan_cpus(std::size_t cpus, std::optional<unsigned> workers,
                  std::optional<bool> dedicated_rx);

}  // namespace pollux
