# SPDX-License-Identifier: BSD-3-Clause
"""Network namespaces, the processes in them, and the cables between them."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from . import LabError, topology
from .run import run

NETNS_DIR = Path("/run/netns")


def exec_args(ns: str, args: list[str]) -> list[str]:
    return ["ip", "netns", "exec", ns] + args


def exists(ns: str) -> bool:
    return (NETNS_DIR / ns).exists()


def labs() -> dict[str, list[str]]:
    """Namespaces that labs made, by lab."""
    found: dict[str, list[str]] = {}
    if NETNS_DIR.is_dir():
        for entry in sorted(os.listdir(NETNS_DIR)):
            parsed = topology.parse_namespace(entry)
            if parsed:
                found.setdefault(parsed[0], []).append(entry)
    return found


def _identity(path: Path | str) -> tuple[int, int] | None:
    try:
        st = os.stat(path)
    except OSError:
        return None
    return st.st_dev, st.st_ino


def inside(pid: int, ns: str) -> bool:
    """Does this process exist, and in this namespace? A zombie is in none."""
    me = _identity(f"/proc/{pid}/ns/net")
    return me is not None and me == _identity(NETNS_DIR / ns)


def pids(namespaces: list[str]) -> list[int]:
    wanted = {_identity(NETNS_DIR / ns) for ns in namespaces} - {None}
    if _identity("/proc/self/ns/net") in wanted:
        raise LabError("this shell is inside the lab: leave it first")
    return [int(p) for p in os.listdir("/proc")
            if p.isdigit() and _identity(f"/proc/{p}/ns/net") in wanted]


def kill_all(namespaces: list[str], grace_s: float = 2.0) -> None:
    """Ends every process in the namespaces: asks first, then does not."""
    end = time.monotonic() + grace_s
    asked: set[int] = set()
    while True:
        left = pids(namespaces)
        if not left:
            return
        hard = time.monotonic() >= end
        if time.monotonic() >= end + 10:
            raise LabError(f"processes do not die: {left}")
        for pid in left:
            if not hard and pid in asked:
                continue
            asked.add(pid)
            # A frozen process takes SIGTERM only once it goes on.
            for sig in ((signal.SIGKILL,) if hard else (signal.SIGTERM, signal.SIGCONT)):
                try:
                    os.kill(pid, sig)
                except ProcessLookupError:
                    pass
        time.sleep(0.02)


def add(ns: str) -> None:
    run(["ip", "netns", "add", ns])


def delete(ns: str) -> None:
    if exists(ns):
        run(["ip", "netns", "del", ns])


def sysctl(ns: str, settings: dict[str, int | str]) -> None:
    run(exec_args(ns, ["sysctl", "-q", "-w"] + [f"{k}={v}" for k, v in settings.items()]))


def batch(ns: str, lines: list[str]) -> None:
    """Commands of ip(8), in one process."""
    run(["ip", "-n", ns, "-batch", "-"], stdin="\n".join(lines) + "\n")


def cable(ns: str, mac: str, switch_ns: str, port: str, mtu: int) -> None:
    """A veth pair: eth0 in ns, `port` in the switch's namespace. Both ends are made where they
    belong, so no name is ever taken in the machine's own namespace."""
    run(["ip", "link", "add", "eth0", "netns", ns, "address", mac, "mtu", str(mtu),
         "type", "veth", "peer", "name", port, "netns", switch_ns, "mtu", str(mtu)])
    # Packet sockets, on which the switch and the nodes live, see what is in the buffer: checksums
    # must be there, and segments must be segments.
    for where, dev in ((ns, "eth0"), (switch_ns, port)):
        run(exec_args(where, ["ethtool", "-K", dev, "tx", "off", "tso", "off", "gso", "off",
                              "gro", "off"]))
