#!/usr/bin/env bash
# One door to everything: set up, build, run, try, test and measure pollux. `./run.sh help` tells how.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# The one list of Debian/Ubuntu packages: build, libraries, then what tests and demo call.
PACKAGES=(
  cmake ninja-build g++ ccache pkg-config
  libboost-dev libtbb-dev libspdlog-dev libfmt-dev libbenchmark-dev libtomlplusplus-dev
  libcli11-dev nlohmann-json3-dev libgtest-dev libgmock-dev librapidcheck-dev libmnl-dev
  python3 iproute2 iputils-ping netcat-openbsd socat curl iperf iperf3 hping3 tcpdump nftables
  ethtool procps util-linux wrk nginx valgrind chromium sockperf
)
# What `bench peers` wants besides, and it alone: other stacks to measure against. Go is large.
PEER_PACKAGES=(golang-go golang-gvisor-gvisor-dev liblwip-dev)
PYTHON=/usr/bin/python3
SUITES=(unit sim e2e sanitize)

say() { printf '==> %s\n' "$*"; }
die() {
  printf 'run.sh: %s\n' "$*" >&2
  exit "${2:-1}"
}
usage_error() {
  printf 'run.sh: %s; see ./run.sh help\n' "$*" >&2
  exit 2
}

usage() {
  cat <<'TEXT'
usage: ./run.sh [VERB] [ARGUMENTS]

  setup                       install the packages that are missing (nothing when all are there)
  build [PRESET]              set up if needed, configure and build; release (default), debug,
                              asan or tsan, into build/PRESET
  up [CONFIG] [--netns NAME]  build, then run the daemon in the foreground with conf/pollux.toml
                              or CONFIG; Ctrl-C drains and ends it. With --netns inside that
                              network namespace, made (and removed) when it is not there
  demo                        build, then ping, curl, bulk each way and round trips in a private
                              namespace; prints one table
  test [SUITE...]             build what is needed and run unit, sim, e2e, sanitize (default all);
                              the last line is `N passed, N failed`
  bench [SUITE...] [--quick]  measure: micro (parts of the code), scaling (instructions per packet
                              by the number of workers), e2e (against the kernel and what the
                              device allows), recovery (against the kernel's TCP over a lossy
                              path); results and report.html in build/bench. With one suite its
                              own options too: `bench recovery --help`. Only when named: peers
                              (against gVisor and lwIP, whose packages it installs)
  help                        this text

No verb means `up`. Verbs that need rights use sudo unless run as root.
TEXT
}

as_root() {
  if [[ $EUID -eq 0 ]]; then "$@"; else sudo "$@"; fi
}

missing_packages() {  # missing_packages PACKAGE...
  local package
  for package in "$@"; do
    [[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" == installed ]] ||
      printf '%s\n' "$package"
  done
}

setup() {
  command -v dpkg-query >/dev/null || die "setup needs Debian or Ubuntu (no dpkg here)"
  local missing
  mapfile -t missing < <(missing_packages "${PACKAGES[@]}")
  if [[ ${#missing[@]} -eq 0 ]]; then
    say "setup: all ${#PACKAGES[@]} packages are installed"
    return
  fi
  say "setup: installing ${missing[*]}"
  as_root apt-get update -q || return
  install "${missing[@]}"
}

install() {
  without_services as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -q --no-install-recommends "$@"
}

# One by one: a peer that is not to be had is left out of the measurement, the others are not.
setup_peers() {
  local package missing
  mapfile -t missing < <(missing_packages "${PEER_PACKAGES[@]}")
  [[ ${#missing[@]} -gt 0 ]] || return 0
  say "bench: installing ${missing[*]}"
  as_root apt-get update -q || true
  for package in "${missing[@]}"; do
    install "$package" || say "bench: cannot install $package"
  done
}

# nginx is here to be measured against: installing it must not start it. A policy that the machine
# has already is left as it is.
without_services() {
  local policy=/usr/sbin/policy-rc.d made='' status=0
  if [[ ! -e $policy ]]; then
    made=1
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null || return
    as_root chmod +x "$policy"
  fi
  trap : INT TERM  # apt-get ends at them, and what was made is removed
  "$@" || status=$?
  trap - INT TERM
  [[ -z $made ]] || as_root rm -f "$policy"
  return "$status"
}

# build PRESET [TARGET...]: no targets means everything. Callers may test the result, which
# switches `set -e` off in here: hence the `|| return`.
build() {
  local preset=${1:-release}
  shift || true
  case $preset in
    release | debug | asan | tsan) ;;
    *) usage_error "no preset '$preset' (release, debug, asan, tsan)" ;;
  esac
  setup || return
  say "build: preset $preset into build/$preset"
  local wrap=()
  # GCC 12's TSan cannot map its shadow under wide address randomisation, and CMake runs the
  # test programs once to list their tests.
  [[ $preset == tsan ]] && wrap=(setarch "$(uname -m)" -R)
  "${wrap[@]}" cmake --preset "$preset" -Wno-dev --log-level=WARNING || return
  if [[ $# -gt 0 ]]; then
    "${wrap[@]}" cmake --build "build/$preset" --target "$@"
  else
    "${wrap[@]}" cmake --build "build/$preset"
  fi
}

# ---- up -----------------------------------------------------------------------------------------

DAEMON_PID=
MADE_NETNS=

up_cleanup() {
  trap - EXIT
  if [[ -n $DAEMON_PID ]] && [[ -d /proc/$DAEMON_PID ]]; then
    up_signal TERM
    wait "$DAEMON_PID" 2>/dev/null || true
  fi
  if [[ -n $MADE_NETNS ]]; then
    as_root ip netns del "$MADE_NETNS" 2>/dev/null || true
    MADE_NETNS=
  fi
}

# Passes a signal on; the daemon has its own process group, so Ctrl-C reaches it once, from here.
up_signal() { [[ -z $DAEMON_PID ]] || as_root kill -"$1" "$DAEMON_PID" 2>/dev/null || true; }

up_netns() {
  local name=$1
  if [[ ! -e /run/netns/$name ]]; then
    say "up: creating network namespace $name"
    as_root ip netns add "$name"
    MADE_NETNS=$name
  fi
  as_root ip -n "$name" link set lo up
}

up_wait() {
  local status=0
  while true; do
    status=0
    wait "$DAEMON_PID" || status=$?
    # A trapped signal ends `wait` early; the daemon is still draining then.
    if [[ $status -gt 128 ]] && [[ -d /proc/$DAEMON_PID ]]; then continue; fi
    [[ $status -le 128 ]] || { status=0; wait "$DAEMON_PID" || status=$?; }
    break
  done
  DAEMON_PID=
  return "$status"
}

up() {
  local config='' netns=''
  while [[ $# -gt 0 ]]; do
    case $1 in
      --netns)
        [[ $# -ge 2 ]] || usage_error "--netns needs a name"
        netns=$2
        shift
        ;;
      --netns=*) netns=${1#--netns=} ;;
      -*) usage_error "up: unknown option '$1'" ;;
      *)
        [[ -z $config ]] || usage_error "up takes one configuration"
        config=$1
        ;;
    esac
    shift
  done
  config=${config:-conf/pollux.toml}
  [[ -r $config ]] || die "cannot read $config" 2
  build release pollux

  local inside=()
  trap up_cleanup EXIT
  trap 'up_signal INT' INT
  trap 'up_signal TERM' TERM HUP
  if [[ -n $netns ]]; then
    up_netns "$netns"
    inside=(ip netns exec "$netns")
  fi
  say "up: running the daemon with $config${netns:+ in namespace $netns}; Ctrl-C ends it"
  local sudo=()
  [[ $EUID -eq 0 ]] || sudo=(sudo)
  set -m
  "${sudo[@]}" "${inside[@]}" build/release/pollux run -c "$config" &
  DAEMON_PID=$!
  set +m
  up_wait
}

demo() {
  build release pollux
  say "demo: daemon and kernel clients in a private network namespace"
  as_root "$PYTHON" tests/e2e/demo.py "$@"
}

# ---- test ---------------------------------------------------------------------------------------

PASSED=0
FAILED=0
FAILURES=  # the end of what each suite printed that failed
count() {  # count NAME PASSED FAILED
  PASSED=$((PASSED + $2))
  FAILED=$((FAILED + $3))
  say "$1: $2 passed, $3 failed"
}

remember_failure() {  # remember_failure NAME FILE
  FAILURES+="---- $1"$'\n'"$(sed 's/.*\r//' "$2" | grep -v '^$' | tail -n 60 || true)"$'\n'
}

# Runs a command that prints its own details and ends with `N passed, N failed`.
run_counted() {
  local name=$1 log status=0 line
  shift
  log=$(mktemp)
  "$@" 2>&1 | tee "$log" || status=$?
  line=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$log" | tail -n 1 || true)
  [[ $status -eq 0 ]] || remember_failure "$name" "$log"
  rm -f "$log"
  if [[ $line =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
    count "$name" "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}"
    # Died after it had counted: that is a failure of its own.
    if [[ $status -ne 0 && ${BASH_REMATCH[2]} -eq 0 ]]; then count "$name (exit $status)" 0 1; fi
  else
    count "$name (no result, exit $status)" 0 1
  fi
}

# ctest of the release build for the labels that match.
run_ctest() {
  local name=$1 labels=$2 log status=0 total=0 failed=0
  log=$(mktemp)
  ctest --test-dir build/release -L "^($labels)\$" -j "$(nproc)" --output-on-failure \
    --progress --timeout 600 >"$log" 2>&1 || status=$?
  # "98% tests passed, 2 tests failed out of 120"
  if [[ $(<"$log") =~ ([0-9]+)\ tests?\ failed\ out\ of\ ([0-9]+) ]]; then
    failed=${BASH_REMATCH[1]}
    total=${BASH_REMATCH[2]}
  fi
  if [[ $status -ne 0 ]]; then
    sed 's/.*\r//' "$log" | grep -v '^$'
    remember_failure "$name" "$log"
  fi
  rm -f "$log"
  if [[ $total -eq 0 ]]; then
    count "$name (ran nothing)" 0 1
  else
    count "$name" $((total - failed)) "$failed"
  fi
}

# One GoogleTest program in as many pieces as there are CPUs: sanitizers start slowly, so a test for
# each process would take longer.
run_gtest() {
  local name=$1 folder status=0 passed=0 failed=0 pieces log i pids=()
  shift
  pieces=$(nproc)
  folder=$(mktemp -d)
  trap 'kill $(jobs -p) 2>/dev/null || true' EXIT  # what is in the background ignores Ctrl-C
  for ((i = 0; i < pieces; i++)); do
    GTEST_TOTAL_SHARDS=$pieces GTEST_SHARD_INDEX=$i "$@" --gtest_brief=1 >"$folder/$i" 2>&1 &
    pids+=($!)
  done
  for ((i = 0; i < pieces; i++)); do
    log=$folder/$i
    local piece_status=0 piece_passed piece_failed
    wait "${pids[i]}" || piece_status=$?
    piece_passed=$(sed -nE 's/^\[  PASSED  \] ([0-9]+) tests?\.$/\1/p' "$log" | tail -n 1)
    piece_failed=$(sed -nE 's/^ *\[  FAILED  \] ([0-9]+) tests?, listed below:$/\1/p' "$log" | tail -n 1)
    passed=$((passed + ${piece_passed:-0}))
    failed=$((failed + ${piece_failed:-0}))
    [[ $piece_status -ne 0 || -z $piece_passed ]] || continue
    status=1
    [[ -n $piece_failed ]] || failed=$((failed + 1))  # crashed, or a sanitizer ended it
    tail -n 200 "$log"
    remember_failure "$name" "$log"
  done
  trap - EXIT
  rm -rf "$folder"
  if [[ $passed -eq 0 && $status -eq 0 ]]; then
    count "$name (ran nothing)" 0 1
  else
    count "$name" "$passed" "$failed"
  fi
}

# Builds for a suite; what does not build is one failure.
test_build() {
  build "$@" && return
  count "build $1" 0 1
  return 1
}

test_unit() {
  test_build release || return 0
  run_ctest unit 'proto|workers|engine|hop|stubs'
  run_counted tidy "$PYTHON" tests/tidy_test.py
  run_counted bench "$PYTHON" tests/bench_test.py
  run_counted locks "$PYTHON" tests/locks_test.py
  run_counted scaling "$PYTHON" tests/scaling_test.py
  run_counted rfc "$PYTHON" tests/rfc_test.py
}

test_sim() {
  test_build release || return 0
  run_ctest sim sim
}

run_e2e() {  # run_e2e NAME PRESET MODULE...
  local name=$1 preset=$2 wrap=() keep=() variable
  shift 2
  # sudo forgets the environment; see build() for setarch.
  for variable in POLLUX_LONG ASAN_OPTIONS UBSAN_OPTIONS TSAN_OPTIONS; do
    [[ -z ${!variable:-} ]] || keep+=("$variable=${!variable}")
  done
  [[ $preset == tsan ]] && wrap=(setarch "$(uname -m)" -R)
  run_counted "$name" as_root env POLLUX_PRESET="$preset" "${keep[@]}" \
    "${wrap[@]}" "$PYTHON" tests/e2e/run.py --jobs "$(nproc)" "$@"
}

test_e2e() {
  test_build release pollux pollux_hop pollux_stub_sink pollux_stub_source pollux_stub_echo ||
    return 0
  run_e2e e2e release
}

test_sanitize() {
  export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1
  export UBSAN_OPTIONS=print_stacktrace=1
  export TSAN_OPTIONS=suppressions=$PWD/tests/tsan.supp
  local program
  test_build asan pollux {proto,workers,engine,sim}_tests || return 0
  for program in {proto,workers,engine,sim}_tests; do
    run_gtest "asan $program" "build/asan/tests/$program"
  done
  run_e2e 'asan e2e' asan sanitized
  test_build tsan pollux {workers,engine}_tests || return 0
  for program in {workers,engine}_tests; do
    run_gtest "tsan $program" setarch "$(uname -m)" -R "build/tsan/tests/$program"
  done
  run_e2e 'tsan e2e' tsan sanitized
}

run_tests() {
  local suite
  [[ $# -gt 0 ]] || set -- "${SUITES[@]}"
  for suite in "$@"; do
    [[ " ${SUITES[*]} " == *" $suite "* ]] || usage_error "no suite '$suite' (${SUITES[*]})"
  done
  for suite in "$@"; do
    say "test: $suite"
    "test_$suite"
  done
  [[ -z $FAILURES ]] || printf '\n==> what failed, once more\n%s' "$FAILURES"
  printf '%d passed, %d failed\n' "$PASSED" "$FAILED"
  [[ $FAILED -eq 0 && $PASSED -gt 0 ]]
}

bench() {
  build release pollux pollux_hop pollux_micro pollux_stub_sink pollux_stub_source pollux_stub_echo \
    pollux_client pollux_kernel_server pollux_probe pollux_scaling
  [[ " $* " != *" peers "* ]] || setup_peers
  say "bench: results go to build/bench"
  as_root "$PYTHON" bench/run.py "$@"
}

verb=${1:-up}
[[ $# -eq 0 ]] || shift
case $verb in
  setup) setup ;;
  build) build "$@" ;;
  up) up "$@" ;;
  demo) demo "$@" ;;
  test) run_tests "$@" ;;
  bench) bench "$@" ;;
  help | -h | --help) usage ;;
  *) usage_error "unknown verb '$verb'" ;;
esac
