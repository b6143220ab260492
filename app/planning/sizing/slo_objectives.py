"""Latency objectives that an SLO sets for a simulated fleet, and the cancellation of plans that are
no longer needed.

A simulated plan takes about a second, during which the plan inputs may change.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from app.records.metrics import PERCENTILES
from app.records.result import Objective

LatencyKind = Literal["latency", "first_token", "per_token"]
_KIND_BY_METRIC: dict[str, LatencyKind] = {
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
_KIND_LABELS: dict[LatencyKind, str] = {
    "latency": "the latency of the entire request",
    "first_token": "TTFT",
    "per_token": "TPOT",
}
DEFAULT_LATENCY_METRIC = "latency_ms.p95"
_APPROXIMATED_METRICS = ("service_ms", "first_byte_ms", "ttft_service_ms", "ttfo_ms", "itl_ms", "icl_ms")


class LatencyObjective(msgspec.Struct, frozen=True):
    """Limit on a latency: the given quantile, or the mean if `quantile` is `None`, must stay below
    `limit_s`."""

    text: str
    metric: str
    """Name of the metric that the objective limits, as in `Objective.name`."""
    kind: LatencyKind
    quantile: float | None
    limit_s: float


class SloObjectives(msgspec.Struct, frozen=True):
    """Objectives that a fleet must meet to meet an SLO, as a simulation can evaluate them.

    `share` is the share of arrivals that must be within all limits; `None` if the SLO sets only
    percentiles or means.
    """

    latency_objectives: tuple[LatencyObjective, ...]
    share: float | None
    notes: tuple[str, ...] = ()

    @property
    def latency_metric(self) -> str:
        """Metric of the first latency objective; p95 latency if there is no latency objective."""
        return self.latency_objectives[0].metric if self.latency_objectives else DEFAULT_LATENCY_METRIC

    @property
    def latency_kind(self) -> LatencyKind:
        """Kind of `latency_metric`."""
        return self.latency_objectives[0].kind if self.latency_objectives else "latency"

    def get_limit_s(self, kind: LatencyKind) -> float:
        """Return the tightest limit in seconds on one kind of latency; infinity if there is no
        limit."""
        return min(
            (objective.limit_s for objective in self.latency_objectives if objective.kind == kind), default=math.inf
        )


def build_slo_objectives(slo: Sequence[Objective]) -> SloObjectives:
    """Build the objectives that a simulation can evaluate from an SLO. `notes` of the result lists
    the objectives that cannot be simulated."""
    latency_objectives, notes, share = [], [], None
    for objective in (objective for objective in slo if objective.level == "fail"):
        kind = _KIND_BY_METRIC.get(objective.metric)
        if objective.request_class is not None:
            notes.append(
                f"{objective.label} applies to one class of the measured requests, so the plan ignores it. Classes of "
                "a plan are in traffic.classes."
            )
        elif kind is not None and (objective.aggregate in PERCENTILES or objective.aggregate == "mean"):
            latency_objectives.append(
                LatencyObjective(
                    objective.label, objective.name, kind, PERCENTILES.get(objective.aggregate), objective.limit / 1000
                )
            )
            if objective.metric in _APPROXIMATED_METRICS:
                notes.append(f"{objective.label} is evaluated as a limit on {_KIND_LABELS[kind]}.")
        elif objective.metric == "goodput_share":
            share = objective.limit
        elif objective.metric == "error_rate":
            notes.append(
                f"For {objective.label}, dropped and timed-out requests count as errors. Errors of the model are not "
                "simulated."
            )
        else:
            notes.append(f"{objective.label} does not apply to a fleet, so the plan ignores it.")
    return SloObjectives(tuple(latency_objectives), share, tuple(notes))


ShouldContinue = Callable[[], bool]


class CancelledError(Exception):
    """Error that is raised when a plan is cancelled because it is no longer needed."""


def always_continue() -> bool:
    return True
