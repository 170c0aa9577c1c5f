# SPDX-License-Identifier: BSD-3-Clause
"""Signals that end `up`: heeded between two of its steps, never within one. What a step has begun,
such as a program that is just being started, could not be cleaned up by who does not know of it."""

from __future__ import annotations

import signal

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_caught: int | None = None


class Interrupted(BaseException):
    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


def _catch(signum: int, _frame: object) -> None:
    global _caught
    _caught = _caught or signum


def listen() -> None:
    """From here on a signal waits for heed()."""
    for s in _SIGNALS:
        signal.signal(s, _catch)


def pending() -> bool:
    """Has one come that nobody has heeded yet?"""
    return _caught is not None


def ignore() -> None:
    """From here on nothing ends what this program does, nor the programs that it starts."""
    global _caught
    _caught = None
    for s in _SIGNALS:
        signal.signal(s, signal.SIG_IGN)


def heed() -> None:
    """Raises the signal that came, if one did; it is the last."""
    signum = _caught
    if signum is not None:
        ignore()
        raise Interrupted(signum)
