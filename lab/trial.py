#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Puts a rack under the demo's load through what an operator plans, or fears, and says what broke.

  rolling-restart   every node in turn: drained, stopped, started
  kill-two          the two of five nodes that carry most die at once, with two copies of everything
  scale             from four nodes to six, one after the other, and back: who carries how much?
  freeze            the node that carries most stands still for 5 s, and goes on
  snat              source NAT to many remote endpoints: are both directions of nine connections in ten
                    at one node and one worker? Then the node that carries most dies. Its own load

The load is the demo's: TCP connections of which every byte is checked, HTTP requests, a download,
datagrams. Exit status 0: nothing broke. Needs root.
"""
from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.dont_write_bytecode = True  # run as root, it would leave root's files in the source tree

import affinity  # noqa: E402
import demo  # noqa: E402
import scaling  # noqa: E402
import steps  # noqa: E402
from tripod_lab import interrupt, run  # noqa: E402
from demo import DemoError, Load, Rack, Result, say  # noqa: E402

FREEZE_S = 5


def carriers(rack: Rack) -> list[tuple[dict, set]]:
    """The nodes with what they handle, most first."""
    return sorted(((node, rack.tuples(node)) for node in rack.status["nodes"]),
                  key=lambda pair: -len(pair[1]))


def rolling_restart(rack: Rack) -> set:
    carried = set().union(*(has for _, has in carriers(rack)))
    with subprocess.Popen([str(demo.LAB), "rolling-restart", "--json", "--name", rack.name],
                          env=rack.env, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, start_new_session=True) as process:
        rack.helper = process
        for line in process.stdout:
            step = json.loads(line)
            rack.progressed = time.monotonic()
            say(f"  node {step['node']} {step['step']} after {step['after_ms'] / 1000:.1f} s")
        said = process.stderr.read().strip()
    if process.returncode:
        raise DemoError(f"tripod-lab rolling-restart: {said}")
    return carried


def kill_two(rack: Rack) -> set:
    (first, a), (second, b) = carriers(rack)[:2]
    for node in (first, second):
        os.kill(node["pid"], signal.SIGKILL)
    say(f"  nodes {first['id']} and {second['id']}, which carry {len(a)} and {len(b)} connections, "
        "are killed")
    return a | b


def freeze(rack: Rack) -> set:
    victim, carried = carriers(rack)[0]
    os.kill(victim["pid"], signal.SIGSTOP)
    say(f"  node {victim['id']}, which carries {len(carried)} connections, is frozen")
    time.sleep(FREEZE_S)
    os.kill(victim["pid"], signal.SIGCONT)
    say(f"  node {victim['id']} goes on")
    return carried


def session_up(sampler: demo.Program, node: int, since: float) -> float:
    """When the switch's session with a node came up."""
    for line in list(sampler.lines):
        if line.get("event") == "up" and line["name"] == f"node{node}" and line["at"] >= since:
            return line["at"]
    raise DemoError(f"nobody has seen node {node} come up")


def scale(rack: Rack) -> set:
    """Two nodes more, and away again. What it finds is left in rack.changes."""
    started = [n for n in rack.status["nodes"] if n["started"]]
    carried = set().union(*(rack.tuples(n) for n in started))
    ids = [n["id"] for n in rack.status["nodes"]]
    sampler = rack.start("switch", sys.executable, Path(__file__).with_name("sampler.py"),
                         *(f"node{i}" for i in ids), label="sampler")
    time.sleep(2 * scaling.BEFORE_S)
    for node in ids[len(started):]:
        before = time.monotonic()
        rack.lab("add")
        time.sleep(scaling.SETTLE_S + scaling.AFTER_S + 0.5)
        up = session_up(sampler, node, before)
        change = scaling.judge(list(sampler.lines), f"add node {node}", [i - 1 for i in ids if i < node],
                               node, before, up, up + scaling.SETTLE_S)
        rack.changes.append(change)
        say(f"  {change.report()}")
        time.sleep(scaling.BEFORE_S)
    for node in reversed(ids[len(started):]):
        before = time.monotonic()
        rack.lab("drain", str(node), "--wait")
        drained = time.monotonic()
        rack.lab("remove", str(node))
        time.sleep(scaling.AFTER_S + 0.5)
        change = scaling.judge(list(sampler.lines), f"remove node {node}",
                               [i - 1 for i in ids if i < node], node - 1, before, before, drained)
        rack.changes.append(change)
        say(f"  {change.report()}")
        time.sleep(scaling.BEFORE_S)
    rack.refresh()
    return carried


# What happens, nodes, arguments of `tripod-lab up`.
SCENARIOS = {
    "rolling-restart": (rolling_restart, 4, ()),
    "kill-two": (kill_two, 5, ("--backups", "2")),
    "freeze": (freeze, 4, ()),
    "scale": (scale, 6, ("--start", "4")),
}


class Happening(threading.Thread):
    """The scenario, while the load goes on."""

    def __init__(self, rack: Rack, what) -> None:
        super().__init__(daemon=True)
        self.rack, self.what = rack, what
        self.carried: set = set()
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self.carried = self.what(self.rack)
        except (DemoError, OSError) as error:
            self.error = error


def under_load(rack: Rack, load: Load, args: argparse.Namespace, what) -> set:
    """Lets it happen, and the load go on for a while."""
    size = sum(p.last()["bytes"] for p in load.clients)
    happening = Happening(rack, what)
    began, left = time.monotonic(), args.after_s
    happening.start()
    while left > 0:
        steps.pause(1)
        size = demo.live_line(rack, load, time.monotonic() - began, size)
        if time.monotonic() - max(began, rack.progressed) > args.limit_s:
            raise DemoError(f"has got no further for {args.limit_s} s")
        if not happening.is_alive():
            left -= 1
    if happening.error is not None:
        raise happening.error
    return happening.carried


def measure(rack: Rack, args: argparse.Namespace, what, checksum: str) -> Result:
    load, result = Load(), Result()
    demo.start_services(rack, load)
    demo.start_clients(rack, load)
    say(f"  {args.nodes} nodes up, {sum(p.last()['open'] for p in load.clients)} connections open")
    steps.pause(args.settle_s)
    download = demo.start_download(rack)
    try:
        carried = under_load(rack, load, args, what)
        result.downloads = 1
        got = rack.folder / "download"
        status = steps.ended(download, 3 * args.download_s)
        whole = status == 0 and hashlib.sha256(got.read_bytes()).hexdigest() == checksum
        result.downloads_broken = int(not whole)
        if not whole:
            say(f"  the download ended with status {status} of curl")
        got.unlink(missing_ok=True)
    finally:
        if download.poll() is None:
            download.kill()
        download.wait()
    active = [*load.clients, *load.probes, load.http]
    for program in active:
        program.tell("stop")
    results = {id(p): p.wait() for p in active}
    for program in load.listeners:
        program.tell("stop")
    demo.count(rack, load, result, carried, results, [p.wait() for p in load.listeners])
    return result


def report(scenario: str, r: Result) -> dict:
    return {
        "scenario": scenario, "connections": r.connections, "affected": r.on_dead_node,
        "broken": r.broken, "faults": r.faults, "corrupt": r.corrupt, "not_opened": r.not_opened,
        "http": r.http, "http_broken": r.http_broken, "http_errors": r.http_errors,
        "downloads_broken": r.downloads_broken, "datagrams": r.datagrams,
        "datagrams_lost": r.packets_lost,
        "stall_ms": {f"p{p}" if p < 100 else "max": round(demo.percentile(r.stalls_ms, p), 1)
                     for p in (50, 99, 100)},
    }


def failures(r: Result) -> list[str]:
    bad = [f"{n} {what}" for n, what in (
        (r.broken, "established connections broke"), (r.corrupt, "delivered wrong bytes"),
        (r.http_broken, "HTTP requests broke"), (r.downloads_broken, "downloads broke"),
        (r.not_opened, "connections could not be opened")) if n]
    if r.on_dead_node == 0:
        bad.append("nothing was carried by the nodes in question: nothing is proven")
    return bad


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="trial", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", choices=[*SCENARIOS, "snat"])
    parser.add_argument("--nodes", type=int, metavar="N", help="gateway nodes (4; kill-two: 5)")
    parser.add_argument("--workers", type=int, metavar="W",
                        help="worker threads a node (1; snat: 2)")
    parser.add_argument("--hash", default="outside-endpoint",
                        choices=["outside-endpoint", "symmetric", "5-tuple"],
                        help="what the switch picks a node by (outside-endpoint)")
    parser.add_argument("--durability", default="async", choices=["async", "sync"],
                        help="do packets wait for the copies? (async)")
    parser.add_argument("--connections", type=int, default=1000, metavar="N",
                        help="long-lived TCP connections (1000)")
    parser.add_argument("--interval-ms", type=int, default=200, metavar="MS",
                        help="time between two messages of a connection (200)")
    parser.add_argument("--detect-ms", type=int, default=100, metavar="MS",
                        help="the switch notices a dead node within so many ms; more on a busy "
                             "machine, where sessions fall for nothing (100)")
    parser.add_argument("--limit", dest="limit_s", type=int, default=300, metavar="S",
                        help="give up when it has got no further for so long (300)")
    parser.add_argument("--build", type=Path, default=Path("build"), metavar="DIR",
                        help="build directory (build)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="logs (build/trial)")
    parser.add_argument("--json", action="store_true", help="the result as JSON, last")
    args = parser.parse_args()
    args.build = args.build.resolve()
    args.output = (args.output or args.build / "trial").resolve()
    snat = args.scenario == "snat"
    args.nodes = args.nodes or (4 if snat else SCENARIOS[args.scenario][1])
    args.workers = args.workers or (2 if snat else 1)
    args.settle_s, args.after_s, args.http_rate = 2, 7, 50
    args.download_bytes, args.download_s = 16 << 20, 8
    return args


def snat(args: argparse.Namespace) -> tuple[dict, list[str]]:
    """Where both directions of connections through source NAT arrive."""
    say(f"trial: snat, {args.connections} connections, {args.nodes} nodes of {args.workers} workers, the "
        f"switch hashes {args.hash}")
    with Rack("tripod", args, ("--durability", args.durability,
                               "--detect-ms", str(args.detect_ms))) as rack:
        result = affinity.measure(rack, args.connections, args.interval_ms, args.after_s)
    return result.report(), result.failures()


def happens(args: argparse.Namespace) -> tuple[dict, list[str]]:
    """What becomes of connections under load when something happens."""
    what, _, up = SCENARIOS[args.scenario]
    checksum = demo.make_www(args)
    say(f"trial: {args.scenario}, {args.connections} connections, {args.nodes} nodes, the switch hashes "
        f"{args.hash}")
    with Rack("tripod", args, (*up, "--durability", args.durability,
                               "--detect-ms", str(args.detect_ms))) as rack:
        result = measure(rack, args, what, checksum)
        changes = rack.changes
    told = report(args.scenario, result)
    if changes:
        told["changes"] = [change.report() for change in changes]
    return told, failures(result) + [f for change in changes for f in change.failures()]


def main() -> int:
    args = parse_args()
    if os.geteuid() != 0:
        say("trial: a rack on one machine takes network namespaces, and these take root")
        return 1
    interrupt.listen()
    run.search_sbin()
    args.output.mkdir(parents=True, exist_ok=True)
    try:
        with demo.turn(args):
            told, bad = snat(args) if args.scenario == "snat" else happens(args)
    except DemoError as error:
        say(f"trial: {error}")
        return 1
    except interrupt.Interrupted as signal_:
        say("\ntrial: interrupted; the rack is gone")
        return 128 + signal_.signum
    say(json.dumps(told, indent=2) if args.json else
        "  " + ", ".join(f"{k} {v}" for k, v in told.items()))
    for line in bad:
        say(f"  FAILED  {line}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
