#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""tripod-sim as a command: one seed is one history, what it says is complete, mistakes are refused.

    sim_test.py TRIPOD_SIM
"""
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import unittest

SIM = sys.argv.pop(1)
KEYS = """seeds violations connections broken broken_beyond_contract pulls takeovers
    requests_applied epoch_conflicts tombstone_hits reconfigured relays restarts control_ratio""".split()


def sim(*args):
    return subprocess.run([SIM, *args], capture_output=True, text=True, timeout=300)


def killed(*args):
    """What a sweep says whose first run is killed."""
    args = [SIM, "sweep", "--seeds", "7..8", "--stop-after", "1", *args, "--json"]
    with subprocess.Popen(args, stdout=subprocess.PIPE, text=True) as sweep:
        children = ""
        while not children:
            with open(f"/proc/{sweep.pid}/task/{sweep.pid}/children", encoding="ascii") as f:
                children = f.read()
        os.kill(int(children.split()[0]), signal.SIGKILL)
        out, _ = sweep.communicate(timeout=60)
    assert sweep.returncode == 1
    return json.loads(out)


class Run(unittest.TestCase):
    def test_one_seed_is_one_history(self):
        args = ("run", "--seed", "5", "--nodes", "4", "--duration", "2s", "--trace-hash")
        one, two = sim(*args), sim(*args)
        self.assertIn("\ntrace ", one.stdout)
        self.assertEqual(one.stdout, two.stdout)
        self.assertEqual(one.returncode, two.returncode)
        other = sim("run", "--seed", "6", *args[3:])
        self.assertNotEqual(one.stdout.split("trace")[-1], other.stdout.split("trace")[-1])

    def test_json(self):
        done = sim("run", "--seed", "2", "--nodes", "3", "--faults", "none", "--duration", "1s",
                   "--json")
        report = json.loads(done.stdout)
        for key in KEYS:
            self.assertIn(key, report)
        self.assertEqual(report["seeds"], 1)
        self.assertGreater(report["connections"], 20)
        self.assertGreater(report["control_ratio"], 0)

    def test_trace_and_watch(self):
        done = sim("run", "--seed", "2", "--nodes", "3", "--faults", "none", "--duration", "1s",
                   "--trace", "--watch", "198.18.")
        self.assertIn("port up", done.stdout)
        self.assertIn(" holders ", done.stdout)

    def test_without_copies_nothing_is_promised(self):
        """Nodes die, connections break and are opened anew elsewhere, and each node has its own."""
        done = sim("sweep", "--seeds", "6..12", "--jobs", "2", "--durability", "none", "--json")
        report = json.loads(done.stdout)
        self.assertEqual(report["violations"], [])
        self.assertEqual(done.returncode, 0)
        self.assertGreater(report["broken"], 20)
        self.assertEqual(report["excused_no_copies"], report["broken"])
        self.assertEqual(report["broken_beyond_contract"], 0)

    def test_beyond(self):
        """Which seeds break anything changes with everything: of some, one does."""
        done = sim("sweep", "--seeds", "110..159", "--jobs", "2", "--nodes", "5", "--k", "1",
                   "--faults", "kill", "--duration", "6s", "--beyond", "--json")
        report = json.loads(done.stdout)
        self.assertGreater(report["broken"], 0)
        self.assertEqual(report["excused_beyond"], report["broken"])
        self.assertEqual(report["broken_beyond_contract"], 0)


class Faults(unittest.TestCase):
    def conflicts(self, faults):
        done = sim("sweep", "--seeds", "1..8", "--jobs", "2", "--nodes", "5", "--duration", "2s",
                   "--hash", "5-tuple", "--faults", faults, "--json")
        return json.loads(done.stdout)

    def test_flows_that_move_faster_than_news(self):
        calm, moved = self.conflicts("slow"), self.conflicts("flutter,slow")
        self.assertEqual(calm["epoch_conflicts"], 0)
        self.assertGreater(moved["epoch_conflicts"], 3)
        self.assertGreater(moved["takeovers"], calm["takeovers"])
        self.assertEqual(moved["failures"], 0)


class Flood(unittest.TestCase):
    def test_costs_do_not_grow(self):
        done = sim("flood", "--rate", "50000", "--nodes", "4", "--json")
        report = json.loads(done.stdout)
        self.assertEqual(report["violations"], [])
        self.assertEqual(done.returncode, 0)
        self.assertEqual(len(report["floods"]), 12)
        for f in report["floods"]:
            self.assertAlmostEqual(f["sent"], f["per_s"], delta=f["per_s"] // 50 + 10)
            self.assertGreater(f["pulls"], 10)
            self.assertEqual(f["broken_beyond_contract"], 0)
            self.assertLess(f["control_per_s"], f["control_bound_per_s"])
        self.assertEqual(len({f["memory_bytes"] for f in report["floods"]}), 1)
        for kind in ("unknown", "colliding"):
            rates = [f["control_per_s"] for f in report["floods"] if f["kind"] == kind]
            self.assertLess(rates[-1], 2 * rates[0] + 500)


class Churn(unittest.TestCase):
    def racks(self, *options):
        report = json.loads(sim("churn", "--nodes", "6", *options, "--json").stdout)
        self.assertEqual([(r["directions"], r["placement"]) for r in report["racks"]],
                         [("together", "predictive"), ("together", "random"),
                          ("split", "predictive"), ("split", "random")])
        for r in report["racks"]:
            self.assertGreater(r["connections"], 1000)
        return report["racks"]

    def test_predictive_needs_no_pulls(self):
        for model in ("modulo", "two-stage", "resilient"):
            racks = self.racks("--switch", model)
            for r, random in ((racks[0], racks[1]), (racks[2], racks[3])):
                self.assertLess(r["pulled"], 0.01)
                self.assertGreater(random["pulled"], 10 * r["pulled"] + 0.03)
                self.assertLess(r["pulls_at_a_death"], random["pulls_at_a_death"] / 5)
            self.assertAlmostEqual(racks[0]["copies"], 3, delta=0.01)
            self.assertLessEqual(racks[2]["copies"], 6)

    def test_one_copy_is_not_enough_for_modulo(self):
        racks = self.racks("--k", "1")
        self.assertGreater(racks[0]["pulled"], 0.05)
        self.assertLess(racks[0]["pulled"], racks[1]["pulled"] / 2)


class Sweep(unittest.TestCase):
    def test_sum(self):
        one = json.loads(sim("run", "--seed", "8", "--nodes", "3", "--faults", "none",
                             "--duration", "1s", "--json").stdout)
        two = json.loads(sim("run", "--seed", "9", "--nodes", "3", "--faults", "none",
                             "--duration", "1s", "--json").stdout)
        both = json.loads(sim("sweep", "--seeds", "8..9", "--jobs", "2", "--nodes", "3",
                              "--faults", "none", "--duration", "1s", "--json").stdout)
        self.assertEqual(both["seeds"], 2)
        self.assertEqual(both["connections"], one["connections"] + two["connections"])
        self.assertEqual(both["packets"], one["packets"] + two["packets"])
        self.assertEqual(both["longest_stall_ms"],
                         max(one["longest_stall_ms"], two["longest_stall_ms"]))

    def test_a_run_that_dies_is_a_violation(self):
        report = killed("--duration", "3600s")
        self.assertEqual(report["violations"], [{
            "seed": 7, "checker": "crash", "what": "the run ended with signal 9",
            "command": "tripod-sim run --seed 7 --duration 3600s"}])
        self.assertEqual(report["violations_in_all"], 1)


class Interrupted(unittest.TestCase):
    def interrupt(self, times):
        args = [SIM, "sweep", "--seeds", "1..99999999", "--jobs", "2", "--nodes", "2", "--duration",
                "1s", "--faults", "none", "--json"]
        terminal, other = os.openpty()
        with subprocess.Popen(args, stdout=subprocess.PIPE, stderr=other, text=True) as sweep:
            os.close(other)
            told = b""
            while b"seeds," not in told:
                told += os.read(terminal, 1000)
            for _ in range(times):
                sweep.send_signal(signal.SIGINT)
            out, _ = sweep.communicate(timeout=60)
        os.close(terminal)
        return told.decode(), json.loads(out), sweep.returncode

    def test_what_runs_is_waited_for_and_the_sum_is_told(self):
        told, report, status = self.interrupt(1)
        self.assertRegex(told, r"\d+ seeds, \d+\.\d/s, \d+ with violations")
        self.assertGreaterEqual(report["seeds"], 1)
        self.assertGreater(report["connections"], 0)
        self.assertEqual(status, 1 if report["violations"] else 0)

    def test_what_runs_is_given_up_at_the_second(self):
        _, report, status = self.interrupt(2)
        self.assertGreaterEqual(report["seeds"], 1)
        self.assertEqual(status, 1 if report["violations"] else 0)


class Usage(unittest.TestCase):
    def test_help(self):
        done = sim("--help")
        self.assertEqual(done.returncode, 0)
        for option in ("--seed", "--faults", "--switch", "--beyond", "--pcap"):
            self.assertIn(option, done.stdout)
        self.assertIn("tripod-sim", sim("--version").stdout)

    def test_mistakes(self):
        for args in ([], ["walk"], ["run"], ["sweep", "--seed", "1"], ["run", "--seeds", "1..2"],
                     ["run", "--seed", "x"], ["run", "--seed", "1", "--nodes", "1"],
                     ["run", "--seed", "1", "--nodes", "49"], ["run", "--seed", "1", "--k", "11"],
                     ["run", "--seed", "1", "--faults", "kill,fire"],
                     ["run", "--seed", "1", "--switch", "round-robin"],
                     ["run", "--seed", "1", "--duration", "5h"],
                     ["sweep", "--seeds", "5..4"], ["flood", "--seeds", "1..2"], ["flood", "--k", "2"],
                     ["churn", "--rate", "5000"], ["churn", "--faults", "kill"], ["churn", "--seeds", "1..2"],
                     ["run", "--seed", "1", "--rate", "5000"], ["flood", "--rate", "5"], ["sweep", "--seeds", "5"],
                     ["run", "--seed", "1", "--sizes", "/nonexistent"],
                     ["run", "--seed", "1", "--pcap", "/nonexistent"], ["run", "sweep"],
                     ["run", "--seed", "1", "--jobs", "2"], ["run", "--seed", "1", "--stop-after", "1"],
                     ["sweep", "--seeds", "1..2", "--trace"], ["sweep", "--seeds", "1..2", "--watch", "x"],
                     ["flood", "--nodes", "2"], ["flood", "--faults", "kill"], ["churn", "--watch", "x"],
                     ["run", "--seed", "1", "--sizes", "x" * 1100], ["run", "--seed", "1", "--sizes", "a'b"]):
            done = sim(*args)
            self.assertEqual(done.returncode, 2, args)
            self.assertIn("tripod-sim", done.stderr, args)
            self.assertEqual(done.stdout, "", args)

    def test_what_is_wrong_is_said(self):
        for args, what in ((["--jobs", "2"], "run takes no --jobs"),
                           (["--faults", "kill,fire,loss"], "; not fire\n"),
                           (["--faults", "fire"], "takes all, none, or of kill, ")):
            self.assertIn(what, sim("run", "--seed", "1", *args).stderr)

    def test_a_command_is_quoted(self):
        with tempfile.TemporaryDirectory(suffix=" with a blank") as folder:
            path = os.path.join(folder, "sizes.cdf")
            with open(path, "w", encoding="ascii") as f:
                f.write("100 0.5\n1000 1\n")
            args = ["--sizes", path, "--duration", "3600s"]
            report = killed(*args)
        self.assertEqual(shlex.split(report["violations"][0]["command"]),
                         ["tripod-sim", "run", "--seed", "7", *args])

    def test_a_bad_file_is_named(self):
        with tempfile.NamedTemporaryFile("w", suffix=".cdf") as f:
            f.write("1 0.5\nnonsense\n")
            f.flush()
            done = sim("run", "--seed", "1", "--sizes", f.name)
            self.assertEqual(done.returncode, 2)
            self.assertIn(f.name, done.stderr)


if __name__ == "__main__":
    unittest.main()
