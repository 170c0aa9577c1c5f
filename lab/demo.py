#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Kills a node of a rack under load, with replication and without, and says what broke.

One rack after the other: more than a thousand TCP connections through load balancer, source NAT and
firewall, every byte of which is checked; HTTP requests; a download; numbered datagrams. The node that
carries most connections dies. Needs root; `make demo` builds what it runs.
"""
from __future__ import annotations

import argparse
import bisect
import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.dont_write_bytecode = True  # run as root, it would leave root's files in the source tree

import steps  # noqa: E402
from tripod_lab import interrupt, priority, run  # noqa: E402

LAB = Path(__file__).resolve().parent / "tripod-lab"
VIP = "198.51.100.1"
CLIENT = "203.0.113.100"
SERVERS = {"server1": "10.1.0.101", "server2": "10.1.0.102"}
PAGE_BYTES, PAGE_SEED = 10_000, 1
DEAD_MS = 5000  # a connection without progress for so long is broken
REPORT_MS = 100
BIN_S = 0.25  # of the throughput plot


class DemoError(Exception):
    pass


def say(text: str = "") -> None:
    print(text, flush=True)


# ---- What runs inside the rack ----

class Program:
    """A program in a namespace of the rack; its lines of JSON are collected as they come."""

    def __init__(self, rack: "Rack", host: str, args: list[str], label: str = "") -> None:
        self.label = label or args[1]
        self.lines: list[dict] = []
        self.log = open(rack.folder / f"{host}-{self.label}.log", "wb")
        # Should this program be killed, its children go too: their standard input ends.
        self.process = subprocess.Popen(
            priority.before_others(["ip", "netns", "exec", rack.namespace(host), *args]),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True,
            start_new_session=True)
        priority.session_before_others(self.process.pid)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            try:
                self.lines.append(json.loads(line))
            except ValueError:
                self.log.write(line.encode())

    def tell(self, line: str) -> None:
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended: wait() says how

    def last(self) -> dict:
        """The newest of the periodic lines."""
        for line in reversed(self.lines):
            if "t" in line and "event" not in line:
                return line
        return {}

    def wait(self, timeout_s: float = 15) -> dict:
        """Its result, once it has ended."""
        status = steps.ended(self.process, timeout_s)
        if status is None:
            raise DemoError(f"{self.label} does not end")
        self.reader.join(5)
        if not self.lines or not self.lines[-1].get("final"):
            raise DemoError(f"{self.label} ended without a result (status {status}): "
                            f"see {self.log.name}")
        return self.lines[-1]

    def kill(self, grace_s: float = 0) -> None:
        if grace_s:
            self.process.terminate()  # it ends its own children
            try:
                self.process.wait(grace_s)
            except subprocess.TimeoutExpired:
                pass
        self.process.kill()
        self.process.wait()
        self.reader.join(5)
        for line in self.lines:
            self.log.write(json.dumps(line).encode() + b"\n")
        self.log.close()


class Rack:
    """A lab, from up to down, and everything that the demo runs in it."""

    def __init__(self, mode: str, args: argparse.Namespace, up: tuple[str, ...] = ()) -> None:
        self.mode, self.args, self.up = mode, args, up
        self.name = f"demo_{mode}"
        self.folder = args.output / mode
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.env = {**os.environ, "TRIPOD_BUILD": str(args.build)}
        self.programs: list[Program] = []
        self.changes: list = []  # of scaling.Change, by a trial
        self.progressed = 0.0  # when a trial last got further
        self.status: dict = {}
        self.helper: subprocess.Popen | None = None  # of a trial: it must not start a node any more

    def lab(self, *args: str) -> str:
        done = steps.call([str(LAB), *args, "--name", self.name], self.env)
        if done.returncode:
            raise DemoError(f"tripod-lab {args[0]}: {done.stderr.strip()}")
        return done.stdout

    def __enter__(self) -> "Rack":
        try:
            self.lab("up", "--nodes", str(self.args.nodes), "--mode", self.mode,
                     "--hash", self.args.hash, "--workers", str(self.args.workers), *self.up)
            self.refresh()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # No signal ends the cleaning. Who is interrupted may be killed soon: what is to be gone goes
        # first, and by somebody else.
        hurry = kind is interrupt.Interrupted
        if self.helper is not None:
            self.helper.kill()
        if hurry:
            down = self.down()
        for program in self.programs:
            program.kill(grace_s=2 if program.label == "nginx" and not hurry else 0)
        if not hurry:
            for node in self.status.get("nodes", []):
                self.keep_traces(node)
            down = self.down()
        down.wait()

    def down(self) -> subprocess.Popen:
        return subprocess.Popen([str(LAB), "down", "--name", self.name], env=self.env,
                                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL, start_new_session=True)

    def keep_traces(self, node: dict) -> None:
        """What helps to find out why, should something have gone wrong."""
        try:
            shutil.copy(node["log"], self.folder / f"node{node['id']}.log")
            counters = self.ctl(node, "counters")
        except (OSError, DemoError):
            return  # this is the one that was killed
        with open(self.folder / f"node{node['id']}-counters.json", "w", encoding="utf-8") as f:
            json.dump(counters, f, indent=2)

    def refresh(self) -> None:
        self.status = json.loads(self.lab("status", "--json"))

    def namespace(self, host: str) -> str:
        return f"tl-{self.name}-{host}"

    def start(self, host: str, *args: object, label: str = "") -> Program:
        program = Program(self, host, [str(a) for a in args], label)
        self.programs.append(program)
        return program

    def ctl(self, node: dict, *args: str) -> dict:
        done = subprocess.run([str(self.args.build / "ctl" / "tripodctl"), "--socket",
                               node["control_socket"], "--json", *args], text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if done.returncode:
            raise DemoError(f"tripodctl {args[0]} of node {node['id']}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def tuples(self, node: dict) -> set[tuple[str, str]]:
        """(initiator, target) of the connections of which it handles a direction."""
        views = self.ctl(node, "connections", "--where", "proto=tcp,role=master", "--limit", "0")
        return {(f"{c['src']}:{c['sport']}", f"{c['dst']}:{c['dport']}")
                for c in views["connections"] if c["state"] == "established"}

    def counters(self) -> dict[str, int]:
        total: dict[str, int] = {}
        for node in self.status["nodes"]:
            for c in self.ctl(node, "counters", "--all")["counters"]:
                if c["group"] == "core":
                    total[c["counter"]] = total.get(c["counter"], 0) + c["value"]
        return total


# ---- The load ----

NGINX = """\
daemon off;
worker_processes 1;
error_log stderr warn;
pid {folder}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
	access_log off;
	sendfile on;
	client_body_temp_path {folder}/body;
	proxy_temp_path {folder}/proxy;
	fastcgi_temp_path {folder}/fastcgi;
	uwsgi_temp_path {folder}/uwsgi;
	scgi_temp_path {folder}/scgi;
	server {{
		listen 80;
		root {www};
		location = /download {{ limit_rate {rate}; }}
	}}
}}
"""


@dataclass
class Load:
    clients: list[Program] = field(default_factory=list)
    probes: list[Program] = field(default_factory=list)
    http: Program | None = None
    listeners: list[Program] = field(default_factory=list)
    download: subprocess.Popen | None = None


def start_nginx(rack: Rack, host: str, download_bytes_per_s: int) -> None:
    folder = rack.folder / host
    folder.mkdir()
    conf = folder / "nginx.conf"
    conf.write_text(NGINX.format(folder=folder, www=rack.args.output / "www",
                                 rate=download_bytes_per_s))
    user = ["-g", "user root;"] if os.geteuid() == 0 else []
    rack.start(host, "setpriv", "--pdeathsig", "TERM", "nginx", "-p", folder, "-e", "stderr",
               "-c", conf, *user, label="nginx")


def start_services(rack: Rack, load: Load) -> None:
    tool = rack.args.build / "lab" / "load" / "tripod-load"
    for host in SERVERS:
        start_nginx(rack, host, rack.args.download_bytes // rack.args.download_s)
        load.listeners.append(rack.start(
            host, tool, "server", "--listen", "0.0.0.0:7000-7003", "--listen", "0.0.0.0:8000-8003",
            label="server"))
    load.listeners.append(rack.start("client", tool, "server", "--listen", "0.0.0.0:9000-9063",
                                     label="server"))
    load.listeners.append(rack.start("client", tool, "udp", "--listen", "0.0.0.0:9100-9149",
                                     label="udp-listener"))
    wait_for("the servers", 10, lambda: all(p.lines for p in load.listeners))
    for host in SERVERS:
        wait_for(f"nginx on {host}", 10, lambda host=host: subprocess.run(
            ["ip", "netns", "exec", rack.namespace(host), "curl", "-sf", "-o", "/dev/null",
             "http://127.0.0.1/page"], check=False).returncode == 0)


def start_clients(rack: Rack, load: Load) -> None:
    tool = rack.args.build / "lab" / "load" / "tripod-load"
    total = rack.args.connections
    shares = {"lb": total * 2 // 5, "firewall": total * 3 // 10}
    shares["snat1"] = (total - sum(shares.values())) // 2
    shares["snat2"] = total - sum(shares.values())
    targets = {
        "lb": ("client", [f"{VIP}:7000-7003"]),
        "firewall": ("client", [f"{address}:8000-8003" for address in SERVERS.values()]),
        "snat1": ("server1", [f"{CLIENT}:9000-9063"]),
        "snat2": ("server2", [f"{CLIENT}:9000-9063"]),
    }
    for what, (host, at) in targets.items():
        load.clients.append(rack.start(
            host, tool, "client", *(x for a in at for x in ("--connect", a)),
            "--connections", shares[what], "--rate", 150, "--interval-ms", rack.args.interval_ms,
            "--dead-ms", DEAD_MS, "--report-ms", REPORT_MS,
            "--output", rack.folder / f"{what}.json", label=what))
    try:
        wait_for("connections to open", 30, lambda: all(
            p.last().get("open", 0) + p.last().get("connect_failed", 0) == shares[p.label]
            for p in load.clients))
    except DemoError as error:
        raise DemoError(f"{error}: " + ", ".join(
            f"{p.label} {p.last()}" for p in load.clients)) from None
    for host in SERVERS:
        load.probes.append(rack.start(
            host, tool, "udp", "--connect", f"{CLIENT}:9100-9149", "--flows", 50, "--rate", 500,
            "--report-ms", REPORT_MS, label="udp"))
    load.http = rack.start(
        "client", tool, "http", "--connect", f"{VIP}:80", "--path", "/page", "--size", PAGE_BYTES,
        "--seed", PAGE_SEED, "--rate", rack.args.http_rate, "--report-ms", REPORT_MS, label="http")


def wait_for(what: str, seconds: float, poll) -> None:
    end = time.monotonic() + seconds
    while not poll():
        if time.monotonic() > end:
            raise DemoError(f"gave up waiting for {what}")
        steps.pause(0.05)


def make_www(args: argparse.Namespace) -> str:
    """The files that nginx serves; the checksum of the download."""
    www = args.output / "www"
    www.mkdir(parents=True, exist_ok=True)
    tool = str(args.build / "lab" / "load" / "tripod-load")
    for name, size, seed in (("page", PAGE_BYTES, PAGE_SEED), ("download", args.download_bytes, 2)):
        with open(www / name, "wb") as f:
            subprocess.run([tool, "body", "--size", str(size), "--seed", str(seed)], stdout=f,
                           check=True)
    # nginx's workers need not be root.
    return hashlib.sha256((www / "download").read_bytes()).hexdigest()


# ---- A run ----

@dataclass
class Result:
    """Of one rack; of several runs, all of them together."""
    connections: int = 0
    on_dead_node: int = 0
    broken: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    stalls_ms: list[float] = field(default_factory=list)  # of those on the dead node
    other_stalls_ms: list[float] = field(default_factory=list)
    not_opened: int = 0
    corrupt: int = 0
    http: int = 0
    http_errors: int = 0
    http_broken: int = 0  # of them, those that had been established
    downloads: int = 0
    downloads_broken: int = 0
    datagrams: int = 0
    packets_lost: int = 0
    silence_ms: float = 0
    control_bytes: int = 0
    workload_bytes: int = 0
    runs: int = 0
    throughput: list[tuple[float, float]] = field(default_factory=list)

    def control_ratio(self) -> float:
        return self.control_bytes / self.workload_bytes if self.workload_bytes else 0.0


def percentile(values: list[float], percent: int) -> float:
    """Nearest rank; 0 of nothing."""
    ranked = sorted(values)
    return ranked[max(0, -(-len(ranked) * percent // 100) - 1)] if ranked else 0.0


def live_line(rack: Rack, load: Load, since: float, before: int) -> int:
    """Prints where things stand; returns the bytes so far."""
    now = [p.last() for p in load.clients]
    size = sum(x.get("bytes", 0) for x in now)
    http = load.http.last()
    say(f"  {since:+4.0f} s  open {sum(x.get('open', 0) for x in now):5}  "
        f"broken {sum(x.get('broken', 0) for x in now):4}  "
        f"stalled {sum(x.get('stalled', 0) for x in now):4}  "
        f"{(size - before) * 8 / 1e6:5.1f} Mbit/s each way  "
        f"http {http.get('ok', 0)} ok {http.get('errors', 0)} failed")
    return size


def cumulative(program: Program) -> tuple[list[float], list[int]]:
    points = [(x["t"], x["bytes"]) for x in program.lines if "bytes" in x and "event" not in x]
    return [p[0] for p in points], [p[1] for p in points]


def throughput(load: Load, killed: float, start: float, end: float) -> list[tuple[float, float]]:
    """(seconds after the kill, Mbit/s) of checked bytes that came back, in bins."""
    def at(times: list[float], sizes: list[int], t: float) -> float:
        i = bisect.bisect_right(times, t)
        if i == 0 or i == len(times):
            return sizes[0] if i == 0 else sizes[-1]
        share = (t - times[i - 1]) / (times[i] - times[i - 1])
        return sizes[i - 1] + share * (sizes[i] - sizes[i - 1])

    curves = [cumulative(p) for p in load.clients]
    bins = []
    n = int((end - start) / BIN_S)
    for k in range(n):
        a = killed + round((start - killed) / BIN_S) * BIN_S + k * BIN_S
        size = sum(at(*c, a + BIN_S) - at(*c, a) for c in curves)
        bins.append((a + BIN_S / 2 - killed, size * 8 / 1e6 / BIN_S))
    return bins


def hurt(rack: Rack, node: dict, how: str) -> float:
    """Makes the node fail; when that was."""
    if how == "kill":
        os.kill(node["pid"], signal.SIGKILL)
        return time.monotonic()
    rack.lab("kill", str(node["id"]), "--how", how)
    return time.monotonic()


def start_download(rack: Rack) -> subprocess.Popen:
    curl = subprocess.Popen(priority.before_others(
        ["ip", "netns", "exec", rack.namespace("client"), "setpriv", "--pdeathsig", "TERM", "curl",
         "-s", "-S", "--fail", "--max-time", str(3 * rack.args.download_s), "--speed-time",
         str(DEAD_MS // 1000), "--speed-limit", "1", "-o", str(rack.folder / "download"),
         f"http://{VIP}/download"]), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True)
    priority.session_before_others(curl.pid)
    return curl


def run_mode(mode: str, args: argparse.Namespace, checksum: str, into: Result) -> None:
    say(f"\n{'With' if mode == 'tripod' else 'Without'} replication ({mode}):")
    began = time.monotonic()
    with Rack(mode, args) as rack:
        load = Load()
        start_services(rack, load)
        before = rack.counters()
        opening = time.monotonic()
        start_clients(rack, load)
        opened = sum(p.last()["open"] for p in load.clients)
        say(f"  {args.nodes} nodes up and {opened} connections open after "
            f"{time.monotonic() - began:.1f} s")
        steady = time.monotonic()
        download = start_download(rack)
        try:
            into_run(rack, load, args, into, before, opening, steady, download, checksum)
        finally:
            if download.poll() is None:
                download.kill()
            download.wait()


def into_run(rack: Rack, load: Load, args: argparse.Namespace, into: Result, before: dict[str, int],
             opening: float, steady: float, download: subprocess.Popen, checksum: str) -> None:
    size = sum(p.last()["bytes"] for p in load.clients)
    for second in range(args.settle_s):
        steps.pause(max(0, steady + second + 1 - time.monotonic()))
        size = live_line(rack, load, second + 1 - args.settle_s, size)
    after = rack.counters()
    carried = {node["id"]: rack.tuples(node) for node in rack.status["nodes"]}
    victim = max(rack.status["nodes"], key=lambda node: len(carried[node["id"]]))
    for program in load.clients:
        program.tell("mark")
    wait_for("the marks", 5, lambda: all(
        any(x.get("event") == "mark" for x in p.lines) for p in load.clients))
    killed = hurt(rack, victim, args.how)
    say(f"  node {victim['id']}, which carries {len(carried[victim['id']])} connections, is "
        f"{ {'kill': 'killed', 'freeze': 'frozen', 'link': 'cut off'}[args.how]}")
    size = sum(p.last()["bytes"] for p in load.clients)
    for second in range(args.after_s):
        steps.pause(max(0, killed + second + 1 - time.monotonic()))
        size = live_line(rack, load, second + 1, size)
    ended = time.monotonic()
    active = [*load.clients, *load.probes, load.http]
    for program in active:
        program.tell("stop")
    results = {id(p): p.wait() for p in active}
    for program in load.listeners:
        program.tell("stop")
    answers = [p.wait() for p in load.listeners]
    status = steps.ended(download, 2 * args.download_s)
    count(rack, load, into, carried[victim["id"]], results, answers)
    into.control_bytes += after["control_tx_bytes"] - before["control_tx_bytes"]
    into.workload_bytes += after["workload_bytes"] - before["workload_bytes"]
    into.downloads += 1
    got = rack.folder / "download"
    whole = status == 0 and hashlib.sha256(got.read_bytes()).hexdigest() == checksum
    into.downloads_broken += not whole
    got.unlink(missing_ok=True)
    into.runs += 1
    into.throughput = throughput(load, killed, steady, ended)


def count(rack: Rack, load: Load, into: Result, carried: set[tuple[str, str]],
          results: dict[int, dict], answers: list[dict]) -> None:
    for program in load.clients:
        with open(rack.folder / f"{program.label}.json", encoding="utf-8") as f:
            full = json.load(f)
        into.connections += full["opened"]
        into.not_opened += full["connect_failed"]
        into.broken += full["broken"]
        for conn in full["connections"]:
            if not conn["opened_t"]:
                continue
            if conn["fault"]:
                into.faults[conn["fault"]] = into.faults.get(conn["fault"], 0) + 1
            on_dead = (conn["local"], conn["remote"]) in carried
            into.on_dead_node += on_dead
            (into.stalls_ms if on_dead else into.other_stalls_ms).append(conn["stall_ms"])
    into.corrupt += sum(a.get("corrupt", 0) + a.get("bad_hello", 0) for a in answers)
    http = results[id(load.http)]
    into.http += http["started"]
    into.http_errors += http["errors"]
    into.http_broken += http["faults"]["reset"] + http["faults"]["body"]
    for probe in load.probes:
        r = results[id(probe)]
        into.datagrams += r["sent"] + r["peer_sent"]
        into.packets_lost += r["lost"]
        into.silence_ms = max(into.silence_ms, r["longest_gap_ms"], r["peer_longest_gap_ms"])


# ---- What comes of it ----

def report(results: dict[str, Result]) -> dict:
    return {mode: {
        "connections": r.connections,
        "on_dead_node": r.on_dead_node,
        "broken": r.broken,
        "stall_ms": {"p50": round(percentile(r.stalls_ms, 50), 1),
                     "p99": round(percentile(r.stalls_ms, 99), 1),
                     "max": round(percentile(r.stalls_ms, 100), 1)},
        "http_errors": r.http_errors,
        "packets_lost": r.packets_lost,
        "control_ratio": round(r.control_ratio(), 4),
    } for mode, r in results.items()}


def table(results: dict[str, Result]) -> None:
    def row(title: str, show) -> None:
        say(f"  {title:<44}" + "".join(f"{show(r):>14}" for r in results.values()))

    say("\n" + " " * 46 + "".join(f"{mode:>14}" for mode in results))
    row("connections", lambda r: f"{r.connections:,}")
    row("  carried by the node that died", lambda r: f"{r.on_dead_node:,}")
    row("  broken", lambda r: f"{r.broken:,}")
    row("longest stall of those on that node, p50", lambda r: f"{percentile(r.stalls_ms, 50):,.0f} ms")
    row("  p99", lambda r: f"{percentile(r.stalls_ms, 99):,.0f} ms")
    row("  max", lambda r: f"{percentile(r.stalls_ms, 100):,.0f} ms")
    row("longest stall of the others, p99", lambda r: f"{percentile(r.other_stalls_ms, 99):,.0f} ms")
    row("HTTP requests", lambda r: f"{r.http:,}")
    row("  failed", lambda r: f"{r.http_errors:,}")
    row("downloads whole", lambda r: f"{r.downloads - r.downloads_broken} of {r.downloads}")
    row("datagrams sent, both ways", lambda r: f"{r.datagrams:,}")
    row("  lost", lambda r: f"{r.packets_lost:,}")
    row("  longest silence of one of 100 flows", lambda r: f"{r.silence_ms:,.0f} ms")
    row("control bytes per workload byte", lambda r: f"{r.control_ratio():.3f}")
    for mode, r in results.items():
        if r.faults:
            say(f"  broken in {mode}: " + ", ".join(f"{n} {f}" for f, n in sorted(r.faults.items())))
    say(f"\n  A connection is broken when it is reset, closed, delivers a wrong byte, or makes no "
        f"progress for {DEAD_MS // 1000} s;\n  a stall is the time for which it was owed bytes and "
        "got none (broken ones: until they were given up).")


def plot(results: dict[str, Result], args: argparse.Namespace) -> None:
    data = args.output / "throughput.dat"
    names = {"tripod": "tripod", "baseline": "baseline (no replication)"}
    with open(data, "w", encoding="utf-8") as f:
        f.write("# seconds after the kill, Mbit/s of checked bytes; one block for each mode\n")
        for mode, r in results.items():
            f.write(f"# {mode}\n" + "".join(f"{t:.3f} {v:.3f}\n" for t, v in r.throughput) + "\n\n")
    colours = {"tripod": "#1b6ca8", "baseline": "#c0392b"}
    curves = ", ".join(
        f"'{data}' index {i} using 1:2 with lines lw 2 lc rgb '{colours[mode]}' title '{names[mode]}'"
        for i, mode in enumerate(results))
    word = {"kill": "killed", "freeze": "frozen", "link": "cut off"}[args.how]
    script = f"""
set terminal pngcairo size 1000,450 font 'sans,11'
set output '{args.output}/throughput.png'
set title '{args.connections} connections through {args.nodes} nodes, one of which is {word}'
set xlabel 'seconds after the node was {word}'
set ylabel 'Mbit/s of checked data'
set yrange [0:*]
set grid ytics lc rgb '#dddddd'
set key below
set arrow from first 0, graph 0 to first 0, graph 1 nohead dashtype 2 lc rgb '#555555'
plot {curves}
"""
    subprocess.run(["gnuplot"], input=script, text=True, check=True)


def verdict(results: dict[str, Result], args: argparse.Namespace) -> int:
    bad = []
    for mode, r in results.items():
        if r.on_dead_node == 0:
            bad.append(f"{mode}: the node that died carried no connection: nothing is proven")
        if r.not_opened:
            bad.append(f"{mode}: {r.not_opened} connections could not be opened")
    if "tripod" in results:
        r = results["tripod"]
        if r.broken:
            bad.append(f"tripod: {r.broken} of {r.connections} established connections broke")
        if r.corrupt:
            bad.append(f"tripod: {r.corrupt} connections delivered wrong bytes to a server")
        if r.http_broken:
            bad.append(f"tripod: {r.http_broken} HTTP requests broke")
        if r.downloads_broken:
            bad.append(f"tripod: {r.downloads_broken} downloads broke")
    if "baseline" in results and results["baseline"].broken == 0:
        bad.append("baseline: nothing broke without replication either, SO THIS DEMO PROVES NOTHING")
    say()
    for line in bad:
        say(f"  FAILED  {line}")
    if not bad and "tripod" in results:
        r = results["tripod"]
        say(f"  The node died, and all {r.connections:,} connections went on"
            + (f"; without replication, {results['baseline'].broken:,} broke."
               if "baseline" in results else "."))
    return 1 if bad else 0


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="demo", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=4, metavar="N", help="gateway nodes (4)")
    parser.add_argument("--workers", type=int, default=1, metavar="W", help="worker threads a node (1)")
    parser.add_argument("--hash", default="outside-endpoint",
                        choices=["outside-endpoint", "symmetric", "5-tuple"],
                        help="what the switch picks a node by (outside-endpoint)")
    parser.add_argument("--how", default="kill", choices=["kill", "freeze", "link"],
                        help="SIGKILL, SIGSTOP, or pull the cable (kill)")
    parser.add_argument("--mode", choices=["tripod", "baseline"], help="one of the two only")
    parser.add_argument("--connections", type=int, default=1000, metavar="N",
                        help="long-lived TCP connections (1000)")
    parser.add_argument("--interval-ms", type=int, default=200, metavar="MS",
                        help="time between two messages of a connection (200)")
    parser.add_argument("--repeat", type=int, default=1, metavar="N",
                        help="so many times; the figures are of all runs together")
    parser.add_argument("--quick", action="store_true", help="200 connections, shorter")
    parser.add_argument("--build", type=Path, default=Path("build"), metavar="DIR",
                        help="build directory (build)")
    parser.add_argument("--output", type=Path, metavar="DIR",
                        help="where report.json, throughput.png and logs go (build/demo)")
    args = parser.parse_args()
    args.build = args.build.resolve()
    args.output = (args.output or args.build / "demo").resolve()
    args.settle_s, args.after_s, args.http_rate = 4, 8, 50
    args.download_bytes, args.download_s = 16 << 20, 8
    if args.quick:
        args.connections = min(args.connections, 200)
        args.settle_s, args.after_s = 2, 7
        args.download_bytes, args.download_s = 5 << 20, 5
    if args.nodes < 2:
        parser.error("--nodes: a node can die only where another goes on")
    return args


@contextlib.contextmanager
def turn(args: argparse.Namespace):
    """Of this demo or trial. Racks that one has left which was killed are gone."""
    with steps.turn(lambda: say("another demo runs on this machine: waiting for it to end")):
        for mode in ("tripod", "baseline"):
            steps.call([str(LAB), "down", "--name", f"demo_{mode}"],
                       {**os.environ, "TRIPOD_BUILD": str(args.build)})
        yield


def run_all(args: argparse.Namespace) -> dict[str, Result]:
    results = {mode: Result() for mode in ([args.mode] if args.mode else ["tripod", "baseline"])}
    with turn(args):
        checksum = make_www(args)
        say(f"demo: {args.connections} connections, {args.nodes} nodes, the switch hashes "
            f"{args.hash}")
        for n in range(args.repeat):
            for mode in results:
                run_mode(mode, args, checksum, results[mode])
    return results


def main() -> int:
    args = parse_args()
    if os.geteuid() != 0:
        say("demo: a rack on one machine takes network namespaces, and these take root: sudo make demo")
        return 1
    interrupt.listen()
    run.search_sbin()
    args.output.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    try:
        results = run_all(args)
    except DemoError as error:
        say(f"demo: {error}")
        return 1
    except interrupt.Interrupted as signal_:
        say("\ndemo: interrupted; the rack is gone")
        return 128 + signal_.signum
    table(results)
    plot(results, args)
    with open(args.output / "report.json", "w", encoding="utf-8") as f:
        json.dump(report(results), f, indent=2)
        f.write("\n")
    status = verdict(results, args)
    say(f"  {args.output}/report.json, throughput.png ({time.monotonic() - began:.0f} s)")
    return status


if __name__ == "__main__":
    sys.exit(main())
