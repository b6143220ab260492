from __future__ import annotations

from typing import Any

import msgspec
import pytest

from app.analysis.gating import GateKind, Gating, causes_of, exit_of, warnings_of, with_comparison
from app.analysis.objectives import judge, parse_gate, parse_objective
from app.errors import ExitCode
from app.records.comparison import Comparison, MetricChange
from app.records.result import Cause, Estimate, Exit, Judged, Result
from tests.fakes.results import full_run

CHANGE = parse_gate("change(latency_ms.p95) < +8%")
NO_BASELINE = judge(CHANGE, Estimate(None, reason="no baseline was given"))


def judged(text: str, estimate: Estimate) -> Judged:
    return msgspec.structs.replace(judge(parse_objective(text), estimate), stage="peak")


MISSED = judged("latency_ms.p95 < 50", Estimate(60.0, (55.0, 65.0)))
OPEN = judged("latency_ms.p99 < 80", Estimate(78.0, (70.0, 90.0)))
WARNED = judged("latency_ms.p50 < 5 | warn", Estimate(6.0, (5.5, 6.5)))
MET = judged("error_rate < 1%", Estimate(0.0, (0.0, 0.001)))


def ended(*gates: Judged, gating: Gating = Gating()) -> Result:  # noqa: B008 - frozen
    return msgspec.structs.replace(full_run().result, slo=(), gates=gates, exit=exit_of(causes_of(gates, gating)))


def compared(low: float, high: float, **more: Any) -> Comparison:
    nothing = Estimate(1.0)
    ratio = Estimate((low + high) / 2, (low, high))
    changed = MetricChange("latency_ms", "p95", "ms", "lower", "peak", nothing, nothing, ratio, 0.001, "worse")
    return Comparison(("a",), ("b",), 0.05, (changed,), **more)


@pytest.mark.parametrize(
    ("gates", "gating", "code"),
    [
        ((MET, WARNED), Gating(), ExitCode.OK),
        ((MISSED,), Gating(), ExitCode.GATE_FAILED),
        ((MISSED, OPEN), Gating("fail"), ExitCode.GATE_FAILED),
        ((MISSED,), Gating(kinds=("regression",)), ExitCode.OK),
        ((OPEN,), Gating(), ExitCode.OK),
        ((OPEN,), Gating("pass"), ExitCode.OK),
        ((OPEN,), Gating("fail"), ExitCode.INCONCLUSIVE),
        ((OPEN,), Gating("fail", ("regression",)), ExitCode.OK),
        ((NO_BASELINE,), Gating(), ExitCode.OK),
        ((NO_BASELINE,), Gating("fail"), ExitCode.INCONCLUSIVE),
        ((NO_BASELINE,), Gating("fail", ("slo",)), ExitCode.OK),
    ],
)
def test_each_judgement_has_its_exit_code(gates: tuple[Judged, ...], gating: Gating, code: ExitCode) -> None:
    assert ended(*gates, gating=gating).exit.code == code


@pytest.mark.parametrize(
    ("comparison", "gating", "code"),
    [
        (compared(1.1, 1.3), Gating(), ExitCode.REGRESSION),
        (compared(1.1, 1.3), Gating(kinds=("slo",)), ExitCode.OK),
        (compared(1.1, 1.3, is_advisory=True), Gating(), ExitCode.OK),
        (compared(1.0, 1.2), Gating(), ExitCode.OK),
        (compared(1.0, 1.2), Gating("fail"), ExitCode.INCONCLUSIVE),
        (compared(0.9, 1.05), Gating("fail"), ExitCode.OK),
    ],
)
def test_a_change_decides_once_the_comparison_is_known(comparison: Comparison, gating: Gating, code: ExitCode) -> None:
    result = with_comparison(ended(NO_BASELINE, MET, gating=gating), comparison, gating)
    assert result.exit.code == code
    assert bool(result.exit.texts) is (code != ExitCode.OK)
    assert result.comparison == comparison
    assert result.gates[1] == MET
    assert with_comparison(result, comparison, gating) == result, "judged twice it is the same"


@pytest.mark.parametrize(("kinds", "code"), [(("slo", "regression"), ExitCode.REGRESSION), (("slo",), ExitCode.OK)])
def test_a_regression_without_a_gate_decides_where_regressions_do(kinds: tuple[GateKind, ...], code: ExitCode) -> None:
    found = [Cause("baseline_regressed", ExitCode.REGRESSION, "ttft_ms.p95 is worse")]
    assert with_comparison(ended(MET), compared(1.1, 1.3), Gating(kinds=kinds), found).exit.code == code
    refused = [Cause("baseline_refused", ExitCode.USAGE, "the baseline cannot be compared")]
    assert with_comparison(ended(MET), compared(1.1, 1.3), Gating(kinds=kinds), refused).exit.code == ExitCode.USAGE


def test_what_a_run_ended_with_before_stays_first() -> None:
    gating = Gating("fail")
    result = with_comparison(ended(NO_BASELINE, OPEN, MISSED, gating=gating), compared(1.1, 1.3), gating)
    assert result.exit.code == ExitCode.GATE_FAILED
    codes = [ExitCode.GATE_FAILED, ExitCode.REGRESSION, ExitCode.INCONCLUSIVE]
    assert [cause.code for cause in result.exit.causes] == codes
    assert result.exit.texts == (
        "latency_ms.p95 < 50 failed in peak: 60 ms",
        "change(latency_ms.p95) < +8% failed in peak: 20 %",
        "latency_ms.p99 < 80 is inconclusive in peak: the interval reaches past the limit",
    )


def test_the_cause_that_decides_stands_first() -> None:
    limit, failed = Cause("limit", ExitCode.LIMIT, "a"), Cause("no_rate", ExitCode.GATE_FAILED, "b")
    open_one = Cause("objective_inconclusive", ExitCode.INCONCLUSIVE, "c")
    assert exit_of([open_one, limit, failed]) == Exit(5, (limit, failed, open_one))
    assert exit_of([]) == Exit(0)


@pytest.mark.parametrize(
    ("gating", "told"),
    [
        (
            Gating(),
            [
                "latency_ms.p50 < 5 | warn failed in peak: 6 ms (it only warns)",
                "latency_ms.p99 < 80 is inconclusive in peak: the interval reaches past the limit",
                "change(latency_ms.p95) < +8% is inconclusive: no baseline was given; --baseline RUN names one",
            ],
        ),
        (Gating("pass"), ["latency_ms.p50 < 5 | warn failed in peak: 6 ms (it only warns)"]),
        (Gating("fail"), ["latency_ms.p50 < 5 | warn failed in peak: 6 ms (it only warns)"]),
    ],
)
def test_what_decides_nothing_is_a_warning(gating: Gating, told: list[str]) -> None:
    assert list(warnings_of(ended(MET, MISSED, WARNED, OPEN, NO_BASELINE), gating)) == told


def test_a_kind_that_does_not_decide_warns() -> None:
    told = list(warnings_of(ended(MISSED), Gating(kinds=("regression",))))
    assert told == ["latency_ms.p95 < 50 failed in peak: 60 ms (it only warns)"]
