#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Draws what tripod-sim churn --json tells: connections that need PullReplica after one failure, by
number of nodes (needs gnuplot).

    tripod-sim churn --json | bench/plots/churn.py churn.png
"""
import json
import subprocess
import sys

LINES = [(directions, placement) for directions in ("together", "split")
         for placement in ("predictive", "random")]


def points(report, directions, placement):
    for r in report["racks"]:
        if (r["directions"], r["placement"]) == (directions, placement):
            # A share of nothing has no place on a logarithmic scale: it is drawn at the bottom.
            yield r["nodes"], max(100 * r["pulled"], 0.001)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    report = json.load(sys.stdin)
    script = [f"set terminal pngcairo size 800,500; set output '{sys.argv[1]}'",
              f"set title 'After one failure: k = {report['k']}, switch {report['switch']}'",
              "set xlabel 'nodes'; set ylabel 'connections that need PullReplica, %'",
              "set logscale y; set yrange [0.001:100]; set key right center; set grid"]
    for i, line in enumerate(LINES):
        script += [f"$line{i} << EOD", *(f"{x} {y}" for x, y in points(report, *line)), "EOD"]
    script.append("plot " + ", ".join(
        f"$line{i} with linespoints title '{placement}, directions {directions}'"
        for i, (directions, placement) in enumerate(LINES)))
    subprocess.run(["gnuplot"], input="\n".join(script) + "\n", text=True, check=True)


if __name__ == "__main__":
    main()
