from __future__ import annotations

import pytest
from msgspec.structs import replace

from app.analysis.run_progress import RunProgress, advance_progress, compute_stage_elapsed_s
from app.records.estimate import Variant
from app.records.events import (
    CallsFinished,
    Event,
    NoteAdded,
    PairRunFinished,
    PairRunStarted,
    PhaseChanged,
    RunFinished,
    RunStarted,
    StageExtended,
    StageFinished,
    StageStarted,
    VariantFinished,
    VariantStarted,
)
from app.records.local import VariantData
from app.records.result import StageKind
from tests.fakes.calls import stage_of
from tests.fakes.queues import build_stage_data
from tests.fakes.results import full_run

S = 1_000_000_000
STARTED = RunStarted(10 * S, "id", "test", "/run", 7)


def build_stage_started(at_s: float, kind: StageKind = "steady", *, lead_in_s: float = 0.0) -> StageStarted:
    return StageStarted(round(at_s * S), 0, "s", kind, 1, 10.0, 20.0, round(at_s * S), lead_in_s=lead_in_s)


def build_stage_finished(at_s: float, kind: StageKind = "steady") -> StageFinished:
    stage = replace(full_run().result.stages[0], kind=kind)
    return StageFinished(round(at_s * S), 0, build_stage_data(), stage)


def advance_through(*events: Event) -> RunProgress:
    progress = RunProgress()
    for event in events:
        progress = advance_progress(progress, event)
    return progress


def test_eta_of_planned_stages_counts_remaining_durations() -> None:
    phase = PhaseChanged(11 * S, "stages", "3 stage(s)", 3, 60.0)
    warm = (build_stage_started(11, "warmup"), build_stage_finished(12, "warmup"))
    progress = advance_through(
        STARTED, *warm, phase, build_stage_started(12), build_stage_finished(33), build_stage_started(34)
    )
    assert (progress.run_id, progress.pid, progress.completed, progress.total) == ("id", 7, 1, 3)
    assert progress.stage is not None
    assert progress.estimate_eta_s(39 * S) == 35, "two stages of 20 s, 5 s of the first have elapsed"
    assert progress.estimate_eta_s(90 * S) == 20, (
        "the current stage has exceeded its duration, so only the next one remains"
    )
    assert progress.elapsed_s == 24


def test_eta_includes_extension_of_current_stage() -> None:
    phase = PhaseChanged(11 * S, "stages", "2 stage(s)", 2, 40.0)
    progress = advance_through(STARTED, phase, build_stage_started(12), StageExtended(15 * S, 0, 30.0, 50.0))
    assert progress.estimate_eta_s(22 * S) == 60, "40 s of the first, 20 s of the second"
    assert (
        advance_through(
            STARTED, phase, build_stage_started(12), StageExtended(15 * S, 0, 30.0, 50.0), build_stage_finished(62)
        ).estimate_eta_s(62 * S)
        == 20
    )
    assert (
        advance_through(STARTED, phase, build_stage_started(12), StageExtended(15 * S, 3, 30.0, 50.0)).estimate_eta_s(
            22 * S
        )
        == 30
    ), "the extension is of another stage"


def test_rate_search_has_no_eta() -> None:
    progress = advance_through(
        STARTED, PhaseChanged(11 * S, "search", "searching"), build_stage_started(12), build_stage_finished(33)
    )
    assert (progress.completed, progress.total, progress.estimate_eta_s(40 * S)) == (1, None, None)
    assert advance_through().estimate_eta_s(0) is None


def test_eta_of_variants_is_based_on_finished_variants() -> None:
    variant = Variant("m.onnx", "cpu", "as-is", 1, 1)
    variant_data = VariantData(variant=variant, model_file="m.onnx", model_sha256=None, size_bytes=None, failure=None)
    first = (VariantStarted(12 * S, 1, 3, variant), VariantFinished(22 * S, 1, variant_data))
    progress = advance_through(STARTED, *first, VariantStarted(22 * S, 2, 3, variant))
    assert (progress.completed, progress.total) == (1, 3)
    assert progress.estimate_eta_s(27 * S) == pytest.approx(15), "10 s each: half of the second, and the third"
    remaining_events = (
        VariantFinished(32 * S, 2, variant_data),
        VariantStarted(32 * S, 3, 3, variant),
        VariantFinished(42 * S, 3, variant_data),
    )
    assert advance_through(STARTED, *first, *remaining_events).estimate_eta_s(45 * S) == 0, "only the report remains"


def test_local_language_model_tests_have_position_and_eta() -> None:
    int4 = Variant("m", "cpu", "as-is", 1, 1)
    variant = VariantStarted(12 * S, 1, 2, int4, name="int4", tests=("pp512", "tg128"))
    test = replace(build_stage_started(22), test="tg128")
    call_stage = replace(stage_of(), index=0)
    first_test = CallsFinished(22 * S, call_stage, full_run().result.stages[0])
    cold_start = PhaseChanged(13 * S, "cold start", "measuring cold starts")
    opening = advance_through(STARTED, variant, cold_start)
    assert (opening.position, opening.message) == ("variant 1 of 2 · int4", "measuring cold starts")
    assert opening.estimate_eta_s(14 * S) is None, "no test has ended"
    progress = advance_through(STARTED, variant, cold_start, first_test, test)
    assert (progress.position, progress.message) == ("variant 1 of 2 · int4 · tg128 (test 2 of 2)", "")
    assert progress.estimate_eta_s(32 * S) == pytest.approx(20 / 1.5 * 2.5), "1.5 of 4 tests in 20 s"
    second = advance_through(
        STARTED, variant, first_test, first_test, VariantStarted(42 * S, 2, 2, int4, tests=variant.tests)
    )
    assert second.estimate_eta_s(42 * S) == pytest.approx(30), "half of the tests"
    assert second.position == "variant 2 of 2 · m cpu as-is, batch 1", "the label, if the name is not stored"


def test_run_progress_steps_follow_order_and_local_run_has_fewer() -> None:
    check, calibrate = PhaseChanged(11 * S, "doctor", ""), PhaseChanged(12 * S, "calibrate", "")
    measure, warmup = PhaseChanged(13 * S, "stages", ""), PhaseChanged(14 * S, "warmup", "")
    assert advance_through(STARTED).step is None
    progress = advance_through(STARTED, check, calibrate, measure, warmup)
    assert progress.step == "measure", "a run that warms up again is still measuring"
    assert progress.reached_steps == {"check", "calibrate", "measure", "warmup"}
    local = advance_through(replace(STARTED, is_local=True), check)
    assert local.is_local
    assert (local.steps, local.step) == (("check", "measure", "report"), "check")
    assert advance_through(STARTED, VariantStarted(12 * S, 1, 1, Variant("m", "cpu", "as-is", 1, 1))).step == "measure"


def test_eta_of_interleaved_runs_includes_repeat_of_invalid_run() -> None:
    first = (PairRunStarted(10 * S, 1, "baseline", "a", 2), PairRunFinished(20 * S, 1, "baseline", "a", "VALID"))
    invalid = (PairRunStarted(20 * S, 1, "candidate", "b", 2), PairRunFinished(30 * S, 1, "candidate", "b", "INVALID"))
    progress = advance_through(STARTED, *first, *invalid, PairRunStarted(30 * S, 1, "candidate", "c", 2))
    assert (progress.completed, progress.total) == (1, 4)
    assert progress.estimate_eta_s(40 * S) == pytest.approx(30 / 1.5 * 2.5)


def test_finished_run_has_elapsed_time_and_no_eta() -> None:
    end = RunFinished(50 * S, "VALID", 0)
    progress = advance_through(STARTED, build_stage_started(12), NoteAdded(13 * S, "x"), end)
    assert (progress.finished, progress.stage, progress.estimate_eta_s(60 * S)) == (end, None, None)
    assert progress.elapsed_s == 40


def test_stage_elapsed_time_includes_lead_in() -> None:
    assert compute_stage_elapsed_s(build_stage_started(20, lead_in_s=2.0), 19 * S) == 1
    assert compute_stage_elapsed_s(build_stage_started(20, lead_in_s=2.0), 25 * S) == 7
    assert compute_stage_elapsed_s(build_stage_started(20, lead_in_s=2.0), 95 * S) == 22
