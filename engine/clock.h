// The only place where the engine asks for the time.
#pragma once

#include <time.h>

#include "proto/base/time.h"

namespace pollux {

inline Instant monotonic_now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return Instant(std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec));
}

}  // namespace pollux
