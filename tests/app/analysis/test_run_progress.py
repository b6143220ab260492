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
from tests.fakes.queues import stage_facts
from tests.fakes.results import full_run

S = 1_000_000_000
STARTED = RunStarted(10 * S, "id", "test", "/run", 7)


def begun(at_s: float, kind: StageKind = "steady", *, lead_in_s: float = 0.0) -> StageStarted:
    return StageStarted(round(at_s * S), 0, "s", kind, 1, 10.0, 20.0, round(at_s * S), lead_in_s=lead_in_s)


def ended(at_s: float, kind: StageKind = "steady") -> StageFinished:
    stage = replace(full_run().result.stages[0], kind=kind)
    return StageFinished(round(at_s * S), 0, stage_facts(), stage)


def after(*events: Event) -> RunProgress:
    progress = RunProgress()
    for event in events:
        progress = advance_progress(progress, event)
    return progress


def test_planned_stages_are_counted_and_their_time_is_known() -> None:
    phase = PhaseChanged(11 * S, "stages", "3 stage(s)", 3, 60.0)
    warm = (begun(11, "warmup"), ended(12, "warmup"))
    progress = after(STARTED, *warm, phase, begun(12), ended(33), begun(34))
    assert (progress.run_id, progress.pid, progress.completed, progress.total) == ("id", 7, 1, 3)
    assert progress.stage is not None
    assert progress.estimate_eta_s(39 * S) == 35, "two stages of 20 s, 5 s of the first gone"
    assert progress.estimate_eta_s(90 * S) == 20, "one that drains is not waited for twice"
    assert progress.elapsed_s == 24


def test_a_stage_that_was_made_longer_lasts_longer() -> None:
    phase = PhaseChanged(11 * S, "stages", "2 stage(s)", 2, 40.0)
    progress = after(STARTED, phase, begun(12), StageExtended(15 * S, 0, 30.0, 50.0))
    assert progress.estimate_eta_s(22 * S) == 60, "40 s of the first, 20 s of the second"
    assert (
        after(STARTED, phase, begun(12), StageExtended(15 * S, 0, 30.0, 50.0), ended(62)).estimate_eta_s(62 * S) == 20
    )
    assert after(STARTED, phase, begun(12), StageExtended(15 * S, 3, 30.0, 50.0)).estimate_eta_s(22 * S) == 30, (
        "another's"
    )


def test_of_a_search_nobody_can_say_how_long_it_takes() -> None:
    progress = after(STARTED, PhaseChanged(11 * S, "search", "searching"), begun(12), ended(33))
    assert (progress.completed, progress.total, progress.estimate_eta_s(40 * S)) == (1, None, None)
    assert after().estimate_eta_s(0) is None


def test_variants_report_the_time_of_those_to_come() -> None:
    of = Variant("m.onnx", "cpu", "as-is", 1, 1)
    facts = VariantData(variant=of, model_file="m.onnx", model_sha256=None, size_bytes=None, failure=None)
    first = (VariantStarted(12 * S, 1, 3, of), VariantFinished(22 * S, 1, facts))
    progress = after(STARTED, *first, VariantStarted(22 * S, 2, 3, of))
    assert (progress.completed, progress.total) == (1, 3)
    assert progress.estimate_eta_s(27 * S) == pytest.approx(15), "10 s each: half of the second, and the third"
    rest = (VariantFinished(32 * S, 2, facts), VariantStarted(32 * S, 3, 3, of), VariantFinished(42 * S, 3, facts))
    assert after(STARTED, *first, *rest).estimate_eta_s(45 * S) == 0, "what is left is the report"


def test_tests_of_language_models_have_a_position_and_a_remaining_time() -> None:
    of = Variant("m", "cpu", "as-is", 1, 1)
    variant = VariantStarted(12 * S, 1, 2, of, name="int4", tests=("pp512", "tg128"))
    test = replace(begun(22), test="tg128")
    call_stage = replace(stage_of(), index=0)
    first_test = CallsFinished(22 * S, call_stage, full_run().result.stages[0])
    cold_start = PhaseChanged(13 * S, "cold start", "measuring cold starts")
    opening = after(STARTED, variant, cold_start)
    assert (opening.position, opening.message) == ("variant 1 of 2 · int4", "measuring cold starts")
    assert opening.estimate_eta_s(14 * S) is None, "no test has ended"
    progress = after(STARTED, variant, cold_start, first_test, test)
    assert (progress.position, progress.message) == ("variant 1 of 2 · int4 · tg128 (test 2 of 2)", "")
    assert progress.estimate_eta_s(32 * S) == pytest.approx(20 / 1.5 * 2.5), "1.5 of 4 tests in 20 s"
    second = after(STARTED, variant, first_test, first_test, VariantStarted(42 * S, 2, 2, of, tests=variant.tests))
    assert second.estimate_eta_s(42 * S) == pytest.approx(30), "half of the tests"
    assert second.position == "variant 2 of 2 · m cpu as-is, batch 1", "the label, if the name is not stored"


def test_a_run_reaches_steps_in_order_and_a_local_run_has_fewer() -> None:
    check, calibrate = PhaseChanged(11 * S, "doctor", ""), PhaseChanged(12 * S, "calibrate", "")
    measure, again = PhaseChanged(13 * S, "stages", ""), PhaseChanged(14 * S, "warmup", "")
    assert after(STARTED).step is None
    progress = after(STARTED, check, calibrate, measure, again)
    assert progress.step == "measure", "a run that warms up again is still measuring"
    assert progress.reached_steps == {"check", "calibrate", "measure", "warmup"}
    local = after(replace(STARTED, is_local=True), check)
    assert local.is_local
    assert (local.steps, local.step) == (("check", "measure", "report"), "check")
    assert after(STARTED, VariantStarted(12 * S, 1, 1, Variant("m", "cpu", "as-is", 1, 1))).step == "measure"


def test_turns_report_the_time_of_those_to_come_and_an_invalid_one_is_made_again() -> None:
    first = (PairRunStarted(10 * S, 1, "baseline", "a", 2), PairRunFinished(20 * S, 1, "baseline", "a", "VALID"))
    again = (PairRunStarted(20 * S, 1, "candidate", "b", 2), PairRunFinished(30 * S, 1, "candidate", "b", "INVALID"))
    progress = after(STARTED, *first, *again, PairRunStarted(30 * S, 1, "candidate", "c", 2))
    assert (progress.completed, progress.total) == (1, 4)
    assert progress.estimate_eta_s(40 * S) == pytest.approx(30 / 1.5 * 2.5)


def test_the_end_is_kept_and_notes_move_nothing() -> None:
    end = RunFinished(50 * S, "VALID", 0)
    progress = after(STARTED, begun(12), NoteAdded(13 * S, "x"), end)
    assert (progress.finished, progress.stage, progress.estimate_eta_s(60 * S)) == (end, None, None)
    assert progress.elapsed_s == 40


def test_a_lead_in_counts_as_done_once_it_is_over() -> None:
    assert compute_stage_elapsed_s(begun(20, lead_in_s=2.0), 19 * S) == 1
    assert compute_stage_elapsed_s(begun(20, lead_in_s=2.0), 25 * S) == 7
    assert compute_stage_elapsed_s(begun(20, lead_in_s=2.0), 95 * S) == 22
