// What a thread that spins does between two looks.
#pragma once

#include <thread>

namespace pollux {

/// `crowded`: there are more threads than CPUs. One that spins then keeps from running the very
/// thread that it waits for.
inline void relax(bool crowded) {
  if (crowded) return std::this_thread::yield();
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace pollux
