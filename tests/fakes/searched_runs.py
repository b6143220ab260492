"""A local run in which a search looked for the most arrivals: 400 calls/s of four rows, between rates that held, one
that did not, and one whose arrivals were never all begun."""

from __future__ import annotations

from typing import Literal

from msgspec.structs import replace

from app.analysis.local.call_stages import SEARCH_TAG
from app.analysis.rows import NOT_STARTED
from app.records.local import LocalResult
from app.records.result import Estimate, Objective, ObjectiveResult, Stage
from tests.fakes.local_runs import facts, run_of, stage, variant
from tests.fakes.results import Run

Bound = Literal["none", "generator", "untested"]
LATENCY = Objective("latency_ms.p95 < 9", "latency_ms", "p95", "<", 9.0)
SEARCHED = variant("int8-static", 4)
ENDLESS = "9,000 arrivals never started: the model could not keep up"


def searched_stage(rate_per_s: float, call_ms: float) -> Stage:
    one = stage(SEARCHED, "server", call_ms)
    name = f"server at {rate_per_s:g} calls/s: {SEARCHED.label}"
    return replace(one, name=name, scheduled_per_s=rate_per_s, tags={**one.tags, SEARCH_TAG: "yes"})


def endless_stage(rate_per_s: float) -> Stage:
    one = searched_stage(rate_per_s, 2.0)
    latency = dict.fromkeys(one.metrics["latency_ms"], Estimate(None, reason=ENDLESS))
    return replace(one, errors={NOT_STARTED: 9_000}, metrics={**one.metrics, "latency_ms": latency})


def searched_run(*, alone: bool = True, bound: Bound = "none") -> Run:
    """With another variant beside it, unless it is alone. The rate may be the highest that could be sent or was
    tested."""
    stages = (
        stage(SEARCHED, "single-stream", 2.5),
        endless_stage(1600.0),
        searched_stage(800.0, 20.0),
        searched_stage(200.0, 3.0),
        searched_stage(400.0, 4.0),
    )
    known = facts(
        SEARCHED,
        server_per_s=Estimate(400.0, (380.0, 420.0)),
        is_server_rate_lower_bound=bound != "none",
        is_server_rate_generator_limit=bound == "generator",
    )
    other = variant()
    beside = () if alone else (stage(other, "single-stream", 2.0),)
    variants = (known,) if alone else (known, facts(other))
    evaluated = ObjectiveResult(LATENCY, stages[-1].metrics["latency_ms"]["p95"], "PASS", stages[-1].name)
    return run_of((*stages, *beside), LocalResult(variants=variants, best=SEARCHED), slo=(evaluated,))


def hopeless_run() -> Run:
    """No rate of the search held."""
    stages = (searched_stage(800.0, 20.0), endless_stage(1600.0))
    known = facts(SEARCHED, server_per_s=Estimate(None, reason="no tested rate met the SLO"))
    local = LocalResult(variants=(known,), best_reason="missed")
    endless = stages[-1].metrics["latency_ms"]["p95"]
    return run_of(stages, local, slo=(ObjectiveResult(LATENCY, endless, "FAIL", stages[-1].name),))
