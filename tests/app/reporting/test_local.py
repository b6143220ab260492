from __future__ import annotations

import msgspec
import pytest

from app.records.local import GenerationTest
from app.records.result import Estimate, Objective, ObjectiveResult, Result
from app.reporting.local import build_local_section, build_local_tiles, build_model_section, find_headline_variant
from reports.quantity import Quantity
from tests.fakes.language_model_runs import language_model_run, with_energy
from tests.fakes.local_runs import SLO, local_run, run_of_failed_variants, run_of_one_variant, variant
from tests.fakes.results import full_run
from tests.fakes.searched_runs import Bound, searched_run

_RESULT = local_run().result


def test_local_section_has_a_row_for_every_variant() -> None:
    section = build_local_section(_RESULT)
    assert section is not None
    assert [(row.name, row.state) for row in section.variants] == [
        ("cpu as-is, batch 1", "measured"),
        ("cpu as-is, batch 4", "measured"),
        ("cpu as-is, batch 16", "measured"),
        ("cpu int8-static, batch 1", "measured"),
        ("cpu int8-static, batch 4", "best"),
        ("cpu int8-static, batch 16", "skipped"),
        ("cuda as-is, batch 1", "ended early"),
    ]
    assert (section.best, section.headline_variant) == ("cpu int8-static, batch 4", "cpu int8-static, batch 4")
    assert [len(row.scenarios) for row in section.variants] == [2, 1, 1, 2, 1, 0, 0]
    assert [model.family for model in section.batch_models] == ["cpu as-is"]


def test_endpoint_run_has_a_model_section_and_no_local_section() -> None:
    served = full_run().result
    assert build_local_section(served) is None
    assert build_model_section(served) is not None
    assert build_model_section(_RESULT) is None


def test_local_run_without_variants_has_an_empty_section() -> None:
    assert _RESULT.local is not None
    empty: Result = msgspec.structs.replace(
        _RESULT, local=msgspec.structs.replace(_RESULT.local, variants=(), best=None, batch_models=()), stages=()
    )
    section = build_local_section(empty)
    assert section is not None
    assert (section.variants, section.headline_variant, section.common) == ((), None, "")


def test_headline_variant_without_a_best_variant_is_the_evaluated_variant() -> None:
    assert _RESULT.local is not None
    evaluated = msgspec.structs.replace(_RESULT.slo[0], stage=_RESULT.stages[2].name)
    local = msgspec.structs.replace(_RESULT.local, best=None)
    assert find_headline_variant(msgspec.structs.replace(_RESULT, local=local, slo=(evaluated,))) == variant("as-is", 4)
    assert find_headline_variant(msgspec.structs.replace(_RESULT, local=local, slo=())) == variant("as-is", 1)
    assert find_headline_variant(run_of_failed_variants().result) is None
    assert SLO.text == evaluated.objective.text


def test_single_variant_has_its_full_name() -> None:
    section = build_local_section(run_of_one_variant().result)
    assert section is not None
    (only,) = section.variants
    assert (only.name, only.family, only.state, only.slo) == ("digits cpu as-is, batch 1", "digits", "best", None)


def test_local_tiles_are_those_of_the_best_variant() -> None:
    tiles = {tile.label: tile for tile in build_local_tiles(_RESULT)}
    assert list(tiles) == [
        "Throughput", "p50 service time", "p99 service time", "Accuracy", "Accuracy retained", "Cost per 1M inferences",
    ]  # fmt: skip
    assert tiles["Throughput"].quantity.value == 1600.0
    assert tiles["Throughput"].note == "cpu int8-static, batch 4, single-stream"
    limit = tiles["p99 service time"].limit
    assert limit is not None
    assert limit.value == 8.0
    assert tiles["Cost per 1M inferences"].quantity.value == pytest.approx(0.36 / 3600 / 1600 * 1e6)
    assert tiles["Cost per 1M inferences"].note == "at $0.36/h, 100\u202f% utilization"


def test_latency_tiles_are_those_of_the_evaluated_scenario() -> None:
    assert _RESULT.local is not None
    slo = Objective("latency_ms.p95 < 9", "latency_ms", "p95", "<", 9.0)
    local = msgspec.structs.replace(_RESULT.local, best=variant("int8-static", 1))
    tiles = build_local_tiles(
        msgspec.structs.replace(_RESULT, local=local, slo=(ObjectiveResult(slo, Estimate(1.7), "PASS"),))
    )
    assert [(tile.label, tile.note) for tile in tiles[1:4]] == [
        (f"{aggregate} latency", "server at 50.0 calls/s") for aggregate in ("p50", "p95", "p99")
    ]  # fmt: skip
    assert tiles[2].limit is not None


def test_local_tiles_of_a_rate_search_start_with_the_max_rate() -> None:
    first, *others = build_local_tiles(searched_run().result)
    assert (first.label, first.quantity.value, first.quantity.unit) == ("Max rate", 400.0, "calls/s")
    p95 = next(tile for tile in others if tile.label == "p95 latency")
    assert p95.quantity.value == searched_run().result.slo[0].observed.value


@pytest.mark.parametrize(
    ("bound", "note"), [("generator", "load generator limit"), ("untested", "highest rate tested")]
)
def test_max_rate_tile_of_a_local_run_marks_a_lower_bound(bound: Bound, note: str) -> None:
    first = build_local_tiles(searched_run(bound=bound).result)[0]
    assert first.label == "Max rate (lower bound)"
    assert first.note is not None
    assert first.note.endswith(f"; {note}")


def test_cost_with_the_price_of_other_hardware_is_assumed() -> None:
    assert _RESULT.local is not None
    local = msgspec.structs.replace(_RESULT.local, price_basis="assumed")
    for result, basis in ((_RESULT, "measured"), (msgspec.structs.replace(_RESULT, local=local), "assumed")):
        assert build_local_tiles(result)[-1].quantity.basis == basis


def test_energy_tile_is_shown_if_energy_was_measured() -> None:
    run = run_of_one_variant().result
    (stage,) = run.stages
    metrics = {**stage.metrics, "energy_j_per_inference": {"value": Estimate(0.5, (0.4, 0.6))}}
    tiles = build_local_tiles(msgspec.structs.replace(run, stages=(msgspec.structs.replace(stage, metrics=metrics),)))
    assert [tile.label for tile in tiles] == [
        "Throughput", "p50 service time", "p99 service time", "Energy per inference",
    ]  # fmt: skip


def test_run_without_local_measurements_has_no_local_tiles() -> None:
    assert build_local_tiles(run_of_failed_variants().result) == ()
    assert build_local_tiles(full_run().result) == ()


def test_language_model_tiles_are_throughput_latency_memory_and_cost() -> None:
    tiles = build_local_tiles(language_model_run(usd_per_hour=3.6).result)
    assert [(tile.label, tile.note) for tile in tiles] == [
        ("Decode throughput", "batch 1, pp512+tg16"),
        ("Prefill throughput", "batch 1, pp512"),
        ("p50 TTFT", "pp512+tg16"),
        ("p99 TTFT", "pp512+tg16"),
        ("p99 ITL", "tg16"),
        ("p50 ITL", "tg16 @ d1024"),
        ("Peak memory", "of the process"),
        ("Cost per 1M output tokens", "at $3.6/h, 100\u202f% utilization"),
    ]
    tiles_by_label = {tile.label: tile for tile in tiles}
    decode, cost = tiles_by_label["Decode throughput"].quantity, tiles_by_label["Cost per 1M output tokens"].quantity
    assert (decode.unit, cost.unit) == ("tokens/s", "USD")
    assert decode.value is not None
    assert cost.value == pytest.approx(3.6 / 3600 / decode.value * 1e6)
    limits = [tile.label for tile in tiles if tile.limit is not None]
    assert limits == ["p50 ITL"], "the limit is shown for the test in which it was evaluated"


def test_throughput_tile_has_a_limit_only_for_the_evaluated_test() -> None:
    result = language_model_run().result
    objective = Objective("decode_tokens_per_s >= 50", "decode_tokens_per_s", None, ">=", 50.0)
    for name, has_limit in (("pp512+tg16", True), ("tg16 @ d1024", False)):
        stage = next(stage for stage in result.stages if stage.tags["test"] == name)
        slo = (ObjectiveResult(objective, stage.metrics["decode_tokens_per_s"]["value"], "PASS", stage.name),)
        tile = build_local_tiles(msgspec.structs.replace(result, slo=slo))[0]
        assert (tile.label, tile.limit is not None) == ("Decode throughput", has_limit)


def test_cost_tile_without_output_tokens_is_per_prompt_token() -> None:
    tiles = build_local_tiles(language_model_run(usd_per_hour=3.6, tests=(GenerationTest(512, 0),)).result)
    assert [tile.label for tile in tiles] == ["Prefill throughput", "Peak memory", "Cost per 1M prompt tokens"]


def test_energy_tile_of_a_language_model_is_per_output_token() -> None:
    result = language_model_run().result
    stages = tuple(with_energy(stage, 0.5) if stage.tags["test"] == "pp512+tg16" else stage for stage in result.stages)
    tiles = {tile.label: tile for tile in build_local_tiles(msgspec.structs.replace(result, stages=stages))}
    assert tiles["Energy per output token"].quantity.value == 0.5


def test_language_model_variants_have_tests_instead_of_scenarios() -> None:
    section = build_local_section(language_model_run().result)
    assert section is not None
    assert section.is_language_model
    assert [(len(row.scenarios), len(row.tests)) for row in section.variants] == [(0, 5), (0, 4), (0, 0)]
    assert (section.axes.latency, section.axes.cost) == ("p50 ITL, tg16", "machine time per 1k output tokens")
    assert [row.is_on_frontier for row in section.variants] == [True, False, False]
    assert section.variants[0].opened_memory is not None
    assert section.variants[0].opened_memory.unit == "GiB"
    assert section.variants[0].kv_cache == Quantity(1040 * 4096 / 2**30, "GiB")
    assert section.variants[0].parameters == 5_245_184
    assert section.variants[2].kv_cache is None
    local = build_local_section(_RESULT)
    assert local is not None
    assert not local.is_language_model
    assert all(row.opened_memory is None and not row.tests for row in local.variants)
    prompts = build_local_section(language_model_run(tests=(GenerationTest(512, 0),)).result)
    assert prompts is not None
    assert (prompts.axes.latency, prompts.axes.cost) == (
        "p50 service time, pp512",
        "machine time per 1k prompt tokens",
    )


def test_variant_whose_interval_includes_the_limit_is_inconclusive() -> None:
    run = language_model_run().result
    evaluated = run.slo[0]
    stages = tuple(
        msgspec.structs.replace(stage, metrics=stage.metrics | {"itl_ms": {"p50": Estimate(15.0, (11.0, 24.0), 90)}})
        if "itl_ms" in stage.metrics and stage.variant is not None and stage.variant.batch == 1
        else stage
        for stage in run.stages
    )
    section = build_local_section(msgspec.structs.replace(run, stages=stages))
    assert section is not None
    first, second, _ = section.variants
    assert (first.slo, first.misses) == (
        "inconclusive", ("p50 ITL < 20 ms: 15.0 (11.0–24.0)\u202fms (the 95 % CI crosses the limit)",)
    )  # fmt: skip
    assert second.slo == "missed", "30 ms is above the limit of 20 ms, and so is its interval"
    assert evaluated.objective.limit == 20.0
