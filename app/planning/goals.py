"""What an SLO asks of a fleet's simulated times.

Whether anybody still waits for a plan: one that is simulated takes a second, and its question may
change.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from app.records.metrics import PERCENTILES
from app.records.result import Objective

Time = Literal["latency", "first_token", "per_token"]
_TIMES: dict[str, Time] = {
    "latency_ms": "latency",
    "service_ms": "latency",
    "first_byte_ms": "latency",
    "ttft_ms": "first_token",
    "ttft_service_ms": "first_token",
    "ttfo_ms": "first_token",
    "tpot_ms": "per_token",
    "itl_ms": "per_token",
    "icl_ms": "per_token",
}
DEFAULT_LATENCY_METRIC = "latency_ms.p95"
_STRICTER = ("service_ms", "first_byte_ms", "ttft_service_ms", "ttfo_ms", "itl_ms", "icl_ms")


class Goal(msgspec.Struct, frozen=True):
    """One time's quantile, or its mean where `quantile` is None, is to stay under `limit_s`."""

    text: str
    metric: str
    """As `Objective.name`."""
    time: Time
    quantile: float | None
    limit_s: float


class Goals(msgspec.Struct, frozen=True):
    """`share` of the arrivals are to be answered inside all the limits; None where only percentiles are asked for."""

    times: tuple[Goal, ...]
    share: float | None
    notes: tuple[str, ...] = ()

    @property
    def latency_metric(self) -> str:
        """The first time with a limit; p95 latency where no time has one."""
        return self.times[0].metric if self.times else DEFAULT_LATENCY_METRIC

    def limit_s(self, time: Time) -> float:
        """The tightest on that time, infinite without one."""
        return min((goal.limit_s for goal in self.times if goal.time == time), default=math.inf)


def goals_of(slo: Sequence[Objective]) -> Goals:
    """What of an SLO a simulation can tell: the rest of it is in `notes`, as sentences."""
    times, notes, share = [], [], None
    for one in (objective for objective in slo if objective.level == "fail"):
        named = _TIMES.get(one.metric)
        if named is not None and (one.aggregate in PERCENTILES or one.aggregate == "mean"):
            times.append(Goal(one.text, one.name, named, PERCENTILES.get(one.aggregate), one.limit / 1000))
            if one.metric in _STRICTER:
                notes.append(f"{one.text} is planned as if it were of the whole {named.replace('_', ' ')} time.")
        elif one.metric == "goodput_share":
            share = one.limit
        elif one.metric == "error_rate":
            notes.append(
                f"{one.text}: drops and time-outs count against it; errors of the model's own are not simulated."
            )
        else:
            notes.append(f"{one.text} says nothing of a fleet, so the plan does not heed it.")
    return Goals(tuple(times), share, tuple(notes))


Wanted = Callable[[], bool]


class NoLongerWantedError(Exception):
    """Nobody waits for the plan any more."""


def always() -> bool:
    return True
