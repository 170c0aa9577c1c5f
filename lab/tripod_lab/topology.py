# SPDX-License-Identifier: BSD-3-Clause
"""Who is in the rack, and under which names and addresses. Pure: nothing here touches the system."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from . import LabError

MAX_NODES = 48
MODELS = ("resilient", "two-stage")
HASHES = ("outside-endpoint", "symmetric", "5-tuple")
MODES = ("tripod", "baseline")
DURABILITIES = ("async", "sync")
RUN_ROOT = Path("/run/tripod-lab")

VLAN_OUTSIDE, VLAN_INSIDE = 10, 20
VLAN_RELAY_OUTSIDE, VLAN_RELAY_INSIDE, VLAN_FABRIC = 11, 21, 30

HOST_MTU = 1500
# Room for a VLAN tag and for what the nodes add to a packet when they relay it.
TRUNK_MTU = 1600


@dataclass(frozen=True)
class Side:
    """One side of the gateway: its VLAN, and the virtual gateway that hosts on it use."""

    name: str
    vlan: int
    relay_vlan: int
    gateway_mac: str
    gateway4: str
    gateway6: str
    prefix4: str  # without the last number
    prefix6: str  # up to and including "::"
    len4: int = 24
    len6: int = 64


OUTSIDE = Side("outside", VLAN_OUTSIDE, VLAN_RELAY_OUTSIDE, "02:00:5e:00:01:01",
               "203.0.113.1", "2001:db8:1::1", "203.0.113.", "2001:db8:1::")
INSIDE = Side("inside", VLAN_INSIDE, VLAN_RELAY_INSIDE, "02:00:5e:00:01:02",
              "10.1.0.1", "fd00:1::1", "10.1.0.", "fd00:1::")


@dataclass(frozen=True)
class Host:
    """A client or server: an access port of the switch, a default route, nothing else."""

    name: str
    side: Side
    mac: str
    port: int  # OpenFlow port number
    addresses4: tuple[str, ...]
    addresses6: tuple[str, ...]

    @property
    def addresses(self) -> tuple[str, ...]:
        return self.addresses4 + self.addresses6


@dataclass(frozen=True)
class Node:
    """A gateway server: a trunk port of the switch, which tripodd alone speaks on."""

    id: int

    @property
    def name(self) -> str:
        return f"node{self.id}"

    @property
    def port(self) -> int:
        return self.id

    @property
    def mac(self) -> str:
        return f"02:00:00:00:00:{self.id:02x}"

    def on(self, side: Side) -> tuple[str, str]:
        """Own IPv4 and IPv6 address on a side."""
        return f"{side.prefix4}{10 + self.id}", f"{side.prefix6}{10 + self.id}"

    @property
    def fabric(self) -> str:
        return f"10.255.0.{self.id}"


# .254 is the rest of the Internet: the gateway's default route leads there.
HOSTS = (
    Host("client", OUTSIDE, "02:00:00:00:0c:01", 101,
         ("203.0.113.100", "203.0.113.254"), ("2001:db8:1::100", "2001:db8:1::fe")),
    Host("server1", INSIDE, "02:00:00:00:0d:01", 111, ("10.1.0.101",), ("fd00:1::101",)),
    Host("server2", INSIDE, "02:00:00:00:0d:02", 112, ("10.1.0.102",), ("fd00:1::102",)),
)

ROLE = re.compile(r"client|server[1-9][0-9]?|node[1-9][0-9]?|switch")
# No hyphen in a name: so tl-A-node1 belongs to lab A whatever other labs there are.
NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,31}")


@dataclass(frozen=True)
class Lab:
    """What `up` was asked for; everything else follows from it."""

    name: str = "lab"
    n_nodes: int = 4
    mode: str = "tripod"
    hash: str = "outside-endpoint"
    model: str = "resilient"
    workers: int = 1
    detect_ms: int = 100
    backups: int = 1
    durability: str = "async"  # in mode tripod
    start: int = 0  # nodes that `up` starts; 0: all

    def __post_init__(self) -> None:
        check_name(self.name)
        if not 1 <= self.n_nodes <= MAX_NODES:
            raise LabError(f"--nodes must be 1 to {MAX_NODES}, not {self.n_nodes}")
        if self.mode not in MODES:
            raise LabError(f"--mode must be one of {', '.join(MODES)}, not {self.mode}")
        if self.hash not in HASHES:
            raise LabError(f"--hash must be one of {', '.join(HASHES)}, not {self.hash}")
        if self.model not in MODELS:
            raise LabError(f"--model must be one of {', '.join(MODELS)}, not {self.model}")
        if not 1 <= self.workers <= 16:
            raise LabError(f"--workers must be 1 to 16, not {self.workers}")
        if self.durability not in DURABILITIES:
            raise LabError(f"--durability must be one of {', '.join(DURABILITIES)}, "
                           f"not {self.durability}")
        if not 0 <= self.backups <= 10:
            raise LabError(f"--backups must be 0 to 10, not {self.backups}")
        if not 0 <= self.start <= self.n_nodes:
            raise LabError(f"--start must be 1 to {self.n_nodes} (--nodes), not {self.start}")
        if not 20 <= self.detect_ms <= 10000:
            raise LabError(f"--detect-ms must be 20 to 10000, not {self.detect_ms}")

    @property
    def nodes(self) -> tuple[Node, ...]:
        return tuple(Node(i) for i in range(1, self.n_nodes + 1))

    @property
    def run_dir(self) -> Path:
        return run_dir(self.name)

    def node(self, id_: int) -> Node:
        if not 1 <= id_ <= self.n_nodes:
            raise LabError(f"lab {self.name} has nodes 1 to {self.n_nodes}, not {id_}")
        return Node(id_)

    def namespace(self, role: str) -> str:
        return namespace(self.name, role)

    @property
    def roles(self) -> tuple[str, ...]:
        return (tuple(h.name for h in HOSTS) + tuple(n.name for n in self.nodes) + ("switch",))

    @property
    def bfd_multiplier(self) -> int:
        return 4

    @property
    def bfd_interval_ms(self) -> int:
        """Four lost packets end the session; an eighth of detect_ms is left for acting on it."""
        return max(1, self.detect_ms * 7 // (8 * self.bfd_multiplier))


def check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise LabError(f"a lab's name is 1 to 32 of a-z, 0-9 and _, not {name!r}")


def run_dir(name: str) -> Path:
    return RUN_ROOT / name


def namespace(name: str, role: str) -> str:
    return f"tl-{name}-{role}"


def parse_namespace(ns: str) -> tuple[str, str] | None:
    """(lab, role) of a namespace that a lab made, else None."""
    prefix, _, rest = ns.partition("-")
    name, _, role = rest.partition("-")
    if prefix == "tl" and NAME.fullmatch(name) and ROLE.fullmatch(role):
        return name, role
    return None
