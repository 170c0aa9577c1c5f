#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""What `tripod-switch frr` prints, in a router: frr_test.py PATH/TO/tripod-switch

FRR in a namespace, and beside it three that stand for nodes: in each, BIRD is the speaker that the
operator's guide describes. Routes come with sessions, go when BFD misses a node or it withdraws them,
and packets are spread as the prediction groups say. Takes root; exit status 77: skipped.

The groups' VRFs are made here of routing tables and rules with the same routes, one interface each: that is
what a VRF is to a packet, and needs no module."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import random
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

sys.dont_write_bytecode = True

PROGRAM = os.path.abspath(sys.argv.pop(1) if len(sys.argv) > 1 else "build/switch/tripod-switch")
FRR = Path("/usr/lib/frr")
DAEMONS = ("zebra", "staticd", "bfdd", "bgpd")
NODES = (1, 2, 3)
BASE = 2048
GATEWAY_MAC = "02:00:5e:00:01:01"
UPSTREAM_MAC = "02:00:00:00:0a:01"
SERVICE = "198.51.100.0/24"
MAGIC = b"tripod asks frr!"
FLOWS = 300

RACK = """rack:
  name: frr
  authentication: none
  backups: 0
  nodes:
NODES
network:
  outside: {vlan: 10, relay_vlan: 11, gateway: 203.0.113.1/24, gateway_mac: "02:00:5e:00:01:01"}
  inside: {vlan: 20, relay_vlan: 21, gateway: 10.1.0.1/24, gateway_mac: "02:00:5e:00:01:02"}
  fabric: {vlan: 30}
  bfd: {enabled: true, interval_ms: 100, multiplier: 4, peer_mac: "02:00:00:00:0a:02"}
switch:
  model: modulo
  hash: 5-tuple
  failures: 1
  prediction_vlan: BASE
  uplinks: [{port: 101, side: outside}, {port: 102, side: inside}]
chain: []
""".replace("NODES", "\n".join(
    f'    - {{id: {i}, mac: "02:00:00:00:00:0{i}", outside: 203.0.113.1{i}, inside: 10.1.0.1{i}, '
    f"fabric: 10.255.0.{i}}}" for i in NODES)).replace("BASE", str(BASE))

# As the operator's guide has it.
BIRD = """log stderr all;
router id 203.0.113.1NODE;
protocol device {}
protocol bfd { interface "*" { interval 100 ms; multiplier 4; }; }
protocol static prefixes { ipv4; route 198.51.100.0/24 blackhole; }
protocol bgp tor {
	local 203.0.113.1NODE as 64513;
	neighbor 203.0.113.2 as 64512;
	bfd on;
	connect delay time 1; connect retry time 2; error wait time 1, 5;
	ipv4 { import none; export where proto = "prefixes"; next hop self; };
}
"""


def run(*args: str, check: bool = True) -> str:
    done = subprocess.run(args, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    if check and done.returncode != 0:
        raise AssertionError(f"{args}: {done.stdout}{done.stderr}")
    return done.stdout


def wait_for(what: str, poll, seconds: float = 40) -> None:
    end = time.monotonic() + seconds
    while not poll():
        if time.monotonic() > end:
            raise AssertionError(f"gave up waiting for {what}")
        time.sleep(0.05)


def socket_in(ns: str, interface: str) -> socket.socket:
    """A packet socket in a namespace; this process comes back."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{ns}", os.O_RDONLY)
    try:
        if libc.setns(there, 0x40000000) != 0:
            raise OSError(ctypes.get_errno(), ns)
        s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        s.bind((interface, 0))
        if libc.setns(home, 0x40000000) != 0:
            os._exit(1)
    finally:
        os.close(home)
        os.close(there)
    s.setblocking(False)
    return s


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def node_mac(i: int) -> str:
    return f"02:00:00:00:00:0{i}"


def packet(number: int, ttl: int) -> bytes:
    """A datagram from outside, different in each number, to an address of the service."""
    rng = random.Random(number)
    payload = MAGIC + struct.pack("!I", number)
    udp = struct.pack("!HHHH", rng.randrange(1024, 65536), 80, 8 + len(payload), 0) + payload
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 63 << 2, 20 + len(udp), 0, 0, ttl, 17, 0,
                       bytes((198, 18, rng.randrange(256), rng.randrange(256))),
                       bytes((198, 51, 100, 7)))
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xffff) + (total >> 16)
    return head[:10] + struct.pack("!H", ~(total + (total >> 16)) & 0xffff) + head[12:] + udp


class Router(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.prefix = f"tripodfrr{os.getpid()}"
        cls.folder = Path(cls.enterClassContext(tempfile.TemporaryDirectory(prefix="tripod-frr-")))
        cls.birds: dict[int, subprocess.Popen] = {}
        cls.addClassCleanup(cls.clean)
        for name in ("sw", "router", "up", *(f"node{i}" for i in NODES)):
            run("ip", "netns", "add", cls.ns(name))
            cls.ip(name, "link", "set", "lo", "up")
        cls.wire()
        cls.start_frr()
        for i in NODES:
            cls.start_bird(i)
        wait_for("routes over all nodes", lambda: cls.next_hops() == cls.addresses(NODES))

    @classmethod
    def ns(cls, name: str) -> str:
        return f"{cls.prefix}{name}"

    @classmethod
    def ip(cls, name: str, *args: str) -> str:
        return run("ip", "-n", cls.ns(name), *args)

    @classmethod
    def wire(cls) -> None:
        """A bridge for the net outside, and one for each prediction group; the router's upstream."""
        cls.groups = {ports: BASE + 2 * ports for ports in (2, 3)}
        for net in ("out", *(f"rack.{v}" for v in cls.groups.values())):
            cls.ip("sw", "link", "add", f"b{net}", "type", "bridge")
            cls.ip("sw", "link", "set", f"b{net}", "up")
            for who in ("router", *(f"node{i}" for i in NODES)):
                port = f"{who[0]}{who[-1]}{net}"
                cls.ip("sw", "link", "add", port, "type", "veth", "peer", "name", net, "netns",
                       cls.ns(who))
                cls.ip("sw", "link", "set", port, "master", f"b{net}", "up")
                own = node_mac(int(who[-1])) if who != "router" else \
                    GATEWAY_MAC if net != "out" else "02:00:00:00:0a:02"
                cls.ip(who, "link", "set", net, "address", own, "up")
        run("ip", "-n", cls.ns("router"), "link", "add", "wan", "address", UPSTREAM_MAC, "type", "veth",
            "peer", "name", "eth0", "netns", cls.ns("up"))
        cls.ip("router", "link", "set", "wan", "up")
        cls.ip("up", "link", "set", "eth0", "up")
        cls.ip("router", "addr", "add", "203.0.113.2/24", "dev", "out")
        cls.ip("router", "addr", "add", "192.0.2.1/30", "dev", "wan")
        for i in NODES:
            cls.ip(f"node{i}", "addr", "add", f"203.0.113.1{i}/24", "dev", "out")
        for key in ("ip_forward=1", "fib_multipath_hash_policy=1", "conf.all.rp_filter=0",
                    "conf.default.rp_filter=0", "conf.all.send_redirects=0",
                    *(f"conf.{d}.rp_filter=0" for d in ("out", "wan"))):
            run("ip", "netns", "exec", cls.ns("router"), "sysctl", "-qw", f"net.ipv4.{key}")

    @classmethod
    def start_frr(cls) -> None:
        (cls.folder / "rack.yaml").write_text(RACK)
        cls.text = run(PROGRAM, "frr", "--config", str(cls.folder / "rack.yaml"))
        cls.frr = cls.folder / "frr"
        cls.frr.mkdir()
        cls.folder.chmod(0o755)
        shutil.chown(cls.frr, "frr", "frr")
        (cls.folder / "frr.conf").write_text(cls.text)
        for d in DAEMONS:
            extra = {"bgpd": ["-p", "179"], "bfdd": ["--bfdctl", f"{cls.frr}/bfdd.sock"]}.get(d, [])
            run("ip", "netns", "exec", cls.ns("router"), str(FRR / d), "-d", "-f", "/dev/null", "--log",
                f"file:{cls.frr}/{d}.log", "-i", f"{cls.frr}/{d}.pid", "-z", f"{cls.frr}/zserv.api",
                "--vty_socket", str(cls.frr), *extra)
        wait_for("FRR", lambda: all((cls.frr / f"{d}.vty").exists() for d in DAEMONS))
        cls.vtysh("-f", str(cls.folder / "frr.conf"))

    @classmethod
    def vtysh(cls, *args: str) -> str:
        return run("ip", "netns", "exec", cls.ns("router"), "vtysh", "--vty_socket", str(cls.frr), *args)

    @classmethod
    def start_bird(cls, i: int) -> None:
        conf = cls.folder / f"bird{i}.conf"
        conf.write_text(BIRD.replace("NODE", str(i)))
        log = open(cls.folder / f"bird{i}.log", "ab")
        cls.birds[i] = subprocess.Popen(
            ["ip", "netns", "exec", cls.ns(f"node{i}"), "bird", "-f", "-c", str(conf), "-s",
             str(cls.folder / f"bird{i}.ctl")], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        log.close()

    @classmethod
    def birdc(cls, i: int, *args: str) -> str:
        return run("birdc", "-s", str(cls.folder / f"bird{i}.ctl"), *args)

    @classmethod
    def clean(cls) -> None:
        for p in cls.birds.values():
            p.kill()
            p.wait()
        for d in DAEMONS:
            pid = cls.frr / f"{d}.pid" if hasattr(cls, "frr") else None
            if pid is not None and pid.exists():
                cls.end(int(pid.read_text()))
        for name in ("router", "up", "sw", *(f"node{i}" for i in NODES)):
            run("ip", "netns", "del", cls.ns(name), check=False)

    @staticmethod
    def end(pid: int) -> None:
        """Of a daemon: what it still writes would be in the way of who removes its folder."""
        with contextlib.suppress(ProcessLookupError):
            fd = os.pidfd_open(pid)
            os.kill(pid, signal.SIGTERM)
            if not select.select([fd], [], [], 20)[0]:
                os.kill(pid, signal.SIGKILL)
                select.select([fd], [], [], 20)
            os.close(fd)

    @classmethod
    def next_hops(cls) -> list[str]:
        told = json.loads(cls.ip("router", "-j", "route", "show", SERVICE) or "[]")
        hops = [h for r in told for h in r.get("nexthops", [r])]
        return [h["gateway"] for h in hops if "gateway" in h]

    @classmethod
    def addresses(cls, nodes) -> list[str]:
        """In the order in which the hash counts them."""
        return [f"203.0.113.1{i}" for i in nodes]

    def come_back(self, i: int) -> None:
        self.start_bird(i)
        wait_for(f"node {i} to come back", lambda: self.next_hops() == self.addresses(NODES))

    def test_all_sessions_are_up(self):
        peers = json.loads(self.vtysh("-c", "show bfd peers json"))
        up = {p["peer"] for p in peers if p["status"] == "up"}
        self.assertLessEqual(set(self.addresses(NODES)), up)

    def test_a_dead_node_goes_with_bfd(self):
        self.birds[2].kill()  # no session of BGP would notice before its hold time, minutes
        self.birds[2].wait()
        wait_for("node 2 to be missed", lambda: self.next_hops() == self.addresses((1, 3)), 10)
        self.come_back(2)

    def test_a_node_that_withdraws_its_routes_gets_nothing(self):
        self.birdc(3, "disable", "prefixes")
        wait_for("node 3 to be gone", lambda: self.next_hops() == self.addresses((1, 2)), 10)
        self.birdc(3, "enable", "prefixes")
        wait_for("node 3 to be back", lambda: self.next_hops() == self.addresses(NODES), 10)

    # ---- Prediction ----

    def group_routes(self) -> None:
        """A table and a rule for each group of the side outside, with the routes that were printed."""
        vrfs = dict(re.findall(r"^vrf (\S+)\n(.*?)^exit-vrf", self.text, flags=re.S | re.M))
        for ports, vlan in self.groups.items():
            hops = re.findall(r"ip route 0.0.0.0/0 (\S+) (\S+) onlink", vrfs[f"tripod{ports}out"])
            self.assertEqual(len(hops), ports)
            self.assertEqual({d for _, d in hops}, {f"rack.{vlan}"})
            self.ip("router", "rule", "add", "dev", f"rack.{vlan}", "lookup", str(vlan))
            self.ip("router", "route", "add", "default", "table", str(vlan), *(
                w for via, dev in hops for w in ("nexthop", "via", via, "dev", dev, "onlink")))
            for i in NODES:
                self.ip("router", "neigh", "replace", f"203.0.113.1{i}", "lladdr", node_mac(i), "dev",
                        f"rack.{vlan}")

    def where(self, ns: str, interface: str, to: str, ttl: int, catch: str) -> dict[int, int]:
        """At which node each flow comes out that is sent from there."""
        out: dict[int, int] = {}
        source = socket_in(self.ns(ns), interface)
        sinks = {socket_in(self.ns(f"node{i}"), catch): i for i in NODES}
        for number in range(FLOWS):
            frame = mac(to) + b"\x02\0\0\0\x99\x99" + b"\x08\0" + packet(number, ttl)
            for _ in range(5):
                source.send(frame)
                if self.caught(sinks, number, out):
                    break
        for s in (source, *sinks):
            s.close()
        return out

    @staticmethod
    def caught(sinks: dict[socket.socket, int], number: int, out: dict[int, int]) -> bool:
        end = time.monotonic() + 1
        while number not in out and time.monotonic() < end:
            for s in select.select(list(sinks), [], [], 0.1)[0]:
                data, address = s.recvfrom(200)
                at = data.find(MAGIC)
                # What has been through the router: not what the asker itself sends, or the bridge floods.
                if address[2] != 4 and at >= 0 and data[22] == 1 and \
                        data[:6] == mac(node_mac(sinks[s])):
                    out[struct.unpack_from("!I", data, at + len(MAGIC))[0]] = sinks[s]
        return number in out

    def test_groups_foretell_where_packets_go(self):
        self.group_routes()
        foretold = {ports: self.where("node1", f"rack.{vlan}", GATEWAY_MAC, 2, f"rack.{vlan}")
                    for ports, vlan in self.groups.items()}
        now = self.where("up", "eth0", UPSTREAM_MAC, 2, "out")
        self.assertEqual(len(now), FLOWS)
        self.assertEqual(set(now.values()), set(NODES))
        self.assertEqual(foretold[3], now)
        self.assertEqual(len(foretold[2]), FLOWS)
        for dead in (1, 2):
            self.birds[dead].kill()
            self.birds[dead].wait()
            left = [i for i in NODES if i != dead]
            wait_for("the dead to be missed", lambda: self.next_hops() == self.addresses(left), 10)
            after = self.where("up", "eth0", UPSTREAM_MAC, 2, "out")
            # The groups are of the first nodes: 1 and 2 are the places 0 and 1.
            self.assertEqual(after, {n: left[place - 1] for n, place in foretold[2].items()})
            self.come_back(dead)


if __name__ == "__main__":
    if os.geteuid() != 0 or not (FRR / "bgpd").exists() or shutil.which("bird") is None:
        print("skipped: takes root, FRR and BIRD")
        sys.exit(77)
    unittest.main()
