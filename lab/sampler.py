#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Counts what a switch sends to each node, for lab/trial.py: sampler.py IFACE...

Runs in the switch's namespace. Each 10 ms, a line of JSON: the time, and for each interface the TCP
segments of tripod-load that have gone out there on the VLANs of the two sides. Another line when a BFD
session comes up: the first packet of either end that says so; and when a connection's segments go to
another interface: when the last went to the one before, and the first to this. Ends with its input."""

from __future__ import annotations

import json
import select
import socket
import struct
import sys
import time

BIN_S = 0.01
ETH_P_ALL, PACKET_OUTGOING, SO_RCVBUFFORCE = 3, 4, 33
SIDES = (10, 20)
BFD_PORT, BFD_UP = 3784, 3
LOAD_PORTS = {*range(7000, 7004), *range(8000, 8004), *range(9000, 9064)}


def is_load(frame: bytes) -> bool:
    """An IPv4 TCP segment to or from one of the load's ports, tagged as of a side."""
    if len(frame) < 42 or frame[12:14] != b"\x81\0" or frame[16:18] != b"\x08\0":
        return False
    if struct.unpack_from("!H", frame, 14)[0] & 0xfff not in SIDES or frame[27] != 6:
        return False
    ports = struct.unpack_from("!HH", frame, 18 + 4 * (frame[18] & 15))
    return not LOAD_PORTS.isdisjoint(ports)


def connection(frame: bytes) -> bytes:
    """Of a segment of the load, the same both ways."""
    at = 18 + 4 * (frame[18] & 15)
    return b"".join(sorted((frame[30:34] + frame[at:at + 2], frame[34:38] + frame[at + 2:at + 4])))


def bfd_state(frame: bytes) -> int | None:
    """Of the sender's session, when this is BFD: untagged, IPv4."""
    if len(frame) < 44 or frame[12:14] != b"\x08\0" or frame[23] != 17:
        return None
    if struct.unpack_from("!H", frame, 36)[0] != BFD_PORT:
        return None
    return frame[43] >> 6


class Sampler:
    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.up = [False] * len(names)
        self.counts = [0] * len(names)
        self.seen: dict[bytes, tuple[int, float]] = {}  # interface and time of the last segment

    def take(self, i: int, frame: bytes, outgoing: bool, now: float) -> dict | None:
        """A frame at interface i; what there is to tell of it."""
        if outgoing and is_load(frame):
            self.counts[i] += 1
            key = connection(frame)
            was, last = self.seen.get(key, (i, now))
            self.seen[key] = (i, now)
            if was != i:
                return {"event": "moved", "from": was, "to": i, "last": round(last, 4),
                        "first": round(now, 4)}
            return None
        state = bfd_state(frame)
        if state is None:
            return None
        rises = state == BFD_UP and not self.up[i]
        self.up[i] = state == BFD_UP
        return {"event": "up", "at": round(now, 4), "name": self.names[i]} if rises else None

    def flush(self, t: float) -> dict:
        counts, self.counts = self.counts, [0] * len(self.names)
        return {"t": round(t, 3), "counts": counts}


def tell(line: dict | None) -> None:
    if line is not None:
        print(json.dumps(line), flush=True)


def main() -> None:
    sampler = Sampler(sys.argv[1:])
    sockets = {}
    poll = select.poll()
    for i, name in enumerate(sampler.names):
        s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        s.bind((name, 0))
        s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
        s.setblocking(False)
        sockets[s.fileno()] = (i, s)
        poll.register(s, select.POLLIN)
    poll.register(sys.stdin, select.POLLIN)
    end = time.monotonic() + BIN_S
    while True:
        for fd, _ in poll.poll(max(0.0, 1000 * (end - time.monotonic()))):
            if fd == sys.stdin.fileno():
                return
            i, s = sockets[fd]
            try:
                for _ in range(64):  # no interface holds the others up
                    frame, address = s.recvfrom(96)
                    tell(sampler.take(i, frame, address[2] == PACKET_OUTGOING, time.monotonic()))
            except BlockingIOError:
                pass
        if time.monotonic() >= end:
            tell(sampler.flush(end))
            end += BIN_S


if __name__ == "__main__":
    main()
