"""Measure the latency of an idle endpoint before a search for the max rate: a few requests, sent
one at a time.

If the SLO is below the idle latency, no rate can meet it, and a search would only find that after
minutes."""

from __future__ import annotations

import msgspec

from app.analysis.idle_latency import UnmetObjective, find_unmet_objective
from app.analysis.rows import read_rows
from app.records.result import Stage
from app.session.dependencies import Store
from app.session.spec import ResolvedStage, RunSpec
from app.session.stages import StageRunner, compute_class_shares
from app.session.warmup import MAX_DRAIN_S
from loadgen.records import ClosedArrivals

IDLE_REQUESTS = 11
"""Number of requests of a measurement. The first one is ignored."""
MAX_IDLE_S = 10.0
"""Maximum duration of a measurement in s, without the response to its last request."""
MAX_MEASUREMENTS = 2
"""Number of measurements that must agree that the SLO cannot be met."""


class IdleLatency(msgspec.Struct, frozen=True):
    """Result of the requests to the idle endpoint. `has_responded` is false if all of them failed;
    `error` is then the first failure, if known. `unmet` is the objective that the endpoint does not
    meet without load; `None` if a search can find a rate that meets the SLO."""

    has_responded: bool = True
    error: str | None = None
    unmet: UnmetObjective | None = None

    @property
    def may_search(self) -> bool:
        return self.has_responded and self.unmet is None


def measure_idle_latency(runner: StageRunner, store: Store, spec: RunSpec) -> IdleLatency:
    """Send requests to the idle endpoint one at a time, and compare their latency with the SLO.

    A measurement that shows an SLO below the idle latency is repeated, because an endpoint that was
    just started may be slow for several requests. Only the last measurement counts."""
    idle_latency = IdleLatency()
    for repeat in range(1, MAX_MEASUREMENTS + 1):
        stage = runner.run(_build_stage(repeat, spec.endpoint.timeouts.total_s))
        if not runner.may_continue:
            return IdleLatency()  # Interrupted, so the requests provide no information.
        if not stage.completed and stage.errors:
            return IdleLatency(has_responded=False, error=_get_first_error(stage))
        rows = read_rows(store.stage_requests(runner.stage_data[-1].index, ()))
        rows = rows.name_classes([share.name for share in compute_class_shares(spec.workload)])
        idle_latency = IdleLatency(unmet=find_unmet_objective(rows, spec.slo))
        if idle_latency.unmet is None:
            return idle_latency
    return idle_latency


def _build_stage(repeat: int, total_timeout_s: float) -> ResolvedStage:
    return ResolvedStage(
        name="idle latency",
        kind="warmup",
        repeat=repeat,
        arrivals=ClosedArrivals(1),
        duration_s=MAX_IDLE_S,
        requests=IDLE_REQUESTS,
        drain_s=min(MAX_DRAIN_S, total_timeout_s),
    )


def _get_first_error(stage: Stage) -> str | None:
    return stage.error_samples[0].text if stage.error_samples else None
