#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Counts what a switch sends to each node, for lab/trial.py: sampler.py IFACE...

Runs in the switch's namespace. Each 10 ms, a line of JSON: the time, and for each interface the TCP
segments of tripod-load that have gone out there on the VLANs of the two sides. Another line when a BFD
session comes up: the first packet of either end that says so. Ends with its input."""

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


def bfd_state(frame: bytes) -> int | None:
    """Of the sender's session, when this is BFD: untagged, IPv4."""
    if len(frame) < 44 or frame[12:14] != b"\x08\0" or frame[23] != 17:
        return None
    if struct.unpack_from("!H", frame, 36)[0] != BFD_PORT:
        return None
    return frame[43] >> 6


def main() -> None:
    names = sys.argv[1:]
    sockets = {}
    poll = select.poll()
    for i, name in enumerate(names):
        s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        s.bind((name, 0))
        s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
        s.setblocking(False)
        sockets[s.fileno()] = (i, s)
        poll.register(s, select.POLLIN)
    poll.register(sys.stdin, select.POLLIN)
    up = [False] * len(names)
    counts = [0] * len(names)
    end = time.monotonic() + BIN_S
    while True:
        for fd, _ in poll.poll(max(0.0, 1000 * (end - time.monotonic()))):
            if fd == sys.stdin.fileno():
                return
            i, s = sockets[fd]
            try:
                for _ in range(64):  # no interface holds the others up
                    frame, address = s.recvfrom(96)
                    counts[i] += address[2] == PACKET_OUTGOING and is_load(frame)
                    state = bfd_state(frame)
                    if state == BFD_UP and not up[i]:
                        print(json.dumps({"event": "up", "at": round(time.monotonic(), 4),
                                          "name": names[i]}), flush=True)
                    up[i] = state == BFD_UP if state is not None else up[i]
            except BlockingIOError:
                pass
        if time.monotonic() >= end:
            print(json.dumps({"t": round(end, 3), "counts": counts}), flush=True)
            counts = [0] * len(names)
            end += BIN_S


if __name__ == "__main__":
    main()
