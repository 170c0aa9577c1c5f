# SPDX-License-Identifier: BSD-3-Clause
import random
import shutil
import subprocess
import unittest
from collections import Counter

from tests.openflow import Switch
from tripod_lab import ovs, ovs_rules
from tripod_lab.topology import HASHES, INSIDE, OUTSIDE, Lab, Node

CLIENT, SERVER1, SERVER2 = 101, 111, 112
CLIENT_MAC, SERVER1_MAC = "02:00:00:00:0c:01", "02:00:00:00:0d:01"
BROADCAST = "ff:ff:ff:ff:ff:ff"


def build(hash_="outside-endpoint", n=4, dead=()):
    rack = ovs.rack(Lab(n_nodes=n, hash=hash_))
    return Switch(ovs_rules.flows(rack), ovs_rules.groups(rack),
                  {i for i in range(1, n + 1) if i not in dead})


def incoming(sport, l4="tcp", v6=False, dst=None):
    src, to = ("2001:db8:1::100", "fd00:1::101") if v6 else ("203.0.113.100", "10.1.0.101")
    return dict(in_port=CLIENT, dl_dst=OUTSIDE.gateway_mac, l3="ipv6" if v6 else "ip", l4=l4,
                src=src, dst=dst or to, sport=sport, dport=8000)


def outgoing(dport, l4="tcp", v6=False, src=None, sport=8000):
    p = incoming(dport, l4, v6, src)
    return {**p, "in_port": SERVER1, "dl_dst": INSIDE.gateway_mac, "src": p["dst"],
            "dst": p["src"], "sport": sport, "dport": dport}


class Ecmp(unittest.TestCase):
    def one(self, switch, packet, vlan):
        out = switch.send(**packet)
        self.assertEqual(len(out), 1, packet)
        self.assertEqual(out[0][1], vlan)
        self.assertIn(out[0][0], switch.live)
        return out[0][0]

    def test_shares_are_even_and_tagged(self):
        for hash_ in HASHES:
            for v6 in (False, True):
                switch = build(hash_)
                got = Counter(self.one(switch, incoming(p, v6=v6), 10) for p in range(1000, 3000))
                for i in range(1, 5):
                    self.assertAlmostEqual(got[i], 500, delta=100, msg=(hash_, v6))

    def test_a_death_moves_only_the_dead_nodes_flows_and_spreads_them(self):
        for hash_ in HASHES:
            for n in (2, 3, 4, 6, 10, 16):
                for dead in {1, n} if n <= 4 else {n // 2}:
                    before, after = build(hash_, n), build(hash_, n, {dead})
                    moved = Counter()
                    for port in range(1000, 1000 + 200 * n):
                        was = self.one(before, incoming(port), 10)
                        now = self.one(after, incoming(port), 10)
                        if was == dead:
                            moved[now] += 1
                        else:
                            self.assertEqual(was, now, (hash_, n, port))
                    fair = sum(moved.values()) / (n - 1)
                    self.assertEqual(len(moved), n - 1, (hash_, n, dead))
                    self.assertLess(max(moved.values()), 2.6 * fair, (hash_, n, dead, moved))

    def test_any_live_node_is_enough(self):
        for hash_ in HASHES:
            switch = build(hash_, 4, {1, 2, 4})
            self.assertEqual({self.one(switch, incoming(p), 10) for p in range(50)}, {3})

    def test_no_node_no_output(self):
        for hash_ in HASHES:
            switch = build(hash_, 4, {1, 2, 3, 4})
            self.assertEqual(switch.send(**incoming(1)), [])

    def test_one_node_alone(self):
        for hash_ in HASHES:
            self.assertEqual(self.one(build(hash_, 1), incoming(7), 10), 1)
            self.assertEqual(build(hash_, 1, {1}).send(**incoming(7)), [])

    def test_outside_endpoint_survives_rewriting(self):
        """The inside end may be anything in either direction: balancers and NATs change it."""
        rng = random.Random(7)
        for dead in ((), (2,), (1, 4)):
            switch = build(dead=dead)
            for v6 in (False, True):
                for l4 in ("tcp", "udp", "sctp", "icmp"):
                    for port in range(1000, 1060):
                        there = self.one(switch, incoming(port, l4, v6, f"vip{rng.random()}"), 10)
                        back = self.one(switch, outgoing(port, l4, v6, f"real{rng.random()}",
                                                         rng.randrange(65536)), 20)
                        self.assertEqual(there, back)

    def test_symmetric_keeps_unrewritten_directions_together(self):
        switch = build("symmetric")
        for port in range(1000, 1200):
            self.assertEqual(self.one(switch, incoming(port), 10),
                             self.one(switch, outgoing(port), 20))

    def test_5_tuple_does_not(self):
        switch = build("5-tuple")
        same = sum(self.one(switch, incoming(p), 10) == self.one(switch, outgoing(p), 20)
                   for p in range(1000, 2000))
        self.assertLess(same, 400)

    def test_unicast_arp_to_the_gateway_reaches_a_node(self):
        for hash_ in HASHES:
            self.one(build(hash_), dict(in_port=CLIENT, dl_dst=OUTSIDE.gateway_mac), 10)


class Forwarding(unittest.TestCase):
    def setUp(self):
        self.switch = build()

    def test_nodes_reach_hosts_untagged_in_their_vlan_only(self):
        self.assertEqual(self.switch.send(in_port=2, vlan=10, dl_dst=CLIENT_MAC), [(CLIENT, None)])
        self.assertEqual(self.switch.send(in_port=2, vlan=20, dl_dst=SERVER1_MAC),
                         [(SERVER1, None)])
        outs = self.switch.send(in_port=2, vlan=10, dl_dst=SERVER1_MAC)
        self.assertNotIn(SERVER1, [port for port, _ in outs])

    def test_broadcast_stays_in_its_vlan_and_reaches_all_of_it(self):
        nodes10 = [(i, 10) for i in range(1, 5)]
        self.assertEqual(sorted(self.switch.send(in_port=CLIENT, dl_dst=BROADCAST)), nodes10)
        self.assertEqual(self.switch.send(in_port=SERVER2, dl_dst=BROADCAST),
                         [(i, 20) for i in range(1, 5)] + [(SERVER1, None)])
        self.assertEqual(self.switch.send(in_port=3, vlan=10, dl_dst=BROADCAST),
                         [(1, 10), (2, 10), (4, 10), (CLIENT, None)])
        for vlan in (11, 21, 30):
            self.assertEqual(self.switch.send(in_port=3, vlan=vlan, dl_dst=BROADCAST),
                             [(1, vlan), (2, vlan), (4, vlan)])

    def test_nodes_reach_each_other_by_their_own_mac(self):
        for vlan in (10, 20, 11, 21, 30):
            self.assertEqual(self.switch.send(in_port=1, vlan=vlan, dl_dst=Node(3).mac), [(3, vlan)])
        self.assertEqual(self.switch.send(in_port=CLIENT, dl_dst=Node(3).mac), [(3, 10)])

    def test_what_has_no_business_here_is_dropped(self):
        for packet in (
                dict(in_port=1, vlan=None, dl_dst=CLIENT_MAC),  # a node without a tag
                dict(in_port=1, vlan=40, dl_dst=BROADCAST),  # another VLAN
                dict(in_port=CLIENT, vlan=30, dl_dst=Node(1).mac),  # a host on the fabric
                dict(in_port=CLIENT, vlan=20, dl_dst=SERVER1_MAC),  # ... or on the other side
                dict(in_port=1, vlan=10, dl_dst=OUTSIDE.gateway_mac),  # a node to itself
                dict(in_port=999, vlan=None, dl_dst=CLIENT_MAC)):
            self.assertEqual(self.switch.send(**packet), [], packet)

    def test_servers_reach_each_other_without_the_gateway(self):
        self.assertEqual(self.switch.send(in_port=SERVER2, dl_dst=SERVER1_MAC), [(SERVER1, None)])


class Size(unittest.TestCase):
    def test_groups_are_few(self):
        for n in (1, 4, 48):
            self.assertEqual(len(ovs_rules.groups(ovs.rack(Lab(n_nodes=n)))), n + 2)

    def test_dp_hash_buckets_fit(self):
        for n in range(1, 49):
            buckets = n * ovs_rules.dp_hash_rounds(n)
            self.assertLessEqual(buckets, 256)
            self.assertGreaterEqual(buckets, 33)


@unittest.skipUnless(shutil.which("ovs-ofctl"), "ovs-ofctl is not installed")
class Syntax(unittest.TestCase):
    def test_open_vswitch_reads_the_flows(self):
        for hash_ in HASHES:
            rack = ovs.rack(Lab(n_nodes=48, hash=hash_))
            done = subprocess.run(["ovs-ofctl", "-O", "OpenFlow15", "parse-flows", "-"],
                                  input="\n".join(ovs_rules.flows(rack)), text=True,
                                  capture_output=True)
            self.assertEqual((done.returncode, done.stderr), (0, ""))


if __name__ == "__main__":
    unittest.main()
