#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""UDP datagrams that are larger than the MTU, there and back.

fragments.py serve PORT: sends back what it gets, on all addresses.
fragments.py ask ADDRESS PORT: 20 sockets send 6000 bytes each, three times, and want them back as they
were. What is lost is sent again, as the user of UDP has to; says how often.
"""

import random
import socket
import sys

SIZE = 6000
TRIES = 10


def serve(port: int) -> None:
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    s.bind(("::", port))
    print("serving", flush=True)
    while True:
        s.sendto(*s.recvfrom(65535))


def answered(s: socket.socket, data: bytes) -> bool:
    s.send(data)
    try:
        while (back := s.recv(65535)) != data:  # a late answer to what was sent before
            if len(back) != SIZE or back[8:] != random.Random(back[:8]).randbytes(SIZE - 8):
                sys.exit("a datagram came back changed")
    except socket.timeout:
        return False
    return True


def ask(address: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    again = 0
    for n in range(20):
        s = socket.socket(family, socket.SOCK_DGRAM)
        s.settimeout(0.5)
        s.connect((address, port))
        for k in range(3):
            seed = bytes((n, k, *random.randbytes(6)))
            data = seed + random.Random(seed).randbytes(SIZE - 8)
            tries = 1
            while not answered(s, data):
                tries += 1
                if tries > TRIES:
                    sys.exit(f"no answer from {address} to socket {n}, datagram {k}")
            again += tries - 1
    print(f"{address}: 60 datagrams, {again} sent again")


if sys.argv[1] == "serve":
    serve(int(sys.argv[2]))
else:
    ask(sys.argv[2], int(sys.argv[3]))
