"""Goals that an SLO sets for a fleet's simulated times, and the check whether a plan is still needed.

A simulated plan takes a second, in which its question may change.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from app.records.metrics import PERCENTILES
from app.records.result import Objective

TimeKind = Literal["latency", "first_token", "per_token"]
_TIMES: dict[str, TimeKind] = {
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
_METRICS_OF_A_PART = ("service_ms", "first_byte_ms", "ttft_service_ms", "ttfo_ms", "itl_ms", "icl_ms")


class Goal(msgspec.Struct, frozen=True):
    """Goal for one time: its quantile, or its mean where `quantile` is `None`, stays below `limit_s`."""

    text: str
    metric: str
    """Name of the metric, the same as `Objective.name`."""
    time: TimeKind
    quantile: float | None
    limit_s: float


class Goals(msgspec.Struct, frozen=True):
    """Goals of an SLO.

    `share` of the arrivals have to be within all limits; `None` where the SLO has only percentiles.
    """

    time_goals: tuple[Goal, ...]
    share: float | None
    notes: tuple[str, ...] = ()

    @property
    def latency_metric(self) -> str:
        """Metric of the first time with a limit; p95 latency where no time has one."""
        return self.time_goals[0].metric if self.time_goals else DEFAULT_LATENCY_METRIC

    def limit_s(self, time: TimeKind) -> float:
        """Return the tightest limit on that time, infinite without one."""
        return min((goal.limit_s for goal in self.time_goals if goal.time == time), default=math.inf)


def build_goals(slo: Sequence[Objective]) -> Goals:
    """Return the goals of an SLO that a simulation can evaluate; `notes` lists the others as sentences."""
    times, notes, share = [], [], None
    for objective in (objective for objective in slo if objective.level == "fail"):
        time = _TIMES.get(objective.metric)
        if time is not None and (objective.aggregate in PERCENTILES or objective.aggregate == "mean"):
            times.append(
                Goal(
                    objective.label, objective.name, time, PERCENTILES.get(objective.aggregate), objective.limit / 1000
                )
            )
            if objective.metric in _METRICS_OF_A_PART:
                notes.append(f"{objective.label} is applied to the whole {time.replace('_', ' ')} time.")
        elif objective.metric == "goodput_share":
            share = objective.limit
        elif objective.metric == "error_rate":
            notes.append(
                f"{objective.label}: dropped and timed-out requests count; errors of the model are not simulated."
            )
        else:
            notes.append(f"{objective.label} does not apply to a fleet, so the plan ignores it.")
    return Goals(tuple(times), share, tuple(notes))


ShouldContinue = Callable[[], bool]


class CancelledError(Exception):
    """Raised when the plan is no longer needed."""


def always_continue() -> bool:
    return True
