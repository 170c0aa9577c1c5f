# SPDX-License-Identifier: BSD-3-Clause
"""A rack on one machine: network namespaces, Open vSwitch as the top-of-rack switch, real hosts."""

__version__ = "0.1.0"


class LabError(Exception):
    """Something the user can act on; shown as one message, without a traceback."""
