# SPDX-License-Identifier: BSD-3-Clause
"""As much of an OpenFlow switch as the rack's rules use: takes what ovs_rules wrote, walks a packet
through it, and says where it comes out."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field

Packet = dict  # field name to value, "vlan": None when untagged


def mix(*values: object) -> int:
    return int.from_bytes(hashlib.blake2b(repr(values).encode(), digest_size=8).digest(), "big")


def split(text: str, separator: str = ",") -> list[str]:
    """At separators outside brackets."""
    return re.split(separator + r"(?![^(\[]*[)\]])", text)


def matches(term: str, p: Packet) -> bool:
    key, _, value = term.partition("=")
    if key == "in_port":
        return p["in_port"] == int(value)
    if key == "dl_vlan":
        return p["vlan"] == int(value)
    if key == "vlan_tci":
        assert value == "0x0000/0x1000"
        return p["vlan"] is None
    if key == "dl_dst":
        return p["dl_dst"] == value
    if key in ("ip", "ipv6"):
        return p["l3"] == key
    if key in ("tcp", "udp", "sctp", "tcp6", "udp6", "sctp6"):
        return p["l3"] == ("ipv6" if key.endswith("6") else "ip") and p["l4"] == key.rstrip("6")
    raise AssertionError(f"unknown match {term}")


@dataclass
class Group:
    type: str
    basis: int
    fields: list[str] | None
    buckets: list[dict[str, str]] = field(default_factory=list)


class Switch:
    def __init__(self, flows: list[str], groups: list[str], live: set[int]) -> None:
        self.live = live
        self.tables: dict[int, list[tuple[int, list[str], list[str]]]] = {}
        for text in flows:
            head, actions = text.split(",actions=", 1)
            table, priority, *match = head.split(",")
            self.tables.setdefault(int(table.removeprefix("table=")), []).append(
                (int(priority.removeprefix("priority=")), match, split(actions)))
        self.groups: dict[int, Group] = {}
        for text in groups:
            head, *buckets = text.split(",bucket=")
            props = dict(t.partition("=")[::2] for t in split(head))
            fields_ = re.search(r"fields\((.*)\)", head)
            g = Group(props["type"], int(props.get("selection_method_param", 0)),
                      fields_[1].split(",") if fields_ else None)
            for b in buckets:
                rest, actions = b.split(",actions=")
                g.buckets.append({"actions": actions,
                                  **dict(t.split(":", 1) for t in rest.split(","))})
            assert int(props["group_id"]) not in self.groups, "group defined twice"
            self.groups[int(props["group_id"])] = g

    def alive(self, bucket: dict[str, str]) -> bool:
        if "watch_port" in bucket:
            return int(bucket["watch_port"]) in self.live
        if "watch_group" in bucket:
            return any(self.alive(b) for b in self.groups[int(bucket["watch_group"])].buckets)
        return True

    def _bucket(self, g: Group, p: Packet) -> dict[str, str] | None:
        if g.type == "ff":
            return next((b for b in g.buckets if self.alive(b)), None)
        if g.fields is None:  # dp_hash: a table that the buckets fill in turn, then on to a live one
            size = 16
            while size < len(g.buckets):
                size *= 2
            ends = sorted([(p.get("src"), p.get("sport")), (p.get("dst"), p.get("dport"))], key=repr)
            start = mix(ends) % size
            for i in range(size):
                b = g.buckets[(start + i) % size % len(g.buckets)]
                if self.alive(b):
                    return b
            return None
        values = {"ip_src": "src", "ip_dst": "dst", "ipv6_src": "src", "ipv6_dst": "dst",
                  "nw_proto": "l4", "tcp_src": "sport", "tcp_dst": "dport",
                  "udp_src": "sport", "udp_dst": "dport"}
        key = [p.get(values.get(f, f)) for f in g.fields]
        live = [b for b in g.buckets if self.alive(b)]
        return max(live, default=None,
                   key=lambda b: mix(g.basis, b["bucket_id"], key))

    def _act(self, actions: list[str], p: Packet, out: list[tuple[int, int | None]]) -> None:
        for action in actions:
            verb, _, argument = action.partition(":")
            if verb == "output":
                if int(argument) != p["in_port"]:
                    out.append((int(argument), p["vlan"]))
            elif verb == "push_vlan":
                assert p["vlan"] is None
                p["vlan"] = 0
            elif verb == "set_field":
                value, name = argument.split("->")
                assert name == "vlan_vid" and p["vlan"] is not None
                p["vlan"] = int(value) & 0xfff
            elif verb == "pop_vlan":
                assert p["vlan"] is not None
                p["vlan"] = None
            elif verb == "move":
                source, target = argument.split("->")
                end = "src" if "SRC" in source else "dst"
                if "XXREG0" in target:
                    assert ("IPV6" in source) == (p["l3"] == "ipv6")
                    p["xxreg0"] = p[end]
                else:
                    assert p["l4"].upper() in source and "REG4" in target
                    p["reg4"] = p["sport" if end == "src" else "dport"]
            elif verb == "group":
                bucket = self._bucket(self.groups[int(argument)], p)
                if bucket:
                    self._act(split(bucket["actions"]), dict(p), out)
            elif verb == "goto_table":
                self._table(int(argument), p, out)
            else:
                assert verb == "drop", action

    def _table(self, number: int, p: Packet, out: list[tuple[int, int | None]]) -> None:
        hits = [(priority, actions) for priority, match, actions in self.tables[number]
                if all(matches(t, p) for t in match)]
        if hits:
            best = max(h[0] for h in hits)
            chosen = [a for priority, a in hits if priority == best]
            assert len(chosen) == 1, f"ambiguous rules in table {number} for {p}"
            self._act(chosen[0], p, out)

    def send(self, **packet) -> list[tuple[int, int | None]]:
        """Ports that it comes out of, with the tag it has there."""
        p = {"vlan": None, "l3": "arp", "l4": None, **packet}
        out: list[tuple[int, int | None]] = []
        self._table(0, p, out)
        return out
