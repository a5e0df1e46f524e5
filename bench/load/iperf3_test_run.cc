#include "bench/load/iperf3_test_run.h"

#include <sys/random.h>
#include <sys/socket.h>

#include <nlohmann/json.hpp>
#include <stdexcept>

namespace pollux::load {
namespace {

constexpr unsigned char kTestStart = 1, kTestRunning = 2, kParameters = 9, kCreateStreams = 10;
constexpr char kClientTerminate = 12;

std::string random_cookie() {
  constexpr char kAlphabet[] = "abcdefghijklmnopqrstuvwxyz234567";
  unsigned char entropy[36];
  if (getrandom(entropy, sizeof entropy, 0) != sizeof entropy) fail("no randomness");
  std::string cookie;
  for (const unsigned char octet : entropy) cookie += kAlphabet[octet % 32];
  return cookie + '\0';
}

void send_all(const Fd& fd, const std::string& text) {
  const auto size = static_cast<ssize_t>(text.size());
  if (send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL) != size) fail("cannot send");
}

std::string framed(const std::string& text) {
  std::string out;
  for (const unsigned shift : {24U, 16U, 8U, 0U}) {
    out += static_cast<char>(text.size() >> shift & 0xff);
  }
  return out + text;
}

}  // namespace

Iperf3TestRun::Iperf3TestRun(bool sends, const Options& options)
    : options_(options), cookie_(random_cookie()), control_(connect_to(options.target(0))) {
  set_timeouts(control_.get(), std::chrono::seconds(10));
  send_all(control_, cookie_);
  expect(kParameters);
  const nlohmann::json parameters{{"tcp", true},
                                  {"time", 600},
                                  {"parallel", options.connections},
                                  {"reverse", !sends},
                                  {"len", 128 << 10}};
  send_all(control_, framed(parameters.dump()));
  expect(kCreateStreams);
}

Iperf3TestRun::~Iperf3TestRun() { (void)send(control_.get(), &kClientTerminate, 1, MSG_NOSIGNAL); }

Fd Iperf3TestRun::stream() {
  Fd fd = connect_to(options_.target(0));
  send_all(fd, cookie_);
  return fd;
}

void Iperf3TestRun::start() {
  expect(kTestStart);
  expect(kTestRunning);
}

void Iperf3TestRun::expect(unsigned char state) {
  unsigned char octet = 0;
  if (recv(control_.get(), &octet, 1, MSG_WAITALL) != 1) fail("the iperf3 server does not answer");
  if (octet != state) {
    throw std::runtime_error("the iperf3 server says " + std::to_string(octet) + " and not " +
                             std::to_string(state));
  }
}

}  // namespace pollux::load
