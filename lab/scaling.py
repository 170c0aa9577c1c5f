# SPDX-License-Identifier: BSD-3-Clause
"""What becomes of the nodes' loads when nodes come and go. Pure: samples in, figures out."""

from __future__ import annotations

from dataclasses import dataclass

BEFORE_S = 1.0  # of load before a change
AFTER_S = 1.5  # ... and after it, from SETTLE_S on
SETTLE_S = 0.1
TOLERANCE = 0.06  # of the load before; a share of a thousand connections is that uneven at most

Sample = dict  # a line of sampler.py


def loads(samples: list[Sample], start: float, end: float) -> list[float]:
    """Segments a second of each node between two times."""
    inside = [s["counts"] for s in samples if "counts" in s and start < s["t"] <= end]
    if not inside:
        return []
    return [sum(c) / (end - start) for c in zip(*inside)]


@dataclass
class Change:
    """One node more, or one less."""

    what: str
    nodes: int  # that carry load from then on
    at: float  # the switch's session with it came up, or the drain began
    kept: list[float]  # load of each of the other nodes, by what it was before
    settled_ms: float | None  # from when on the joiner gets all that it gets
    expected: float

    @property
    def mean(self) -> float:
        return sum(self.kept) / len(self.kept) if self.kept else 0.0

    def failures(self) -> list[str]:
        bad = []
        if not abs(self.mean - self.expected) <= TOLERANCE:
            bad.append(f"{self.what}: loads are {self.mean:.3f} of before, not {self.expected:.3f}")
        if self.what.startswith("add") and not (
                self.settled_ms is not None and self.settled_ms <= 1000 * SETTLE_S):
            bad.append(f"{self.what}: loads settled after {self.settled_ms} ms")
        return bad

    def report(self) -> dict:
        return {"what": self.what, "nodes": self.nodes, "expected": round(self.expected, 4),
                "loads": [round(k, 3) for k in self.kept], "mean": round(self.mean, 4),
                "settled_ms": self.settled_ms}


def settled_ms(lines: list[Sample], joiner: int, at: float) -> float | None:
    """How long after its port came up the last segment of any connection that the joiner got went to
    another node. None: it got none."""
    last = [line["last"] for line in lines if line.get("event") == "moved"
            and line["to"] == joiner and line["first"] >= at]
    return max(0.0, round(1000 * (max(last) - at), 1)) if last else None


def judge(samples: list[Sample], what: str, others: list[int], nodes: int, before: float,
          at: float, after: float) -> Change:
    """The load of `others` around a change: in the second up to `before`, and from `after` on."""
    was = loads(samples, before - BEFORE_S, before)
    now = loads(samples, after, after + AFTER_S)
    if sum(was) == 0 or sum(now) == 0:
        return Change(what, nodes, at, [], None, 0.0)
    whole = sum(now) / sum(was)  # the load as a whole is not the switch's doing
    kept = [now[i] / was[i] / whole for i in others if was[i] > 0]
    carried_before = sum(1 for w in was if w > 0.02 * sum(was))
    settled = settled_ms(samples, nodes - 1, at) if carried_before < nodes else None
    return Change(what, nodes, at, kept, settled, carried_before / nodes)
