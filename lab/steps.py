# SPDX-License-Identifier: BSD-3-Clause
"""Steps of a demo or a trial, between which a signal ends it: never within one, or what a step has
begun would go on alone. Waiting is where a signal is heeded; only the main thread heeds it."""
from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator

from tripod_lab import interrupt

LOCK = "/run/tripod-demo.lock"
NAP_S = 0.1


def _heed() -> None:
    if threading.current_thread() is threading.main_thread():
        interrupt.heed()


def pause(seconds: float) -> None:
    end = time.monotonic() + seconds
    while True:
        _heed()
        left = end - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(left, NAP_S))


def ended(process: subprocess.Popen, timeout_s: float) -> int | None:
    """The exit status of a process; None when it has not ended by then."""
    end = time.monotonic() + timeout_s
    while process.poll() is None and time.monotonic() < end:
        pause(0.02)
    return process.returncode


def call(args: list[str], env: dict[str, str]) -> subprocess.CompletedProcess:
    """Runs a program to its end. It has a session of its own, so no ^C reaches it; a signal that came
    is handed on once, and its end awaited: it cleans up what it has begun."""
    with subprocess.Popen(args, env=env, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, start_new_session=True) as process:
        told = False
        while True:
            try:
                out, err = process.communicate(timeout=NAP_S)
                break
            except subprocess.TimeoutExpired:
                if interrupt.pending() and not told:
                    process.terminate()
                    told = True
    _heed()
    return subprocess.CompletedProcess(args, process.returncode, out, err)


@contextlib.contextmanager
def turn(waits: Callable[[], None], path: str = LOCK) -> Iterator[None]:
    """One demo or trial at a time: the racks' names are fixed, and two would share the cores."""
    said = False
    while True:
        with open(path, "w", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(lock.fileno()), os.stat(path)):
                    try:
                        yield
                    finally:
                        os.unlink(path)
                    return
            except BlockingIOError:
                if not said:
                    waits()
                said = True
            except FileNotFoundError:
                continue  # its owner has just ended
        pause(NAP_S)
