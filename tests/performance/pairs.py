"""A/B pairs of rounds in alternating order, so that other work on this machine disturbs both sides equally."""

from __future__ import annotations

import os
from collections.abc import Callable
from statistics import mean, median

import msgspec

Round = Callable[[], "RoundResult"]


class RoundResult(msgspec.Struct, frozen=True):
    """Result of a round: calls per second and, if known, the CPU time of a call and the share of the time in which the
    thread was runnable without a core."""

    calls_per_s: float
    cpu_us: float | None = None
    waited: float | None = None


class Pairs(msgspec.Struct, frozen=True):
    """The median of each measure over all pairs, with its interquartile range."""

    count: int
    plain_us: float
    ratio: tuple[float, float, float]
    added_us: tuple[float, float, float]
    cpu: tuple[float, float] | None
    """Ratio of the CPU time of a call, plain to with the feature, and the added CPU time in µs."""
    waited: tuple[float, float] | None
    """Mean shares of the time in which the thread waited for a core: plain, and with the feature."""


def measure_pairs(plain: Round, with_feature: Round, count: int) -> Pairs:
    """Measure pairs in the order AB, BA, AB, ...; `ratio` is of calls per second, with the feature to plain."""
    plain(), with_feature()
    rounds: list[tuple[RoundResult, RoundResult]] = []
    for number in range(count):
        if number % 2:
            second, first = with_feature(), plain()
        else:
            first, second = plain(), with_feature()
        rounds.append((first, second))
    cpu = [(a.cpu_us, b.cpu_us) for a, b in rounds if a.cpu_us is not None and b.cpu_us is not None]
    waits = [(a.waited, b.waited) for a, b in rounds if a.waited is not None and b.waited is not None]
    return Pairs(
        count=count,
        plain_us=median(1e6 / a.calls_per_s for a, _ in rounds),
        ratio=_compute_quartiles([b.calls_per_s / a.calls_per_s for a, b in rounds]),
        added_us=_compute_quartiles([1e6 / b.calls_per_s - 1e6 / a.calls_per_s for a, b in rounds]),
        cpu=(median(a / b for a, b in cpu), median(b - a for a, b in cpu)) if cpu else None,
        waited=(mean(a for a, _ in waits), mean(b for _, b in waits)) if waits else None,
    )


def format_pairs(label: str, pairs: Pairs) -> str:
    ratio, added = pairs.ratio, pairs.added_us
    cpu = "" if pairs.cpu is None else f"; of CPU {100 * pairs.cpu[0]:.2f} %, {pairs.cpu[1]:+.1f} µs"
    if pairs.waited is not None:
        cpu += f"; {100 * pairs.waited[0]:.1f} % of the time without a core, then {100 * pairs.waited[1]:.1f} %"
    return (
        f"{label:22} {pairs.plain_us:7.1f} µs  {100 * ratio[0]:6.2f} % ({100 * ratio[1]:.1f} to {100 * ratio[2]:.1f})  "
        f"{added[0]:+.1f} µs a call ({added[1]:+.1f} to {added[2]:+.1f}){cpu}"
    )


def load_average() -> str:
    return f"load average {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores"


def _compute_quartiles(values: list[float]) -> tuple[float, float, float]:
    ordered = sorted(values)
    quarter = len(ordered) // 4
    return median(ordered), ordered[quarter], ordered[-1 - quarter]
