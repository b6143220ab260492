"""The stages of one variant as rows: what answers first, and the rates that a search only tried below it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from app.analysis.call_stages import IN_SEARCH
from app.analysis.rows import NOT_STARTED
from app.analysis.variant_slo import missed_so_far
from app.records.result import Objective, Stage, Trust
from app.reporting.local_front import time_metric
from app.reporting.quantities import stage_quantity
from reports import formatting
from reports.local_model import ScenarioRow
from reports.model import Quantity

CALL_PARTS = {
    "prepare_ms": "prepare",
    "copy_in_ms": "copy in",
    "execute_ms": "execute",
    "copy_out_ms": "copy out",
    "post_process_ms": "post-process",
}


def scenario_rows(slo: Sequence[Objective], stages: Sequence[Stage]) -> tuple[ScenarioRow, ...]:
    """Of the rates that were tried, the lowest first."""
    told = [(stage, _tried(slo, stage)) for stage in stages]
    ordered = sorted(told, key=lambda pair: (pair[1] is not None, (pair[1] and pair[0].scheduled_per_s) or 0.0))
    return tuple(_row(stage, tried) for stage, tried in ordered)


def _tried(slo: Sequence[Objective], stage: Stage) -> Literal["held", "did not hold"] | None:
    """None of the answer, and of what no search asked for. Where no rate held, none is the answer."""
    if IN_SEARCH not in stage.tags:
        return None
    has_held = not missed_so_far(slo, [stage])
    return None if stage.in_headline and has_held else "held" if has_held else "did not hold"


def _row(stage: Stage, tried: Literal["held", "did not hold"] | None) -> ScenarioRow:
    scenario = stage.tags.get("scenario", stage.kind)
    metric = time_metric(scenario)
    trust, reasons = _doubts(stage)
    return ScenarioRow(
        stage=stage.name,
        scenario=scenario,
        rate_per_s=stage.scheduled_per_s,
        tried=tried,
        times=formatting.metric(metric),
        p50=stage_quantity(stage, metric, "p50"),
        p95=stage_quantity(stage, metric, "p95"),
        p99=stage_quantity(stage, metric, "p99"),
        throughput=stage_quantity(stage, "throughput_per_s"),
        calls=stage.completed,
        parts=tuple(_part(stage, part) for part in CALL_PARTS),
        trust=trust,
        reasons=reasons,
    )


def _doubts(stage: Stage) -> tuple[Trust, tuple[str, ...]]:
    """Arrivals that were never begun are in no time of a call: whoever reads those must know."""
    never, verdict = stage.errors.get(NOT_STARTED, 0), stage.verdict
    if not never:
        return verdict.status, verdict.reasons
    told = f"{formatting.count(never)} arrivals were never begun: the model could not keep up"
    return "WARN" if verdict.status == "VALID" else verdict.status, (*verdict.reasons, told)


def _part(stage: Stage, metric: str) -> Quantity:
    if metric not in stage.metrics:
        reason = "not apart: the runtime does it inside the execution"
        return Quantity(None, "ms", reason=reason, trust=stage.verdict.status)
    return stage_quantity(stage, metric, "p50")
