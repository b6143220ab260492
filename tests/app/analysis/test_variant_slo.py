from __future__ import annotations

from app.analysis.variant_slo import answer_of, missed_of
from app.records.result import Objective
from tests.fakes.local_runs import SLO, stage, variant

_LATENCY = Objective("latency_ms.p95 < 8", "latency_ms", "p95", "<", 8.0)
_RATE = Objective("throughput_per_s > 700", "throughput_per_s", None, ">", 700.0)
_STAGES = (
    stage(variant(), "single-stream", 2.0),
    stage(variant(), "server", 4.0),
    stage(variant(), "offline", 1.0),
)


def test_each_metric_is_answered_in_the_scenario_that_it_is_most_of() -> None:
    found = [answer_of(one, _STAGES)[0] for one in (SLO, _LATENCY, _RATE)]
    assert [one and one.tags["scenario"] for one in found] == ["single-stream", "server", "offline"]


def test_of_several_rates_the_worst_answers() -> None:
    slow = stage(variant(), "server", 9.0)
    assert answer_of(_LATENCY, (*_STAGES, slow))[0] is slow
    assert [one.text for one, _ in missed_of((SLO, _LATENCY, _RATE), (*_STAGES, slow))] == ["latency_ms.p95 < 8"]


def test_what_was_not_measured_is_missed_and_says_so() -> None:
    ((missed, seen),) = missed_of((_LATENCY,), _STAGES[:1])
    assert missed is _LATENCY
    assert (seen.value, seen.reason) == (None, "latency_ms was not measured")


def test_what_only_warns_is_missed_by_nobody() -> None:
    assert missed_of((Objective("x | warn", "latency_ms", "p95", "<", 0.1, "warn"),), _STAGES) == ()
