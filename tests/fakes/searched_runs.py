"""A local run with a search for the max rate: 400 calls/s of four rows, between rates that met the SLO, one that
violated it, and one whose calls were not all started."""

from __future__ import annotations

from typing import Literal

from msgspec.structs import replace

from app.analysis.local.call_stages import SEARCH_TAG
from app.analysis.rows import NOT_STARTED
from app.records.local import LocalResult
from app.records.result import Estimate, Objective, ObjectiveResult, Stage
from tests.fakes.local_runs import build_variant_data, run_of, stage, variant
from tests.fakes.results import Run

Bound = Literal["none", "generator", "untested"]
LATENCY = Objective("latency_ms.p95 < 9", "latency_ms", "p95", "<", 9.0)
SEARCHED = variant("int8-static", 4)
ENDLESS = "9,000 arrivals never started: the model could not keep up"


def searched_stage(rate_per_s: float, call_ms: float) -> Stage:
    base = stage(SEARCHED, "server", call_ms)
    name = f"server at {rate_per_s:g} calls/s: {SEARCHED.label}"
    return replace(base, name=name, scheduled_per_s=rate_per_s, tags={**base.tags, SEARCH_TAG: "yes"})


def endless_stage(rate_per_s: float) -> Stage:
    base = searched_stage(rate_per_s, 2.0)
    latency = dict.fromkeys(base.metrics["latency_ms"], Estimate(None, reason=ENDLESS))
    return replace(base, errors={NOT_STARTED: 9_000}, metrics={**base.metrics, "latency_ms": latency})


def searched_run(*, alone: bool = True, bound: Bound = "none") -> Run:
    """With a second variant unless `alone`. The rate may be the highest that could be sent or was tested."""
    stages = (
        stage(SEARCHED, "single-stream", 2.5),
        endless_stage(1600.0),
        searched_stage(800.0, 20.0),
        searched_stage(200.0, 3.0),
        searched_stage(400.0, 4.0),
    )
    variant_record = build_variant_data(
        SEARCHED,
        server_per_s=Estimate(400.0, (380.0, 420.0)),
        is_server_rate_lower_bound=bound != "none",
        is_server_rate_generator_limit=bound == "generator",
    )
    second_variant = variant()
    beside = () if alone else (stage(second_variant, "single-stream", 2.0),)
    variants = (variant_record,) if alone else (variant_record, build_variant_data(second_variant))
    evaluated = ObjectiveResult(LATENCY, stages[-1].metrics["latency_ms"]["p95"], "PASS", stages[-1].name)
    return run_of((*stages, *beside), LocalResult(variants=variants, best=SEARCHED), slo=(evaluated,))


def hopeless_run() -> Run:
    """No rate of the search met the SLO."""
    stages = (searched_stage(800.0, 20.0), endless_stage(1600.0))
    variant_record = build_variant_data(SEARCHED, server_per_s=Estimate(None, reason="no tested rate met the SLO"))
    local = LocalResult(variants=(variant_record,), best_reason="missed")
    endless = stages[-1].metrics["latency_ms"]["p95"]
    return run_of(stages, local, slo=(ObjectiveResult(LATENCY, endless, "FAIL", stages[-1].name),))
