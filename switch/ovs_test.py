#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""tripod-switch against a real Open vSwitch: ovs_test.py PATH/TO/tripod-switch

The switch has a datapath of its own making ("dummy"), so this takes neither root nor a network."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
from collections import Counter
from pathlib import Path

PROGRAM = sys.argv.pop(1) if len(sys.argv) > 1 else "build/switch/tripod-switch"
SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
PORTS = 12
GATEWAY = {0: "02:00:5e:00:01:01", 1: "02:00:5e:00:01:02"}
HASHES = ("outside-endpoint", "symmetric", "5-tuple")


class OpenVSwitch(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = cls.enterClassContext(tempfile.TemporaryDirectory(prefix="tripod-switch-"))
        cls.env = {**os.environ, **{f"OVS_{n}DIR": cls.dir for n in ("RUN", "LOG", "DB", "SYSCONF")}}
        cls.tool("ovsdb-tool", "create", f"{cls.dir}/conf.db", SCHEMA)
        daemon = ["--pidfile", "--detach", "--no-chdir", "-vconsole:off", "-vsyslog:off"]
        cls.tool("ovsdb-server", f"{cls.dir}/conf.db", f"--remote=punix:{cls.dir}/db.sock", *daemon)
        cls.addClassCleanup(cls.tool, "ovs-appctl", "-t", "ovsdb-server", "exit")
        cls.vsctl("--no-wait", "init")
        cls.tool("ovs-vswitchd", f"unix:{cls.dir}/db.sock", "--enable-dummy=override",
                 "--disable-system", *daemon)
        cls.addClassCleanup(cls.tool, "ovs-appctl", "exit")
        args = ["add-br", "tor", "--", "set", "bridge", "tor", "datapath_type=dummy",
                "fail_mode=secure", "protocols=OpenFlow13,OpenFlow15"]
        for i in range(1, PORTS + 1):
            args += ["--", "add-port", "tor", f"p{i}", "--", "set", "interface", f"p{i}",
                     "type=dummy", f"ofport_request={i}"]
        cls.vsctl(*args)

    @classmethod
    def tool(cls, *args, stdin=None):
        done = subprocess.run(args, env=cls.env, capture_output=True, text=True, input=stdin,
                              timeout=60)
        if done.returncode != 0:
            raise AssertionError(f"{args}: {done.stdout}{done.stderr}")
        return done.stdout

    @classmethod
    def vsctl(cls, *args):
        return cls.tool("ovs-vsctl", "--timeout=20", f"--db=unix:{cls.dir}/db.sock", *args)

    @classmethod
    def ofctl(cls, *args, stdin=None):
        return cls.tool("ovs-ofctl", "-O", "OpenFlow15", *args, stdin=stdin)

    def setUp(self):
        self.ofctl("del-flows", "tor")
        self.ofctl("del-groups", "tor")

    def switch(self, verb, *args, check=0):
        done = subprocess.run([PROGRAM, verb, *args], env=self.env, capture_output=True, text=True)
        self.assertEqual(done.returncode, check, (verb, args, done.stdout, done.stderr))
        return done.stdout if check == 0 or done.stdout else done.stderr

    def test_what_was_applied_verifies_and_is_not_applied_again(self):
        before = None
        for model, failures in (("resilient", "1"), ("two-stage", "0"), ("resilient", "0")):
            for hash_ in HASHES:
                if (model, hash_) == ("two-stage", "symmetric"):
                    continue
                for n in ("1", "2", "7", "10"):
                    rack = ("--ports", n, "--model", model, "--hash", hash_, "--failures", failures)
                    if before is not None:
                        self.switch("verify", *rack, check=1)
                    self.switch("apply", *rack)
                    self.assertIn("as it should be", self.switch("verify", *rack))
                    self.assertIn("nothing to change", self.switch("apply", *rack))
                    self.assertEqual(self.switch("apply", *rack, "--dry-run"), "")
                    before = rack

    def test_only_what_differs_is_touched(self):
        self.switch("apply", "--ports", "4")
        self.assertIn("nothing to change", self.switch("apply", "--ports", "4"))
        changed = json.loads(self.switch("apply", "--ports", "4", "--failures", "0", "--json"))
        self.assertEqual((changed["missing"], changed["different"]), ([], []))
        self.assertEqual(len(changed["foreign"]), 5 + 5 + 1)

    def test_differences_are_found_told_and_mended(self):
        self.switch("apply", "--ports", "4")
        self.ofctl("mod-group", "tor", "group_id=1,type=select,bucket=bucket_id:1,actions=output:1")
        self.ofctl("del-groups", "tor", "group_id=201")  # takes the flow with it
        self.ofctl("add-flow", "tor", "table=9,priority=3,ip,actions=drop")
        self.ofctl("mod-flows", "--strict", "tor",
                   "table=5,priority=20,dl_dst=02:00:00:00:00:02,actions=output:3")
        told = self.switch("verify", "--ports", "4", check=1).splitlines()
        self.assertEqual(sorted(line[:14] for line in told), sorted((
            "-group_id=1,ty", "+group_id=1,ty", "+group_id=201,", "+table=3,prior",
            "-table=5,prior", "+table=5,prior", "-table=9,prior")))
        found = json.loads(self.switch("verify", "--ports", "4", "--json", check=1))
        self.assertFalse(found["equal"])
        self.assertEqual(found["foreign"], ["table=9,priority=3,ip"])
        self.switch("apply", "--ports", "4")
        self.switch("verify", "--ports", "4")

    def test_remove_takes_what_is_ours(self):
        self.ofctl("add-group", "tor", "group_id=999,type=all,bucket=actions=output:1")
        self.switch("apply", "--ports", "4", "--failures", "0")
        self.ofctl("add-flow", "tor", "table=9,actions=drop")
        self.ofctl("add-group", "tor", "group_id=998,type=all,bucket=actions=output:1")
        self.switch("remove", "--bridge", "tor")
        self.assertEqual(re.findall(r"group_id=(\d+)", self.ofctl("dump-groups", "tor")), ["998"])
        self.assertEqual(re.findall(r"table=(\d+)", self.ofctl("dump-flows", "tor")), ["9"])

    def test_a_bridge_that_is_not_there(self):
        self.assertIn("nix", self.switch("apply", "--ports", "4", "--bridge", "nix", check=1))

    def test_a_bridge_that_does_not_speak_it(self):
        self.vsctl("add-br", "old", "--", "set", "bridge", "old", "datapath_type=dummy",
                   "protocols=OpenFlow10")
        self.addCleanup(self.vsctl, "del-br", "old")
        self.assertIn("protocols=OpenFlow13,OpenFlow15",
                      self.switch("apply", "--ports", "4", "--bridge", "old", check=1))

    # ---- What Open vSwitch makes of it ----

    def trace(self, **fields):
        """Ports that a packet comes out of."""
        flow = ",".join([fields.pop("proto", "tcp")] + [f"{k}={v}" for k, v in fields.items()])
        text = self.tool("ovs-appctl", "ofproto/trace", "tor", flow)
        actions = re.findall(r"^Datapath actions: (.*)$", text, flags=re.M)[-1]
        return [int(a) for a in actions.split(",") if a.isdigit()]

    def test_cached_flows_of_an_endpoint_do_not_overlap(self):
        self.vsctl("set", "interface", "p1", "bfd:enable=true")
        self.addCleanup(self.vsctl, "set", "interface", "p1", "bfd:enable=false")
        self.switch("apply", "--ports", "5", "--hash", "outside-endpoint")
        for proto, address, host in (("udp", "nw", "192.0.2.1"), ("udp6", "ipv6", "2001:db8::1")):
            for port, gateway in ((6, GATEWAY[0]), (7, GATEWAY[1])):
                text = self.tool("ovs-appctl", "ofproto/trace", "tor",
                                 f"{proto},in_port={port},dl_dst={gateway},{address}_src={host},"
                                 f"{address}_dst={host}0,udp_src=9111,udp_dst=54630")
                cached = re.findall(r"^Megaflow: (.*)$", text, flags=re.M)[-1]
                self.assertIn("tp_dst=", cached)
                self.assertNotRegex(cached, r"tp_(src|dst)=[^,]*/")

    def port(self, i, up, packet):
        """Takes a port down or up. packet comes out of it while it is up: the groups hear of it later."""
        self.tool("ovs-ofctl", "-O", "OpenFlow15", "mod-port", "tor", f"p{i}",
                  "up" if up else "down")
        give_up = time.monotonic() + 30
        while (self.trace(in_port=6, dl_dst=GATEWAY[0], **packet) == [i]) != up:
            self.assertLess(time.monotonic(), give_up, f"the groups do not see that port {i} changed")
            time.sleep(0.01)

    def test_exclusion_groups_predict_what_it_does(self):
        """By the hash method, of which a trace knows the outcome."""
        for hash_ in ("outside-endpoint", "5-tuple"):
            self.switch("apply", "--ports", "5", "--hash", hash_)
            packets = [dict(nw_src=f"192.0.2.{i}", nw_dst="203.0.113.9", tcp_src=1000 + i,
                            tcp_dst=80) for i in range(24)]
            at_first, moved = [], Counter()
            for p in packets:
                at_first.append(self.trace(in_port=6, dl_dst=GATEWAY[0], **p))
                back = dict(nw_src=p["nw_dst"], nw_dst=p["nw_src"], tcp_src=80, tcp_dst=p["tcp_src"])
                if hash_ == "outside-endpoint":
                    self.assertEqual(self.trace(in_port=7, dl_dst=GATEWAY[1], **back), at_first[-1])
            for dead in (1, 3):
                asked = [self.trace(in_port=2, dl_vlan=1024 + 2 * (dead - 1), **p)
                         for p in packets]
                its = packets[at_first.index([dead])]
                self.port(dead, False, its)
                for p, was, foretold in zip(packets, at_first, asked):
                    now = self.trace(in_port=6, dl_dst=GATEWAY[0], **p)
                    self.assertEqual(now, foretold)
                    if was != [dead]:
                        self.assertEqual(now, was)
                    else:
                        moved[now[0]] += 1
                self.port(dead, True, its)
            self.assertGreater(sum(moved.values()), 2)


if __name__ == "__main__":
    if not (shutil.which("ovs-vswitchd") and Path(SCHEMA).exists()):
        print("skipped: Open vSwitch is not installed")
        sys.exit(77)
    unittest.main()
