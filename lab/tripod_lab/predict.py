# SPDX-License-Identifier: BSD-3-Clause
"""Does the switch do what its prediction groups foretell? Asks them for thousands of flows, kills one
node after the other, and looks where the flows go then.

Frames are made by hand, and caught where they come out. Their IP checksum is wrong on purpose: the
switch does not look, and a node drops them at once."""

from __future__ import annotations

import ctypes
import json
import os
import random
import select
import socket
import struct
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import LabError, lab, nodes, topology
from .ovs import Switch
from .run import run, wait_for
from .topology import HOSTS, INSIDE, OUTSIDE, Lab, Node

SOL_PACKET, PACKET_AUXDATA, PACKET_OUTGOING = 263, 8, 4
TP_STATUS_VLAN_VALID = 1 << 4
CLONE_NEWNET = 0x40000000
SO_RCVBUFFORCE = 33
ETH_P_ALL = 3
MAGIC = b"tripod predicts!"
BATCH = 200  # frames on their way at one time
SILENCE_S = 0.1  # after the last frame of a batch: then the others are lost
TRIES = 5
UP_S = 10.0  # a session that fell for nothing comes again
ROUNDS = 4  # of one node, when another one's session falls meanwhile
RIGHT_LEAST = 0.999
# What is left out, by hash. A prediction is of the group, and right; what the datapath does is not. Under symmetric
# Open vSwitch 3.1 hashes UDP by addresses alone and has datapath flows of it that overlap; when it
# revises one it may change another, and the first keeps sending to the dead port for as long as it is used.
NOT_ASKED = {"symmetric": "UDP: some datapath flows of Open vSwitch 3.1 overlap, and keep sending to a dead port"}


def socket_in(ns: str) -> socket.socket:
    """A packet socket on eth0 of a namespace. It stays there; this process comes back."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{ns}", os.O_RDONLY)
    try:
        if libc.setns(there, CLONE_NEWNET) != 0:
            raise LabError(f"{ns}: {os.strerror(ctypes.get_errno())}")
        try:
            s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            s.bind(("eth0", 0))
        finally:
            if libc.setns(home, CLONE_NEWNET) != 0:
                os._exit(1)  # whatever came next would happen in the wrong place
    finally:
        os.close(home)
        os.close(there)
    s.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
    s.setblocking(False)
    return s


# ---- Flows ----

@dataclass(frozen=True)
class Flow:
    """A packet as it comes from one side: by its number, everywhere known again."""

    number: int
    from_outside: bool
    ip: bytes

    def frame(self, round_: int, vlan: int | None) -> bytes:
        """As a host of the side sends it; with a VLAN, as a node asks the switch."""
        side = OUTSIDE if self.from_outside else INSIDE
        tag = b"" if vlan is None else struct.pack("!HH", 0x8100, vlan)
        return (mac(side.gateway_mac) + b"\x02\0\0\0\x99\x99" + tag + b"\x08\0" + self.ip
                + MAGIC + struct.pack("!II", round_, self.number))


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def make_flow(number: int, rng: random.Random, tcp_only: bool = False) -> Flow:
    outside = struct.pack("!BBH", 198, 18 + rng.randrange(2), rng.randrange(1 << 16))
    inside = struct.pack("!BBBB", 10, 1, 0, rng.randrange(120, 250))
    ports = rng.randrange(1024, 65536), rng.choice((80, 443, 7000))
    from_outside = number % 2 == 0
    source, target = (outside, inside) if from_outside else (inside, outside)
    ports = ports if from_outside else ports[::-1]
    if number % 4 < 2 or tcp_only:
        proto, l4 = 6, struct.pack("!HHIIBBHHH", *ports, 1, 1, 0x50, 0x10, 1000, 0, 0)
    else:
        proto, l4 = 17, struct.pack("!HHHH", *ports, 8 + len(MAGIC) + 8, 0)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(l4) + len(MAGIC) + 8, 0, 0, 64, proto, 0)
    head += source + target
    wrong = (checksum(head) ^ 0x5555).to_bytes(2, "big")
    return Flow(number, from_outside, head[:10] + wrong + head[12:] + l4)


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xffff) + (total >> 16)
    return ~(total + (total >> 16)) & 0xffff


def parse(data: bytes, tci: int) -> tuple[int, int, int] | None:
    """(round, number, VLAN) of a frame of ours, else None."""
    if data[12:14] == b"\x81\0":
        tci = struct.unpack_from("!H", data, 14)[0]
        data = data[:12] + data[16:]
    at = data.find(MAGIC, 34, 80)
    if at < 0 or len(data) < at + len(MAGIC) + 8:
        return None
    return *struct.unpack_from("!II", data, at + len(MAGIC)), tci & 0xfff


# ---- Wires ----

class Wires:
    """Sends as hosts and nodes do, and sees what arrives at each node."""

    def __init__(self, the: Lab, members: list[Node]) -> None:
        self.at = {n.id: socket_in(the.namespace(n.name)) for n in members}
        self.hosts = {side.name: socket_in(the.namespace(next(
            h.name for h in HOSTS if h.side is side))) for side in (OUTSIDE, INSIDE)}
        self.poll = select.poll()
        self.by_fd = {}
        for node, s in self.at.items():
            self.poll.register(s, select.POLLIN)
            self.by_fd[s.fileno()] = (node, s)
        self.round = 0

    def close(self) -> None:
        for s in (*self.at.values(), *self.hosts.values()):
            s.close()

    def _drain(self, timeout_ms: float) -> list[tuple[int, int, int, int]]:
        """What has arrived: (node, round, number, VLAN)."""
        found = []
        for fd, _ in self.poll.poll(timeout_ms):
            node, s = self.by_fd[fd]
            while True:
                try:
                    data, aux, _, address = s.recvmsg(2048, socket.CMSG_SPACE(20))
                except BlockingIOError:
                    break
                if address[2] == PACKET_OUTGOING:
                    continue
                tci = 0
                for level, kind, value in aux:
                    if level == SOL_PACKET and kind == PACKET_AUXDATA:
                        status, _, _, _, _, aux_tci, _ = struct.unpack("=IIIHHHH", value[:20])
                        tci = aux_tci if status & TP_STATUS_VLAN_VALID else 0
                frame = parse(data, tci)
                if frame is not None:
                    found.append((node, *frame))
        return found

    def where(self, flows: list[Flow], vlans: tuple[int, int] | None = None,
              asker: int | None = None, dead: int | None = None) -> dict[int, int]:
        """At which node each flow comes out; with VLANs (by side) and an asker, where the switch
        says that it would. What a dead node's wire still gets does not count."""
        self.round += 1
        wanted = {f.number: (topology.VLAN_OUTSIDE, topology.VLAN_INSIDE)[not f.from_outside]
                  if vlans is None else vlans[not f.from_outside] for f in flows}
        out: dict[int, int] = {}
        for _ in range(TRIES):
            left = [f for f in flows if f.number not in out]
            for at in range(0, len(left), BATCH):
                self._batch(left[at:at + BATCH], vlans, asker, dead, wanted, out)
        return out

    def _batch(self, flows: list[Flow], vlans: tuple[int, int] | None, asker: int | None,
               dead: int | None, wanted: dict[int, int], out: dict[int, int]) -> None:
        for f in flows:
            if vlans is None:
                wire = self.hosts["outside" if f.from_outside else "inside"]
                wire.send(f.frame(self.round, None))
            else:
                self.at[asker].send(f.frame(self.round, vlans[not f.from_outside]))
        missing = {f.number for f in flows}
        end = time.monotonic() + SILENCE_S
        while missing and time.monotonic() < end:  # other frames than ours come all the time
            for node, round_, number, vlan in self._drain(1000 * SILENCE_S):
                if round_ == self.round and node != dead and vlan == wanted[number]:
                    out[number] = node
                    missing.discard(number)
                    end = time.monotonic() + SILENCE_S


# ---- The check ----

@dataclass
class Outcome:
    node: int  # that was killed
    carried: int  # flows that it had
    right: int = 0
    wrong: int = 0
    silent: int = 0  # not foretold, or not seen after the failure
    moved: int = 0  # flows of living nodes that went elsewhere
    examples: list[list[int | None]] = field(default_factory=list)  # flow, was, foretold, is
    rounds: int = 1  # until nothing else failed at the same time

    def judge(self, before: dict[int, int], foretold: dict[int, int], after: dict[int, int],
              flows: list[Flow]) -> None:
        for f in flows:
            was, to, now = (d.get(f.number) for d in (before, foretold, after))
            if to is None or now is None:
                self.silent += 1
            elif to == now:
                self.right += 1
            else:
                self.wrong += 1
                self.examples = [*self.examples, [f.number, was, to, now]][:5]
            if was is not None and was != self.node and now != was:
                self.moved += 1


@dataclass
class Check:
    flows: int
    hash: str
    arrival_right: int = 0  # of all flows, with nobody dead
    seconds: float = 0.0
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def accuracy(self) -> float:
        asked = sum(o.right + o.wrong + o.silent for o in self.outcomes)
        return sum(o.right for o in self.outcomes) / asked if asked else 0.0

    def failures(self) -> list[str]:
        bad = []
        if self.accuracy < RIGHT_LEAST:
            bad.append(f"{self.accuracy:.4%} were foretold right, less than {RIGHT_LEAST:.1%}")
        if self.arrival_right < self.flows * RIGHT_LEAST:
            bad.append(f"the group of all nodes was right about {self.arrival_right} flows only")
        bad += [f"{o.moved} flows of living nodes moved when node {o.node} died"
                for o in self.outcomes if o.moved]
        bad += [f"node {o.node} had no flows: nothing is proven" for o in self.outcomes
                if o.carried == 0]
        return bad

    def report(self) -> dict:
        return {"flows": self.flows, "hash": self.hash, "accuracy": self.accuracy,
                "arrival_right": self.arrival_right, "seconds": round(self.seconds, 1),
                "failures": self.failures(), "not_asked": NOT_ASKED.get(self.hash),
                "nodes": [{"node": o.node, "carried": o.carried, "right": o.right,
                           "wrong": o.wrong, "silent": o.silent, "moved_of_living": o.moved,
                           "rounds": o.rounds, "examples": o.examples}
                          for o in self.outcomes]}


def groups(the: Lab, members: list[Node]) -> tuple[dict[int, tuple[int, int]], tuple[int, int]]:
    """VLANs, by side, of the group without each node, and of the group of all."""
    rules = json.loads(run([str(nodes.program("switch", "tripod-switch")), "rules", "--json",
                            "--config", str(the.run_dir / "rack.yaml"),
                            "--nodes", ",".join(str(n.id) for n in members)]))
    without = {p["index"]: (p["outside_vlan"], p["inside_vlan"])
               for p in rules["prediction"] if p["kind"] == "without-node"}
    every = [(p["outside_vlan"], p["inside_vlan"]) for p in rules["prediction"]
             if p["kind"] == "arrival"]
    if not without or not every:
        raise LabError(f"the switch of lab {the.name} predicts nothing: its model must be resilient")
    return without, every[0]


def check(the: Lab, members: list[Node], n_flows: int, seed: int, say: lab.Say) -> Check:
    """Kills each of the nodes once, and brings it back. All must be up."""
    began = time.monotonic()
    switch = Switch(the)
    if len(members) < 2:
        raise LabError("there must be two nodes: tripod-lab status")
    wait_for("all nodes to be up", UP_S, lambda: _all_up(switch, members), 0.1)
    without, every = groups(the, members)
    rng = random.Random(seed)
    flows = [make_flow(i, rng, the.hash in NOT_ASKED) for i in range(n_flows)]
    result = Check(n_flows, the.hash)
    wires = Wires(the, members)
    try:
        for _ in range(ROUNDS):
            flaps, before = switch.flaps(), wires.where(flows)
            if switch.flaps() == flaps:
                break
            wait_for("all nodes to be up", UP_S, lambda: _all_up(switch, members), 0.1)
        else:
            raise LabError("sessions of nodes fall: up --detect-ms with more, or a quieter machine")
        say(f"{n_flows} flows: {len(before)} seen, at {len(set(before.values()))} nodes")
        asker = members[0].id
        foretold = {n.id: wires.where(flows, without[n.id], asker) for n in members}
        arrival = wires.where(flows, every, asker)
        result.arrival_right = sum(arrival.get(i) == node for i, node in before.items())
        for node in members:
            outcome = Outcome(node.id, sum(v == node.id for v in before.values()))
            after = _after_death(the, node, switch, wires, flows, before, say, outcome)
            outcome.judge(before, foretold[node.id], after, flows)
            result.outcomes.append(outcome)
    finally:
        wires.close()
    result.seconds = time.monotonic() - began
    return result


def _all_up(switch: Switch, members: list[Node]) -> bool:
    up = switch.bfd()
    return all(up.get(n.name) for n in members)


def _after_death(the: Lab, node: Node, switch: Switch, wires: Wires, flows: list[Flow],
                 before: dict[int, int], say: lab.Say, outcome: Outcome) -> dict[int, int]:
    """Where flows go while this node alone is dead. On a busy machine the session of another may
    fall for nothing: that is a second failure, and not what was asked."""
    while True:
        others = {k: v for k, v in switch.flaps().items() if k != node.name}
        after = _kill_and_look(the, node, switch, wires, flows, say)
        # The switch looks its datapath flows through now and then: a port that is up again gets its
        # own back a little later.
        wait_for("all flows to be where they were", 20, lambda: wires.where(flows) == before)
        if {k: v for k, v in switch.flaps().items() if k != node.name} == others:
            return after
        if outcome.rounds == ROUNDS:
            raise LabError(f"sessions of other nodes fall while {node.name} is dead: "
                           "up --detect-ms with more, or a quieter machine")
        outcome.rounds += 1


def _kill_and_look(the: Lab, node: Node, switch: Switch, wires: Wires, flows: list[Flow],
                   say: lab.Say) -> dict[int, int]:
    process = nodes.NodeProcess(the, node)
    process.hurt("kill")
    try:
        wait_for(f"the switch to miss {node.name}", 10, lambda: not switch.bfd().get(node.name))
        return wires.where(flows, dead=node.id)
    finally:
        lab.restore(the, process, say)
        lab.wait_ready(the, [process], say, lab.READY_S)
