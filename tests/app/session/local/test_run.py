from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from app.analysis.gating import Gating
from app.errors import ExitCode, MeasurementError, UnavailableError, UsageError
from app.inference.parent import ChildKilledError
from app.records.events import CallsFinished, PhaseChanged, Snapshot, VariantFinished, VariantStarted
from app.records.local import LocalResult
from app.records.result import Check, Result
from app.records.selftest import build_finding, build_selftest
from app.session.local.spec import DataSpec, ScenarioSpec
from app.session.spec import LimitSpec
from app.storage.run_directory import StoredRun
from tests.fakes.local import WINDOW_CALLS, LocalBench, order_of, spec_of

SLO = ("latency_ms.p95 < 20",)
LABELED = DataSpec(rows="rows.npz", label="label")


@pytest.fixture
def bench(tmp_path: Path) -> LocalBench:
    return LocalBench(tmp_path / "run")


def get_local_result(result: Result) -> LocalResult:
    assert result.local is not None
    return result.local


def find_check(result: Result, name: str) -> Check:
    return next(check for check in result.validity if check.id == name)


def test_variants_are_measured_in_order_stored_and_compared(bench: LocalBench) -> None:
    outcome = bench.run(spec_of(order_of(1), order_of(4)))
    result = outcome.result
    assert (result.verdict.status, result.exit.code) == ("VALID", 0), result.verdict
    assert bench.names == ["the reference run of m", "m cpu as-is, batch 1", "m cpu as-is, batch 4"]
    assert [stage.name for stage in result.stages] == [
        "single-stream: m cpu as-is, batch 1",
        "single-stream: m cpu as-is, batch 4",
    ]
    first, second = result.stages
    assert first.metrics["service_ms"]["p50"].value == pytest.approx(1.5, rel=0.001)
    assert second.metrics["throughput_per_s"]["value"].value == pytest.approx(4 / 0.003, rel=0.02)
    assert get_local_result(result).best == order_of(4).variant
    assert StoredRun(bench.directory).result == result
    assert first.completed + second.completed < len(bench.rows()), "warm-up calls are stored and not counted"


def test_latest_self_test_of_this_machine_is_in_the_result(bench: LocalBench) -> None:
    findings = (build_finding("clock", "backward steps", 0.0, high=0.0, unit=None),)
    selftest = build_selftest(findings, at="2026-01-01T00:00:00+00:00", tool="1", fingerprint="f", duration_s=1.0)
    bench.selftests["f"] = selftest
    assert bench.run(spec_of(order_of(1))).result.selftest == selftest.summarize()


def test_events_report_the_phases_variants_and_stages_of_a_run(bench: LocalBench) -> None:
    bench.run(spec_of(order_of(1), order_of(4), scenarios=(ScenarioSpec("single-stream"), ScenarioSpec("offline"))))
    phases = [event.phase for event in bench.reported(PhaseChanged)]
    assert phases == ["doctor", "reference", "report"]
    assert [(event.number, event.total) for event in bench.reported(VariantStarted)] == [(1, 2), (2, 2)]
    assert [event.data.index for event in bench.reported(CallsFinished)] == [0, 1, 2, 3]
    assert [event.number for event in bench.reported(VariantFinished)] == [1, 2]
    assert {event.stage for event in bench.reported(Snapshot)} == {0, 1, 2, 3}


def test_each_process_is_closed_before_the_next_and_telemetry_at_the_end(bench: LocalBench) -> None:
    def others_are_closed(*_: object) -> None:
        assert all(process.is_closed for process in bench.started[:-1])

    bench.script.on_window = others_are_closed
    bench.run(spec_of(order_of(1), order_of(2)))
    assert all(process.is_closed for process in bench.started)
    assert bench.telemetry.is_closed
    assert bench.telemetry.watched["model"] == bench.started[-1].pid


def test_child_processes_receive_the_reference_and_the_memory_limit(bench: LocalBench) -> None:
    bench.run(spec_of(order_of(1), memory_limit_bytes=2**31))
    reference, variant = (process.job for process in bench.started)
    assert reference.reference is None
    assert variant.reference is not None
    assert Path(variant.reference).is_relative_to(bench.directory.absolute())
    assert (reference.memory_limit_bytes, variant.memory_limit_bytes) == (2**31, 2**31)


def test_crash_of_one_variant_preserves_its_rows_and_the_other_variants(bench: LocalBench) -> None:
    bench.script.measure_errors = {"m cpu as-is, batch 4": ChildKilledError("it crashed (SIGSEGV)")}
    result = bench.run(spec_of(order_of(1), order_of(4), order_of(8))).result
    failures = [variant.failure for variant in get_local_result(result).variants]
    assert failures == [None, "it crashed (SIGSEGV)", None]
    assert result.exit.code == 0
    check = find_check(result, "variant_ended")
    assert (check.value, check.verdict) == ("m cpu as-is, batch 4", "WARN")
    crashed = next(stage for stage in result.stages if stage.variant == order_of(4).variant)
    assert crashed.completed == WINDOW_CALLS, "rows received before the crash"
    assert next(e.data for e in bench.reported(CallsFinished) if e.data.index == 1).stopped_early
    assert all(process.is_closed for process in bench.started)


def test_variant_that_cannot_be_opened_has_no_stage(bench: LocalBench) -> None:
    error = UnavailableError("cuda needs an NVIDIA GPU", hint="Choose the cpu provider.")
    bench.script.open_errors = {"m cuda as-is, batch 1": error}
    result = bench.run(spec_of(order_of(1), order_of(1, provider="cuda"))).result
    assert result.exit.code == 0
    assert [stage.variant for stage in result.stages] == [order_of(1).variant]
    assert find_check(result, "variant_ended").hint == "cuda needs an NVIDIA GPU. Choose the cpu provider."


@pytest.mark.parametrize("error", [UsageError("it is no model"), UnavailableError("no such provider")])
def test_error_that_affects_every_variant_is_raised_with_its_type(
    bench: LocalBench, error: UsageError | UnavailableError
) -> None:
    bench.script.open_errors = dict.fromkeys(["m cpu as-is, batch 1", "m cpu as-is, batch 2"], error)
    with pytest.raises(type(error), match=str(error)):
        bench.run(spec_of(order_of(1), order_of(2)))
    assert bench.telemetry.is_closed


def test_run_without_a_measurable_variant_is_invalid(bench: LocalBench) -> None:
    bench.script.open_errors = {"m cpu as-is, batch 1": MeasurementError("it was killed")}
    result = bench.run(spec_of(order_of(1))).result
    assert result.exit.code == ExitCode.INVALID
    assert get_local_result(result).best is None
    assert get_local_result(result).best_reason == "not_trusted"


def test_provider_fallback_makes_the_run_invalid(bench: LocalBench) -> None:
    bench.script.provider_used = {"m cuda as-is, batch 1": "cpu"}
    result = bench.run(spec_of(order_of(1), order_of(1, provider="cuda"))).result
    assert result.exit.code == ExitCode.INVALID
    assert find_check(result, "provider").verdict == "INVALID"
    assert get_local_result(result).best == order_of(1).variant, "the other variant is valid"


def test_best_variant_search_skips_larger_batches_after_a_violation(bench: LocalBench) -> None:
    orders = [order_of(batch) for batch in (1, 8, 16, 32)]
    spec = spec_of(*orders, order_of(32, precision="fp16"), slo=("service_ms.p95 < 4",), is_best_search=True)
    result = bench.run(spec).result
    variants = get_local_result(result).variants
    assert [variant.is_excluded for variant in variants] == [False, False, True, True, False]
    assert variants[2].failure == "batch size 8 already violates the SLO"
    assert "m cpu as-is, batch 16" not in bench.names
    assert get_local_result(result).best == order_of(1).variant
    assert result.exit.code == 0, "a variant meets the SLO"
    assert all(check.id != "variant_ended" for check in result.validity)


def test_best_variant_search_does_not_exclude_variants_by_accuracy(bench: LocalBench) -> None:
    slo = ("service_ms.p95 < 100", "accuracy_retained >= 99%")
    result = bench.run(spec_of(order_of(1), order_of(8), slo=slo, is_best_search=True, data=LABELED)).result
    assert [variant.is_excluded for variant in get_local_result(result).variants] == [False, False]
    assert get_local_result(result).best == order_of(8).variant


def test_interrupted_local_run_retains_its_stages(bench: LocalBench) -> None:
    def interrupt(what: str, _: object) -> None:
        if what == "m cpu as-is, batch 2":
            bench.interruption.request_stop(ExitCode.INTERRUPTED)

    bench.script.on_window = interrupt
    result = bench.run(spec_of(order_of(1), order_of(2), order_of(4))).result
    assert (result.exit.code, result.exit.causes[0].id) == (ExitCode.INTERRUPTED, "interrupted")
    assert [stage.variant for stage in result.stages] == [order_of(1).variant, order_of(2).variant]
    assert result.stages[1].completed == WINDOW_CALLS
    assert [variant.failure for variant in get_local_result(result).variants] == [None, None], (
        "the interruption is not a failure of the variant"
    )
    assert bench.names[-1] == "m cpu as-is, batch 2"
    assert all(process.is_closed for process in bench.started)


def test_local_run_interrupted_before_its_start_starts_no_process(bench: LocalBench) -> None:
    bench.interruption.request_stop(ExitCode.TERMINATED)
    result = bench.run(spec_of(order_of(1), slo=("service_ms.p95 < 4",))).result
    assert (bench.names, result.exit.code) == ([], ExitCode.TERMINATED)


def test_duration_limit_ends_a_local_run_between_scenarios(bench: LocalBench) -> None:
    result = bench.run(spec_of(order_of(1), order_of(2), order_of(4), limits=LimitSpec(duration_s=8.0))).result
    assert result.exit.code == ExitCode.LIMIT
    assert [stage.variant for stage in result.stages] == [order_of(1).variant, order_of(2).variant]


@pytest.mark.parametrize(
    ("slo", "gate", "code"),
    [
        ("service_ms.p95 < 4", "service_ms.p50 < 2", 0),
        ("service_ms.p95 < 4", "service_ms.p50 < 1", ExitCode.GATE_FAILED),
        ("service_ms.p95 < 4", "service_ms.p50 < 1 | warn", 0),
        ("service_ms.p95 < 1", "service_ms.p50 < 2", ExitCode.GATE_FAILED),
    ],
)
def test_exit_code_is_decided_by_the_objectives_of_the_best_variant(
    bench: LocalBench, slo: str, gate: str, code: int
) -> None:
    result = bench.run(spec_of(order_of(1), slo=(slo,), gates=(gate,))).result
    assert result.exit.code == code
    assert (get_local_result(result).best is None) is (slo == "service_ms.p95 < 1")


@pytest.mark.parametrize(
    ("gate", "outcome", "stage"),
    [
        ("service_ms.p95{batch=1} < 3", "PASS", "single-stream: m cpu as-is, batch 1"),
        ("service_ms.p95{batch=8} < 3", "FAIL", "single-stream: m cpu as-is, batch 8"),
        ("service_ms.p95{scenario=single-stream} < 3", "FAIL", "single-stream: m cpu as-is, batch 8"),
        ("service_ms.p95{batch=2} < 3", "INCONCLUSIVE", None),
        ("change(service_ms.p95) < +8%", "INCONCLUSIVE", None),
    ],
)
def test_gate_is_evaluated_on_the_variants_of_its_tags(
    bench: LocalBench, gate: str, outcome: str, stage: str | None
) -> None:
    result = bench.run(spec_of(order_of(1), order_of(8), gates=(gate,), gating=Gating("fail"))).result
    (evaluated,) = result.gates
    assert (evaluated.outcome, evaluated.stage) == (outcome, stage), evaluated.observed
    codes = {"PASS": ExitCode.OK, "FAIL": ExitCode.GATE_FAILED, "INCONCLUSIVE": ExitCode.INCONCLUSIVE}
    assert result.exit.code == codes[outcome]


def test_slo_that_no_variant_meets_is_evaluated_on_the_nearest_variant(bench: LocalBench) -> None:
    result = bench.run(spec_of(order_of(1), order_of(8), slo=("service_ms.p95 < 1", "throughput_per_s > 1500"))).result
    assert [(objective.outcome, objective.stage) for objective in result.slo] == [
        ("FAIL", "single-stream: m cpu as-is, batch 8"),
        ("PASS", "single-stream: m cpu as-is, batch 8"),
    ]
    assert get_local_result(result).best_reason == "missed"


@pytest.mark.parametrize(("right_count", "outcome"), [(899, "PASS"), (600, "FAIL"), (885, "INCONCLUSIVE")])
def test_retained_accuracy_gate_is_evaluated_by_its_confidence_interval(
    bench: LocalBench, right_count: int, outcome: str
) -> None:
    bench.script.correct_rows = {"m cpu int8-dynamic, batch 8": right_count}
    bench.script.service_ms = lambda job: 9.0 if "as-is" in bench.started[-1].what else 1.0 + 0.1 * job.batch
    orders = order_of(8), order_of(8, precision="int8-dynamic")
    result = bench.run(spec_of(*orders, gates=("accuracy_retained >= 98%",), data=LABELED)).result
    assert get_local_result(result).best == orders[1].variant
    assert result.gates[0].outcome == outcome, result.gates[0].observed
    assert result.exit.code == (ExitCode.GATE_FAILED if outcome == "FAIL" else 0)
    reference, quantized = (variant.accuracy for variant in get_local_result(result).variants)
    assert reference is not None
    assert quantized is not None
    assert (reference.value.value, quantized.value.value) == (0.9, right_count / 1000)
    assert quantized.test == "McNemar"


def test_server_scenario_runs_at_a_share_of_the_maximum_throughput(bench: LocalBench) -> None:
    scenarios = (ScenarioSpec("single-stream"), ScenarioSpec("server", share=0.5), ScenarioSpec("server", 100.0))
    result = bench.run(spec_of(order_of(1), scenarios=scenarios, max_duration_s=3.0)).result
    alone, share, fixed = result.stages
    max_per_s = alone.metrics["throughput_per_s"]["value"].value
    assert max_per_s is not None
    assert share.scheduled_per_s == pytest.approx(0.5 * max_per_s)
    assert share.scheduled_per_s is not None
    assert share.name == f"server at {share.scheduled_per_s:.4g} calls/s: m cpu as-is, batch 1"
    assert fixed.scheduled_per_s == 100.0
    assert fixed.metrics["latency_ms"]["p50"].value == pytest.approx(1.5, rel=0.001)
    assert alone.offered_per_s.value is None, "closed loop"


def test_server_scenario_without_a_known_maximum_throughput_is_skipped_with_a_note(bench: LocalBench) -> None:
    result = bench.run(spec_of(order_of(1), scenarios=(ScenarioSpec("server", share=0.5),))).result
    assert result.stages == ()
    assert any("because the maximum throughput is unknown" in note for note in result.notes)


def test_cold_starts_run_in_separate_processes_and_are_reported_once_for_all_batches(bench: LocalBench) -> None:
    bench.cached_model_path = "/cache/kept.onnx"
    result = bench.run(spec_of(order_of(1), order_of(4), cold_starts=2)).result
    starts = [process for process in bench.started if "reference" not in process.what]
    # two uncached starts, one that fills the cache, two cached starts, the variant; then the other variant
    assert [process.job.settings.cached_model_path for process in starts] == [None] * 2 + ["/cache/kept.onnx"] * 3 + [
        None
    ] * 2
    first, second = get_local_result(result).variants
    assert [start.is_cached for start in first.cold_starts] == [False, False, True, True]
    assert second.cold_starts == ()
    assert first.cold_starts[0].process_ms == pytest.approx(50.0)
    assert result.stages[0].metrics["session_build_ms"]["value"].value == 40.0
    assert "session_build_ms" not in result.stages[1].metrics


def test_telemetry_failure_does_not_invalidate_a_local_run(bench: LocalBench) -> None:
    def fail() -> None:
        raise RuntimeError("the driver went away")

    bench.telemetry.close = fail  # type: ignore[method-assign]
    result = bench.run(spec_of(order_of(1))).result
    assert result.stages[0].completed > 100
    assert find_check(result, "telemetry").verdict == "WARN"


def test_model_without_a_reference_is_measured(bench: LocalBench) -> None:
    bench.script.open_errors = {"the reference run of m": UnavailableError("it takes an operator of CUDA alone")}
    result = bench.run(spec_of(order_of(1, provider="cuda"))).result
    assert result.stages[0].completed > 100
    assert bench.started[-1].job.reference is None
    assert any("it takes an operator of CUDA alone" in note for note in result.notes)


def test_notes_of_the_spec_are_in_the_result(bench: LocalBench) -> None:
    spec = msgspec.structs.replace(spec_of(order_of(1)), notes=("A note.",))
    assert "A note." in bench.run(spec).result.notes


@pytest.mark.parametrize("key", ["slo", "gates"])
def test_calls_beyond_the_capacity_of_a_variant_are_reported_and_fail_its_objectives(
    bench: LocalBench, key: str
) -> None:
    spec = spec_of(order_of(1), scenarios=(ScenarioSpec("server", 2000.0),), **{key: ("latency_ms.p95 < 9999",)})
    result = bench.run(spec).result
    (stage,) = result.stages
    assert stage.errors["not-started"] > 1000
    assert stage.metrics["latency_ms"]["p95"].value is None
    assert "calls were never started because the model" in str(stage.metrics["latency_ms"]["p95"].reason)
    assert [objective.outcome for objective in getattr(result, key)] == ["FAIL"]
    assert result.exit.code == ExitCode.GATE_FAILED


def test_server_max_rate_within_slo_is_searched(bench: LocalBench) -> None:
    scenarios = (ScenarioSpec("offline"), ScenarioSpec("server", share=0.5, is_max_search=True))
    spec = spec_of(order_of(1), scenarios=scenarios, slo=("latency_ms.p95 < 20", "accuracy_retained >= 99%"),
                   data=LABELED)  # fmt: skip
    result = bench.run(spec).result
    (variant,) = get_local_result(result).variants
    assert variant.server_per_s is not None
    # Arrivals are even and a call takes 1.5 ms: above 666/s a backlog grows, by 20 ms in 5 s at 669/s.
    assert variant.server_per_s.value == pytest.approx(666, rel=0.02)
    assert (variant.is_server_rate_lower_bound, variant.is_server_rate_generator_limit) == (False, False)
    rates = {stage.scheduled_per_s for stage in result.stages if stage.tags.get("search")}
    assert len(rates) > 4
    assert result.exit.code == 0, "probes above the max rate do not fail the run"


def test_server_max_rate_limited_by_the_generator_is_a_lower_bound(bench: LocalBench) -> None:
    bench.script.lag_ms = lambda plan: 15.0 if plan.rate_per_s is not None and plan.rate_per_s > 400 else 0.0
    scenarios = (ScenarioSpec("offline"), ScenarioSpec("server", share=0.5, is_max_search=True))
    (variant,) = get_local_result(bench.run(spec_of(order_of(1), scenarios=scenarios, slo=SLO)).result).variants
    assert variant.server_per_s is not None
    assert variant.server_per_s.value == pytest.approx(400, rel=0.1)
    assert (variant.is_server_rate_lower_bound, variant.is_server_rate_generator_limit) == (True, True)


def test_multi_stream_scenario_runs_only_for_variants_with_several_streams(bench: LocalBench) -> None:
    spec = spec_of(
        order_of(1), order_of(1, streams=2), scenarios=(ScenarioSpec("multi-stream"), ScenarioSpec("offline"))
    )
    stages = bench.run(spec).result.stages
    assert [(stage.tags["scenario"], stage.concurrency) for stage in stages] == [
        ("offline", 1),
        ("multi-stream", 2),
        ("offline", 2),
    ]


def test_crashed_variant_is_never_the_best(bench: LocalBench) -> None:
    bench.script.measure_errors = {"m cpu as-is, batch 8": ChildKilledError("it crashed (SIGSEGV)")}
    result = bench.run(spec_of(order_of(1), order_of(8))).result
    assert get_local_result(result).best == order_of(1).variant


def test_best_variant_search_excludes_larger_batches_by_service_time(bench: LocalBench) -> None:
    slow = bench.run(spec_of(order_of(1), order_of(8), slo=("service_ms.p95 < 1",), is_best_search=True)).result
    assert [variant.is_excluded for variant in get_local_result(slow).variants] == [False, True]


def test_best_variant_search_continues_while_throughput_is_too_low(bench: LocalBench) -> None:
    result = bench.run(spec_of(order_of(1), order_of(8), slo=("throughput_per_s > 1000",), is_best_search=True)).result
    assert get_local_result(result).best == order_of(8).variant


def test_duration_limit_ends_a_scenario_early(bench: LocalBench) -> None:
    spec = spec_of(order_of(1), order_of(2), max_duration_s=20.0, limits=LimitSpec(duration_s=3.0))
    result = bench.run(spec).result
    assert result.exit.code == ExitCode.LIMIT
    assert result.clock.duration_s < 6
    (stage,) = result.stages
    assert stage.completed > 0
    assert next(check for check in stage.checks if check.id == "cut_short").verdict == "WARN"
    assert get_local_result(result).variants[0].failure is None


def test_probes_above_the_max_rate_do_not_fail_the_run(bench: LocalBench) -> None:
    scenarios = (ScenarioSpec("single-stream"), ScenarioSpec("server", share=0.5, is_max_search=True))
    result = bench.run(spec_of(order_of(1), slo=("latency_ms.p95 < 4",), scenarios=scenarios)).result
    assert result.exit.code == 0, result.exit.texts
    max_rate = get_local_result(result).variants[0].server_per_s
    assert max_rate is not None
    assert max_rate.value is not None


def test_run_whose_only_variant_crashed_is_invalid(bench: LocalBench) -> None:
    bench.script.measure_errors = {"m cpu as-is, batch 1": ChildKilledError("it crashed (SIGSEGV)")}
    result = bench.run(spec_of(order_of(1))).result
    assert result.exit.code == ExitCode.INVALID
    assert find_check(result, "variants").hint == "No variant was measured completely. See why each variant ended."


def test_duration_limit_ends_the_cold_starts(bench: LocalBench) -> None:
    result = bench.run(spec_of(order_of(1), cold_starts=100, limits=LimitSpec(duration_s=2.0))).result
    assert result.exit.code == ExitCode.LIMIT
    assert 0 < len(get_local_result(result).variants[0].cold_starts) < 12


def test_price_of_another_machine_is_reported_as_assumed(bench: LocalBench) -> None:
    assert (
        get_local_result(
            bench.run(spec_of(order_of(1), usd_per_hour=2.0, price_note="price of a day")).result
        ).price_basis
        == "assumed"
    )
