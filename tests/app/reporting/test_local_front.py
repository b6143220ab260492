from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from app.records.local import LocalResult
from app.records.result import Estimate, Stage, Validity, Variant, Verdict
from app.reporting.local import group_stages_by_variant
from app.reporting.local_front import (
    choose_axes,
    compute_cost,
    find_fastest_valid_stage,
    find_front_positions,
    format_common_settings,
    format_max_inference_rate,
    get_max_call_rate,
    name_families,
    name_variants,
)
from tests.fakes.local_runs import facts, local_run, stage, strayed, variant
from tests.fakes.searched_runs import searched_run, searched_stage

_GRID = [variant(precision, batch) for precision in ("as-is", "fp16") for batch in (1, 8)]


def test_names_report_what_differs_and_the_rest_is_common() -> None:
    assert list(name_variants(_GRID).values()) == ["as-is, batch 1", "as-is, batch 8", "fp16, batch 1", "fp16, batch 8"]
    assert format_common_settings(_GRID) == "digits cpu, 1 stream, 1 thread"


def test_families_leave_the_batch_out() -> None:
    assert list(name_families(_GRID).values()) == ["as-is", "as-is", "fp16", "fp16"]
    assert set(name_families(_GRID[:2]).values()) == {"digits"}


@pytest.mark.parametrize(
    ("others", "names"),
    [
        ([variant(model="teacher"), variant(model="student")], ["teacher", "student"]),
        ([variant(provider="cuda"), variant("fp16")], ["cuda as-is", "cpu fp16"]),
        ([variant(streams=1), variant(streams=2)], ["1 stream", "2 streams"]),
        (
            [Variant("m", "cuda", "as-is", 1, 1, 1, ("0",)), Variant("m", "cuda", "as-is", 1, 1, 1, ("0", "1"))],
            ["devices 0", "devices 0 + 1"],
        ),
        ([variant()], ["digits cpu as-is, batch 1"]),
    ],
)
def test_any_setting_may_be_what_differs(others: list[Variant], names: list[str]) -> None:
    assert list(name_variants(others).values()) == names


def test_of_no_variant_nothing_is_common() -> None:
    assert format_common_settings([]) == ""


_RESULT = searched_run().result
assert _RESULT.local is not None
_FACTS = _RESULT.local.variants[0]


@pytest.mark.parametrize("trust", ["VALID", "WARN", "INVALID"])
def test_the_most_arrivals_are_as_sure_as_the_stage_that_held(trust: Validity) -> None:
    most = get_max_call_rate(_FACTS, [replace(searched_stage(400.0, 4.0), verdict=Verdict(trust))])
    assert most is not None
    assert (most.value, most.unit, most.validity) == (400.0, "calls/s", trust)


def test_where_nobody_searched_there_is_no_number() -> None:
    assert get_max_call_rate(facts(variant()), []) is None
    assert format_max_inference_rate(facts(variant("as-is", 4))) == ""


def test_calls_of_several_rows_are_reported_in_inferences() -> None:
    assert format_max_inference_rate(_FACTS) == "batch 4: 1,600\u202finferences/s"
    assert format_max_inference_rate(facts(variant(), server_per_s=Estimate(400.0))) == ""


_LOCAL_FRONT_RESULT = local_run().result
assert _LOCAL_FRONT_RESULT.local is not None
_LOCAL: LocalResult = _LOCAL_FRONT_RESULT.local
_STAGES = group_stages_by_variant(_LOCAL_FRONT_RESULT)


def test_variants_are_compared_in_the_scenario_that_the_most_of_them_have() -> None:
    axes = choose_axes(_LOCAL, _STAGES)
    assert axes.latency_text == "p95 service time, single-stream"
    assert axes.cost_text == "cost per 1M inferences"
    only_server = {
        one: [stage for stage in some if stage.tags["scenario"] == "server"] for one, some in _STAGES.items()
    }
    assert choose_axes(_LOCAL, only_server).latency_text == "p95 latency, server"


def test_a_percentile_that_most_do_not_have_gives_way_to_one_they_have() -> None:
    def without_p95(one: Stage) -> Stage:
        times = {**one.metrics["service_ms"], "p95": Estimate(None, reason="too few")}
        return msgspec.structs.replace(one, metrics={**one.metrics, "service_ms": times})

    few = {one: [without_p95(stage) for stage in some] for one, some in _STAGES.items()}
    assert choose_axes(_LOCAL, few).latency_text == "p50 service time, single-stream"


def test_what_is_cheaper_and_quicker_and_as_accurate_stands_on_the_front() -> None:
    places = find_front_positions(_LOCAL, _STAGES, choose_axes(_LOCAL, _STAGES))
    front = [facts.variant for facts, place in zip(_LOCAL.variants, places, strict=True) if place.is_on_frontier]
    assert front == [variant("as-is", 1), variant("as-is", 4), variant("as-is", 16), variant("int8-static", 1),
                     variant("int8-static", 4)]  # fmt: skip
    assert places[-1].latency.value is None
    assert places[-1].throughput.reason == "cuda needs an NVIDIA GPU"


def test_what_cannot_be_relied_on_or_ended_early_is_on_no_front() -> None:
    result = strayed().result
    assert result.local is not None
    stages = group_stages_by_variant(result)
    places = find_front_positions(result.local, stages, choose_axes(result.local, stages))
    assert [place.is_on_frontier for place in places] == [False, True]
    assert places[0].throughput.validity == "INVALID"

    early = msgspec.structs.replace(result.local.variants[1], failure="killed")
    local = msgspec.structs.replace(result.local, variants=(result.local.variants[0], early))
    assert not any(place.is_on_frontier for place in find_front_positions(local, stages, choose_axes(local, stages)))


def test_cost_is_arithmetic_on_throughput_and_its_interval_turns_round() -> None:
    cost, unit = compute_cost(Estimate(1000.0, (800.0, 1250.0)), 3.6)
    assert unit == "USD"
    assert cost.value == pytest.approx(1.0)
    assert cost.ci95 == pytest.approx((0.8, 1.25))
    seconds, unit = compute_cost(Estimate(500.0), None)
    assert (seconds.value, unit) == (2.0, "s")
    assert compute_cost(Estimate(None, reason="too few"), 1.0)[0].reason == "too few"


def test_an_invalid_stage_is_the_fastest_only_where_all_are() -> None:
    quick, slow = (stage(variant(), "single-stream", call_ms) for call_ms in (1.0, 2.0))
    invalidated = msgspec.structs.replace(quick, verdict=Verdict("INVALID", ("x",)))
    assert find_fastest_valid_stage([invalidated, slow]) is slow
    assert find_fastest_valid_stage([invalidated]) is invalidated
    assert find_fastest_valid_stage([]) is None


def test_a_variant_alone_is_no_front() -> None:
    one: Variant = variant()
    local = LocalResult(variants=(facts(one),), best=one)
    stages = {one: [stage(one, "offline", 2.0)]}
    (place,) = find_front_positions(local, stages, choose_axes(local, stages))
    assert place.is_on_frontier is False
    assert place.cost.unit == "s"
