from __future__ import annotations

from pathlib import Path

import pytest

from app.gui.compare.entries import ComparisonEntry, ComparisonRequest
from app.gui.compare.pairs_state import PairsState, add_measured_runs, apply_event, build_end_notice
from app.records.comparison import Side
from app.records.events import Event, PairRunFinished, PairRunStarted, PhaseChanged, RunFinished, RunStarted
from app.records.result import Validity

SECOND = 1_000_000_000


def run_started(at_s: int, pair: int, side: Side, pairs: int = 2) -> PairRunStarted:
    return PairRunStarted(at_s * SECOND, pair, side, f"{side}-{pair}", pairs)


def run_finished(at_s: int, pair: int, side: Side, status: Validity = "VALID") -> PairRunFinished:
    return PairRunFinished(at_s * SECOND, pair, side, f"{side}-{pair}", status)


def replay(*events: Event) -> PairsState:
    state = PairsState(status="starting")
    for event in (RunStarted(0, "one", "pairs of scoring", "one", 1), *events):
        state = apply_event(state, event)
    return state


FIRST_PAIR = (
    run_started(0, 1, "baseline"),
    run_finished(10, 1, "baseline"),
    run_started(10, 1, "candidate"),
    run_finished(20, 1, "candidate"),
)


def test_only_complete_ab_pairs_provide_run_directories() -> None:
    state = replay(
        *FIRST_PAIR, run_started(20, 2, "candidate"), run_finished(30, 2, "candidate"), run_started(30, 2, "baseline")
    )
    assert (state.status, state.name) == ("running", "pairs of scoring")
    assert state.run_directories("baseline") == (Path("baseline-1"),)
    assert state.run_directories("candidate") == (Path("candidate-1"),)
    assert (state.progress.completed, state.progress.total) == (3, 4)


def test_invalid_ab_run_does_not_count_and_its_repetition_has_a_reason() -> None:
    state = replay(
        PhaseChanged(0, "pairs", "two profiles are measured in interleaved A/B pairs"),
        run_started(0, 1, "baseline"), run_finished(10, 1, "baseline", "INVALID"),
        PhaseChanged(10 * SECOND, "pairs", "this baseline run is INVALID"), run_started(10, 1, "baseline"),
    )  # fmt: skip
    assert state.finished_runs == ()
    assert state.progress.completed == 0
    assert state.last_message == "this baseline run is INVALID"


def test_ab_pairs_eta_is_extrapolated_from_finished_runs() -> None:
    state = replay(*FIRST_PAIR)
    assert state.eta_s() == pytest.approx(20 / 2.5 * 1.5)
    assert replay(run_started(0, 1, "baseline")).eta_s() is None


def test_total_run_count_grows_with_the_number_of_ab_pairs() -> None:
    assert replay(*FIRST_PAIR, run_started(20, 2, "baseline", pairs=4)).progress.total == 8


def test_measured_runs_of_ab_pairs_are_added_once_to_their_sides() -> None:
    request = ComparisonRequest(
        (
            ComparisonEntry(Path("c"), "candidate"),
            ComparisonEntry(Path("b"), "baseline"),
            ComparisonEntry(Path("d"), "drawn"),
        ),
        0.1,
        is_forced=True,
    )
    extended = add_measured_runs(request, replay(*FIRST_PAIR))
    assert [(entry.side, entry.path.name) for entry in extended.entries] == [
        ("baseline", "b"), ("baseline", "baseline-1"), ("candidate", "c"), ("candidate", "candidate-1"), ("drawn", "d"),
    ]  # fmt: skip
    assert (extended.tolerance, extended.is_forced) == (0.1, True)
    assert add_measured_runs(extended, replay(*FIRST_PAIR)) == extended


@pytest.mark.parametrize(
    ("code", "severity", "summary"),
    [
        (0, "news", "The A/B pairs have finished (complete pairs: 1)."),
        (11, "news", "The A/B pairs have finished (complete pairs: 1)."),
        (130, "news", "The A/B pairs were stopped."),
        (3, "error", "The A/B pairs failed (exit code 3)."),
    ],
)
def test_end_notice_of_ab_pairs_has_severity_and_summary_by_exit_code(code: int, severity: str, summary: str) -> None:
    state = replay(*FIRST_PAIR, RunFinished(30 * SECOND, "word", code, ("why",)))
    notice = build_end_notice(state, code, "why")
    assert (notice.severity, notice.summary) == (severity, summary)
    assert state.eta_s() is None
