# SPDX-License-Identifier: BSD-3-Clause
"""Source NAT to many remote endpoints: do both directions of a connection meet at one node and one worker,
and do those that do not survive a kill as well? A trial (trial.py snat)."""
from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from dataclasses import asdict, dataclass, field

import demo
import steps
from demo import DemoError, Program, Rack, say

REMOTES = [f"198.18.0.{i}" for i in range(1, 65)]
PORTS = range(9000, 9004)
SERVERS = ("server1", "server2")
TOGETHER_LEAST = 0.9


@dataclass
class Affinity:
    connections: int = 0  # that were given a port
    remotes: int = 0
    nodes_apart: int = 0  # of them, those whose directions are handled by two nodes
    workers_apart: int = 0  # ... whose answers came back to another worker of the node
    foreseen_apart: int = 0  # ... of which the network function knew that they would be
    affected: int = 0  # by the kill
    broken: int = 0
    not_opened: int = 0
    corrupt: int = 0
    takeovers: int = 0
    stall_ms_max: float = 0
    shares: list[int] = field(default_factory=list)  # connections at each node

    @property
    def together(self) -> float:
        """At least: a connection may be apart in both ways."""
        apart = self.nodes_apart + self.workers_apart
        return (self.connections - apart) / self.connections if self.connections else 0.0

    def failures(self) -> list[str]:
        bad = [f"{n} {what}" for n, what in (
            (self.broken, "established connections broke"), (self.corrupt, "delivered wrong bytes"),
            (self.not_opened, "connections could not be opened")) if n]
        if self.together < TOGETHER_LEAST:
            bad.append(f"{self.together:.1%} have both directions at one node and worker: "
                       f"{TOGETHER_LEAST:.0%} wanted")
        if self.affected == 0 or self.takeovers == 0:
            bad.append("nothing was carried by the node that died: nothing is proven")
        if self.connections == 0 or min(self.shares, default=0) == 0:
            bad.append("a node carried nothing: nothing is proven of it")
        if self.remotes < len(REMOTES) // 2:
            bad.append(f"only {self.remotes} remote addresses: nothing is proven")
        return bad

    def report(self) -> dict:
        return {"scenario": "snat", "together": round(self.together, 4), **asdict(self)}


def apart(views: list[dict]) -> int:
    """Connections whose directions have two masters. Each node tells of what it knows."""
    masters = {(v["src"], v["sport"], v["dst"], v["dport"]): v["masters"] for v in views}
    return sum(a != b for a, b in masters.values())


def counted(rack: Rack) -> dict[str, int]:
    """Of all nodes, by "group/counter"."""
    total: dict[str, int] = {}
    for node in rack.status["nodes"]:
        for c in rack.ctl(node, "counters", "--all")["counters"]:
            key = f"{c['group']}/{c['counter']}"
            total[key] = total.get(key, 0) + c["value"]
    return total


def start(rack: Rack, connections: int, interval_ms: int) -> tuple[Program, list[Program]]:
    tool = rack.args.build / "lab" / "load" / "tripod-load"
    # The client is a whole network: each of these addresses is its own.
    subprocess.run(["ip", "-n", rack.namespace("client"), "route", "add", "local", "198.18.0.0/24",
                    "dev", "lo"], check=True)
    listener = rack.start("client", tool, "server", "--listen",
                          f"0.0.0.0:{PORTS[0]}-{PORTS[-1]}", label="server")
    demo.wait_for("the server", 10, lambda: listener.lines)
    clients = []
    for host in SERVERS:
        at = [x for r in REMOTES for x in ("--connect", f"{r}:{PORTS[0]}-{PORTS[-1]}")]
        clients.append(rack.start(
            host, tool, "client", *at, "--connections", connections // len(SERVERS), "--rate", 100,
            "--interval-ms", interval_ms, "--dead-ms", demo.DEAD_MS, "--report-ms", demo.REPORT_MS,
            "--output", rack.folder / f"{host}.json", label=host))
    demo.wait_for("connections to open", 60, lambda: all(
        p.last().get("open", 0) + p.last().get("connect_failed", 0) == connections // len(SERVERS)
        for p in clients))
    return listener, clients


def look(rack: Rack, result: Affinity) -> dict:
    """Where the connections are; the node that handles most."""
    views, carried = [], {}
    for node in rack.status["nodes"]:
        told = rack.ctl(node, "connections", "--where", "proto=tcp,role=master", "--limit",
                        "0")["connections"]
        told = [v for v in told if v["state"] == "established"]
        views += told
        carried[node["id"]] = {(f"{v['src']}:{v['sport']}", f"{v['dst']}:{v['dport']}")
                               for v in told}
    totals = counted(rack)
    result.connections = totals.get("snat/allocated", 0)
    result.workers_apart = totals.get("core/opened_apart", 0)
    result.foreseen_apart = totals.get("snat/apart", 0)
    result.nodes_apart = apart(views)
    result.remotes = len({v["dst"] for v in views})
    result.shares = [len(c) for c in carried.values()]
    victim = max(rack.status["nodes"], key=lambda n: len(carried[n["id"]]))
    return {**victim, "carried": carried[victim["id"]], "takeovers": totals.get("core/takeovers", 0)}


def measure(rack: Rack, connections: int, interval_ms: int, after_s: float) -> Affinity:
    result = Affinity()
    listener, clients = start(rack, connections, interval_ms)
    steps.pause(1)
    victim = look(rack, result)
    say(f"  {result.connections} connections to {result.remotes} addresses, at the nodes "
        f"{result.shares}: {result.nodes_apart} at two nodes, {result.workers_apart} at two workers")
    for p in clients:
        p.tell("mark")
    os.kill(victim["pid"], signal.SIGKILL)
    say(f"  node {victim['id']}, which carries {len(victim['carried'])}, is killed")
    steps.pause(after_s)
    rack.status["nodes"] = [n for n in rack.status["nodes"] if n["id"] != victim["id"]]
    result.takeovers = counted(rack).get("core/takeovers", 0)
    for p in clients:
        p.tell("stop")
        p.wait()
    listener.tell("stop")
    answer = listener.wait()
    result.corrupt = answer.get("corrupt", 0) + answer.get("bad_hello", 0)
    for host in SERVERS:
        with open(rack.folder / f"{host}.json", encoding="utf-8") as f:
            full = json.load(f)
        result.broken += full["broken"]
        result.not_opened += full["connect_failed"]
        for conn in full["connections"]:
            if (conn["local"], conn["remote"]) in victim["carried"]:
                result.affected += 1
                result.stall_ms_max = max(result.stall_ms_max, conn["stall_ms"])
    if result.connections + result.not_opened < connections:
        raise DemoError(f"only {result.connections} of {connections} were given a port")
    return result
