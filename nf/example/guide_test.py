#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The code in the guide is the code that is compiled and tested: guide_test.py GUIDE SOURCE..."""
import re
import sys

guide = open(sys.argv[1], encoding="utf-8").read()
sources = "\n".join(open(path, encoding="utf-8").read() for path in sys.argv[2:])
blocks = re.findall(r"^```c\n(.*?)^```$", guide, re.S | re.M)
if len(blocks) < 5:
    sys.exit(f"{sys.argv[1]}: only {len(blocks)} blocks of C")
for block in blocks:
    if block.strip() not in sources:
        sys.exit(f"{sys.argv[1]}: not in {' or '.join(sys.argv[2:])}:\n{block}")
