#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Asks a gateway on the other end of an interface as a neighbour would, VLAN tags and all.

usage: probe.py IFACE COMMAND...
  arp VLAN SENDER TARGET EXPECTED_MAC   who has TARGET? Repeats until the answer comes, or fails
  nd VLAN SENDER TARGET EXPECTED_MAC    the same by neighbour solicitation
  ping VLAN SENDER MAC TARGET           ICMP echo
  send HEX...                           frames as they are, without an answer

Prints the answer's VLAN id and priority: "vlan 10 pcp 6". The interface needs no address and no
VLAN support: tags are written into the frames.
"""
import ipaddress
import select
import socket
import struct
import sys
import time

OWN_MAC = bytes.fromhex("020000000c01")
SOL_PACKET, PACKET_AUXDATA, VLAN_VALID = 263, 8, 1 << 4
DEADLINE_S, REPEAT_S = 20, 0.2


def tag(vlan):
    return struct.pack("!HH", 0x8100, vlan) if vlan else b""


def ether(dst, vlan, ethertype, payload):
    frame = dst + OWN_MAC + tag(vlan) + struct.pack("!H", ethertype) + payload
    return frame.ljust(60, b"\0")


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def mac(text):
    return bytes.fromhex(text.replace(":", ""))


def receive(sock):
    """The next frame and its tag (0: none), whether the kernel has taken the tag out or not."""
    data, aux, _, _ = sock.recvmsg(65536, socket.CMSG_SPACE(20))
    tci = 0
    for level, kind, value in aux:
        if level == SOL_PACKET and kind == PACKET_AUXDATA:
            status, _, _, _, _, aux_tci, _ = struct.unpack("=IIIHHHH", value[:20])
            tci = aux_tci if status & VLAN_VALID else 0
    if data[12:14] == b"\x81\x00":
        tci = struct.unpack("!H", data[14:16])[0]
        data = data[:12] + data[16:]
    return data, tci


def ask(sock, frame, is_answer):
    """Sends frame again and again until is_answer(data) is true. Returns the answer's tag."""
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        sock.send(frame)
        again = time.monotonic() + REPEAT_S
        while (left := again - time.monotonic()) > 0:
            if select.select([sock], [], [], left)[0]:
                data, tci = receive(sock)
                if data[6:12] != OWN_MAC and is_answer(data):
                    return tci
    sys.exit("no answer")


def arp(vlan, sender, target, expected):
    sender, target = (ipaddress.IPv4Address(a).packed for a in (sender, target))
    head = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
    answer = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2) + mac(expected) + target + OWN_MAC + sender
    frame = ether(b"\xff" * 6, vlan, 0x0806, head + OWN_MAC + sender + bytes(6) + target)
    return frame, lambda d: d[12:14] == b"\x08\x06" and d[14:42] == answer


def nd(vlan, sender, target, expected):
    sender, target = (ipaddress.IPv6Address(a).packed for a in (sender, target))
    group = ipaddress.IPv6Address("ff02::1:ff00:0").packed[:13] + target[13:]
    icmp = struct.pack("!BBHI", 135, 0, 0, 0) + target + b"\x01\x01" + OWN_MAC
    pseudo = sender + group + struct.pack("!II", len(icmp), 58)
    icmp = icmp[:2] + struct.pack("!H", checksum(pseudo + icmp)) + icmp[4:]
    ip = struct.pack("!IHBB", 6 << 28, len(icmp), 58, 255) + sender + group

    def is_answer(d):
        return (d[12:14] == b"\x86\xdd" and d[20] == 58 and d[54] == 136 and d[62:78] == target
                and d[80:86] == mac(expected))
    return ether(b"\x33\x33" + group[12:], vlan, 0x86DD, ip + icmp), is_answer


def ping(vlan, sender, gateway_mac, target):
    sender, target = (ipaddress.IPv4Address(a).packed for a in (sender, target))
    body = struct.pack("!HH", 0x7210, 1) + b"tripod" * 4
    icmp = struct.pack("!BBH", 8, 0, checksum(struct.pack("!BBH", 8, 0, 0) + body)) + body
    reply = struct.pack("!BBH", 0, 0, checksum(struct.pack("!BBH", 0, 0, 0) + body)) + body
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(icmp), 1, 0, 64, 1, 0) + sender + target
    ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]

    def is_answer(d):
        return d[:6] == OWN_MAC and d[12:14] == b"\x08\x00" and d[26:34] == target + sender and d[34:].startswith(reply)
    return ether(mac(gateway_mac), vlan, 0x0800, ip + icmp), is_answer


def main():
    iface, command, *args = sys.argv[1:]
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    sock.bind((iface, 0))
    sock.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    if command == "send":
        for frame in args:
            sock.send(bytes.fromhex(frame))
        return
    frame, is_answer = {"arp": arp, "nd": nd, "ping": ping}[command](int(args[0]), *args[1:])
    tci = ask(sock, frame, is_answer)
    print(f"vlan {tci & 0xFFF} pcp {tci >> 13}")


if __name__ == "__main__":
    main()
