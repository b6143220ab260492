from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from app.analysis.headline import mark_headline
from app.analysis.local.accuracy import estimate_rows_needed
from app.analysis.objectives import evaluate_objective, parse_gate, parse_objective
from app.records.breakdown import LatencyBreakdown
from app.records.result import (
    Estimate,
    Knee,
    MaxRate,
    Objective,
    ObjectiveResult,
    PrefixReuse,
    Result,
    SessionSummary,
    Stage,
)
from app.records.server_counters import REFUSAL_TEXTS, LatencyComparison, LatencyHistogram, ServerCounters
from app.reporting.load import (
    build_breakdown_section,
    build_cold_start_rows,
    build_curve_labels,
    build_knee_section,
    build_load_tiles,
    build_objective_rows,
    build_prefix_reuse_rows,
    build_session_rows,
    find_headline_stage,
    find_headline_stages,
)
from app.reporting.metric_sections import build_metric_rows
from app.reporting.report import build_report
from reports import formatting
from reports.model import BreakdownSection
from reports.sections.media import MEDIA
from reports.sections.tokens import TOKENS
from reports.text import render_text
from tests.fakes.local_runs import local_run
from tests.fakes.results import Run, full_run
from tests.fakes.traffic import clients_run, locust_run, spike_run, streaming_run

ERROR_OBJECTIVE = parse_objective("error_rate <= 1%")
CI_ACROSS_LIMIT = Estimate(0.0, (0.0, 0.022), 170)


def build_steady_result(*rates: float, max_rate_per_s: float | None, is_lower_bound: bool = False) -> Result:
    """Return a result with a stage per rate, in which `max_rate_per_s` is the highest rate that met the SLO."""
    first = full_run().result.stages[-1]
    stages = tuple(
        msgspec.structs.replace(first, name=f"at {rate:g}/s", kind="steady", scheduled_per_s=rate) for rate in rates
    )
    measured_max_rate = MaxRate(
        Estimate(max_rate_per_s), ("latency_ms.p95 < 50",), "at 300/s …", is_lower_bound=is_lower_bound
    )
    stages = mark_headline(stages, stages, measured_max_rate)
    return msgspec.structs.replace(full_run().result, stages=stages, max_rate=measured_max_rate)


def get_names(stages: tuple[Stage, ...]) -> list[str]:
    return [stage.name for stage in stages]


def test_headline_stages_are_those_at_the_max_rate() -> None:
    assert get_names(find_headline_stages(build_steady_result(40, 100, 300, max_rate_per_s=100))) == ["at 100/s"]
    assert get_names(find_headline_stages(build_steady_result(40, 300, max_rate_per_s=None))) == ["at 40/s", "at 300/s"]


@pytest.mark.parametrize(
    ("evaluated", "reason"),
    [
        (
            ObjectiveResult(ERROR_OBJECTIVE, CI_ACROSS_LIMIT, "INCONCLUSIVE"),
            "about 381 error-free requests are needed for a conclusive result",
        ),
        (
            ObjectiveResult(parse_objective("latency_ms.p95 < 50"), Estimate(48.0, (44.0, 55.0), 300), "INCONCLUSIVE"),
            "the 95 % CI crosses the limit; run longer",
        ),
        (
            ObjectiveResult(ERROR_OBJECTIVE, Estimate(0.001, None, 9, reason="no interval"), "INCONCLUSIVE"),
            "no interval; run longer",
        ),
        (
            ObjectiveResult(ERROR_OBJECTIVE, Estimate(None, reason="9 of 72 required samples"), "INCONCLUSIVE"),
            "9 of 72 required samples",
        ),
        (ObjectiveResult(ERROR_OBJECTIVE, Estimate(0.0, (0.0, 0.002), 2_000), "PASS"), None),
    ],
)
def test_inconclusive_objective_has_a_reason(evaluated: ObjectiveResult, reason: str | None) -> None:
    (row,) = build_objective_rows(msgspec.structs.replace(full_run().result, slo=(evaluated,), gates=()))
    assert row.why == reason


@pytest.mark.parametrize(
    ("objective_text", "is_retained_accuracy"), [("accuracy_retained >= 99%", True), ("accuracy > 96%", False)]
)
def test_inconclusive_accuracy_needs_more_labeled_rows(objective_text: str, is_retained_accuracy: bool) -> None:
    result = local_run().result
    assert result.local is not None
    accuracy, objective = result.local.variants[4].accuracy, parse_objective(objective_text)
    assert accuracy is not None
    observed = accuracy.retained if is_retained_accuracy else accuracy.value
    assert observed is not None
    evaluated = ObjectiveResult(objective, observed, "INCONCLUSIVE", result.stages[-1].name)
    (row,) = build_objective_rows(msgspec.structs.replace(result, slo=(evaluated,)))
    rows = estimate_rows_needed(accuracy, 0.99) if is_retained_accuracy else None
    rows_hint = "" if rows is None else f", about {formatting.format_number(rows)} in total if further rows are similar"
    assert rows is None or rows > 450
    assert row.why == f"the 95 % CI crosses the limit; add labeled rows{rows_hint}"


@pytest.mark.parametrize(
    ("gate", "observed", "text"),
    [
        (
            "latency_ms.p95{stage=peak} < 50",
            Estimate(60.0, (55.0, 65.0), 300),
            "p95 latency < 50 ms: 60.0 (55.0–65.0) ms in peak",
        ),
        (
            "completed_per_s >= 95% of offered_per_s",
            Estimate(0.9, (0.85, 0.97), 300),
            "throughput >= 95 % of offered rate: 90.0 (85.0–97.0) % in peak; the 95 % CI crosses the limit; run longer",
        ),
        (
            "change(latency_ms.p95) < +8%",
            Estimate(0.12, (0.05, 0.2), 300),
            "change of p95 latency < 8 %: 12.0 (5.0–20.0) % in peak; the 95 % CI crosses the limit; add repeats",
        ),
        (
            "change(latency_ms.p95) < +8%",
            Estimate(None, reason="no baseline was specified"),
            "change of p95 latency < 8 %: n/a in peak; no baseline was specified",
        ),
        (
            "usd_per_1k_inferences <= 0.6",
            Estimate(0.5, (0.4, 0.7)),
            "cost per 1k inferences <= 0.6 USD: $0.500 (0.400–0.700) in peak; the 95 % CI crosses the limit",
        ),
    ],
)
def test_gate_is_shown_with_its_interval_in_the_unit_of_its_limit(gate: str, observed: Estimate, text: str) -> None:
    run = full_run()
    evaluated = msgspec.structs.replace(evaluate_objective(parse_gate(gate), observed), stage="peak")
    result = msgspec.structs.replace(run.result, slo=(), gates=(evaluated,))
    report = build_report(result, run.rows, run.telemetry, "", "", "{}")
    assert f"{evaluated.outcome} {text}" in render_text(report, width=1000)
    (row,) = report.objectives
    assert row.limit.unit == row.observed.unit


@pytest.mark.parametrize(("value", "margin"), [(-0.02, 0.6), (-0.1, -1.0), (0.0, 1.0)])
def test_objective_with_a_negative_limit_has_a_margin(value: float, margin: float) -> None:
    evaluated = evaluate_objective(parse_gate("change(max_rate_within_slo) > -5%"), Estimate(value, (value, value)))
    (row,) = build_objective_rows(msgspec.structs.replace(full_run().result, slo=(), gates=(evaluated,)))
    assert row.margin == pytest.approx(margin)


def test_error_rate_objective_passes_from_381_error_free_requests() -> None:
    from app.analysis.estimates import estimate_proportion

    assert evaluate_objective(ERROR_OBJECTIVE, estimate_proportion(0, 381)).outcome == "PASS"
    assert evaluate_objective(ERROR_OBJECTIVE, estimate_proportion(0, 379)).outcome == "INCONCLUSIVE"


@pytest.mark.parametrize(("second_arrival_kind", "is_pooled"), [("poisson", True), ("gamma", False)])
def test_only_stages_with_equal_arrivals_are_pooled_in_the_distribution(
    second_arrival_kind: str, is_pooled: bool
) -> None:
    run = full_run()
    steps = [stage for stage in run.result.stages if stage.kind == "step"][:2]
    arrival_kinds = ("poisson", second_arrival_kind)
    stages = tuple(
        msgspec.structs.replace(stage, kind="steady", arrival_kind=arrival_kind)
        for stage, arrival_kind in zip(steps, arrival_kinds, strict=True)
    )
    result = msgspec.structs.replace(run.result, stages=mark_headline(stages), max_rate=None)
    count = build_report(result, run.rows, run.telemetry, "", "", "{}").spectra[0].n
    counts = [stage.completed for stage in stages]
    assert count == sum(counts) if is_pooled else count in counts


def test_curve_of_a_session_rate_counts_sessions() -> None:
    result = streaming_run().result
    assert build_curve_labels(result).counts == "requests"
    stages = tuple(msgspec.structs.replace(stage, sessions=True) for stage in result.stages)
    assert build_curve_labels(msgspec.structs.replace(result, stages=stages)).counts == "sessions"


def test_max_rate_without_a_higher_tested_rate_is_a_lower_bound() -> None:
    run = full_run()
    report = build_report(
        build_steady_result(100, max_rate_per_s=100, is_lower_bound=True), run.rows, run.telemetry, "", "", "{}"
    )
    assert report.tiles[0].label == "Max rate (lower bound)"
    assert report.max_rate is not None
    assert report.max_rate.is_lower_bound
    assert report.plan is not None
    assert "No higher rate was tested" in report.plan.notes[0]


def test_stage_with_tokens_has_a_token_row() -> None:
    stage = streaming_run().result.stages[0]
    (row,) = build_metric_rows(TOKENS, [stage], "latency_ms")
    assert row.stage == "chat"
    assert row.ttft_p95.value == stage.metrics["ttft_ms"]["p95"].value
    assert row.itl_p99.value == stage.metrics["itl_ms"]["p99"].value
    assert row.tokens_per_s.unit == "tokens/s"
    assert row.coalesced.value == pytest.approx(0.03, abs=0.01)


def test_stages_without_tokens_have_no_token_rows() -> None:
    assert build_metric_rows(TOKENS, full_run().result.stages, "latency_ms") == ()


def test_cold_start_has_a_row_per_part_with_value_or_reason() -> None:
    parts = {part.name: part.quantity for part in build_cold_start_rows(streaming_run().result)}
    assert [(name, quantity.value) for name, quantity in parts.items()] == [
        ("ready", 8_200.0), ("first response", 9_050.0), ("steady latency", None),
    ]  # fmt: skip
    assert parts["steady latency"].reason == "the medians never agreed"


def test_running_target_has_no_cold_start_rows() -> None:
    assert build_cold_start_rows(full_run().result) == ()


def test_knee_section_has_load_or_reason_per_method() -> None:
    knees = (
        Knee("power", "rate", 100.0, 20.0),
        Knee("chord", "rate", 120.0, 25.0),
        Knee("two lines", "rate", None, None, "two lines do not fit the curve clearly better than one line"),
    )
    section = build_knee_section(msgspec.structs.replace(full_run().result, knees=knees))
    assert section is not None
    assert [(row.name, row.at.value, row.at.unit, row.latency.value) for row in section.rows] == [
        ("power", 100.0, "1/s", 20.0),
        ("chord", 120.0, "1/s", 25.0),
        ("two lines", None, "1/s", None),
    ]
    assert section.rows[2].at.reason == "two lines do not fit the curve clearly better than one line"
    assert section.note is None


def test_knee_methods_that_disagree_by_over_30_percent_are_noted() -> None:
    knees = (Knee("power", "clients", 4.0, 20.0), Knee("chord", "clients", 5.3, 25.0))
    section = build_knee_section(msgspec.structs.replace(full_run().result, knees=knees))
    assert section is not None
    assert "disagree by more than 30 %" in str(section.note)
    assert section.rows[0].at.unit == "clients"
    assert build_knee_section(full_run().result) is None


def get_tile_labels(run: Run) -> list[str]:
    stage = find_headline_stage(run.result, build_curve_labels(run.result))
    assert stage is not None
    return [tile.label for tile in build_load_tiles(run.result, stage)]


def test_tiles_of_streams_start_with_goodput_and_token_latencies() -> None:
    assert get_tile_labels(streaming_run()) == [
        "Goodput", "p95 TTFT", "p99 TTFT", "p95 TPOT", "p95 latency", "p99 latency", "Output throughput", "Error rate",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("make_run", "expected"),
    [
        (spike_run, ["Goodput", "p95 latency", "p99 latency", "Error rate"]),
        (clients_run, ["Throughput", "p95 latency", "p99 latency", "Error rate"]),
        (locust_run, ["Throughput", "p95 service time", "p99 service time", "Error rate"]),
    ],
)
def test_tiles_depend_on_the_kind_of_traffic(make_run: Callable[[], Run], expected: list[str]) -> None:
    assert get_tile_labels(make_run()) == expected


def test_goodput_objective_has_a_tile() -> None:
    run = streaming_run()
    goodput = Objective("goodput_share >= 99%", "goodput_share", None, ">=", 0.99)
    result = msgspec.structs.replace(run.result, slo=(ObjectiveResult(goodput, Estimate(0.995), "PASS"),))
    tiles = {tile.label: tile for tile in build_load_tiles(result, run.result.stages[0])}
    assert tiles["Goodput share"].limit is not None


def test_tile_of_an_objective_metric_has_its_limit() -> None:
    run = streaming_run()
    tiles = {tile.label: tile for tile in build_load_tiles(run.result, run.result.stages[0])}
    limit = tiles["p95 TTFT"].limit
    assert limit is not None
    assert (limit.comparator, limit.value, limit.unit) == ("<", 250, "ms")
    assert tiles["p99 TTFT"].limit is None


def test_measured_accuracy_has_a_tile() -> None:
    run = spike_run()
    stage = find_headline_stage(run.result, build_curve_labels(run.result))
    assert stage is not None
    measured = msgspec.structs.replace(stage, metrics={**stage.metrics, "accuracy": {"value": Estimate(0.973, n=900)}})
    tiles = build_load_tiles(run.result, measured)
    assert [tile.label for tile in tiles][-2:] == ["Accuracy", "Error rate"]
    assert tiles[-2].quantity.value == 0.973


def test_audio_stages_have_media_rows_except_warm_ups() -> None:
    tokens_only = msgspec.structs.replace(streaming_run().result.stages[0], kind="steady")
    stage = msgspec.structs.replace(
        tokens_only,
        metrics={"audio_s_per_s": {"value": Estimate(8.5)}, "real_time_factor": {"p50": Estimate(0.2)}},
    )
    (row,) = build_metric_rows(MEDIA, (stage, msgspec.structs.replace(stage, kind="warmup"), tokens_only), "latency_ms")
    assert (row.audio_per_s.value, row.audio_per_s.unit, row.rtf_p50.value) == (8.5, "s/s", 0.2)
    assert row.images_per_s.value is None


def test_session_stages_have_session_rows_except_warm_ups() -> None:
    stage = msgspec.structs.replace(
        streaming_run().result.stages[0],
        kind="steady",
        live_sessions=SessionSummary({"completed": 3, "context_limit": 1}, 0, None, None),
    )
    others = (msgspec.structs.replace(stage, kind="warmup"), msgspec.structs.replace(stage, live_sessions=None))
    (row,) = build_session_rows((stage, *others))
    assert row.outcomes == {
        "completed": 3, "failed": 0, "context limit": 1, "unusable response": 0, "cut off": 0,
    }  # fmt: skip
    assert (row.built_requests, row.build_mean.value, row.build_max.reason) == (0, None, "not measured")


def test_prefix_reuse_has_rows_only_if_calculated_from_the_prompts() -> None:
    assert build_prefix_reuse_rows(None) == ()
    assert build_prefix_reuse_rows(PrefixReuse(None, 0.5, 16)) == ()
    offered, served = build_prefix_reuse_rows(PrefixReuse(0.6, None, 16))
    assert (offered.name, offered.quantity.value) == (
        "served by an unlimited cache with blocks of 16 tokens (calculated)", 0.6,
    )  # fmt: skip
    assert (served.quantity.value, served.quantity.reason) == (None, "not reported")


def build_breakdown(counters: ServerCounters) -> BreakdownSection:
    """Return the breakdown of a stage with these server counters and only two parts of its latency."""
    (stage,) = streaming_run().result.stages
    latencies = tuple(
        LatencyComparison(kind, histogram.mean_ms, histogram.count) for kind, histogram in counters.latencies.items()
    )
    breakdown = LatencyBreakdown(
        aggregate="mean", requests=9, latency_ms=100.0, ttft_ms=90.0, parts_ms={"queue": None, "prefill": None},
        unknown_ms=100.0,
    )  # fmt: skip
    section = build_breakdown_section(
        msgspec.structs.replace(stage, server=counters, server_latencies=latencies, breakdown=(breakdown,))
    )
    assert section is not None
    return section


def test_latency_breakdown_has_a_reason_for_missing_server_times() -> None:
    notes = [
        build_breakdown(counters).note
        for counters in (
            ServerCounters(),
            ServerCounters(latencies={"ttft": LatencyHistogram(9, 80.0)}),
            *(ServerCounters(refusal=refusal) for refusal in REFUSAL_TEXTS),
        )
    ]
    assert len(set(notes)) == len(notes)
    for refusal in REFUSAL_TEXTS:
        section = build_breakdown(ServerCounters(refusal=refusal))
        assert refusal in section.note
        assert ":" not in section.sentence  # no advice
