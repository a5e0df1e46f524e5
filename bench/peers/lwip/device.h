// The TUN device of a peer and the kernel's side of it.
#ifndef POLLUX_BENCH_PEERS_LWIP_DEVICE_H
#define POLLUX_BENCH_PEERS_LWIP_DEVICE_H

enum { kAddressesMax = 16, kMtuMax = 9000 };

struct options {
  const char* device;
  const char* host;                ///< the kernel's address on the device
  const char* own[kAddressesMax];  ///< the stack's own
  int own_count;
  int mtu;
  int txqueuelen;
  const char* page;  ///< file that http answers with, or NULL
};

/// 0 to go on, else the exit code.
int parse_command_line(int argc, char** argv, struct options* o);

/// The descriptor of the device, set up and with routes to the own addresses; -1 after a message.
int open_device(const struct options* o);

#endif
