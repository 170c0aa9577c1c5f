#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Sweeps the simulator's first seeds: sweep_test.py TRIPOD_SIM [LAST_SEED]

Fails when a seed has a violation and is not in open-seeds.txt, which lists faults that are known and
not mended yet, or when the sweep was too easy. Says which of the listed seeds have become clean.
"""
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
# What 200 seeds must come to at least, so that a clean sweep means something.
LEAST = {"predicted": 20000, "confirms": 20000, "predict_fallbacks": 10,
         "connections": 200000, "emitted": 2000000, "takeovers": 5000, "pulls": 2000, "epoch_conflicts": 200,
         "tombstone_hits": 500, "relays": 200, "reconfigured": 200, "restarts": 50,
         "requests_applied": 10000, "kind_refused": 20000, "kind_takeovers": 500, "kind_settled": 1000, "pulls_timed": 2000, "flood_packets": 300000, "failures": 100}


def open_seeds():
    found = {}
    with open(os.path.join(HERE, "open-seeds.txt"), encoding="utf-8") as f:
        for line in f:
            line = line.split("#")[0].strip()
            if line:
                seed, what = line.split(None, 1)
                found[int(seed)] = what
    return found


def main():
    program = sys.argv[1]
    last = int(sys.argv[2]) if len(sys.argv) > 2 else 200
    done = subprocess.run([program, "sweep", "--seeds", f"1..{last}", "--jobs", "2", "--json"],
                          stdout=subprocess.PIPE, check=False)
    report = json.loads(done.stdout)
    known = open_seeds()
    bad = {}
    for v in report["violations"]:
        bad.setdefault(v["seed"], []).append(v)
    failed = 0
    for seed, violations in sorted(bad.items()):
        state = "open" if seed in known else "NEW"
        failed += seed not in known
        first = violations[0]
        print(f"{state}: {first['checker']}: {first['what']} ({len(violations)} violations)")
        print(f"    {first['command']}")
    for seed in sorted(set(known) - set(bad)):
        if seed <= last:
            print(f"clean now: seed {seed} ({known[seed]}); take it out of sim/open-seeds.txt")
    for name, least in LEAST.items():
        if report[name] * 200 < least * last:
            print(f"too easy: {report[name]} {name}, at least {least * last // 200} expected")
            failed += 1
    # Packets that no record accounts for are looked at by no checker.
    if report["untied"] * 10000 > report["emitted"]:
        print(f"no record accounts for {report['untied']} of {report['emitted']} packets")
        failed += 1
    print(f"{report['seeds']} seeds, {len(bad)} with violations, {failed} failures; "
          + ", ".join(f"{report[k]} {k}" for k in LEAST))
    return 1 if failed or report["seeds"] != last else 0


sys.exit(main())
