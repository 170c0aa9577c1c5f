# SPDX-License-Identifier: BSD-3-Clause
"""Maintenance without breaking anything: drain a node, stop it, bring it back, add one."""

from __future__ import annotations

import os
import signal
import time
from typing import Callable

from . import LabError, lab, nodes
from .ovs import Switch
from .run import wait_for
from .topology import Lab, Node

DRAIN_S = 60.0  # without getting any further
ANSWER_S = 20.0  # of a node that runs, and has to wait for a core
STOP_S = 30.0  # a stop drains first, for as long as the configuration says
POLL_S = 0.05

# What a step tells: node's number, what it has come to, further facts.
Tell = Callable[[int, str, dict], None]


def _answer(process: nodes.NodeProcess, verb: str) -> dict:
    """Asked again until it comes: each question may be asked twice."""
    def ask() -> dict | None:
        answer = process.ctl(verb)
        if answer is None and (process.pid is None or process.frozen()):
            raise LabError(f"{process.node.name} is dead or frozen: tripod-lab status")
        return answer

    return wait_for(f"an answer of {process.node.name}", ANSWER_S, ask)


def _how_far(answer: dict) -> tuple[int, int]:
    """Of a drain: more is further."""
    phases = ("starting", "joining", "ready", "draining", "moving", "drained")
    phase = answer["phase"]
    return (phases.index(phase) if phase in phases else -1,
            -answer["owed"] - answer["owed_entries"])


def _stands(answer: dict) -> str:
    def numbers(ids: list[int]) -> str:
        return ", ".join(map(str, ids)) or "none"

    return (f"{answer['phase']} for {answer['phase_ms'] / 1000:.1f} s, {answer['owed']} copies under "
            f"way (to nodes: {numbers(answer['owed_nodes'])}), {answer['owed_entries']} shared "
            f"entries, last packet {answer['workload_age_ms']} ms ago, nodes that take traffic: "
            f"{numbers(answer['traffic_nodes'])}")


def drain(process: nodes.NodeProcess, wait_s: float | None) -> dict:
    """Tells the node to drain; waits, if told to, until nothing arrives there any more. However long
    that takes: it gives up when the drain has got no further for wait_s."""
    answer = _answer(process, "drain")
    if wait_s is None:
        return answer
    furthest, since = _how_far(answer), time.monotonic()
    while True:
        answer = _answer(process, "drain")
        if answer["phase"] == "drained":
            return answer
        if _how_far(answer) > furthest:
            furthest, since = _how_far(answer), time.monotonic()
        if time.monotonic() - since >= wait_s:
            raise LabError(f"the drain of {process.node.name} has got no further for {wait_s:g} s: "
                           f"{_stands(answer)}")
        time.sleep(POLL_S)


def undrain(process: nodes.NodeProcess) -> dict:
    return _answer(process, "undrain")


def stop(process: nodes.NodeProcess) -> None:
    """Ends the node in order."""
    pid = process.pid
    if pid is None:
        raise LabError(f"{process.node.name} is dead already")
    os.kill(pid, signal.SIGTERM)
    wait_for(f"the end of {process.node.name}", STOP_S, lambda: process.pid is None, 0.01)


def members(the: Lab) -> list[Node]:
    """Nodes that the switch has rules for: started, dead or alive, and not removed."""
    return [n for n in the.nodes if nodes.NodeProcess(the, n).pid_file.exists()]


def next_to_add(the: Lab) -> nodes.NodeProcess:
    """The first node that has never been started, or was removed."""
    for node in the.nodes:
        process = nodes.NodeProcess(the, node)
        if not process.pid_file.exists():
            return process
    raise LabError(f"all {the.n_nodes} nodes of lab {the.name} have been started: "
                   "tripod-lab up --nodes N --start M leaves some for later")


def add(the: Lab, say: lab.Say, wait_s: float | None) -> nodes.NodeProcess:
    with lab.locked(the.name, say):
        lab.load(the.name)  # still there?
        process = next_to_add(the)
        # Before it starts: what the others and it have to tell each other takes the switch's rules.
        # Its port is not live until it takes traffic.
        Switch(the).apply([*members(the), process.node])
        process.start()
    if wait_s is not None:
        lab.wait_ready(the, [process], say, wait_s)
    return process


def remove(the: Lab, process: nodes.NodeProcess, say: lab.Say) -> None:
    """Ends a node that has been drained, or is dead, and takes it out of the switch's rules."""
    with lab.locked(the.name, say):
        lab.load(the.name)
        left = [n for n in members(the) if n.id != process.node.id]
        if not process.pid_file.exists():
            raise LabError(f"{process.node.name} is not there")
        if not left:
            raise LabError(f"{process.node.name} is the last one: tripod-lab down")
        if process.pid is not None:
            phase = _answer(process, "status").get("phase")
            if phase != "drained":
                raise LabError(f"{process.node.name} is {phase}, and would take connections along: "
                               f"tripod-lab drain {process.node.id} --wait")
            stop(process)
        # Only now: while it ran it had copies to give away, for which the others must reach it.
        Switch(the).apply(left)
        process.pid_file.unlink()


def rolling_restart(the: Lab, say: lab.Say, tell: Tell, wait_s: float) -> None:
    """Each running node in turn: everything is given away, the process ends, starts, and takes
    traffic again, before the next one's turn comes."""
    processes = [p for p in (nodes.NodeProcess(the, n) for n in the.nodes) if p.pid is not None]
    if len(processes) < 2:
        raise LabError("a node can be restarted without a gap only where another goes on")
    for process in processes:
        began = time.monotonic()

        def step(what: str, **facts: object) -> None:
            facts["after_ms"] = round((time.monotonic() - began) * 1000)
            tell(process.node.id, what, facts)

        answer = drain(process, wait_s)
        step("drained", mastered=answer["mastered"], connections=answer["connections"])
        stop(process)
        step("stopped")
        with lab.locked(the.name, say):
            lab.load(the.name)
            process.start()
        lab.wait_ready(the, [process], lambda text: None, wait_s)
        status = _answer(process, "status")
        step("ready", connections=status["connections"])
