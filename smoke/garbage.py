#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Frames that no honest neighbour sends, and the honest ones beside them.

usage: garbage.py COMMAND...
  bridge TRUNK IFACE=VLAN...   a switch: untagged on each IFACE, tagged on TRUNK, until killed
  serve ADDR PORT              echoes what one TCP connection says
  talk ADDR PORT FILE          speaks on one TCP connection for ever, verifies every byte that comes
                               back, and keeps in FILE how many rounds there were
  classes IFACE                sends every class of broken frame; prints "COUNTER N" for each counter
                               that must have risen by N or more
  random IFACE SEED N          sends N frames of random bytes, and of real ones with some changed
  peer IFACE SEED N KEYS       has the key file KEYS, becomes a peer as node 2, and sends N messages that
                               are wrong: most of them sealed, some forged, repeated, or of nobody;
                               prints "COUNTER N" as classes does
  traces IFACE FILE...         sends the frames of pcap files, to the gateway, on every VLAN
"""
import os
import random
import select
import socket
import struct
import sys
import time

import seal
from probe import (PACKET_AUXDATA, SOL_PACKET, checksum, ether, mac, receive, tag)

GATEWAY = {10: mac("02:00:5e:00:01:01"), 11: mac("02:00:5e:00:01:01"),
           20: mac("02:00:5e:00:01:02"), 21: mac("02:00:5e:00:01:02")}
NODE, PEER = mac("02:00:00:00:00:01"), mac("02:00:00:00:00:02")
VLANS = [0, 10, 11, 20, 21, 30, 99]
CLIENT, SERVER = "198.18.0.9", "10.1.0.101"
REPEATS = 20


def raw_socket(iface):
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    sock.bind((iface, 0))
    sock.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    return sock


def send(sock, frame):
    """False: the interface does not take such a frame."""
    while True:
        try:
            sock.send(frame)
            return True
        except OSError as e:
            if e.errno == 105:  # ENOBUFS
                time.sleep(0.001)
                continue
            return False


# ---- Honest traffic ----

def bridge(trunk_name, *ports):
    trunk = raw_socket(trunk_name)
    vlans = {}
    for port in ports:
        iface, vlan = port.split("=")
        vlans[raw_socket(iface)] = int(vlan)
    socks = {vlan: sock for sock, vlan in vlans.items()}
    while True:
        for sock in select.select([trunk, *vlans], [], [])[0]:
            data, tci, kind = receive_kind(sock)
            if kind == socket.PACKET_OUTGOING:
                continue
            if sock is not trunk:
                send(trunk, data[:12] + tag(vlans[sock]) + data[12:])
            elif tci & 0xFFF in socks:
                send(socks[tci & 0xFFF], data)


def receive_kind(sock):
    """As receive(), with the packet's type: what this machine sends is seen as well."""
    data, aux, _, address = sock.recvmsg(65536, socket.CMSG_SPACE(20))
    tci = 0
    for level, kind, value in aux:
        if level == SOL_PACKET and kind == PACKET_AUXDATA:
            status, _, _, _, _, aux_tci, _ = struct.unpack("=IIIHHHH", value[:20])
            tci = aux_tci if status & 1 << 4 else 0
    if data[12:14] == b"\x81\x00" and len(data) >= 16:
        tci = struct.unpack("!H", data[14:16])[0]
        data = data[:12] + data[16:]
    return data, tci, address[2]


def serve(address, port):
    listener = socket.create_server((address, int(port)))
    sock, _ = listener.accept()
    while data := sock.recv(65536):
        sock.sendall(data)


def talk(address, port, path):
    sock = socket.create_connection((address, int(port)), timeout=60)
    rng = random.Random(1)
    rounds = 0
    while True:
        out = rng.randbytes(rng.randrange(1, 4000))
        sock.sendall(out)
        back = b""
        while len(back) < len(out):
            data = sock.recv(65536)
            if not data:
                sys.exit("the connection has ended")
            back += data
        if back != out:
            sys.exit("the connection carries something else")
        rounds += 1
        # Renamed into place: a reader never sees half of it.
        with open(path + ".new", "w", encoding="ascii") as f:
            f.write(f"{rounds}\n")
        os.replace(path + ".new", path)
        time.sleep(0.005)


# ---- Frames ----

def addr(text):
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    return socket.inet_pton(family, text)


def ip4(src, dst, proto, payload, first=0x45, total=None, frag=0, ttl=64, options=b"", bad=0):
    total = 20 + len(options) + len(payload) if total is None else total
    head = struct.pack("!BBHHHBBH", first, 0, total, 1, frag, ttl, proto, 0) + addr(src) + addr(dst)
    head += options
    return head[:10] + struct.pack("!H", checksum(head) ^ bad) + head[12:] + payload


def ip6(src, dst, proto, payload, hops=64):
    return struct.pack("!IHBB", 6 << 28, len(payload), proto, hops) + addr(src) + addr(dst) + payload


def pseudo(src, dst, proto, size):
    return addr(src) + addr(dst) + struct.pack("!II", size, proto) if ":" in src else \
        addr(src) + addr(dst) + struct.pack("!HH", proto, size)


def tcp(src, dst, flags, dport=8000, sport=4242, offset=5, bad=0, payload=b""):
    seg = struct.pack("!HHIIBBHHH", sport, dport, 1, 1, offset << 4, flags, 1000, 0, 0) + payload
    total = checksum(pseudo(src, dst, 6, len(seg)) + seg) ^ bad
    return seg[:16] + struct.pack("!H", total) + seg[18:]


def udp(src, dst, dport, payload, sport=4242):
    seg = struct.pack("!HHHH", sport, dport, 8 + len(payload), 0) + payload
    total = checksum(pseudo(src, dst, 17, len(seg)) + seg) or 0xFFFF
    return seg[:6] + struct.pack("!H", total) + seg[8:]


def icmp(kind, code, rest):
    body = struct.pack("!BBH", kind, code, 0) + rest
    return struct.pack("!BBH", kind, code, checksum(body)) + rest


def v4(vlan, packet, dst=None):
    return ether(dst or GATEWAY.get(vlan, NODE), vlan, 0x0800, packet)


def v6(vlan, packet):
    return ether(GATEWAY.get(vlan, NODE), vlan, 0x86DD, packet)


def arp(vlan, op, sender_mac, sender, target, head=b"\0\1\x08\0\6\4"):
    return ether(b"\xff" * 6, vlan, 0x0806, head + struct.pack("!H", op) + sender_mac +
                 addr(sender) + bytes(6) + addr(target))


def classes_outside():
    """(counter or None, frame)"""
    a, b, syn = CLIENT, SERVER, tcp(CLIENT, SERVER, 2)
    a6, b6 = "2001:db8:19::9", "fd00:1::101"
    nd = icmp(135, 0, bytes(4) + addr("2001:db8:1::1") + b"\1\1\2\0\0\0\x0c\7")
    return [
        ("drop_truncated", v4(10, ip4(a, b, 6, syn, total=400))),
        ("drop_truncated", GATEWAY[10] + bytes(6) + tag(10) + b"\x08\0\x45"),
        ("drop_oversize", v4(10, ip4(a, b, 17, udp(a, b, 8000, bytes(1600))))),
        (None, v4(10, ip4(a, b, 17, udp(a, b, 8000, bytes(8900))))),  # jumbo: cut on the way in
        ("drop_vlan_unknown", v4(99, ip4(a, b, 6, syn))),
        ("drop_vlan_stacked", GATEWAY[10] + NODE + tag(10) + tag(10) + b"\x08\0" + ip4(a, b, 6, syn)),
        ("drop_vlan_stacked", GATEWAY[10] + NODE + tag(10) * 6 + b"\x08\0" + ip4(a, b, 6, syn)),
        (None, GATEWAY[10] + NODE + b"\x88\xa8\0\x0a" + tag(10) + b"\x08\0" + ip4(a, b, 6, syn)),
        ("drop_ethertype", ether(GATEWAY[10], 10, 0x88CC, bytes(64))),
        ("drop_not_for_us", v4(10, ip4(a, b, 6, syn), dst=mac("02:00:00:00:99:99"))),
        ("drop_ip_version", v4(10, ip4(a, b, 6, syn, first=0x65))),
        ("drop_ip_version", v6(10, ip4(a, b, 6, syn + bytes(40)))),
        ("drop_ip_header", v4(10, ip4(a, b, 6, syn, first=0x44))),
        ("drop_ip_checksum", v4(10, ip4(a, b, 6, syn, bad=1))),
        ("drop_ip_address", v4(10, ip4("127.0.0.1", b, 6, syn))),
        ("drop_ip_address", v4(10, ip4("224.0.0.5", b, 6, syn))),
        ("drop_ip_address", v6(10, ip6("::ffff:198.18.0.9", b6, 17, udp(a6, b6, 8000, b"")))),
        ("drop_ip_options", v4(10, ip4(a, b, 6, syn, first=0x46, options=b"\x44\4\5\0"))),
        ("drop_ip_options", v6(10, ip6(a6, b6, 0, b"\x11\0\5\2\0\0\0\0" + udp(a6, b6, 8000, b"")))),
        ("drop_fragment", v4(10, ip4(a, b, 6, syn, frag=0x2000))),
        ("drop_fragment_tcp", v4(10, ip4(a, b, 6, bytes(16), frag=0x00B9))),
        ("drop_fragment", v4(10, ip4(a, b, 17, bytes(16), frag=0x00B9))),
        ("drop_fragment", v6(10, ip6(a6, b6, 44, b"\x11\0\0\1\0\0\0\7" + bytes(15)))),
        ("drop_fragment", v6(10, ip6(a6, b6, 44, b"\x11\0\0\x08\0\0\0\7" + bytes(16)))),
        ("drop_l4_header", v6(10, ip6(a6, b6, 44, b"\x11\0\0\1\0\0\0\7" + bytes(16)))),
        ("drop_ttl", v4(10, ip4(a, b, 6, syn, ttl=1))),
        ("drop_protocol", v4(10, ip4(a, b, 47, bytes(40)))),
        ("drop_l4_header", v4(10, ip4(a, b, 6, tcp(a, b, 2, offset=2)))),
        ("drop_l4_checksum", v4(10, ip4(a, b, 6, tcp(a, b, 2, bad=1)))),
        ("drop_icmp_type", v4(10, ip4(a, b, 1, icmp(13, 0, bytes(16))))),
        ("drop_icmp_unknown", v4(10, ip4(a, b, 1, icmp(3, 1, bytes(4) + ip4(b, a, 6, syn))))),
        ("drop_tcp_flags", v4(10, ip4(a, b, 6, tcp(a, b, 3)))),
        ("drop_unknown", v4(10, ip4(a, b, 6, tcp(a, b, 16)))),
        ("drop_refused", v4(10, ip4(a, b, 6, tcp(a, b, 2, dport=81)))),
        ("drop_relay_loop", v4(11, ip4(a, b, 6, tcp(a, b, 16)))),
        ("drop_relay_loop", v4(21, ip4(b, a, 6, tcp(b, a, 16)))),
        ("drop_truncated", v4(20, ip4(b, a, 6, syn, total=900))),
        ("drop_ip_checksum", v4(20, ip4(b, a, 6, syn, bad=2))),
        # ARP and neighbour discovery
        ("drop_l4_header", arp(10, 9, NODE, "203.0.113.77", "203.0.113.1")),
        ("drop_l4_header", arp(10, 1, b"\xff" * 6, "203.0.113.77", "203.0.113.1")),
        ("drop_l4_header", arp(20, 1, NODE, "10.1.0.77", "10.1.0.1", b"\0\1\x08\0\6\x10")),
        (None, arp(11, 1, NODE, "203.0.113.77", "203.0.113.1")),
        (None, arp(0, 1, NODE, "203.0.113.77", "203.0.113.1")),
        (None, v6(10, ip6(a6, "ff02::1:ff00:1", 58, nd, hops=254))),
        (None, v6(10, ip6(a6, "2001:db8:1::1", 58, nd, hops=255))),
        # Control and BFD
        ("drop_control_bad", v4(30, ip4("10.255.0.2", "10.255.0.1", 17,
                                        udp("10.255.0.2", "10.255.0.1", 7117, bytes(56))))),
        ("drop_control_bad", v4(30, ip4("10.255.0.2", "10.255.0.1", 17,
                                        udp("10.255.0.2", "10.255.0.1", 7117, b"TP\1\3" * 300)))),
        ("drop_l4_checksum", v4(30, ip4("10.255.0.2", "10.255.0.1", 17,
                                        b"\x1b\xcd\x1b\xcd\0\x0c\1\1TP\1\2"))),
        ("drop_protocol", v4(30, ip4("10.255.0.2", "10.255.0.1", 6, syn))),
        ("drop_truncated", ether(NODE, 30, 0x0800, b"\x45\0\2")),
        ("bfd_bad", v4(0, ip4("169.254.1.1", "169.254.1.0", 17,
                              udp("169.254.1.1", "169.254.1.0", 3784, bytes(24)), ttl=255))),
        ("bfd_bad", v4(0, ip4("169.254.1.1", "169.254.1.0", 17,
                              udp("169.254.1.1", "169.254.1.0", 3784, b"\x20\xc0\3\x18"), ttl=255))),
    ]


def classes(iface):
    sock = raw_socket(iface)
    expected = {}
    for counter, frame in classes_outside():
        for _ in range(REPEATS):
            if not send(sock, frame):
                sys.exit(f"{iface} does not take {len(frame)} bytes")
            time.sleep(0.0002)  # no flood: all are to be seen
        if counter:
            expected[counter] = expected.get(counter, 0) + REPEATS
    for counter, n in expected.items():
        print(counter, n)


def changed(rng, frame):
    frame = bytearray(frame)
    for _ in range(rng.randrange(1, 5)):
        frame[rng.randrange(len(frame))] = rng.randrange(256)
    return bytes(frame)[:rng.choice([len(frame), len(frame), rng.randrange(15, len(frame) + 1)])]


def random_frames(iface, seed, n):
    sock, rng = raw_socket(iface), random.Random(int(seed))
    real = [frame for _, frame in classes_outside() if len(frame) < 1500]
    for _ in range(int(n)):
        if rng.randrange(2):
            vlan = rng.choice(VLANS)
            head = rng.choice([GATEWAY.get(vlan, NODE), rng.randbytes(6)]) + rng.randbytes(6)
            kind = rng.choice([b"\x08\0", b"\x08\6", b"\x86\xdd", rng.randbytes(2)])
            send(sock, head + tag(vlan) + kind + rng.randbytes(rng.randrange(1480)))
        else:
            send(sock, changed(rng, rng.choice(real)))


# ---- A peer that lies ----

def heartbeat(sock):
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if select.select([sock], [], [], 1)[0]:
            data, tci = receive(sock)
            if tci & 0xFFF == 30 and data[36:38] == b"\x1b\xcd" and data[42:44] == b"TP":
                return data
    sys.exit("no heartbeat")


def fabric(message):
    src, dst = "10.255.0.2", "10.255.0.1"
    frame = ether(NODE, 30, 0x0800, ip4(src, dst, 17, udp(src, dst, 7117, message, sport=7117)))
    return frame[:6] + PEER + frame[12:]


def hello(flags, chains):
    """A node with one worker, which hears nodes 1 and 2."""
    return struct.pack("!BBBB6sQQQB", 1, flags, len(chains) // 8, 1, PEER, 0b110, 0, 0, 0) + chains


def chains_of(heartbeat_body):
    return heartbeat_body[35:35 + 8 * heartbeat_body[2]]


def believed(sock, sender, chains):
    """Makes the daemon believe the sender's boot: heartbeat, challenge, echo."""
    again, end = 0, time.monotonic() + 20
    while time.monotonic() < end:
        if time.monotonic() >= again:  # either may have been lost among so much else
            send(sock, fabric(sender.seal(seal.HELLO, 1, hello(1, chains), 0)))
            again = time.monotonic() + 0.1
        if not select.select([sock], [], [], 0.1)[0]:
            continue
        data, tci = receive(sock)
        message = data[42:]
        if tci & 0xFFF != 30 or message[:4] != bytes([*b"TP", seal.VERSION, seal.GREET]) or not sender.opens(message):
            continue
        if not message[57] & 4:  # it wants no further proof
            return
        challenge, = struct.unpack("!Q", message[-32:-24])
        body = hello(1 | 4, chains) + struct.pack("!QQQ", challenge, 1, sender.counter)
        send(sock, fabric(sender.seal(seal.GREET, 1, body, 0)))
    sys.exit("the daemon does not believe a proven peer")


def peer(iface, seed, n, key_file):
    sock, rng = raw_socket(iface), random.Random(int(seed))
    beat = heartbeat(sock)[42:]
    cluster, boot = struct.unpack("!QQ", beat[16:32])
    chains, sender, seq, last = chains_of(beat[56:]), None, 0, b""
    sent = {"forged": 0, "replayed": 0, "stale": 0, "key": 0}
    for i in range(int(n)):
        if sender is None or i % 200 == 199:  # born, or born again
            sender = seal.Sender(key_file, 2, rng.randrange(1, 1 << 60), cluster, 1, boot)
            believed(sock, sender, chains)
            seq, last = 0, b""
        if i % 20 == 0:  # alive
            send(sock, fabric(sender.seal(seal.HELLO, 1, hello(1, chains), 0)))
        kind = rng.choice([seal.LOG, seal.LOG, seal.LOG, seal.PULL, seal.NONE])
        body = rng.randbytes(rng.randrange(1360))
        if kind == seal.LOG and rng.randrange(2):  # a record that begins well
            body = bytes([1, rng.randrange(16), rng.randrange(8), 0, 0x10 * rng.randrange(2), 6]) + body
        seq += kind == seal.LOG
        message = sender.seal(kind, rng.randrange(1, 40), body, 0 if kind == seal.LOG else 255,
                              seq if kind == seal.LOG else 0)
        what = rng.choice(["sealed", "sealed", "sealed", *sent])
        if what == "forged":
            message = message[:-1] + bytes([message[-1] ^ 1 << rng.randrange(8)])
        elif what == "key":
            message = message[:48] + bytes([message[48] ^ 0x80]) + message[49:]
        elif what == "stale":
            message = message[:24] + rng.randbytes(8) + message[32:]
        elif what == "replayed" and last:
            message = last
        if what in sent and (what != "replayed" or last):
            sent[what] += 1
        elif what == "sealed":
            last = message
        send(sock, fabric(message))
    # Some may be lost on the way: the interface is busy.
    for what, count in sent.items():
        print(f"drop_control_{what} {count * 3 // 4}")


# ---- Traces ----

def pcap_frames(path):
    with open(path, "rb") as f:
        data = f.read()
    if data[:4] not in (b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4", b"\x4d\x3c\xb2\xa1"):
        return
    order = ">" if data[:4] == b"\xa1\xb2\xc3\xd4" else "<"
    if struct.unpack(order + "I", data[20:24])[0] != 1:
        return
    at = 24
    while at + 16 <= len(data):
        size = struct.unpack(order + "I", data[at + 8:at + 12])[0]
        yield data[at + 16:at + 16 + size]
        at += 16 + size


def traces(iface, *paths):
    sock, sent = raw_socket(iface), 0
    for path in paths:
        for i, frame in enumerate(pcap_frames(path)):
            if i == 3000:
                break
            if len(frame) < 14:
                continue
            for vlan in VLANS if i < 300 else [10, 20]:
                dst = GATEWAY.get(vlan, NODE)
                sent += send(sock, dst + frame[6:12] + tag(vlan) + frame[12:])
    print(f"{sent} frames of {len(paths)} traces")


def main():
    command, *args = sys.argv[1:]
    seal.self_test()
    {"bridge": bridge, "serve": serve, "talk": talk, "classes": classes, "random": random_frames,
     "peer": peer, "traces": traces}[command](*args)


if __name__ == "__main__":
    main()
