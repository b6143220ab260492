"""Measure the latency and the errors of an idle endpoint before a search for the max rate: a few
requests, sent one at a time.

If the SLO is below the idle latency, or if the endpoint fails requests without load, no rate can meet
the SLO, and a search would only find that after minutes."""

from __future__ import annotations

import msgspec

from app.analysis.idle_latency import UnmetErrorLimit, UnmetObjective, find_unmet_error_limit, find_unmet_objective
from app.analysis.rows import read_rows
from app.errors import ExitCode
from app.records.result import Cause, ObjectiveResult, Stage
from app.session.dependencies import Store
from app.session.spec import ResolvedStage, RunSpec
from app.session.stages import StageRunner, compute_class_shares
from app.session.warmup import MAX_DRAIN_S
from loadgen.records import ClosedArrivals, OpenArrivals, StageLoad

IDLE_REQUESTS = 11
"""Number of requests of a measurement. The first one is ignored."""
MAX_IDLE_S = 10.0
"""Maximum duration of a measurement in s, without the response to its last request."""
MAX_MEASUREMENTS = 2
"""Number of measurements that must agree that the SLO cannot be met."""
_PACED_RATE_PER_S = 1.0
"""Rate of the measurement that repeats one with failures. Requests that are sent one at a time may
exceed the rate limit of an endpoint that responds fast; a search could still find a rate below the
limit."""


class IdleLatency(msgspec.Struct, frozen=True):
    """Result of the requests to the idle endpoint. `has_responded` is false if all of them failed.
    `unmet` is the objective that the endpoint does not meet without load; `None` if a search can
    find a rate that meets the SLO. `error` is the first failure, if failures are the reason not to
    search."""

    has_responded: bool = True
    error: str | None = None
    unmet: UnmetObjective | UnmetErrorLimit | None = None

    @property
    def may_search(self) -> bool:
        return self.has_responded and self.unmet is None

    def evaluate_unmet(self) -> ObjectiveResult | None:
        """Return the objective that cannot be met, as failed; `None` if there is none."""
        return None if self.unmet is None else self.unmet.evaluate()

    def find_cause(self) -> Cause | None:
        """Return the cause for which there was no search; `None` if no objective was unmet."""
        match self.unmet:
            case UnmetObjective():
                return Cause("slo_below_idle_latency", ExitCode.GATE_FAILED, self.unmet.format_finding())
            case UnmetErrorLimit():
                finding = self.unmet.format_finding()
                text = finding if self.error is None else f"{finding}; first failure: {self.error}"
                return Cause("errors_without_load", ExitCode.GATE_FAILED, text)
        return None


def measure_idle_latency(runner: StageRunner, store: Store, spec: RunSpec) -> IdleLatency:
    """Send requests to the idle endpoint one at a time, and compare their latency with the SLO.

    A measurement that shows an SLO below the idle latency is repeated, because an endpoint that was
    just started may be slow for several requests. One that shows too many errors is repeated at 1
    req/s, because the endpoint may limit the rate. Only the last measurement counts."""
    idle_latency = IdleLatency()
    for repeat in range(1, MAX_MEASUREMENTS + 1):
        is_paced = isinstance(idle_latency.unmet, UnmetErrorLimit)
        stage = runner.run(_build_stage(repeat, spec.endpoint.timeouts.total_s, is_paced=is_paced))
        if not runner.may_continue:
            return IdleLatency()  # Interrupted, so the requests provide no information.
        if not stage.completed and stage.errors:
            return IdleLatency(has_responded=False, error=_get_first_error(stage))
        rows = read_rows(store.stage_requests(runner.stage_data[-1].index, ()))
        rows = rows.name_classes([share.name for share in compute_class_shares(spec.workload)])
        unmet = find_unmet_objective(rows, spec.slo) or find_unmet_error_limit(rows, spec.slo)
        idle_latency = IdleLatency(
            error=_get_first_error(stage) if isinstance(unmet, UnmetErrorLimit) else None, unmet=unmet
        )
        if idle_latency.unmet is None:
            return idle_latency
    return idle_latency


def _build_stage(repeat: int, total_timeout_s: float, *, is_paced: bool) -> ResolvedStage:
    paced_arrivals = OpenArrivals("constant", ((0.0, _PACED_RATE_PER_S), (MAX_IDLE_S, _PACED_RATE_PER_S)))
    return ResolvedStage(
        name="idle latency",
        kind="warmup",
        repeat=repeat,
        load=StageLoad(paced_arrivals if is_paced else ClosedArrivals(1), MAX_IDLE_S, max_requests=IDLE_REQUESTS),
        drain_s=min(MAX_DRAIN_S, total_timeout_s),
    )


def _get_first_error(stage: Stage) -> str | None:
    return stage.error_samples[0].text if stage.error_samples else None
