#include "device.h"

#include <fcntl.h>
#include <getopt.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

extern char** environ;

enum { kDevice = 1, kHost, kOwn, kMtu, kQueue, kPage };

static const struct option kOptions[] = {{"device", required_argument, NULL, kDevice},
                                         {"host-address", required_argument, NULL, kHost},
                                         {"address", required_argument, NULL, kOwn},
                                         {"mtu", required_argument, NULL, kMtu},
                                         {"txqueuelen", required_argument, NULL, kQueue},
                                         {"page", required_argument, NULL, kPage},
                                         {NULL, 0, NULL, 0}};

int parse_command_line(int argc, char** argv, struct options* o) {
  *o = (struct options){
      .device = "pollux0", .host = "198.18.0.1/32", .mtu = 1500, .txqueuelen = 1000};
  for (int found; (found = getopt_long(argc, argv, "", kOptions, NULL)) != -1;) {
    if (found == kDevice)
      o->device = optarg;
    else if (found == kHost)
      o->host = optarg;
    else if (found == kMtu)
      o->mtu = atoi(optarg);
    else if (found == kQueue)
      o->txqueuelen = atoi(optarg);
    else if (found == kPage)
      o->page = optarg;
    else if (found == kOwn && o->own_count < kAddressesMax)
      o->own[o->own_count++] = optarg;
    else
      return 2;
  }
  if (o->own_count == 0) o->own[o->own_count++] = "198.18.0.2";
  if (o->mtu >= 576 && o->mtu <= kMtuMax) return 0;
  fprintf(stderr, "%s: the MTU has to be 576 to %d\n", argv[0], kMtuMax);
  return 2;
}

static int ip_command(const char* const* words) {
  pid_t pid;
  int status = -1;
  if (posix_spawnp(&pid, "ip", NULL, NULL, (char* const*)words, environ) == 0) {
    waitpid(pid, &status, 0);
  }
  return status == 0 ? 0 : -1;
}

static int configure(const struct options* o) {
  char mtu[16], queue[16];
  snprintf(mtu, sizeof mtu, "%d", o->mtu);
  snprintf(queue, sizeof queue, "%d", o->txqueuelen);
  const char* const address[] = {"ip", "addr", "add", o->host, "dev", o->device, NULL};
  const char* const up[] = {"ip", "link",       "set", "dev", o->device, "mtu",
                            mtu,  "txqueuelen", queue, "up",  NULL};
  if (ip_command(address) != 0 || ip_command(up) != 0) return -1;
  for (int i = 0; i < o->own_count; ++i) {
    const char* const route[] = {"ip", "route", "add", o->own[i], "dev", o->device, NULL};
    if (ip_command(route) != 0) return -1;
  }
  return 0;
}

int open_device(const struct options* o) {
  struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
  const int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
  strncpy(request.ifr_name, o->device, sizeof request.ifr_name - 1);
  if (fd < 0 || ioctl(fd, TUNSETIFF, &request) != 0) {
    perror("/dev/net/tun");
    return -1;
  }
  return configure(o) == 0 ? fd : -1;
}
