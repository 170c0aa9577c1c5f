#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""What the rules do to packets: rules_test.py PATH/TO/tripod-switch

The rules that the program prints are walked by openflow.py."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from collections import Counter
from pathlib import Path

sys.dont_write_bytecode = True

from openflow import Switch  # noqa: E402

PROGRAM = sys.argv.pop(1) if len(sys.argv) > 1 else "build/switch/tripod-switch"
HASHES = ("outside-endpoint", "symmetric", "5-tuple")
CLIENT, SERVER1, SERVER2 = 101, 111, 112
CLIENT_MAC, SERVER1_MAC, SERVER2_MAC = ("02:00:00:00:0c:01", "02:00:00:00:0d:01",
                                        "02:00:00:00:0d:02")
GATEWAY = {10: "02:00:5e:00:01:01", 20: "02:00:5e:00:01:02"}
BROADCAST = "ff:ff:ff:ff:ff:ff"
BASE, ARRIVAL = 2048, 64


def mac(i):
    return f"02:00:00:00:00:{i:02x}"


def rack_file(n, model, hash_, failures=3, uplinks=True):
    nodes = "".join(f'    - {{id: {i}, mac: "{mac(i)}", outside: 203.0.113.{10 + i}, '
                    f"inside: 10.1.0.{10 + i}, fabric: 10.255.0.{i}}}\n" for i in range(1, n + 1))
    ports = f"""  uplinks:
    - {{port: {CLIENT}, side: outside, mac: "{CLIENT_MAC}"}}
    - {{port: {SERVER1}, side: inside, mac: "{SERVER1_MAC}"}}
    - {{port: {SERVER2}, side: inside, mac: "{SERVER2_MAC}"}}
"""
    return f"""rack:
  name: test
  authentication: none
  backups: 0
  nodes:
{nodes}network:
  outside: {{vlan: 10, relay_vlan: 11, gateway: 203.0.113.1/24, gateway_mac: "{GATEWAY[10]}"}}
  inside: {{vlan: 20, relay_vlan: 21, gateway: 10.1.0.1/24, gateway_mac: "{GATEWAY[20]}"}}
  fabric: {{vlan: 30}}
switch:
  model: {model}
  hash: {hash_}
  failures: {failures}
  prediction_vlan: {BASE}
{ports if uplinks else ""}chain: []
"""


def call(*args, check=0):
    done = subprocess.run([PROGRAM, *args], capture_output=True, text=True)
    if check is not None and done.returncode != check:
        raise AssertionError(f"{args}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done


class Files(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        cls.made = {}

    @classmethod
    def rack(cls, *args, **kwargs):
        path = cls.folder / f"{len(list(cls.folder.iterdir()))}.yaml"
        path.write_text(rack_file(*args, **kwargs))
        return str(path)

    def build(self, hash_="outside-endpoint", n=4, dead=(), model="resilient", *options):
        key = (hash_, n, model, options)
        if key not in self.made:
            self.made[key] = json.loads(call("rules", "--json", "--config",
                                             self.rack(n, model, hash_), *options).stdout)
        made = self.made[key]
        return Switch(made["flow_rules"], made["group_rules"],
                      {i for i in range(1, n + 1) if i not in dead}, modulo=model == "modulo")


def incoming(sport, l4="tcp", v6=False, dst=None):
    src, to = ("2001:db8:1::100", "fd00:1::101") if v6 else ("203.0.113.100", "10.1.0.101")
    return dict(in_port=CLIENT, dl_dst=GATEWAY[10], l3="ipv6" if v6 else "ip", l4=l4,
                src=src, dst=dst or to, sport=sport, dport=8000)


def outgoing(dport, l4="tcp", v6=False, src=None, sport=8000):
    p = incoming(dport, l4, v6, src)
    return {**p, "in_port": SERVER1, "dl_dst": GATEWAY[20], "src": p["dst"],
            "dst": p["src"], "sport": sport, "dport": dport}


class Balancing(Files):
    def one(self, switch, packet, vlan):
        out = switch.send(**packet)
        self.assertEqual(len(out), 1, packet)
        self.assertEqual(out[0][1], vlan)
        self.assertIn(out[0][0], switch.live)
        return out[0][0]

    def test_shares_are_even_and_tagged(self):
        for model in ("modulo", "two-stage", "resilient"):
            for hash_ in HASHES:
                for v6 in (False, True):
                    switch = self.build(hash_, model=model)
                    got = Counter(self.one(switch, incoming(p, v6=v6), 10)
                                  for p in range(1000, 3000))
                    for i in range(1, 5):
                        self.assertAlmostEqual(got[i], 500, delta=100, msg=(model, hash_, v6))

    def test_a_death_moves_only_the_dead_nodes_flows_and_spreads_them(self):
        for model in ("two-stage", "resilient"):
            for hash_ in HASHES:
                if (model, hash_) == ("two-stage", "symmetric"):
                    continue  # takes a switch that hashes twice: apply refuses it to Open vSwitch
                for n in (2, 3, 4, 6, 10, 16):
                    for dead in {1, n} if n <= 4 else {n // 2}:
                        before = self.build(hash_, n, model=model)
                        after = self.build(hash_, n, {dead}, model)
                        moved = Counter()
                        for port in range(1000, 1000 + 150 * n):
                            was = self.one(before, incoming(port), 10)
                            now = self.one(after, incoming(port), 10)
                            if was == dead:
                                moved[now] += 1
                            else:
                                self.assertEqual(was, now, (hash_, n, port))
                        fair = sum(moved.values()) / (n - 1)
                        self.assertEqual(len(moved), n - 1, (model, hash_, n, dead))
                        self.assertLess(max(moved.values()), 2.6 * fair, (hash_, n, dead, moved))

    def test_a_joiner_takes_flows_and_no_others_move(self):
        for hash_ in HASHES:
            four, five = self.build(hash_, 4), self.build(hash_, 5)
            moved = 0
            for port in range(1000, 2000):
                was, now = (self.one(s, incoming(port), 10) for s in (four, five))
                self.assertIn(now, (was, 5), hash_)
                moved += was != now
            self.assertAlmostEqual(moved, 200, delta=50, msg=hash_)
            if hash_ != "symmetric":  # there the slots of a node are known by their places
                not_yet = self.build(hash_, 5, {5})
                for port in range(1000, 1200):
                    self.assertEqual(self.one(four, incoming(port), 10),
                                     self.one(not_yet, incoming(port), 10))

    def test_any_live_node_is_enough(self):
        for model in ("modulo", "two-stage", "resilient"):
            for hash_ in HASHES:
                switch = self.build(hash_, 4, {1, 2, 4}, model)
                self.assertEqual({self.one(switch, incoming(p), 10) for p in range(50)}, {3})

    def test_no_node_no_output(self):
        for model in ("modulo", "two-stage", "resilient"):
            for hash_ in HASHES:
                switch = self.build(hash_, 4, {1, 2, 3, 4}, model)
                self.assertEqual(switch.send(**incoming(1)), [])

    def test_one_node_alone(self):
        for model in ("modulo", "two-stage", "resilient"):
            for hash_ in HASHES:
                self.assertEqual(self.one(self.build(hash_, 1, (), model), incoming(7), 10), 1)
                self.assertEqual(self.build(hash_, 1, {1}, model).send(**incoming(7)), [])

    def test_outside_endpoint_survives_rewriting(self):
        """The inside end may be anything in either direction: balancers and NATs change it."""
        rng = random.Random(7)
        for model in ("modulo", "two-stage", "resilient"):
            for dead in ((), (2,), (1, 4)):
                switch = self.build(dead=dead, model=model)
                for v6 in (False, True):
                    for l4 in ("tcp", "udp", "sctp", "icmp"):
                        for port in range(1000, 1060):
                            there = self.one(
                                switch, incoming(port, l4, v6, f"vip{rng.random()}"), 10)
                            back = self.one(
                                switch, outgoing(port, l4, v6, f"real{rng.random()}",
                                                 rng.randrange(65536)), 20)
                            self.assertEqual(there, back)

    def test_symmetric_keeps_unrewritten_directions_together(self):
        switch = self.build("symmetric")
        for port in range(1000, 1200):
            self.assertEqual(self.one(switch, incoming(port), 10),
                             self.one(switch, outgoing(port), 20))

    def test_5_tuple_does_not(self):
        switch = self.build("5-tuple")
        same = sum(self.one(switch, incoming(p), 10) == self.one(switch, outgoing(p), 20)
                   for p in range(1000, 2000))
        self.assertLess(same, 400)

    def test_unicast_arp_to_the_gateway_reaches_a_node(self):
        for hash_ in HASHES:
            self.one(self.build(hash_), dict(in_port=CLIENT, dl_dst=GATEWAY[10]), 10)


class Predicting(Files):
    """A node asks what would become of a packet; the frame keeps its tag."""

    def question(self, switch, index, packet, asker=1):
        """Where it comes out, and the place that is written on it."""
        side = 0 if packet["in_port"] == CLIENT else 1
        vlan = BASE + 2 * index + side
        out = switch.marked(**{**packet, "in_port": asker, "vlan": vlan,
                               "dl_dst": "02:00:00:00:99:99"})
        self.assertEqual(len(out), 1, (index, packet))
        self.assertEqual(out[0][1], (vlan,))
        return out[0][0], out[0][2]

    def ask(self, switch, index, packet, asker=1):
        port, place = self.question(switch, index, packet, asker)
        self.assertIsNone(place)
        return port

    def place(self, switch, ports, packet):
        port, place = self.question(switch, ports, packet)
        self.assertIn(port, switch.live)
        self.assertIn(place, range(ports))
        return place

    def packets(self, n=150):
        for port in range(1000, 1000 + n):
            for v6 in (False, True):
                yield incoming(port, ("tcp", "udp", "icmp")[port % 3], v6)
                yield outgoing(port, ("tcp", "udp", "icmp")[port % 3], v6)

    def test_resilient_predicts_every_single_failure(self):
        for hash_ in HASHES:
            for n in (2, 4, 9):
                now = self.build(hash_, n)
                for dead in range(1, n + 1):
                    after = self.build(hash_, n, {dead})
                    for p in self.packets():
                        self.assertEqual(self.ask(now, dead, p), after.send(**p)[0][0])

    def survivors(self, hash_, model, away, options=()):
        """Place M says which of any M survivors, in order, whoever they are. Those of `away` stay away."""
        rng = random.Random(3)
        now = self.build(hash_, 7, away, model, *options)
        now.modulo = True
        for k in range(0 if model == "modulo" else 1, 4):
            dead = {*away, *rng.sample(sorted({*range(1, 8)} - {*away}), k)}
            left = sorted({*range(1, 8)} - dead)
            after = self.build(hash_, 7, dead, model)
            after.modulo = True
            for p in self.packets(40):
                was, to = now.send(**p)[0][0], after.send(**p)[0][0]
                if model == "two-stage" and was not in dead and not away:
                    self.assertEqual(to, was)
                elif model == "modulo" or was in dead:
                    self.assertEqual(to, left[self.place(now, len(left), p)], (hash_, dead))

    def test_modulo_predicts_failures_of_any_k(self):
        for model in ("modulo", "two-stage"):
            for hash_ in HASHES:
                self.survivors(hash_, model, ())

    def test_failures_that_last_are_left_out(self):
        for model in ("modulo", "two-stage"):
            for hash_ in HASHES:
                for away in ((2,), (1, 7)):
                    self.survivors(hash_, model, away,
                                   ("--without", ",".join(str(i) for i in away)))

    def test_the_groups_of_before_ask_the_dead(self):
        """... which is why those that stay away are to be left out."""
        switch = self.build("5-tuple", 5, (2,), "modulo")
        lost = sum(self.question(switch, 4, p)[0] == 2 for p in self.packets(50))
        self.assertGreater(lost, 20)

    def test_what_a_joiner_will_get(self):
        for hash_ in HASHES:
            without, with_ = self.build(hash_, 5, {5}), self.build(hash_, 5)
            for p in self.packets():
                self.assertEqual(self.ask(without, ARRIVAL, p), with_.send(**p)[0][0])

    def test_what_a_joiner_of_modulo_will_get(self):
        for hash_ in HASHES:
            for options in ((), ("--without", "5")):
                without = self.build(hash_, 5, {5}, "modulo", *options)
                with_ = self.build(hash_, 5, (), "modulo")
                without.live = {1, 2, 3, 4, 5}  # it answers before its port is up
                for p in self.packets():
                    self.assertEqual(self.place(without, 5, p) + 1, with_.send(**p)[0][0])

    def test_what_a_joiner_of_two_stage_may_get(self):
        """All that it gets is where both stages seem to agree; and no more than that much again."""
        for hash_ in HASHES:
            without = self.build(hash_, 5, {5}, "two-stage")
            with_ = self.build(hash_, 5, (), "two-stage")
            without.modulo = with_.modulo = True
            may = gets = 0
            for p in self.packets(300):
                now = self.ask(without, ARRIVAL, p)
                self.assertEqual(now, without.send(**p)[0][0])
                second = self.question(without, 4, p)[1] + 1
                then = with_.send(**p)[0][0]
                may += now == second
                gets += then == 5
                self.assertIn(then, (5, now) if now == second else (now,))
            self.assertGreater(gets, 100)
            self.assertLess(may, 2.6 * gets)

    def test_nodes_that_are_not_there_yet(self):
        for hash_ in HASHES:
            some = self.build(hash_, 6, (5, 6), "resilient", "--nodes", "1,2,3,4")
            four = self.build(hash_, 4)
            for p in self.packets(40):
                self.assertEqual(some.send(**p), four.send(**p))
            self.assertEqual(some.groups.keys(), four.groups.keys())

    def test_a_node_that_was_taken_away_is_as_one_that_is_dead(self):
        for hash_ in ("outside-endpoint", "5-tuple"):
            away = self.build(hash_, 5, (3,), "resilient", "--nodes", "1,2,4,5")
            dead = self.build(hash_, 5, (3,))
            for p in self.packets(60):
                self.assertEqual(away.send(**p), dead.send(**p))

    def test_hosts_cannot_ask(self):
        switch = self.build()
        for port, side in ((CLIENT, 0), (SERVER1, 1)):
            for index in (1, 2, ARRIVAL):
                for dst in (GATEWAY[10], GATEWAY[20], mac(1), BROADCAST, "02:00:00:00:99:99"):
                    for out in switch.send(**{**incoming(5), "in_port": port, "dl_dst": dst,
                                              "vlan": BASE + 2 * index + side}):
                        if out[0] >= CLIENT:
                            continue
                        # It bears the side's own tag outside, whatever is beneath.
                        self.assertEqual(out[1], 10 if port == CLIENT else 20)

    def test_groups_that_are_not_there_answer_nothing(self):
        switch = self.build(n=4)
        for index in (0, 5, 63, 65, 127):
            p = {**incoming(5), "in_port": 1, "vlan": BASE + 2 * index, "dl_dst": "02:00:00:00:99:99"}
            self.assertEqual(switch.send(**p), [], index)


class Forwarding(Files):
    def setUp(self):
        self.switch = self.build()

    def test_nodes_reach_hosts_untagged_in_their_vlan_only(self):
        self.assertEqual(self.switch.send(in_port=2, vlan=10, dl_dst=CLIENT_MAC), [(CLIENT, None)])
        self.assertEqual(self.switch.send(in_port=2, vlan=20, dl_dst=SERVER1_MAC),
                         [(SERVER1, None)])
        self.assertEqual(self.switch.send(in_port=2, vlan=10, dl_dst=SERVER1_MAC), [])

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
            self.assertEqual(self.switch.send(in_port=1, vlan=vlan, dl_dst=mac(3)), [(3, vlan)])
        self.assertEqual(self.switch.send(in_port=CLIENT, dl_dst=mac(3)), [(3, 10)])

    def test_what_has_no_business_here_is_dropped(self):
        for packet in (
                dict(in_port=1, vlan=None, dl_dst=CLIENT_MAC),  # a node without a tag
                dict(in_port=1, vlan=40, dl_dst=CLIENT_MAC),  # another VLAN
                dict(in_port=CLIENT, vlan=20, dl_dst=SERVER1_MAC),  # a host on the other side
                dict(in_port=1, vlan=10, dl_dst=GATEWAY[10]),  # a node to itself
                dict(in_port=999, vlan=None, dl_dst=CLIENT_MAC)):
            self.assertEqual(self.switch.send(**packet), [], packet)

    def test_a_hosts_own_tags_take_it_nowhere_else(self):
        for vlan in (10, 11, 20, 21, 30, BASE + 2):
            for dst in (mac(1), BROADCAST, GATEWAY[10]):
                for out in self.switch.send(in_port=CLIENT, vlan=vlan, dl_dst=dst, l3="ip",
                                            l4="tcp", src="a", dst="b", sport=1, dport=2):
                    self.assertEqual(out[1:], (10, vlan))

    def test_servers_reach_each_other_without_the_gateway(self):
        self.assertEqual(self.switch.send(in_port=SERVER2, dl_dst=SERVER1_MAC), [(SERVER1, None)])

    def test_an_uplink_without_a_mac_gets_what_nobody_else_has(self):
        made = json.loads(call("rules", "--ports", "4", "--json").stdout)
        switch = Switch(made["flow_rules"], made["group_rules"], {1, 2, 3, 4})
        self.assertEqual(switch.send(in_port=2, vlan=10, dl_dst=CLIENT_MAC), [(5, None)])
        self.assertEqual(switch.send(in_port=2, vlan=20, dl_dst=SERVER1_MAC), [(6, None)])
        self.assertEqual(switch.send(in_port=2, vlan=30, dl_dst=SERVER1_MAC), [])


class Command(Files):
    def test_counts(self):
        def count(*args):
            return int(call("rules", *args).stdout)

        self.assertEqual(count("--ports", "48", "--failures", "10", "--model", "two-stage",
                               "--count"), 60)
        for model in ("modulo", "two-stage", "resilient"):
            for n in (2, 3, 4, 48, 64):
                self.assertLessEqual(count("--ports", str(n), "--model", model, "--failures", "10",
                                           "--flows-count"), 3 * n + 20)
        for hash_ in HASHES:
            self.assertLess(count("--ports", "48", "--model", "resilient", "--hash", hash_,
                                  "--count"), 100)
            self.assertLessEqual(count("--ports", "48", "--hash", hash_, "--flows-count"), 164)

    def test_json_says_what_text_says(self):
        text = call("rules", "--ports", "5").stdout.splitlines()
        made = json.loads(call("rules", "--ports", "5", "--json").stdout)
        self.assertEqual(text, made["group_rules"] + made["flow_rules"])
        self.assertEqual((made["groups"], made["flows"], made["nodes"]),
                         (len(made["group_rules"]), len(made["flow_rules"]), 5))
        self.assertEqual(made["prediction"][1], {
            "index": 1, "kind": "without-node", "group": 201, "outside_vlan": 1026,
            "inside_vlan": 1027})
        self.assertEqual(made["prediction"][-1]["kind"], "arrival")

    def test_wrong_command_lines(self):
        for args in ((), ("rules",), ("rules", "--ports", "0"), ("rules", "--ports", "65"),
                     ("rules", "--ports", "4", "--config", "x"), ("dance", "--ports", "4"),
                     ("rules", "--ports", "4", "--model", "ecmp"), ("rules", "--ports", "4", "--hash"),
                     ("rules", "--ports", "4", "more"), ("verify", "--ports", "4", "--count"),
                     ("rules", "--ports", "4", "--dry-run"), ("rules", "--ports", "4", "--without", "64"),
                     ("frr", "--ports", "4"), ("remove",),
                     ("frr", "--config", self.rack(4, "modulo", "5-tuple"), "--without", "2")):
            done = call(*args, check=2)
            self.assertIn("tripod-switch", done.stderr, args)
            self.assertEqual(done.stdout, "", args)

    def test_a_rack_that_lacks_ports_is_told_so(self):
        done = call("rules", "--config", self.rack(2, "resilient", "5-tuple", uplinks=False),
                    check=1)
        self.assertEqual(len(done.stderr.splitlines()), 2)
        self.assertRegex(done.stderr, r"\.yaml:\d+: no port of the switch leads outside; add")
        done = call("rules", "--config", "/nonexistent.yaml", check=1)
        self.assertIn("cannot be opened", done.stderr)

    def test_a_node_that_is_not_configured(self):
        self.assertIn("does not have", call("rules", "--ports", "4", "--nodes", "3,4", check=1).stderr)

    def test_what_open_vswitch_cannot_do_is_refused(self):
        self.assertIn("use the model resilient",
                      call("apply", "--ports", "4", "--model", "modulo", check=1).stderr)
        self.assertIn("failures: 0",
                      call("apply", "--ports", "4", "--model", "two-stage", check=1).stderr)
        self.assertIn("one symmetric hash",
                      call("apply", "--ports", "4", "--model", "two-stage", "--failures", "0",
                           "--hash", "symmetric", check=1).stderr)

    def test_frr(self):
        text = call("frr", "--config", self.rack(6, "modulo", "5-tuple", 2)).stdout
        self.assertNotIn("NOTE", text)
        vrfs = dict(re.findall(r"^vrf (\S+)\n(.*?)^exit-vrf", text, flags=re.S | re.M))
        self.assertEqual(sorted(vrfs), [f"tripod{m}{side}" for m in (4, 5, 6) for side in ("in", "out")])
        for ports in (4, 5, 6):
            for side, name in enumerate(("out", "in")):
                self.assertEqual(re.findall(r"ip route 0.0.0.0/0 \S+\.(\d+) rack\.(\d+) onlink",
                                            vrfs[f"tripod{ports}{name}"]),
                                 [(str(10 + i), str(BASE + 2 * ports + side))
                                  for i in range(1, ports + 1)])
        self.assertEqual(len(re.findall(r"^ neighbor \S+ peer-group TRIPOD$", text, flags=re.M)), 12)
        self.assertIn("maximum-paths 6", text)
        self.assertIn("NOTE", call("frr", "--config", self.rack(6, "resilient", "5-tuple")).stdout)
        if shutil.which("vtysh"):
            path = self.folder / "frr.conf"
            path.write_text(text)
            done = subprocess.run(["vtysh", "-C", "-f", str(path)], capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stdout), (0, ""))

    @unittest.skipUnless(shutil.which("ovs-ofctl"), "ovs-ofctl is not installed")
    def test_open_vswitch_reads_the_flows(self):
        for hash_ in HASHES:
            made = json.loads(call("rules", "--ports", "48", "--hash", hash_, "--json").stdout)
            done = subprocess.run(["ovs-ofctl", "-O", "OpenFlow15", "parse-flows", "-"],
                                  input="\n".join(made["flow_rules"]), text=True,
                                  capture_output=True)
            self.assertEqual((done.returncode, done.stderr), (0, ""))


if __name__ == "__main__":
    unittest.main()
