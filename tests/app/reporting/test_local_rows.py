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
from tests.fakes.local_runs import SLO, facts, stage, variant
from tests.fakes.searched_runs import ENDLESS, LATENCY, endless_stage, hopeless_run, searched_run


def _start(extra: float, *, is_cached: bool = False) -> VariantColdStart:
    return VariantColdStart(
        is_cached=is_cached,
        process_ms=20 + extra,
        library_load_ms=100,
        session_build_ms=10 + 2 * extra,
        first_inference_ms=5,
    )


def test_starts_with_and_without_what_was_kept_stand_side_by_side() -> None:
    anew, cached = build_cold_start_rows([_start(0), _start(1), _start(8), _start(0, is_cached=True)])
    assert [one.value for one in anew.p50] == [21, 100, 12, 5, 138]
    assert [one.value for one in anew.worst] == [28, 100, 26, 5, 159]
    assert (anew.is_cached, anew.starts, cached.is_cached, cached.starts) == (False, 3, True, 1)
    assert len(anew.p50) == len(COLD_START_PARTS)


def test_no_start_is_no_row() -> None:
    assert build_cold_start_rows([]) == ()


def test_of_a_search_the_answer_stands_first_and_what_was_tried_below_it() -> None:
    rows = build_scenario_rows([LATENCY], searched_run().result.stages)
    assert [(row.rate_per_s, row.tried) for row in rows] == [
        (None, None),
        (400.0, None),
        (200.0, "passed"),
        (800.0, "failed"),
        (1600.0, "failed"),
    ]


def test_where_no_rate_held_none_is_the_answer() -> None:
    rows = build_scenario_rows([LATENCY], hopeless_run().result.stages)
    assert [row.tried for row in rows] == ["failed", "failed"]


def test_arrivals_that_were_never_begun_are_a_reason_to_warning() -> None:
    endless = endless_stage(1600.0)
    (row,) = build_scenario_rows([LATENCY], [endless])
    assert (row.validity, row.reasons) == ("WARN", (ENDLESS,))
    (asked,) = build_scenario_rows([LATENCY], [replace(endless, tags={"scenario": "server"})])
    assert (asked.tried, asked.validity, asked.reasons) == (None, "WARN", (ENDLESS,))


def test_rates_that_a_user_asked_for_are_not_tried_ones() -> None:
    (row,) = build_scenario_rows([LATENCY], [stage(variant(), "server", 20.0)])
    assert (row.tried, row.validity) == (None, "VALID")


PLACE = FrontPosition(
    latency=Quantity(2.0, "ms"), cost=Quantity(1.0, "s"), throughput=Quantity(500.0, "1/s"), is_on_frontier=False
)


def _row(*stages: Stage, is_best: bool = False, **changes: object) -> VariantRow:
    known = facts(variant("int8-static", 4), **changes)
    return build_variant_row(
        known, mark_variant_headlines([SLO], stages), [SLO], PLACE, name="int8", family="int8", is_best=is_best
    )


def test_a_scenario_shows_latency_only_where_calls_are_due() -> None:
    row = _row(stage(variant(), "single-stream", 2.0), stage(variant(), "server", 2.0))
    assert [one.times for one in row.scenarios] == ["service time", "latency"]
    alone, arriving = (one.p50.value for one in row.scenarios)
    assert alone is not None
    assert arriving == pytest.approx(1.5 * alone, rel=0.02)
    assert [one.rate_per_s for one in row.scenarios] == [None, 50.0]


def test_parts_that_were_not_timed_apart_say_so() -> None:
    (scenario,) = _row(stage(variant(), "single-stream", 2.0)).scenarios
    prepare, copy_in, execute, copy_out, post = scenario.parts
    assert None not in (prepare.value, execute.value, post.value)
    assert (copy_in.value, copy_out.value) == (None, None)
    assert copy_in.reason is not None
    assert "included in model execution" in copy_in.reason


@pytest.mark.parametrize(
    ("call_ms", "slo", "misses"), [(2.0, "met", 0), (20.0, "missed", 1)]
)  # fmt: skip
def test_the_slo_is_evaluated_by_point_estimates(call_ms: float, slo: str, misses: int) -> None:
    row = _row(stage(variant(), "single-stream", call_ms))
    assert (row.slo, len(row.misses)) == (slo, misses)


def test_a_percentile_that_is_withheld_is_reported_and_not_missed() -> None:
    one = stage(variant(), "single-stream", 2.0)
    withheld = {**one.metrics["service_ms"], "p99": Estimate(None, reason="90 of 368 required samples")}
    row = _row(msgspec.structs.replace(one, metrics={**one.metrics, "service_ms": withheld}))
    assert (row.slo, row.misses) == ("inconclusive", ("p99 service time < 8 ms: n/a (90 of 368 required samples)",))


def test_states_report_what_became_of_it() -> None:
    timed = stage(variant(), "single-stream", 2.0)
    assert _row(timed, is_best=True).state == "best"
    assert _row(timed).state == "measured"
    early = _row(timed, failure="killed by the system", hint="Give it more memory.")
    assert (early.state, early.reason) == ("ended early", "killed by the system. Give it more memory.")
    left_out = _row(failure="batch 4 is beyond the SLO already", is_excluded=True)
    assert (left_out.state, left_out.slo) == ("skipped", None)


def test_where_a_model_lies_is_nobodys_business() -> None:
    assert _row(model_file="/home/someone/secret/digits.onnx").file == "digits.onnx"
    assert _row(model_file="C:\\Users\\someone\\digits.onnx").file == "digits.onnx"


def test_equal_outputs_have_no_ratio_in_decibels() -> None:
    equal = build_variant_row(facts(variant()), [], [], PLACE, name="x", family="x", is_best=False).fidelity
    assert equal is not None
    assert (equal.sqnr.value, equal.sqnr.reason) == (None, "infinite: the outputs are identical")


def test_an_error_is_in_the_labels_own_unit() -> None:
    errors = np.abs(np.random.default_rng(1).normal(size=100))
    row = build_accuracy_row(compute_accuracy(errors, None, "mean absolute error"))
    assert (row.value.unit, row.reference) == ("", None)


def test_energy_is_in_all_where_that_is_known() -> None:
    one = stage(variant(), "single-stream", 2.0)
    in_all = {"energy_j_per_inference": {"value": Estimate(0.5)}}
    above = {"energy_above_idle_j_per_inference": {"value": Estimate(0.2)}}
    unknown = {"energy_above_idle_j_per_inference": {"value": Estimate(None, reason="no idle was read")}}

    def reported(*metrics: dict[str, dict[str, Estimate]]) -> float | None:
        merged = {name: found for some in (one.metrics, *metrics) for name, found in some.items()}
        energy = find_energy([msgspec.structs.replace(one, metrics=merged)])
        return None if energy is None else energy.value

    assert reported(in_all, above) == 0.5
    assert reported(in_all, unknown) == 0.5
    assert reported() is None
