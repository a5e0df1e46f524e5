// A server on Debian's lwIP behind a TUN device: echo, discard, chargen and http.
//
// Debian builds lwIP with a thread of its own (NO_SYS 0) and core locking. Here one thread reads
// the device and calls lwIP with the core locked, a batch at a time, and runs its timers as well;
// lwIP's thread has nothing left to do. It prints `ready` when it serves and one line of JSON at
// its end.
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "device.h"
#include "lwip/ip.h"
#include "lwip/netif.h"
#include "lwip/tcp.h"
#include "lwip/tcpip.h"
#include "lwip/timeouts.h"
#include "services.h"

enum { kBatch = 64, kSpinNs = 50 * 1000, kWaitMs = 20, kPiecesMax = 64 };

static volatile sig_atomic_t stop_asked;
static int device_fd;
static int device_mtu;
static uint64_t packets_in, packets_out, refused;

static void on_signal(int number) {
  (void)number;
  stop_asked = 1;
}

static int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static err_t transmit(struct netif* netif, struct pbuf* p, const ip4_addr_t* to) {
  struct iovec pieces[kPiecesMax];
  int count = 0;
  (void)netif, (void)to;
  for (; p != NULL && count < kPiecesMax; p = p->next) {
    pieces[count++] = (struct iovec){p->payload, p->len};
  }
  if (writev(device_fd, pieces, count) < 0) {
    ++refused;
    return ERR_IF;
  }
  ++packets_out;
  return ERR_OK;
}

static err_t init_netif(struct netif* netif) {
  netif->name[0] = 't';
  netif->name[1] = 'u';
  netif->mtu = (u16_t)device_mtu;
  netif->output = transmit;
  return ERR_OK;
}

/// A netif for each own address, all on the one device: lwIP has one IPv4 address for each.
static int add_netifs(const struct options* o) {
  static struct netif netifs[kAddressesMax];
  ip4_addr_t own, mask, none = {0};
  IP4_ADDR(&mask, 255, 255, 255, 255);
  for (int i = 0; i < o->own_count; ++i) {
    if (!ip4addr_aton(o->own[i], &own)) {
      fprintf(stderr, "not an IPv4 address: '%s'\n", o->own[i]);
      return -1;
    }
    if (netif_add(&netifs[i], &own, &mask, &none, NULL, init_netif, ip_input) == NULL) return -1;
    netif_set_link_up(&netifs[i]);
    netif_set_up(&netifs[i]);
  }
  netif_set_default(&netifs[0]);
  return 0;
}

/// Hands lwIP what is there, a batch at most; true when there was something.
static bool read_batch(void) {
  static struct pbuf* spare;
  for (int i = 0; i < kBatch; ++i) {
    if (spare == NULL) spare = pbuf_alloc(PBUF_RAW, (u16_t)device_mtu, PBUF_RAM);
    if (spare == NULL) return false;
    const ssize_t n = read(device_fd, spare->payload, (size_t)device_mtu);
    if (n <= 0) return i != 0;
    ++packets_in;
    pbuf_realloc(spare, (u16_t)n);
    if (netif_default->input(spare, netif_default) != ERR_OK) pbuf_free(spare);
    spare = NULL;
  }
  return true;
}

static void wait_for_packet(void) {
  struct pollfd one = {.fd = device_fd, .events = POLLIN};
  poll(&one, 1, kWaitMs);
}

static void run(void) {
  int64_t last_work = now_ns();
  while (!stop_asked) {
    LOCK_TCPIP_CORE();
    const bool worked = read_batch();
    sys_check_timeouts();
    UNLOCK_TCPIP_CORE();
    const int64_t when = now_ns();
    if (worked)
      last_work = when;
    else if (when - last_work >= kSpinNs)
      wait_for_packet();
  }
}

static void report(double seconds) {
  printf("{\"octets\": %llu, \"octets_in\": %llu, \"octets_out\": %llu, \"connections\": %llu, ",
         (unsigned long long)(counters.octets_in + counters.octets_out),
         (unsigned long long)counters.octets_in, (unsigned long long)counters.octets_out,
         (unsigned long long)counters.connections);
  printf(
      "\"seconds\": %.3f, \"packets_in\": %llu, \"packets_out\": %llu, \"refused\": %llu, "
      "\"offload\": false}\n",
      seconds, (unsigned long long)packets_in, (unsigned long long)packets_out,
      (unsigned long long)refused);
}

/// The octets of a file; NULL after a message.
static char* read_file(const char* path, size_t* size) {
  FILE* file = fopen(path, "rb");
  char* out = malloc(1 << 16);
  if (file != NULL && out != NULL)
    *size = fread(out, 1, 1 << 16, file);
  else
    perror(path);
  if (file == NULL) return NULL;
  fclose(file);
  return out;
}

static void on_started(void* arg) { sys_sem_signal(arg); }

static void start_lwip(void) {
  sys_sem_t started;
  sys_sem_new(&started, 0);
  tcpip_init(on_started, &started);
  sys_sem_wait(&started);
  sys_sem_free(&started);
}

static int start(const struct options* o) {
  size_t page_size = 0;
  char* page = o->page != NULL ? read_file(o->page, &page_size) : NULL;
  if (o->page != NULL && page == NULL) return -1;
  device_mtu = o->mtu;
  device_fd = open_device(o);
  if (device_fd < 0) return -1;
  start_lwip();
  LOCK_TCPIP_CORE();
  const int status = add_netifs(o) != 0 || serve_all(page, page_size) != 0 ? -1 : 0;
  UNLOCK_TCPIP_CORE();
  free(page);
  return status;
}

int main(int argc, char** argv) {
  struct options options;
  const int status = parse_command_line(argc, argv, &options);
  if (status != 0) return status;
  struct sigaction action = {.sa_handler = on_signal};
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
  if (start(&options) != 0) return 1;
  puts("ready");
  fflush(stdout);
  const int64_t began = now_ns();
  run();
  report((double)(now_ns() - began) / 1e9);
  return 0;
}
