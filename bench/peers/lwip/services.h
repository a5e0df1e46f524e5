// Echo, discard, chargen and http over lwIP's raw API. All calls with the core locked.
#ifndef POLLUX_BENCH_PEERS_LWIP_SERVICES_H
#define POLLUX_BENCH_PEERS_LWIP_SERVICES_H

#include <stddef.h>
#include <stdint.h>

struct counters {
  uint64_t octets_in;
  uint64_t octets_out;
  uint64_t connections;
};

extern struct counters counters;

/// Listens on ports 7, 9, 19 and 80; `page` is what http answers with. 0, or -1 for no memory.
int serve_all(const char* page, size_t page_size);

#endif
