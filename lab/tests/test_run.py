# SPDX-License-Identifier: BSD-3-Clause
import os
import signal
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from tripod_lab import LabError, interrupt
from tripod_lab.run import run, search_sbin, wait_for


class Run(unittest.TestCase):
    def test_output_and_input(self):
        self.assertEqual(run(["cat"], stdin="text"), "text")

    def test_a_program_that_fails_is_quoted(self):
        with self.assertRaisesRegex(LabError, "sh -c .*: it broke"):
            run(["sh", "-c", "echo it broke >&2; exit 3"])

    def test_a_missing_program_comes_with_advice(self):
        with self.assertRaisesRegex(LabError, "no-such-program: not found; apt-get install"):
            run(["no-such-program"])

    def test_a_program_without_end_is_given_up(self):
        with self.assertRaisesRegex(LabError, "no end after"):
            run(["sleep", "10"], timeout_s=0.05)


class SearchPath(unittest.TestCase):
    def test_sbin_comes_last_and_once(self):
        for before in ("/bin", "/bin:/usr/sbin"):
            with mock.patch.dict(os.environ, {"PATH": before}):
                search_sbin()
                search_sbin()
                self.assertEqual(sorted(os.environ["PATH"].split(":")), ["/bin", "/sbin", "/usr/sbin"])
                self.assertTrue(os.environ["PATH"].startswith(before))


class WaitFor(unittest.TestCase):
    def test_value_of_the_first_success(self):
        answers = iter([None, 0, "yes", "no"])
        self.assertEqual(wait_for("it", 10, lambda: next(answers), 0), "yes")

    def test_failure_says_why(self):
        with self.assertRaisesRegex(LabError, "gave up on it after 0 s: it is blue"):
            wait_for("it", 0, lambda: None, 0, lambda: "it is blue")


class Interrupt(unittest.TestCase):
    def setUp(self):
        for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self.addCleanup(signal.signal, s, signal.getsignal(s))
        interrupt.listen()

    def test_a_signal_waits_for_the_end_of_a_step(self):
        with tempfile.TemporaryDirectory() as directory:
            made = Path(directory) / "made"
            with self.assertRaises(interrupt.Interrupted) as raised:
                run(["sh", "-c", f"kill -TERM $PPID; sleep 0.1; touch '{made}'; exit 1"])
            self.assertEqual(raised.exception.signum, signal.SIGTERM)
            self.assertTrue(made.exists())

    def test_a_signal_ends_waiting(self):
        with self.assertRaises(interrupt.Interrupted):
            wait_for("it", 60, lambda: os.kill(os.getpid(), signal.SIGHUP), 0)

    def test_the_first_signal_counts(self):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        with self.assertRaises(interrupt.Interrupted) as raised:
            interrupt.heed()
        self.assertEqual(raised.exception.signum, signal.SIGINT)

    def test_nothing_ends_the_cleaning(self):
        os.kill(os.getpid(), signal.SIGINT)
        interrupt.ignore()
        self.assertEqual(run(["sh", "-c", "kill -TERM $$ $PPID; echo cleaned"]), "cleaned\n")


if __name__ == "__main__":
    unittest.main()
