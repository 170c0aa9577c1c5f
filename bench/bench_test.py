#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Runs tripod-bench on a few connections: it works, and tells what it says it tells. No figure is
compared with another: this is no measurement.

    bench_test.py PATH_OF_TRIPOD_BENCH
"""
import json
import os
import subprocess
import sys
import tempfile
import unittest

BENCH = sys.argv.pop(1)
SMALL = ["--quick", "--small-pages"]
SHORT = [*SMALL, "--lives", "0"]


def run(*args):
    return subprocess.run([BENCH, *args], capture_output=True, text=True, timeout=100)


class Node(unittest.TestCase):
    def check_run(self, r, connections):
        self.assertEqual(r["connections"], connections)
        self.assertEqual(r["packets_out"], r["packets_in"])
        # 3 packets to open each, 4096 a stage
        self.assertGreaterEqual(r["packets_in"], 3 * connections + 5 * 4096)
        self.assertGreater(r["mpps"], 0)
        self.assertLessEqual(r["cycles_per_packet_min"], r["cycles_per_packet"])
        self.assertLessEqual(r["cycles_per_packet"], r["cycles_per_packet_max"])
        self.assertEqual(set(r["stages"]),
                         {"port", "parse_hash", "lookup", "track_chain", "forward"})
        self.assertAlmostEqual(sum(r["stages"].values()), r["cycles_per_packet"], delta=0.1)
        self.assertAlmostEqual(sum(r["bytes"].values()), r["bytes_per_connection"], delta=0.1)
        self.assertEqual(r["bytes"]["record"] % 64, 0)
        self.assertEqual(r["pages"], "4k")

    def test_all_of_it(self):
        done = run("node", *SMALL, "--connections", "200", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        r = json.loads(done.stdout)["runs"][0]
        self.check_run(r, 200)
        self.assertGreater(r["new_connections_per_s"], 0)
        self.assertEqual(r["copies"], 200)
        # A record has two tuples and the state of three NFs, and goes to one backup; then its end. How many
        # share a message is a matter of time.
        self.assertGreater(r["control_bytes"]["open_tx"], 60)
        self.assertGreater(r["control_bytes_per_connection"], 60)

    def test_two_sizes_into_a_file(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "node.json")
            done = run("node", *SHORT, "--connections", "30,200", "--json", "--output", path)
            self.assertEqual(done.returncode, 0, done.stderr)
            with open(path, encoding="utf-8") as f:
                self.assertEqual(json.load(f), json.loads(done.stdout))
        all_ = json.loads(done.stdout)
        self.assertEqual(len(all_["runs"]), 2)
        for r, connections in zip(all_["runs"], (30, 200)):
            self.check_run(r, connections)
        self.assertGreater(all_["tsc_ghz"], 0)
        self.assertTrue(all_["replication"])
        for key in ("mpps", "cycles_per_packet", "bytes_per_connection"):
            self.assertEqual(all_[key], all_["runs"][1][key])

    def test_without_replication(self):
        done = run("node", *SHORT, "--connections", "100", "--no-replication", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        r = json.loads(done.stdout)["runs"][0]
        self.check_run(r, 100)
        self.assertEqual(r["copies"], 0)
        self.assertEqual(r["control_bytes_per_connection"], 0)

    def test_readable(self):
        done = run("node", *SHORT, "--connections", "64", "--peers", "0", "--inside", "100")
        self.assertEqual(done.returncode, 0, done.stderr)
        for text in ("Mpps", "cycles", "track_chain", "new connections", "replication off"):
            self.assertIn(text, done.stdout)


class Overhead(unittest.TestCase):
    def test_all_of_it(self):
        done = run("overhead", "--quick", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        r = json.loads(done.stdout)["runs"][0]
        self.assertEqual((r["nodes"], r["rate"]), (4, 2000))
        self.assertGreater(r["lives"], 500)
        # One whole record to create the copy, and one word of its end at most.
        self.assertAlmostEqual(r["records"]["put"], 1, delta=0.1)
        self.assertLess(r["records"]["bury"], 1.2)
        self.assertAlmostEqual(sum(r["bytes"].values()), r["bytes_per_life_and_backup"],
                               delta=0.1)
        self.assertEqual(r["log_messages_lost"], 0)
        lag = r["lag_us"]
        self.assertTrue(0 < lag["p50"] <= lag["p99"] <= lag["max"])

    def test_same_seed_same_figures(self):
        first, again = (run("overhead", "--quick", "--seed", "7") for _ in range(2))
        self.assertEqual(first.stdout, again.stdout)
        self.assertIn("UPDATEs", first.stdout)

    def test_what_is_said_beside_quick_counts(self):
        for args in (["--nodes", "3", "--rate", "1000", "--quick"], ["--quick", "--nodes", "3", "--rate", "1000"]):
            r = json.loads(run("overhead", *args, "--json").stdout)["runs"]
            self.assertEqual([(one["nodes"], one["rate"]) for one in r], [(3, 1000)])

    def test_two_copies(self):
        done = run("overhead", "--quick", "--backups", "2", "--json")
        r = json.loads(done.stdout)["runs"][0]
        self.assertAlmostEqual(r["records"]["put"], 1, delta=0.1)  # of each copy


class Place(unittest.TestCase):
    def test_predictive_is_best(self):
        done = run("place", "--quick", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        runs = json.loads(done.stdout)["runs"]
        self.assertEqual([r["nodes"] for r in runs], [4, 12])
        for r in runs:
            fullest = [r[how]["bytes_of_fullest_node"] for how in
                       ("predictive", "naive", "random")]
            self.assertLess(fullest[0], fullest[1] / 2)
            self.assertLess(fullest[1], fullest[2])
            # Two copies suffice for the two nodes that single failures lead to.
            self.assertLess(r["predictive"]["pulled_after_one_failure"], 0.001)
            us = r["us_per_batch"]
            self.assertTrue(0 < us["p50"] <= us["p99"] <= us["max"])

    def test_readable(self):
        done = run("place", "--nodes", "6", "--copies", "1", "--batches", "2")
        self.assertEqual(done.returncode, 0, done.stderr)
        for text in ("predictive", "naive", "random", "CPU time"):
            self.assertIn(text, done.stdout)


class Repair(unittest.TestCase):
    def test_all_of_it(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "repair.json")
            done = run("repair", "--quick", "--json", "--output", path)
            self.assertEqual(done.returncode, 0, done.stderr)
            with open(path, encoding="utf-8") as f:
                r = json.load(f)
            self.assertEqual(r, json.loads(done.stdout))
        self.assertEqual((r["nodes"], r["connections_of_a_node"], r["backups"]), (4, 500, 1))
        self.assertEqual(r["lost_their_master"], 500)
        self.assertAlmostEqual(r["lost_a_copy"], 1000, delta=150)
        self.assertGreaterEqual(r["repairs"], r["lost_a_copy"])
        # Nobody can tell a death before dead_after_ms, which is of virtual time.
        self.assertGreaterEqual(r["noticed_s"], 0.1)
        self.assertGreaterEqual(r["protected_s"], r["noticed_s"])
        self.assertLess(r["protected_s"], 5)
        self.assertGreater(r["bytes"], r["lost_a_copy"] * 30)
        self.assertGreaterEqual(r["messages"], r["log_messages"])
        links = {link["gbit_per_s"]: link for link in r["share_of_a_link"]}
        self.assertEqual(set(links), {10, 25, 40})
        self.assertLess(links[10]["largest"], 0.1)
        for link in links.values():
            self.assertLess(0, link["mean"])
            self.assertLess(link["mean"], link["largest"])
        self.assertAlmostEqual(links[10]["largest"], 4 * links[40]["largest"], delta=1e-5)

    def test_two_copies_at_a_rate(self):
        done = run("repair", "--quick", "--backups", "2", "--repair-per-s", "200", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        r = json.loads(done.stdout)
        self.assertEqual(r["repair_per_s"], 200)
        self.assertAlmostEqual(r["lost_a_copy"], 1500, delta=150)
        # Three nodes are left, and give no more than so many each.
        self.assertGreater(r["protected_s"], r["repairs"] / 3 / 200)

    def test_same_seed_same_figures(self):
        first, again = (run("repair", "--quick", "--seed", "7") for _ in range(2))
        self.assertEqual(first.stdout, again.stdout)
        self.assertIn("protected again", first.stdout)


class Usage(unittest.TestCase):
    def test_help_and_version(self):
        done = run("--help")
        self.assertEqual(done.returncode, 0)
        self.assertIn("--connections", done.stdout)
        self.assertRegex(run("--version").stdout, r"^tripod-bench \d+\.\d+\.\d+\n$")

    def test_mistakes_are_told(self):
        for args, text in (([], "which bench"), (["nothing"], "nothing"),
                           (["node", "more"], "more"),
                           (["node", "--connections", "1x"], "1x"),
                           (["node", "--connections", ","], "no value"),
                           (["overhead", "more"], "more"),
                           (["overhead", "--nodes", "3", "--backups", "3"], "more than"),
                           (["overhead", "--rate", "7"], "1000"),
                           (["place", "--nodes", "2"], "more than"),
                           (["place", "more"], "more"),
                           (["repair", "more"], "more"),
                           (["repair", "--nodes", "3", "--backups", "2"], "more than"),
                           (["repair", "--nodes", "2"], "3 to 63"),
                           (["node", "--peers", "9"], "0 to 3"),
                           (["node", "--bogus"], "bogus")):
            done = run(*args)
            self.assertEqual(done.returncode, 2, args)
            self.assertIn(text, done.stderr)


class Index(unittest.TestCase):
    def test_it_works_and_tells(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "index.json")
            done = run("index", "--quick", "--small-pages", "--json", "--output", path)
            self.assertEqual(done.returncode, 0, done.stderr)
            with open(path, encoding="utf-8") as f:
                r = json.load(f)
            self.assertEqual(r, json.loads(done.stdout))
        self.assertEqual(r["members"], 47)
        self.assertGreater(r["keys"], 90000)
        self.assertLessEqual(r["cycles_per_change_min"], r["cycles_per_change"])
        self.assertAlmostEqual(r["core_share"], r["cycles_per_change"] * r["changes_per_s"]
                               / (r["tsc_ghz"] * 1e9), delta=0.001)
        self.assertAlmostEqual(r["changes_per_s"], 47 * 100000 * r["announced_share"] * 8,
                               delta=100)
        # Two keys come and go, at the master and where the copy is.
        self.assertAlmostEqual(r["bytes_per_announced"], 8 * r["bytes_per_change"], delta=0.01)
        self.assertAlmostEqual(r["bytes_per_connection"],
                               r["bytes_per_announced"] * r["announced_share"], delta=0.01)
        # No random fingerprints of 32 bits could be told in fewer than 20 of these among so many.
        self.assertGreater(r["bytes_per_change"], 20 / 8)
        self.assertLess(r["bytes_per_change"], 3.3)

    def test_index_told_sooner_takes_more(self):
        done = run("index", "--quick", "--flush-ms", "0", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        r = json.loads(done.stdout)
        # A message each: headers, and a list of one.
        self.assertGreater(r["bytes_per_change"], 100)

    def test_other_racks(self):
        done = run("index", "--quick", "--members", "3", "--copies", "2", "--rate", "10")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("of one core", done.stdout)

    def test_wrong_use(self):
        for args in (["--members", "1"], ["--copies", "3", "--members", "2"], ["--nonsense"],
                     ["x"]):
            done = run("index", *args)
            self.assertEqual(done.returncode, 2)
            self.assertNotEqual(done.stderr, "")


unittest.main()
