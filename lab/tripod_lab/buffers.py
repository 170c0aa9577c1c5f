# SPDX-License-Identifier: BSD-3-Clause
"""Receive buffers of another process's packet sockets.

The switch reads its ports through packet sockets with the default buffer: some hundred packets, which
a thread that has to wait 20 ms for a core loses. The default is one number for the whole machine, and
not ours to change, so the buffers are enlarged from outside.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket

SO_RCVBUFFORCE = 33
SYS_PIDFD_GETFD = 438  # the same number on every architecture

_libc = ctypes.CDLL(None, use_errno=True)


def _borrow(pidfd: int, fd: int) -> int:
    mine = _libc.syscall(SYS_PIDFD_GETFD, pidfd, fd, 0)
    if mine < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return mine


def enlarge(pid: int, size_bytes: int) -> int:
    """Of all packet sockets of the process; returns how many there were. Takes root."""
    n = 0
    pidfd = os.pidfd_open(pid)
    try:
        for entry in os.listdir(f"/proc/{pid}/fd"):
            try:
                if not os.readlink(f"/proc/{pid}/fd/{entry}").startswith("socket:"):
                    continue
                with socket.socket(fileno=_borrow(pidfd, int(entry))) as theirs:
                    if theirs.family == socket.AF_PACKET:
                        theirs.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, size_bytes)
                        n += 1
            except FileNotFoundError:
                continue  # closed meanwhile
            except OSError as error:
                if error.errno != errno.EBADF:  # the same, a moment later
                    raise
    finally:
        os.close(pidfd)
    return n
