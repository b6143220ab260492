"""Results with any numbers that a measurement may give."""

from __future__ import annotations

from functools import cache
from typing import get_args

import msgspec
from hypothesis import strategies as st

from app.records.result import Check, Estimate, MaxRate, Objective, ObjectiveOutcome, ObjectiveResult, Result, Verdict
from tests.fakes.results import run_exit, run_without_load

_NUMBER = st.floats(1e-9, 1e12) | st.just(0.0)
_NAMED = (("latency_ms", "p95", "<"), ("ttft_ms", "p99", "<="), ("error_rate", None, "<"), ("good_per_s", None, ">="))


@st.composite
def estimates(draw: st.DrawFn, max_value: float = 1e12) -> Estimate:
    if draw(st.integers(0, 9)) == 0:
        return Estimate(None, n=draw(st.integers(0, 50)), reason="too few answers for it")
    number = st.floats(1e-9, max_value) | st.just(0.0)
    low, value, high = sorted(draw(st.tuples(number, number, number)))
    interval = draw(st.sampled_from([(low, high), None]))
    return Estimate(value, interval, n=draw(st.integers(1, 10**9)), reason=None if interval else "no interval")


@st.composite
def evaluated(draw: st.DrawFn, level: str = "fail") -> ObjectiveResult:
    metric, aggregate, comparator = draw(st.sampled_from(_NAMED))
    is_share = metric == "error_rate"
    limit = draw(st.floats(1e-6, 1.0 if is_share else 1e9))
    shown = f"{100 * limit:g}%" if is_share else f"{limit:g}"
    name = metric if aggregate is None else f"{metric}.{aggregate}"
    suffix = " | warn" if level == "warn" else ""
    objective = Objective(f"{name} {comparator} {shown}{suffix}", metric, aggregate, comparator, limit, level)  # type: ignore[arg-type]
    outcome = draw(st.sampled_from(get_args(ObjectiveOutcome)))
    return ObjectiveResult(
        objective, draw(estimates(1.0 if is_share else 1e12)), outcome, draw(st.sampled_from([None, "peak"]))
    )


_CHECK = st.builds(
    Check,
    st.sampled_from(["clock", "late_sends", "stationarity"]),
    _NUMBER,
    _NUMBER,
    st.just("ms"),
    st.sampled_from(["VALID", "WARN", "INVALID"]),
    st.just("Look at it."),
)


@cache
def _bare() -> Result:
    return run_without_load().result


@st.composite
def results(draw: st.DrawFn) -> Result:
    """Results of a run without stages, so that no chart is drawn; every check and objective occurs once."""
    checks = draw(st.lists(_CHECK, max_size=3, unique_by=lambda check: check.id))
    return msgspec.structs.replace(
        _bare(),
        verdict=Verdict(draw(st.sampled_from(["VALID", "WARN", "INVALID"]))),
        validity=tuple(checks),
        slo=tuple(draw(st.lists(evaluated(), max_size=3, unique_by=lambda result: result.objective.text))),
        gates=tuple(draw(st.lists(evaluated("warn"), max_size=2, unique_by=lambda result: result.objective.text))),
        max_rate=MaxRate(draw(estimates()), ("latency_ms.p95 < 50",), "the endpoint"),
        exit=run_exit(draw(st.sampled_from([4, 10])), "a cause"),
    )
