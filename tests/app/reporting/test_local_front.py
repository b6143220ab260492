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
from tests.fakes.local_runs import build_variant_data, local_run, run_with_fallback_nodes, stage, variant
from tests.fakes.searched_runs import searched_run, searched_stage

_GRID = [variant(precision, batch) for precision in ("as-is", "fp16") for batch in (1, 8)]


def test_variant_names_have_only_the_settings_that_differ() -> None:
    assert list(name_variants(_GRID).values()) == ["as-is, batch 1", "as-is, batch 8", "fp16, batch 1", "fp16, batch 8"]
    assert format_common_settings(_GRID) == "digits cpu, 1 stream, 1 thread"


def test_variant_families_omit_the_batch_size() -> None:
    assert list(name_families(_GRID).values()) == ["as-is", "as-is", "fp16", "fp16"]
    assert set(name_families(_GRID[:2]).values()) == {"digits"}


@pytest.mark.parametrize(
    ("variants", "names"),
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
def test_variant_names_cover_every_setting(variants: list[Variant], names: list[str]) -> None:
    assert list(name_variants(variants).values()) == names


def test_no_variants_have_no_common_settings() -> None:
    assert format_common_settings([]) == ""


_RESULT = searched_run().result
assert _RESULT.local is not None
_SEARCHED_VARIANT = _RESULT.local.variants[0]


@pytest.mark.parametrize("validity", ["VALID", "WARN", "INVALID"])
def test_max_call_rate_has_the_validity_of_its_stage(validity: Validity) -> None:
    max_rate = get_max_call_rate(_SEARCHED_VARIANT, [replace(searched_stage(400.0, 4.0), verdict=Verdict(validity))])
    assert max_rate is not None
    assert (max_rate.value, max_rate.unit, max_rate.validity) == (400.0, "calls/s", validity)


def test_variant_without_a_rate_search_has_no_max_call_rate() -> None:
    assert get_max_call_rate(build_variant_data(variant()), []) is None
    assert format_max_inference_rate(build_variant_data(variant("as-is", 4))) == ""


def test_max_rate_of_batched_calls_is_also_in_inferences() -> None:
    assert format_max_inference_rate(_SEARCHED_VARIANT) == "batch 4: 1,600\u202finferences/s"
    assert format_max_inference_rate(build_variant_data(variant(), server_per_s=Estimate(400.0))) == ""


_LOCAL_FRONT_RESULT = local_run().result
assert _LOCAL_FRONT_RESULT.local is not None
_LOCAL: LocalResult = _LOCAL_FRONT_RESULT.local
_STAGES = group_stages_by_variant(_LOCAL_FRONT_RESULT)


def test_frontier_axes_use_the_most_common_scenario() -> None:
    axes = choose_axes(_LOCAL, _STAGES)
    assert axes.latency_text == "p95 service time, single-stream"
    assert axes.cost_text == "cost per 1M inferences"
    only_server = {
        variant_key: [stage for stage in stages if stage.tags["scenario"] == "server"]
        for variant_key, stages in _STAGES.items()
    }
    assert choose_axes(_LOCAL, only_server).latency_text == "p95 latency, server"


def test_frontier_axes_use_a_percentile_that_most_variants_have() -> None:
    def without_p95(stage: Stage) -> Stage:
        times = {**stage.metrics["service_ms"], "p95": Estimate(None, reason="too few")}
        return msgspec.structs.replace(stage, metrics={**stage.metrics, "service_ms": times})

    undersampled = {key: [without_p95(stage) for stage in stages] for key, stages in _STAGES.items()}
    assert choose_axes(_LOCAL, undersampled).latency_text == "p50 service time, single-stream"


def test_cheaper_faster_and_equally_accurate_variants_are_on_the_frontier() -> None:
    places = find_front_positions(_LOCAL, _STAGES, choose_axes(_LOCAL, _STAGES))
    front = [
        variant_result.variant
        for variant_result, position in zip(_LOCAL.variants, places, strict=True)
        if position.is_on_frontier
    ]
    assert front == [variant("as-is", 1), variant("as-is", 4), variant("as-is", 16), variant("int8-static", 1),
                     variant("int8-static", 4)]  # fmt: skip
    assert places[-1].latency.value is None
    assert places[-1].throughput.reason == "cuda needs an NVIDIA GPU"


def test_invalid_and_failed_variants_are_not_on_the_frontier() -> None:
    result = run_with_fallback_nodes().result
    assert result.local is not None
    stages = group_stages_by_variant(result)
    places = find_front_positions(result.local, stages, choose_axes(result.local, stages))
    assert [position.is_on_frontier for position in places] == [False, True]
    assert places[0].throughput.validity == "INVALID"

    early = msgspec.structs.replace(result.local.variants[1], failure="killed")
    local = msgspec.structs.replace(result.local, variants=(result.local.variants[0], early))
    assert not any(
        position.is_on_frontier for position in find_front_positions(local, stages, choose_axes(local, stages))
    )


def test_cost_and_its_interval_are_computed_from_throughput() -> None:
    cost, unit = compute_cost(Estimate(1000.0, (800.0, 1250.0)), 3.6)
    assert unit == "USD"
    assert cost.value == pytest.approx(1.0)
    assert cost.ci95 == pytest.approx((0.8, 1.25))
    seconds, unit = compute_cost(Estimate(500.0), None)
    assert (seconds.value, unit) == (2.0, "s")
    assert compute_cost(Estimate(None, reason="too few"), 1.0)[0].reason == "too few"


def test_invalid_stage_is_fastest_only_if_all_stages_are_invalid() -> None:
    quick, slow = (stage(variant(), "single-stream", call_ms) for call_ms in (1.0, 2.0))
    invalidated = msgspec.structs.replace(quick, verdict=Verdict("INVALID", ("x",)))
    assert find_fastest_valid_stage([invalidated, slow]) is slow
    assert find_fastest_valid_stage([invalidated]) is invalidated
    assert find_fastest_valid_stage([]) is None


def test_single_variant_is_not_on_a_frontier() -> None:
    single: Variant = variant()
    local = LocalResult(variants=(build_variant_data(single),), best=single)
    stages = {single: [stage(single, "offline", 2.0)]}
    (position,) = find_front_positions(local, stages, choose_axes(local, stages))
    assert position.is_on_frontier is False
    assert position.cost.unit == "s"
