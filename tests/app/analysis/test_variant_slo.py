from __future__ import annotations

from msgspec.structs import replace

from app.analysis.call_stages import summarise_calls
from app.analysis.objectives import parse_objective
from app.analysis.variant_slo import answer_of, headline_of_variant, is_beyond, is_endless, missed_of, missed_so_far
from app.records.estimate import Estimate
from app.records.local import Scenario
from app.records.result import Objective, Stage
from tests.fakes.calls import call, never, stage_of, table_of
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


def played(
    scenario: Scenario,
    takes_ms: float = 10.0,
    *,
    rate_per_s: float | None = None,
    searched: bool = False,
    never_begun: int = 0,
) -> Stage:
    due = scenario in ("server", "multi-stream")
    rows = [call(takes_ms * n, takes_ms, query=n, due_ms=takes_ms * n if due else None) for n in range(100)]
    rows += [never(100 + n, 1000 + n) for n in range(never_begun)]
    return summarise_calls(table_of(rows), replace(stage_of(scenario, rate_per_s=rate_per_s), in_search=searched))


def slo_of(*written: str) -> list[Objective]:
    return [parse_objective(text) for text in written]


def test_an_slo_is_missed_by_a_point_estimate_or_by_having_none() -> None:
    stages = [played("single-stream")]
    assert not missed_of(slo_of("service_ms.p95 < 9"), stages)
    assert missed_of(slo_of("service_ms.p95 < 7", "accuracy > 90%"), stages)[0][0].metric == "service_ms"
    withheld = replace(stages[0], metrics={"service_ms": {"p95": Estimate(None, reason="too few")}})
    assert missed_of(slo_of("service_ms.p95 < 9"), [withheld])
    assert not is_beyond(slo_of("service_ms.p95 < 9"), [withheld]), "for want of a value alone"
    assert is_beyond(slo_of("service_ms.p95 < 7"), stages)


def test_before_the_end_only_what_is_measured_so_far_is_missed() -> None:
    stages = [played("single-stream")]
    assert not missed_so_far(slo_of("service_ms.p95 < 9", "accuracy > 90%"), stages)
    assert missed_so_far(slo_of("service_ms.p95 < 7", "accuracy > 90%"), stages)


def test_a_latency_without_an_end_is_beyond_every_limit() -> None:
    stage = played("server", rate_per_s=110.0, never_begun=10)
    p95, p50 = slo_of("latency_ms.p95 < 9999", "latency_ms.p50 < 9999")
    assert is_endless(p95, stage)
    assert is_beyond([p95], [stage])
    assert not is_endless(p50, stage)
    assert not is_beyond([p50], [stage])
    assert not is_beyond(slo_of("latency_ms.p95 < 9999 | warn"), [stage])


def test_rates_that_a_search_found_too_high_do_not_answer_where_one_held() -> None:
    held = played("server", 10, rate_per_s=50, searched=True)
    failed = played("server", 60, rate_per_s=90, searched=True)
    asked = played("single-stream")
    objectives = slo_of("latency_ms.p95 < 50")
    assert headline_of_variant(objectives, [asked, held, failed]) == (asked, held)
    assert headline_of_variant(objectives, [asked, failed]) == (asked, failed)
