# SPDX-License-Identifier: BSD-3-Clause
"""Running programs and waiting for conditions."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from typing import Callable, Mapping, Sequence, TypeVar

from . import LabError
from .interrupt import heed

T = TypeVar("T")


def run(args: Sequence[str], *, stdin: str | None = None, env: Mapping[str, str] | None = None,
        timeout_s: float = 30) -> str:
    """Standard output of a program that must succeed."""
    try:
        done = subprocess.run(args, input=stdin, capture_output=True, text=True,
                              timeout=timeout_s, env={**os.environ, **(env or {})},
                              stdin=subprocess.DEVNULL if stdin is None else None)
    except FileNotFoundError:
        raise LabError(f"{args[0]}: not found; {install_hint()}") from None
    except subprocess.TimeoutExpired:
        raise LabError(f"{' '.join(args)}: no end after {timeout_s:g} s") from None
    heed()  # before its status: ^C ends the program, too
    if done.returncode != 0:
        said = done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}"
        raise LabError(f"{' '.join(args)}: {said}")
    return done.stdout


def wait_for(what: str, deadline_s: float, poll: Callable[[], T | None], interval_s: float = 0.02,
             why: Callable[[], str] = lambda: "") -> T:
    """The first true value of poll(), asked until the deadline; why() explains a failure."""
    end = time.monotonic() + deadline_s
    while True:
        heed()
        value = poll()
        if value:
            return value
        if time.monotonic() >= end:
            reason = why()
            raise LabError(f"gave up on {what} after {deadline_s:g} s"
                           + (f": {reason}" if reason else ""))
        time.sleep(interval_s)


def search_sbin() -> None:
    """Root by a plain `su` does not look where most of what a lab runs is."""
    path = os.environ.get("PATH", os.defpath).split(os.pathsep)
    os.environ["PATH"] = os.pathsep.join(path + [d for d in ("/usr/sbin", "/sbin") if d not in path])


NEEDED = ("ip", "ethtool", "ovsdb-server", "ovs-vswitchd", "ovs-vsctl", "ovs-ofctl", "ovs-appctl",
          "ovsdb-tool")


def install_hint() -> str:
    return "apt-get install openvswitch-switch iproute2 ethtool tcpdump"


def check_machine() -> None:
    """That a lab can be brought up here."""
    if os.geteuid() != 0:
        raise LabError("a lab makes network namespaces, which takes root: try sudo")
    missing = [p for p in NEEDED if shutil.which(p) is None]
    if missing:
        raise LabError(f"not installed: {', '.join(missing)}; {install_hint()}")
