from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from app.gui.live.presenter import LivePresenter
from app.gui.live.state import StepCell
from app.records.events import (
    CallsFinished,
    CheckCompleted,
    ErrorReported,
    Event,
    NoteAdded,
    PhaseChanged,
    RateChanged,
    StageExtended,
    VariantFinished,
    VariantStarted,
)
from app.records.local import GenerationTest
from app.records.result import Check, ErrorSample
from tests.fakes import language_model_runs, local_runs
from tests.fakes.calls import stage_of
from tests.fakes.live_runs import (
    INVALID,
    SLO,
    at,
    readings,
    run_finished,
    run_started,
    second_of_host,
    snapshot,
    stage_finished,
    stage_started,
    whole_run,
)


def replay(*events: Event, now_s: float = 0.0) -> LivePresenter:
    presenter = LivePresenter(Path("/run"), "named", now_ns=lambda: at(now_s))
    for event in events:
        presenter.handle_event(event)
    return presenter


def test_live_state_is_starting_before_the_first_event() -> None:
    state = replay().state()
    assert (state.status, state.name, state.is_running, state.validity) == ("starting", "named", True, None)
    assert LivePresenter().state().status == "idle"
    now = iter((at(5), at(8)))
    assert LivePresenter(Path("/run"), now_ns=lambda: next(now)).state().elapsed_s == 3


def test_live_state_has_progress_eta_and_validity_until_the_run_is_finished() -> None:
    phase = PhaseChanged(at(1), "stages", "4 stage(s)", 4, 40.0)
    presenter = replay(
        run_started(),
        phase,
        stage_started(0, 2),
        stage_finished(0, 12),
        stage_started(1, 13),
        snapshot(1, 15, 13),
        now_s=16,
    )
    state = presenter.state()
    assert (state.status, state.run_id, state.name) == ("running", "id", "watched")
    assert (state.completed_count, state.total_count, state.elapsed_s, state.eta_s) == (1, 4, 16, 27)
    assert state.validity == "VALID"
    presenter.handle_event(run_finished(20))
    state = presenter.state()
    assert (state.status, state.elapsed_s, state.eta_s, state.is_running) == ("finished", 20, None, False)
    assert presenter.stages.running_cell is None
    assert presenter.latency_objective() == SLO[0]


def test_live_elapsed_time_ignores_an_implausible_clock() -> None:
    """The run is from another machine, or old."""
    assert replay(run_started(), snapshot(0, 15, 13), now_s=-500).state().elapsed_s == 15
    assert replay(run_started(), snapshot(0, 15, 13), now_s=50_000).state().elapsed_s == 15


def test_live_stages_have_slo_result_validity_and_progress() -> None:
    presenter = replay(
        run_started(),
        stage_started(0, 1, kind="warmup"),
        stage_finished(0, 2, kind="warmup", is_slo_met=None),
        stage_started(1, 3),
        stage_finished(1, 13, INVALID, is_slo_met=False),
        stage_started(2, 14),
        snapshot(2, 19, 14),
    )
    warmup, failed, running = presenter.stages.cells()
    assert (warmup.is_slo_met, warmup.validity, warmup.end_s) == (None, "VALID", 2)
    assert (failed.is_slo_met, failed.validity) == (False, "INVALID")
    assert (running.progress, running.end_s, running.can_change_rate, running.load_text) == (
        0.5,
        None,
        True,
        "100 req/s",
    )
    assert [(band.start_s, band.end_s, band.state) for band in presenter.stages.bands()] == [(3, 13, "bad")]


def test_stage_without_end_event_ends_with_the_next_stage_or_phase() -> None:
    presenter = replay(run_started(), stage_started(-2, 1), stage_started(-1, 3))
    assert [cell.end_s for cell in presenter.stages.cells()] == [3, None]
    presenter.handle_event(PhaseChanged(at(5), "warmup", "warming up", 0, None))
    assert [cell.end_s for cell in presenter.stages.cells()] == [3, 5]


def test_rate_of_closed_loop_and_search_stages_cannot_be_changed() -> None:
    for stage in (replace(stage_started(0, 1), concurrency=4, offered_per_s=None), stage_started(0, 1, kind="probe")):
        running = replay(run_started(), stage).stages.running_cell
        assert running is not None
        assert not running.can_change_rate
    named = replay(run_started(), replace(stage_started(0, 1), has_load_in_name=True)).stages.running_cell
    assert named is not None
    assert (named.load_text, named.rate_per_s) == ("", 100.0)
    running = replay(run_started(), stage_started(0, 1), RateChanged(at(2), 0, 250.0)).stages.running_cell
    assert running is not None
    assert (running.load_text, running.rate_per_s) == ("250 req/s", 250.0)


def test_fixed_load_stages_can_be_extended_and_other_stages_cannot() -> None:
    clients = replace(stage_started(0, 1, kind="closed"), concurrency=4, offered_per_s=None)
    for stage, can_extend in (
        (stage_started(0, 1), True),
        (clients, True),
        (stage_started(0, 1, kind="probe"), False),
        (stage_started(0, 1, kind="spike"), False),
        (stage_started(0, 1, kind="warmup"), False),
    ):
        running = replay(run_started(), stage).stages.running_cell
        assert running is not None
        assert running.can_extend == can_extend
    presenter = replay(run_started(), stage_started(0, 1), StageExtended(at(2), 0, 10.0, 20.0), snapshot(0, 6, 1))
    running = presenter.stages.running_cell
    assert running is not None
    assert running.progress == 0.25
    assert [(marker.time_s, marker.text) for marker in presenter.markers] == [(2, "extended by 10 s")]
    assert presenter.changed_parts >= {"stages", "marks"}


def test_live_validity_recovers_when_an_invalid_stage_is_repeated() -> None:
    warning = Check("other_load", 1.2, 0.3, "cores", "WARN", "End other processes.")
    presenter = replay(
        run_started(), CheckCompleted(at(1), warning), stage_started(0, 2), stage_finished(0, 12, INVALID, name="step")
    )
    assert presenter.state().validity == "INVALID"
    assert [line.verdict for line in presenter.checks.lines()] == ["INVALID", "WARN"]
    assert presenter.checks.invalid_reasons() == ("send lag p99: 80 ms (limit 5 ms)",)
    line = presenter.checks.lines()[0]
    assert line.hint is not None
    assert line.hint.startswith("step: ")
    for event in (stage_started(1, 13), stage_finished(1, 23, name="step")):
        presenter.handle_event(event)
    assert presenter.state().validity == "WARN"
    assert presenter.state().reasons == ("other load: 1.2 cores (limit 0.3 cores)",)


def test_request_error_counts_accumulate_over_stages_with_their_first_time() -> None:
    presenter = replay(run_started(), stage_started(0, 1), snapshot(0, 3, 1), snapshot(0, 4, 1, errors={"timeout": 2}))
    (line,) = presenter.failures.lines()
    assert (line.error, line.first_s, line.count) == ("timeout", 4, 2)
    for event in (
        stage_finished(0, 11, errors={"timeout": 5, "503": 1}),
        stage_started(1, 12),
        snapshot(1, 14, 12, errors={"timeout": 1}),
    ):
        presenter.handle_event(event)
    assert [(line.error, line.first_s, line.count) for line in presenter.failures.lines()] == [
        ("timeout", 4, 6),
        ("503", 11, 1),
    ]


def test_has_responses_is_set_by_the_first_counted_response() -> None:
    presenter = replay(run_started(), stage_started(0, 1))
    presenter.changed_parts.clear()
    presenter.handle_event(replace(snapshot(0, 2, 1), completed=0))
    assert (presenter.has_responses, "failures" in presenter.changed_parts) == (False, False)
    presenter.handle_event(snapshot(0, 3, 1))
    assert (presenter.has_responses, "failures" in presenter.changed_parts) == (True, True)
    assert replay(run_started(), stage_started(0, 1), stage_finished(0, 2)).has_responses, (
        "a stage too short for a snapshot"
    )


def test_request_error_has_its_first_sample_with_time_and_at_most_300_characters() -> None:
    sample = ErrorSample("timeout", at(3.9), "the request timed out, " + "x" * 500)
    presenter = replay(run_started(), stage_started(0, 1), ErrorReported(at(4), 0, sample))
    assert presenter.failures.lines() == (), "not counted yet"
    presenter.handle_event(snapshot(0, 4, 1, errors={"timeout": 2}))
    presenter.handle_event(ErrorReported(at(5), 0, replace(sample, at_ns=at(5), text="another")))
    (line,) = presenter.failures.lines()
    assert line.sample is not None
    assert (line.first_s, line.count, line.sample[:21], len(line.sample)) == (
        3.9,
        2,
        "the request timed out",
        300,
    )


def test_notes_rate_changes_and_failed_checks_are_chart_markers() -> None:
    check = Check("load_worker", "it died", None, None, "INVALID", None)
    presenter = replay(
        run_started(), NoteAdded(at(2), "n" * 500), RateChanged(at(3), 0, 250.0), CheckCompleted(at(4), check)
    )
    assert [(marker.time_s, marker.text[:24]) for marker in presenter.markers] == [
        (2, "n" * 24),
        (3, "rate 250 req/s"),
        (4, "INVALID: load worker"),
    ]
    assert len(presenter.markers[0].text) == 60


def test_model_variants_have_state_times_and_failure_reason() -> None:
    variant = local_runs.variant()
    call_stage = stage_of()
    stage = local_runs.stage(variant, "single-stream", 4.0)
    failed_data = local_runs.build_variant_data(variant, failure="killed: out of memory")
    presenter = replay(
        run_started(),
        VariantStarted(at(1), 1, 2, variant),
        CallsFinished(at(5), call_stage, stage),
        VariantFinished(at(6), 1, local_runs.build_variant_data(variant)),
        VariantStarted(at(7), 2, 2, variant),
        VariantFinished(at(8), 2, failed_data),
    )
    first, second = presenter.variants.lines()
    assert presenter.is_local
    assert (first.state, second.state, second.reason) == ("measured", "ended early", "killed: out of memory")
    assert first.times == "single-stream: p50 3.99 ms, p95 4.21 ms, 250 inferences/s"
    assert (presenter.state().completed_count, presenter.state().total_count) == (2, 2)


def test_language_model_variant_has_the_rates_of_its_tests() -> None:
    variant = language_model_runs.variant()
    events = [
        CallsFinished(at(5 + index), stage_of(), language_model_runs.measured_stage(variant, test))
        for index, test in enumerate((GenerationTest(512, 0), GenerationTest(512, 16)))
    ]
    presenter = replay(run_started(), VariantStarted(at(1), 1, 1, variant), *events)
    (line,) = presenter.variants.lines()
    assert line.times == "pp512: prefill 2,530 tok/s; pp512+tg16: prefill 2,530 tok/s, decode 99 tok/s"


VARIANT = language_model_runs.variant()
TESTS = ("pp512", "pp512+tg16")


def start_test(index: int, at_s: float, test: str, **values: float) -> tuple[Event, Event]:
    """Return the start event and a snapshot of a test."""
    stage = replace(stage_started(index, at_s, kind="closed"), test=test, offered_per_s=None)
    return stage, replace(snapshot(index, at_s + 1, at_s), **values)


def test_language_model_kpis_show_throughput_ttft_itl_and_memory() -> None:
    prefill = start_test(0, 2, "pp512", prefill_tokens_per_s=2060.0)
    both = start_test(1, 6, "pp512+tg16", decode_tokens_per_s=99.0, itl_p50_ms=10.1, itl_p95_ms=12.0, ttft_p50_ms=201.0)
    first = CallsFinished(at(5), stage_of(), language_model_runs.measured_stage(VARIANT, GenerationTest(512, 0)))
    start = replace(run_started(), is_local=True, slo=(language_model_runs.SLO,))
    assert replay(start).kind == "local", "until a variant has started"
    presenter = replay(start, VariantStarted(at(1), 1, 2, VARIANT, "batch 1", TESTS), *prefill, first, *both)
    memory = [readings(3 + n / 2, [("model", "model_memory_gib", 0.5 - n / 10)]) for n in range(4)]
    for batch in memory:
        presenter.handle_readings(batch)
    assert presenter.kind == "language_model"
    assert [(kpi.label, kpi.value, kpi.detail, kpi.state) for kpi in presenter.kpis()] == [
        ("Prefill throughput", "2,060\u202ftok/s", "pp512", "plain"),
        ("Decode throughput", "99.0\u202ftok/s", "pp512+tg16", "plain"),
        ("p50 TTFT", "201\u202fms", "p95 n/a", "plain"),
        ("p50 ITL", "10.1\u202fms", "p95 12.0\u202fms, ✓ SLO < 20\u202fms", "good"),
        ("Memory (RSS)", "307\u202fMiB", "peak 512\u202fMiB in this run", "plain"),
        ("GPU utilization", "n/a", "no GPU", "plain"),
    ]
    state = presenter.state()
    assert state.position == "variant 1 of 2 · batch 1 · pp512+tg16 (test 2 of 2)"
    assert [cell.state for cell in state.steps] == ["skipped", "running", "waiting"]
    running = presenter.stages.running_cell
    assert running is not None
    assert (running.name, running.load_text, running.can_extend) == ("pp512+tg16", "batch 1", False)
    (line,) = presenter.variants.lines()
    assert [(test.name, test.itl_ms) for test in line.tests] == [("pp512", None)]
    assert presenter.series.ring.column("prefill_tokens_per_s")[1] == 2060
    presenter.handle_event(VariantStarted(at(9), 2, 2, VARIANT, "batch 4", TESTS))
    assert presenter.kpis()[0].value == "2,060\u202ftok/s", "until the next variant is measured"
    for event in start_test(2, 10, "pp512+tg16", decode_tokens_per_s=50.0):
        presenter.handle_event(event)
    assert [kpi.value for kpi in presenter.kpis()[:2]] == ["n/a", "50.0\u202ftok/s"]


def test_endpoint_kpis_are_throughput_latency_errors_and_with_tokens_ttft_and_tpot() -> None:
    presenter = replay(run_started(), stage_started(0, 1), snapshot(0, 3, 1, errors={"timeout": 2}))
    assert presenter.kind == "endpoint"
    kpis = {kpi.label: (kpi.value, kpi.state) for kpi in presenter.kpis()}
    assert list(kpis) == ["Throughput", "p50 latency", "p95 latency", "Errors", "In flight"]
    assert (kpis["Throughput"], kpis["Errors"]) == (("99.0\u202freq/s", "plain"), ("1.00\u202f%", "bad"))
    assert (kpis["p95 latency"][1], presenter.kpis()[2].detail) == ("good", "✓ SLO < 50\u202fms")
    slow = replace(snapshot(0, 4, 1), latency_p95_ms=51.0)
    presenter.handle_event(slow)
    assert presenter.kpis()[2].detail == "✕ SLO < 50\u202fms"
    for event in (stage_finished(0, 5), stage_started(1, 5), snapshot(1, 6, 5)):
        presenter.handle_event(event)
    assert presenter.kpis()[3].detail == "0 of 400 requests", "over all stages"
    late = replay(
        run_started(), stage_started(0, 1), snapshot(0, 4, 1), stage_finished(0, 5, errors={"timeout": 100})
    ).kpis()[3]
    assert (late.value, late.state) == ("25.0\u202f%", "bad"), "failed after the last snapshot"
    for time_s, tokens in ((7, 2000), (8, 4000)):
        token_snapshot = replace(snapshot(1, time_s, 5), output_tokens=tokens, ttft_p50_ms=80.0, tpot_p50_ms=9.0)
        presenter.handle_event(token_snapshot)
    kind: str = presenter.kind
    assert kind == "llm_endpoint"
    assert [kpi.label for kpi in presenter.kpis()][:3] == ["p50 TTFT", "p50 TPOT", "Output throughput"]
    assert [kpi.label for kpi in presenter.kpis()][3:] == ["Throughput", "p95 latency", "Errors"]
    assert presenter.kpis()[2].value == "2,000\u202ftok/s"


def test_omitted_steps_of_a_run_are_skipped() -> None:
    phases = [PhaseChanged(at(1), "doctor", ""), PhaseChanged(at(2), "stages", "2 stages", 2, 20.0)]
    presenter = replay(run_started(), *phases, stage_started(0, 3))
    cells = {cell.step: cell.state for cell in presenter.state().steps}
    assert (cells["check"], cells["calibrate"], cells["measure"], cells["report"]) == (
        "done", "skipped", "running", "waiting",
    )  # fmt: skip
    assert presenter.state().position == "stage 1 of 2 · stage 0 (100 req/s)"
    assert presenter.stages.cells()[0].remaining_s is None, "until something has been measured"
    presenter.handle_event(snapshot(0, 7, 3))
    assert presenter.stages.cells()[0].remaining_s == 6
    presenter.handle_event(run_finished(20))
    assert all(cell.state != "running" for cell in presenter.state().steps)


def test_calibration_and_warmup_steps_have_a_remaining_time() -> None:
    def find_running_step(presenter: LivePresenter) -> StepCell:
        return next(cell for cell in presenter.state().steps if cell.state == "running")

    calibrating = (run_started(), PhaseChanged(at(1), "calibrate", ""))
    assert find_running_step(replay(*calibrating, now_s=11)) == StepCell("calibrate", "running", 10, 20)
    assert find_running_step(replay(*calibrating, now_s=40)) == StepCell("calibrate", "running", 39, None), (
        "longer than estimated"
    )
    warming_up = (*calibrating, PhaseChanged(at(12), "warmup", ""), stage_started(0, 13, kind="warmup"))
    assert find_running_step(replay(*warming_up, now_s=17)) == StepCell("warmup", "running", 5, 5 * 10 + 6)


def test_telemetry_before_the_first_event_is_placed_on_the_time_axis() -> None:
    presenter = replay()
    presenter.handle_readings(second_of_host(1))
    presenter.handle_event(run_started())
    for second in (2, 3):
        presenter.handle_readings(second_of_host(second))
    x = presenter.machine.lines("cpu")[0][1]
    assert 1 <= x[0] < 2
    assert "machine" in presenter.changed_parts


def test_presenter_lists_the_parts_of_the_live_page_that_changed() -> None:
    presenter = replay(run_started())
    presenter.changed_parts.clear()
    presenter.handle_event(stage_started(0, 1))
    presenter.handle_event(snapshot(0, 2, 1))
    assert presenter.changed_parts == {"stages", "charts", "failures"}, "the first responses, none of which failed"
    presenter.changed_parts.clear()
    presenter.handle_event(snapshot(0, 3, 1))
    assert presenter.changed_parts == {"stages", "charts"}
    presenter.changed_parts.clear()
    presenter.handle_readings(readings(3, [("host", "host_cpu_percent", 1.0)]))
    assert presenter.changed_parts == {"machine"}


def test_lost_run_has_no_running_stage() -> None:
    presenter = replay(*list(whole_run())[:10])
    presenter.mark_ended("lost")
    assert presenter.state().status == "lost"
    assert presenter.stages.running_cell is None
    assert all(cell.end_s is not None for cell in presenter.stages.cells())
