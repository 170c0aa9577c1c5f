# SPDX-License-Identifier: BSD-3-Clause
"""A share of the cores. Switch, nodes and hosts of a lab stand for machines of their own: whatever else
this machine has to do must not make them look dead, or slow. So they go before it."""

from __future__ import annotations

from pathlib import Path

NICE = -15


def before_others(args: list[str]) -> list[str]:
    """The command line of a program whose threads go before others' of its session; where nobody may
    go before others, it runs all the same."""
    return ["nice", "-n", str(NICE), *args]


def session_before_others(pid: int) -> bool:
    """The kernel shares the cores among sessions first, and among the threads of each after that: the
    process leads a session, which goes before others. False where there is no such thing."""
    try:
        Path(f"/proc/{pid}/autogroup").write_text(f"{NICE}\n")
    except OSError:
        return False
    return True
