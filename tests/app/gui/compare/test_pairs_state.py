from __future__ import annotations

from pathlib import Path

import pytest

from app.gui.compare.entries import ComparisonEntry, ComparisonRequest
from app.gui.compare.pairs_state import PairsState, add_measured_runs, apply_event, build_end_notice
from app.records.comparison import Side
from app.records.events import Event, PairRunFinished, PairRunStarted, PhaseChanged, RunFinished, RunStarted
from app.records.result import Validity

SECOND = 1_000_000_000


def begun(at_s: int, pair: int, side: Side, pairs: int = 2) -> PairRunStarted:
    return PairRunStarted(at_s * SECOND, pair, side, f"{side}-{pair}", pairs)


def done(at_s: int, pair: int, side: Side, status: Validity = "VALID") -> PairRunFinished:
    return PairRunFinished(at_s * SECOND, pair, side, f"{side}-{pair}", status)


def after(*events: Event) -> PairsState:
    state = PairsState(status="starting")
    for event in (RunStarted(0, "one", "pairs of scoring", "one", 1), *events):
        state = apply_event(state, event)
    return state


FIRST_PAIR = (begun(0, 1, "baseline"), done(10, 1, "baseline"), begun(10, 1, "candidate"), done(20, 1, "candidate"))


def test_only_whole_pairs_are_of_use() -> None:
    state = after(*FIRST_PAIR, begun(20, 2, "candidate"), done(30, 2, "candidate"), begun(30, 2, "baseline"))
    assert (state.status, state.name) == ("running", "pairs of scoring")
    assert state.run_directories("baseline") == (Path("baseline-1"),)
    assert state.run_directories("candidate") == (Path("candidate-1"),)
    assert (state.progress.completed, state.progress.total) == (3, 4)


def test_an_invalid_run_is_no_repeat_and_why_it_is_made_again_is_reported() -> None:
    state = after(
        PhaseChanged(0, "pairs", "two profiles are measured in interleaved A/B pairs"),
        begun(0, 1, "baseline"), done(10, 1, "baseline", "INVALID"),
        PhaseChanged(10 * SECOND, "pairs", "this baseline run is INVALID"), begun(10, 1, "baseline"),
    )  # fmt: skip
    assert state.finished_runs == ()
    assert state.progress.completed == 0
    assert state.last_message == "this baseline run is INVALID"


def test_what_is_left_is_as_what_was() -> None:
    state = after(*FIRST_PAIR)
    assert state.eta_s() == pytest.approx(20 / 2.5 * 1.5)
    assert after(begun(0, 1, "baseline")).eta_s() is None


def test_more_pairs_are_more_to_do() -> None:
    assert after(*FIRST_PAIR, begun(20, 2, "baseline", pairs=4)).progress.total == 8


def test_new_runs_join_their_sides() -> None:
    asked = ComparisonRequest(
        (
            ComparisonEntry(Path("c"), "candidate"),
            ComparisonEntry(Path("b"), "baseline"),
            ComparisonEntry(Path("d"), "drawn"),
        ),
        0.1,
        is_forced=True,
    )
    together = add_measured_runs(asked, after(*FIRST_PAIR))
    assert [(one.side, one.path.name) for one in together.entries] == [
        ("baseline", "b"), ("baseline", "baseline-1"), ("candidate", "c"), ("candidate", "candidate-1"), ("drawn", "d"),
    ]  # fmt: skip
    assert (together.tolerance, together.is_forced) == (0.1, True)
    assert add_measured_runs(together, after(*FIRST_PAIR)) == together


@pytest.mark.parametrize(
    ("code", "severity", "what"),
    [
        (0, "news", "The A/B pairs have finished (complete pairs: 1)."),
        (11, "news", "The A/B pairs have finished (complete pairs: 1)."),
        (130, "news", "The A/B pairs were stopped."),
        (3, "error", "The A/B pairs failed (exit code 3)."),
    ],
)
def test_its_end_is_reported(code: int, severity: str, what: str) -> None:
    state = after(*FIRST_PAIR, RunFinished(30 * SECOND, "word", code, ("why",)))
    notice = build_end_notice(state, code, "why")
    assert (notice.severity, notice.summary) == (severity, what)
    assert state.eta_s() is None
