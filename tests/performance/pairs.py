"""Two ways to do the same, in turn and in turn about: neighbours on this machine then disturb both alike."""

from __future__ import annotations

import os
from collections.abc import Callable
from statistics import mean, median

import msgspec

Round = Callable[[], "Done"]


class Done(msgspec.Struct, frozen=True):
    """One round: what a second of it did, and where that is known what one call took of the CPU, and which share of the
    time it was ready to run and had no core."""

    calls_per_s: float
    cpu_us: float | None = None
    waited: float | None = None


class Pairs(msgspec.Struct, frozen=True):
    """Of each measure the median over pairs, between the least and the most of the middle half of them."""

    count: int
    plain_us: float
    ratio: tuple[float, float, float]
    added_us: tuple[float, float, float]
    cpu: tuple[float, float] | None
    """Of the CPU: the ratio of a call's, plain to with it, and what it takes more, in µs."""
    waited: tuple[float, float] | None
    """For a core, as a share of the time: plain, and with it; means."""


def paired(plain: Round, with_it: Round, count: int) -> Pairs:
    """`ratio` is of calls a second, with it to plain; the other two are what a call takes more. AB, BA, AB, ..."""
    plain(), with_it()
    rounds: list[tuple[Done, Done]] = []
    for number in range(count):
        if number % 2:
            second, first = with_it(), plain()
        else:
            first, second = plain(), with_it()
        rounds.append((first, second))
    cpu = [(a.cpu_us, b.cpu_us) for a, b in rounds if a.cpu_us is not None and b.cpu_us is not None]
    waits = [(a.waited, b.waited) for a, b in rounds if a.waited is not None and b.waited is not None]
    return Pairs(
        count=count,
        plain_us=median(1e6 / a.calls_per_s for a, _ in rounds),
        ratio=_middle([b.calls_per_s / a.calls_per_s for a, b in rounds]),
        added_us=_middle([1e6 / b.calls_per_s - 1e6 / a.calls_per_s for a, b in rounds]),
        cpu=(median(a / b for a, b in cpu), median(b - a for a, b in cpu)) if cpu else None,
        waited=(mean(a for a, _ in waits), mean(b for _, b in waits)) if waits else None,
    )


def reported(what: str, pairs: Pairs) -> str:
    ratio, added = pairs.ratio, pairs.added_us
    cpu = "" if pairs.cpu is None else f"; of CPU {100 * pairs.cpu[0]:.2f} %, {pairs.cpu[1]:+.1f} µs"
    if pairs.waited is not None:
        cpu += f"; {100 * pairs.waited[0]:.1f} % of the time without a core, then {100 * pairs.waited[1]:.1f} %"
    return (
        f"{what:22} {pairs.plain_us:7.1f} µs  {100 * ratio[0]:6.2f} % ({100 * ratio[1]:.1f} to {100 * ratio[2]:.1f})  "
        f"{added[0]:+.1f} µs a call ({added[1]:+.1f} to {added[2]:+.1f}){cpu}"
    )


def load_average() -> str:
    return f"load average {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores"


def _middle(values: list[float]) -> tuple[float, float, float]:
    ordered = sorted(values)
    quarter = len(ordered) // 4
    return median(ordered), ordered[quarter], ordered[-1 - quarter]
