#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The test of the tests: each mistake of core/defect.h is found by a sweep of 200 seeds at most.

    defects_test.py TRIPOD_SIM TRIPOD_SIM_DEFECT...

A seed that violates without the mistake does not count, nor does a checker that has nothing to do
with it.
"""
import json
import os
import subprocess
import sys

SEEDS, STRIDE = 200, 20
CHECKERS = {
    "epoch": {"superseded", "stale"},
    "tombstone": {"reborn"},
    "retransmission": {"replicas", "copies"},
    "index": {"broken"},
    "ports": {"nat", "corrupt", "write-once"},
    "readiness": {"broken"},
}


def violating(program, first, last):
    done = subprocess.run([program, "sweep", "--seeds", f"{first}..{last}", "--jobs", "2", "--json"],
                          capture_output=True, text=True, check=False)
    wanted = CHECKERS.get(os.path.basename(program).split("-")[-1])
    return {v["seed"]: v for v in reversed(json.loads(done.stdout)["violations"])
            if wanted is None or v["checker"] in wanted}


def main():
    product, defects = sys.argv[1], sys.argv[2:]
    known, missed = {}, []
    for program in defects:
        name = os.path.basename(program)
        for first in range(1, SEEDS, STRIDE):
            last = first + STRIDE - 1
            if first not in known:
                known[first] = set(violating(product, first, last))
            found = {s: v for s, v in violating(program, first, last).items()
                     if s not in known[first]}
            if found:
                seed, v = min(found.items())
                print(f"{name}: seed {seed}, {v['checker']}: {v['what']}", flush=True)
                break
        else:
            print(f"{name}: not found in {SEEDS} seeds", flush=True)
            missed.append(name)
    return 1 if missed else 0


sys.exit(main())
