# SPDX-License-Identifier: BSD-3-Clause
import ipaddress
import re
import unittest
from pathlib import Path

import tripod_lab
from tripod_lab import LabError, topology
from tripod_lab.topology import HOSTS, INSIDE, OUTSIDE, Lab


class Names(unittest.TestCase):
    def test_every_namespace_is_recognised_as_its_labs(self):
        for name in ("lab", "a", "node1", "x_2"):
            lab = Lab(name=name, n_nodes=48)
            for role in lab.roles:
                self.assertEqual(topology.parse_namespace(lab.namespace(role)), (name, role))

    def test_foreign_namespaces_are_not(self):
        for ns in ("tl-lab", "tl-lab-", "tl--node1", "tl-lab-node0", "tl-lab-node1x", "tl-a-b-node1",
                   "xtl-lab-node1", "lab-node1", "tl-lab-server", "tl-lab-node100", "tl-Lab-node1"):
            self.assertIsNone(topology.parse_namespace(ns), ns)

    def test_bad_names_are_refused(self):
        for name in ("", "a-b", "../x", "A", "x" * 33, "a/b", "."):
            with self.assertRaises(LabError, msg=name):
                topology.check_name(name)

    def test_version_is_the_projects(self):
        text = (Path(__file__).parents[2] / "meson.build").read_text()
        self.assertEqual(re.search(r"version: '([^']+)'", text)[1], tripod_lab.__version__)


class Addresses(unittest.TestCase):
    def test_all_are_distinct_and_on_their_link(self):
        lab = Lab(n_nodes=topology.MAX_NODES)
        for side in (OUTSIDE, INSIDE):
            nets = [ipaddress.ip_network(f"{g}/{n}", strict=False)
                    for g, n in ((side.gateway4, side.len4), (side.gateway6, side.len6))]
            have = [side.gateway4, side.gateway6]
            for node in lab.nodes:
                have += node.on(side)
            for host in HOSTS:
                if host.side is side:
                    have += host.addresses
            have = [ipaddress.ip_address(a) for a in have]
            self.assertEqual(len(have), len(set(have)))
            for a in have:
                self.assertTrue(any(a in n for n in nets), a)

    def test_ports_and_macs_are_distinct(self):
        parts = (*Lab(n_nodes=topology.MAX_NODES).nodes, *HOSTS)
        self.assertEqual(len({p.port for p in parts}), len(parts))
        macs = {p.mac for p in parts} | {OUTSIDE.gateway_mac, INSIDE.gateway_mac}
        self.assertEqual(len(macs), len(parts) + 2)


class Detection(unittest.TestCase):
    def test_bfd_ends_before_the_time_is_over(self):
        for ms in (20, 50, 100, 1000):
            lab = Lab(detect_ms=ms)
            self.assertLess(lab.bfd_interval_ms * lab.bfd_multiplier, ms)
            self.assertGreaterEqual(lab.bfd_interval_ms, 1)

    def test_limits(self):
        for bad in (dict(n_nodes=0), dict(n_nodes=49), dict(mode="x"), dict(hash="x"),
                    dict(workers=0), dict(detect_ms=1), dict(name="a-b")):
            with self.assertRaises(LabError, msg=bad):
                Lab(**bad)


if __name__ == "__main__":
    unittest.main()
