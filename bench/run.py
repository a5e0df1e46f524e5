#!/usr/bin/python3
"""Runs the benchmarks: `micro` (Google Benchmark), `scaling` (instructions by the number of workers),
`e2e` (the daemon beside stubs and the kernel), `recovery` (an impaired path) and `peers` (beside
other stacks); the last three need root.

usage: run.py [SUITE...] [OPTION...]; the options go to each suite. No suite means all but `peers`,
which wants packages of its own. Results are in build/bench.
"""

import pathlib
import sys

import page

ROOT = pathlib.Path(__file__).resolve().parent.parent


def micro(options) -> int:
    import micro as suite
    return suite.main(options)


def scaling(options) -> int:
    import scaling as suite
    return suite.main(options)


def recovery(options) -> int:
    import recovery as suite
    return suite.main(options)


def e2e(options) -> int:
    import e2e as suite
    return suite.main(options)


def peers(options) -> int:
    import peers as suite
    return suite.main(options)


DEFAULT = {"micro": micro, "scaling": scaling, "e2e": e2e, "recovery": recovery}
SUITES = {**DEFAULT, "peers": peers}


def main() -> int:
    words = sys.argv[1:]
    first_option = next((i for i, w in enumerate(words) if w.startswith("-")), len(words))
    suites, options = words[:first_option] or list(DEFAULT), words[first_option:]
    unknown = [s for s in suites if s not in SUITES]
    if unknown:
        print(f"bench: no suite '{unknown[0]}'; there is: {', '.join(SUITES)}", file=sys.stderr)
        return 2
    status = max([SUITES[suite](options) for suite in suites])
    if target := page.write(ROOT / "build" / "bench"):
        print(f"bench: all results in {target.relative_to(ROOT)}")
    return status


if __name__ == "__main__":
    sys.exit(main())
