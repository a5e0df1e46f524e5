#include <iostream>

#include "engine/cli.h"
#include "engine/daemon.h"

int main(int argc, char** argv) {
  return pollux::engine::run_cli(argc, argv, pollux::engine::run_daemon, std::cout, std::cerr);
}
