# SPDX-License-Identifier: BSD-3-Clause
"""A lab's life: up, what it is doing, down."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Callable, Iterator

from . import LabError, interrupt, netns, nodes, rackfile, run, topology
from .ovs import Switch
from .run import wait_for
from .topology import HOSTS, Host, Lab

READY_S = 60.0

Say = Callable[[str], None]


# ---- What is known of a lab between two commands ----

def save(lab: Lab) -> None:
    path = lab.run_dir / "lab.json"
    new = path.with_suffix(".new")
    new.write_text(json.dumps(asdict(lab), indent=2) + "\n")
    new.rename(path)


def load(name: str) -> Lab:
    topology.check_name(name)
    try:
        return Lab(**json.loads((topology.run_dir(name) / "lab.json").read_text()))
    except FileNotFoundError:
        if traces(name):
            raise LabError(f"lab {name} is only half there: "
                           f"tripod-lab down --name {name}") from None
        raise LabError(f"no lab named {name}: tripod-lab up --name {name}") from None
    except (ValueError, TypeError) as e:
        raise LabError(f"{topology.run_dir(name)}/lab.json: {e}; "
                       f"tripod-lab down --name {name}") from None


def traces(name: str) -> list[str]:
    """What there is of a lab, whole or not."""
    found = list(netns.labs().get(name, []))
    if topology.run_dir(name).exists():
        found.append(str(topology.run_dir(name)))
    return found


def names() -> list[str]:
    found = set(netns.labs())
    if topology.RUN_ROOT.is_dir():
        found |= {p for p in os.listdir(topology.RUN_ROOT) if topology.NAME.fullmatch(p)}
    return sorted(found)


@contextlib.contextmanager
def locked(name: str, say: Say = lambda text: None) -> Iterator[None]:
    """One at a time brings a lab up, takes it down or starts processes in it: else one could start
    what the other has just stopped looking for. The lock is on the lab's directory, which is the
    first thing made and the last removed; a process that dies lets go of it."""
    fd = _lock(name, say)
    try:
        yield
    finally:
        if fd is not None:
            os.close(fd)


def _lock(name: str, say: Say) -> int | None:
    """None: there is no lab, or no more than the namespaces of one."""
    path = topology.run_dir(name)
    while True:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            return None
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"lab {name} is being changed by another tripod-lab: waiting for it")
                fcntl.flock(fd, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(fd), os.stat(path)):
                return fd
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # while we waited, the lab went away, and maybe came again: once more


# ---- Up ----

def up(lab: Lab, override: Path | None, say: Say, ready_s: float = READY_S) -> None:
    """Brings the lab up, or leaves nothing of it behind, however it is ended."""
    run.check_machine()
    nodes.program("daemon", "tripodd")
    nodes.program("ctl", "tripodctl")
    nodes.program("switch", "tripod-switch")
    text = ""
    if override:
        try:
            text = override.read_text()
        except OSError as e:
            raise LabError(f"{override}: {e.strerror}") from None
    config = rackfile.generate(lab, text, str(override))

    if traces(lab.name):
        raise LabError(f"lab {lab.name} is up already, or was left half done: "
                       f"tripod-lab down --name {lab.name}, or take another --name")
    try:
        lab.run_dir.mkdir(parents=True)  # whoever makes it has the name
    except FileExistsError:
        raise LabError(f"lab {lab.name} is being brought up by somebody else") from None
    with locked(lab.name):
        if not lab.run_dir.is_dir():  # somebody was quicker with the lock, and took it down
            raise LabError(f"lab {lab.name} was taken down")
        try:
            _build(lab, config, say)
            _start_nodes(lab, say, ready_s)
            save(lab)
            interrupt.heed()
        except BaseException:
            interrupt.ignore()  # nothing ends the cleaning
            say("cleaning up")
            _remove(lab.name)
            raise


def _build(lab: Lab, config: str, say: Say) -> None:
    say(f"network: {len(lab.roles)} namespaces")
    for role in lab.roles:
        netns.add(lab.namespace(role))
    switch_ns = lab.namespace("switch")
    # The switch and the nodes own their wires: their kernels must not speak there.
    for role in ("switch", *(n.name for n in lab.nodes)):
        netns.sysctl(lab.namespace(role), {"net.ipv6.conf.all.disable_ipv6": 1,
                                           "net.ipv6.conf.default.disable_ipv6": 1})
    for node in lab.nodes:
        netns.cable(lab.namespace(node.name), node.mac, switch_ns, node.name, topology.TRUNK_MTU)
        netns.batch(lab.namespace(node.name), ["link set lo up", "link set eth0 up"])
    for host in HOSTS:
        netns.cable(lab.namespace(host.name), host.mac, switch_ns, host.name, topology.HOST_MTU)
    netns.batch(switch_ns, ["link set lo up"] + [
        f"link set {p.name} up" for p in (*lab.nodes, *HOSTS)])
    for host in HOSTS:
        _set_up_host(lab, host)

    (lab.run_dir / "rack.yaml").write_text(config)
    say("switch: Open vSwitch")
    switch = Switch(lab)
    switch.start()
    switch.configure()
    switch.apply(lab.nodes[:lab.start or lab.n_nodes])
    counts = switch.counts()
    say(f"switch: {counts['groups']} groups, {counts['flows']} flows, {lab.model}, "
        f"hash {lab.hash}")

    keys = lab.run_dir / "keys"
    keys.touch(mode=0o600)
    keys.write_text(f"1 {secrets.token_hex(32)}\n")
    for node in lab.nodes:
        (lab.run_dir / node.name).mkdir()


def _set_up_host(lab: Lab, host: Host) -> None:
    ns, side = lab.namespace(host.name), host.side
    # A port of the switch holds some 90 large packets. A window of as much keeps one connection at
    # full speed from losing 5% of its own.
    netns.sysctl(ns, {"net.ipv6.conf.default.accept_ra": 0, "net.ipv6.conf.eth0.accept_ra": 0,
                      "net.ipv6.conf.eth0.accept_dad": 0,
                      "net.ipv4.tcp_rmem": "4096 131072 262144"})
    netns.batch(ns, ["link set lo up", "link set eth0 up"]
                + [f"addr add {a}/{side.len4} dev eth0" for a in host.addresses4]
                + [f"addr add {a}/{side.len6} dev eth0 nodad" for a in host.addresses6]
                + [f"route add default via {side.gateway4}",
                   f"route add default via {side.gateway6}"])


def _start_nodes(lab: Lab, say: Say, ready_s: float) -> None:
    processes = [nodes.NodeProcess(lab, n) for n in lab.nodes[:lab.start or lab.n_nodes]]
    say(f"nodes: starting {len(processes)} tripodd")
    for process in processes:
        process.start()
    wait_ready(lab, processes, say, ready_s)


def wait_ready(lab: Lab, processes: list[nodes.NodeProcess], say: Say, ready_s: float) -> None:
    """Until the switch sees every one of these nodes, and each answers on its control socket."""
    switch = Switch(lab)
    said: set[str] = set()

    def missing() -> list[str]:
        bfd = switch.bfd()
        out = []
        for p in processes:
            if p.pid is None:
                raise LabError(f"{p.node.name}: tripodd has ended\n{p.last_words()}")
            if not bfd.get(p.node.name):
                out.append(f"{p.node.name} (BFD)")
            elif not (p.ctl("status") or {}).get("ready"):
                out.append(f"{p.node.name} (not ready)")
            elif p.node.name not in said:
                said.add(p.node.name)
                say(f"{p.node.name}: ready")
        return out

    def why() -> str:
        left = missing()
        words = [f"{p.node.name}: {p.last_words(3)}" for p in processes
                 if any(m.startswith(p.node.name + " ") for m in left)]
        return "\n".join([", ".join(left)] + words)

    wait_for("the nodes", ready_s, lambda: not missing(), 0.05, why)


def restore(lab: Lab, process: nodes.NodeProcess, say: Say) -> list[str]:
    with locked(lab.name, say):
        load(lab.name)  # still there, now that nobody else changes it?
        return process.restore()


# ---- Down ----

def down(name: str, say: Say = lambda text: None) -> bool:
    """Removes every trace of a lab, whatever state it is in. False when there was none."""
    topology.check_name(name)
    with locked(name, say):
        return _remove(name)


def _remove(name: str) -> bool:
    spaces = netns.labs().get(name, [])
    directory = topology.run_dir(name)
    there = bool(spaces) or directory.exists()
    if spaces:
        netns.kill_all(spaces)
        for ns in spaces:
            netns.delete(ns)
    if directory.exists():
        shutil.rmtree(directory)
    try:
        topology.RUN_ROOT.rmdir()  # with the last lab
    except OSError:
        pass
    return there


# ---- Status ----

def status(lab: Lab) -> dict:
    switch = Switch(lab)
    running = switch.running()
    bfd = switch.bfd() if running else {}
    out_nodes = []
    for node in lab.nodes:
        process = nodes.NodeProcess(lab, node)
        pid, frozen = process.pid, process.frozen()
        out_nodes.append({
            "id": node.id, "pid": pid, "started": process.pid_file.exists(), "alive": pid is not None and not frozen,
            "frozen": frozen, "link": "up" if process.link_up() else "down",
            "bfd": "up" if bfd.get(node.name) else "down", "namespace": process.ns,
            "control_socket": str(process.control_socket), "log": str(process.log),
            "addresses": [a for s in (topology.OUTSIDE, topology.INSIDE) for a in node.on(s)],
            "daemon": process.ctl("status")})
    return {
        "name": lab.name, "mode": lab.mode, "hash": lab.hash, "model": lab.model, "workers": lab.workers,
        "detect_ms": lab.detect_ms, "directory": str(lab.run_dir),
        "nodes": out_nodes,
        "hosts": [{"name": h.name, "namespace": lab.namespace(h.name),
                   "addresses": list(h.addresses)} for h in HOSTS],
        "switch": {"namespace": lab.namespace("switch"), "alive": running,
                   **(switch.counts() if running else {"groups": 0, "flows": 0})},
    }
