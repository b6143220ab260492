from __future__ import annotations

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from app.analysis.local.accuracy import compute_accuracy
from app.analysis.local.variants import mark_variant_headlines
from app.records.local import VariantColdStart
from app.records.result import Estimate, Stage
from app.reporting.local_front import FrontPosition
from app.reporting.local_rows import (
    COLD_START_PARTS,
    build_accuracy_row,
    build_cold_start_rows,
    build_scenario_rows,
    build_variant_row,
    find_energy,
)
from reports.local_model import VariantRow
from reports.model import Quantity
from tests.fakes.local_runs import SLO, build_variant_data, stage, variant
from tests.fakes.searched_runs import ENDLESS, LATENCY, endless_stage, hopeless_run, searched_run


def build_start(extra: float, *, is_cached: bool = False) -> VariantColdStart:
    return VariantColdStart(
        is_cached=is_cached,
        process_ms=20 + extra,
        library_load_ms=100,
        session_build_ms=10 + 2 * extra,
        first_inference_ms=5,
    )


def test_cached_and_uncached_cold_starts_have_separate_rows() -> None:
    uncached, cached = build_cold_start_rows(
        [build_start(0), build_start(1), build_start(8), build_start(0, is_cached=True)]
    )
    assert [quantity.value for quantity in uncached.p50] == [21, 100, 12, 5, 138]
    assert [quantity.value for quantity in uncached.worst] == [28, 100, 26, 5, 159]
    assert (uncached.is_cached, uncached.starts, cached.is_cached, cached.starts) == (False, 3, True, 1)
    assert len(uncached.p50) == len(COLD_START_PARTS)


def test_no_cold_starts_have_no_rows() -> None:
    assert build_cold_start_rows([]) == ()


def test_rate_search_rows_have_the_max_rate_before_tested_rates() -> None:
    rows = build_scenario_rows([LATENCY], searched_run().result.stages)
    assert [(row.rate_per_s, row.tried) for row in rows] == [
        (None, None),
        (400.0, None),
        (200.0, "passed"),
        (800.0, "failed"),
        (1600.0, "failed"),
    ]


def test_failed_rate_search_has_only_failed_rates() -> None:
    rows = build_scenario_rows([LATENCY], hopeless_run().result.stages)
    assert [row.tried for row in rows] == ["failed", "failed"]


def test_arrivals_that_never_started_are_a_warning() -> None:
    endless = endless_stage(1600.0)
    (row,) = build_scenario_rows([LATENCY], [endless])
    assert (row.validity, row.reasons) == ("WARN", (ENDLESS,))
    (requested_row,) = build_scenario_rows([LATENCY], [replace(endless, tags={"scenario": "server"})])
    assert (requested_row.tried, requested_row.validity, requested_row.reasons) == (None, "WARN", (ENDLESS,))


def test_requested_rate_is_not_marked_as_tested() -> None:
    (row,) = build_scenario_rows([LATENCY], [stage(variant(), "server", 20.0)])
    assert (row.tried, row.validity) == (None, "VALID")


PLACE = FrontPosition(
    latency=Quantity(2.0, "ms"), cost=Quantity(1.0, "s"), throughput=Quantity(500.0, "1/s"), is_on_frontier=False
)


def build_row(*stages: Stage, is_best: bool = False, **changes: object) -> VariantRow:
    variant_data = build_variant_data(variant("int8-static", 4), **changes)
    return build_variant_row(
        variant_data, mark_variant_headlines([SLO], stages), [SLO], PLACE, name="int8", family="int8", is_best=is_best
    )


def test_scenario_shows_latency_only_for_scheduled_calls() -> None:
    row = build_row(stage(variant(), "single-stream", 2.0), stage(variant(), "server", 2.0))
    assert [scenario.times for scenario in row.scenarios] == ["service time", "latency"]
    single_stream_ms, server_ms = (scenario.p50.value for scenario in row.scenarios)
    assert single_stream_ms is not None
    assert server_ms == pytest.approx(1.5 * single_stream_ms, rel=0.02)
    assert [scenario.rate_per_s for scenario in row.scenarios] == [None, 50.0]


def test_call_parts_without_separate_times_have_a_reason() -> None:
    (scenario,) = build_row(stage(variant(), "single-stream", 2.0)).scenarios
    prepare, copy_in, execute, copy_out, post = scenario.parts
    assert None not in (prepare.value, execute.value, post.value)
    assert (copy_in.value, copy_out.value) == (None, None)
    assert copy_in.reason is not None
    assert "included in model execution" in copy_in.reason


@pytest.mark.parametrize(
    ("call_ms", "slo", "misses"), [(2.0, "met", 0), (20.0, "missed", 1)]
)  # fmt: skip
def test_variant_slo_is_evaluated_by_point_estimates(call_ms: float, slo: str, misses: int) -> None:
    row = build_row(stage(variant(), "single-stream", call_ms))
    assert (row.slo, len(row.misses)) == (slo, misses)


def test_withheld_percentile_is_inconclusive_and_not_missed() -> None:
    single_stream = stage(variant(), "single-stream", 2.0)
    withheld = {**single_stream.metrics["service_ms"], "p99": Estimate(None, reason="90 of 368 required samples")}
    row = build_row(msgspec.structs.replace(single_stream, metrics={**single_stream.metrics, "service_ms": withheld}))
    assert (row.slo, row.misses) == ("inconclusive", ("p99 service time < 8 ms: n/a (90 of 368 required samples)",))


def test_variant_state_is_best_measured_ended_early_or_skipped() -> None:
    timed = stage(variant(), "single-stream", 2.0)
    assert build_row(timed, is_best=True).state == "best"
    assert build_row(timed).state == "measured"
    early = build_row(timed, failure="killed by the system", hint="Give it more memory.")
    assert (early.state, early.reason) == ("ended early", "killed by the system. Give it more memory.")
    skipped = build_row(failure="batch 4 is beyond the SLO already", is_excluded=True)
    assert (skipped.state, skipped.slo) == ("skipped", None)


def test_variant_row_has_the_model_file_name_without_its_folder() -> None:
    assert build_row(model_file="/home/someone/secret/digits.onnx").file == "digits.onnx"
    assert build_row(model_file="C:\\Users\\someone\\digits.onnx").file == "digits.onnx"


def test_identical_outputs_have_no_sqnr_value() -> None:
    equal = build_variant_row(
        build_variant_data(variant()), [], [], PLACE, name="x", family="x", is_best=False
    ).fidelity
    assert equal is not None
    assert (equal.sqnr.value, equal.sqnr.reason) == (None, "infinite: the outputs are identical")


def test_mean_absolute_error_has_no_unit() -> None:
    errors = np.abs(np.random.default_rng(1).normal(size=100))
    row = build_accuracy_row(compute_accuracy(errors, None, "mean absolute error"))
    assert (row.value.unit, row.reference) == ("", None)


def test_energy_is_the_total_energy_per_inference() -> None:
    single_stream = stage(variant(), "single-stream", 2.0)
    total = {"energy_j_per_inference": {"value": Estimate(0.5)}}
    above = {"energy_above_idle_j_per_inference": {"value": Estimate(0.2)}}
    unknown = {"energy_above_idle_j_per_inference": {"value": Estimate(None, reason="no idle was read")}}

    def find_energy_value(*metrics: dict[str, dict[str, Estimate]]) -> float | None:
        merged = {name: estimates for group in (single_stream.metrics, *metrics) for name, estimates in group.items()}
        energy = find_energy([msgspec.structs.replace(single_stream, metrics=merged)])
        return None if energy is None else energy.value

    assert find_energy_value(total, above) == 0.5
    assert find_energy_value(total, unknown) == 0.5
    assert find_energy_value() is None
