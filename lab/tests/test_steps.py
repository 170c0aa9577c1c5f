# SPDX-License-Identifier: BSD-3-Clause
import os
import signal
import subprocess
import sys
import tempfile
import threading
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import steps  # noqa: E402
from tripod_lab import interrupt  # noqa: E402


class Signals(unittest.TestCase):
    def setUp(self):
        for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self.addCleanup(signal.signal, s, signal.getsignal(s))
        interrupt.listen()
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def test_waiting_ends(self):
        os.kill(os.getpid(), signal.SIGHUP)
        with self.assertRaises(interrupt.Interrupted) as raised:
            steps.pause(3600)
        self.assertEqual(raised.exception.signum, signal.SIGHUP)

    def test_a_program_is_told_and_cleans_up_first(self):
        cleaned = self.folder / "cleaned"
        code = f"trap \"sleep 0.2; touch '{cleaned}'; exit 1\" TERM; kill -INT $PPID; while :; do sleep 0.05; done"
        with self.assertRaises(interrupt.Interrupted) as raised:
            steps.call(["sh", "-c", code], dict(os.environ))
        self.assertEqual(raised.exception.signum, signal.SIGINT)
        self.assertTrue(cleaned.exists())

    def test_only_the_main_thread_heeds(self):
        os.kill(os.getpid(), signal.SIGINT)
        thread = threading.Thread(target=steps.pause, args=(0.01,))
        thread.start()
        thread.join()
        self.assertTrue(interrupt.pending())
        with self.assertRaises(interrupt.Interrupted):
            steps.pause(0)

    def test_waiting_for_a_turn_ends(self):
        path = str(self.folder / "lock")
        with steps.turn(self.fail, path), self.assertRaises(interrupt.Interrupted):
            with steps.turn(lambda: os.kill(os.getpid(), signal.SIGTERM), path):
                self.fail("two at a time")


class Calls(unittest.TestCase):
    def test_output_and_status(self):
        done = steps.call(["sh", "-c", "echo out; echo err >&2; exit 3"], dict(os.environ))
        self.assertEqual((done.returncode, done.stdout, done.stderr), (3, "out\n", "err\n"))

    def test_the_end_of_a_process(self):
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
            self.assertIsNone(steps.ended(process, 0))
            process.stdin.close()
            self.assertEqual(steps.ended(process, 60), 0)


class Turns(unittest.TestCase):
    def setUp(self):
        self.path = Path(self.enterContext(tempfile.TemporaryDirectory())) / "lock"

    def test_one_after_the_other(self):
        waiting, order = threading.Event(), []

        def second() -> None:
            with steps.turn(waiting.set, str(self.path)):
                order.append("second")

        with steps.turn(self.fail, str(self.path)):
            thread = threading.Thread(target=second)
            thread.start()
            self.assertTrue(waiting.wait(60))
            order.append("first")
        thread.join()
        self.assertEqual(order, ["first", "second"])
        self.assertFalse(self.path.exists())

    def test_who_was_killed_has_no_turn(self):
        self.path.touch()
        with steps.turn(self.fail, str(self.path)):
            self.assertTrue(self.path.exists())
        self.assertFalse(self.path.exists())


if __name__ == "__main__":
    unittest.main()
