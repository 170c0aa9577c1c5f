# SPDX-License-Identifier: BSD-3-Clause
import unittest

from tripod_lab import LabError
from tripod_lab.run import run, wait_for


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


class WaitFor(unittest.TestCase):
    def test_value_of_the_first_success(self):
        answers = iter([None, 0, "yes", "no"])
        self.assertEqual(wait_for("it", 10, lambda: next(answers), 0), "yes")

    def test_failure_says_why(self):
        with self.assertRaisesRegex(LabError, "gave up on it after 0 s: it is blue"):
            wait_for("it", 0, lambda: None, 0, lambda: "it is blue")


if __name__ == "__main__":
    unittest.main()
