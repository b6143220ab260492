from __future__ import annotations

import shlex
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace

from app.gui.compare.entries import ComparisonEntry, ComparisonRequest
from app.gui.compare.outcome import compute_outcome
from app.gui.compare.pairs_suggestion import (
    PairsSuggestion,
    build_launch,
    build_measure_command,
    compute_time_limit_min,
    duration_text,
)
from app.storage.run_directory import SPEC
from tests.app.gui.compare.conftest import store
from tests.fakes.command_line import parse
from tests.fakes.program import PROFILE
from tests.fakes.repeated import result, steady
from tests.fakes.stored_runs import sealed_again

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
OFFER = PairsSuggestion(7, 60.0, Path("a/spec.yaml"), Path("b/spec.yaml"), "pairs of scoring")
ASKED = ComparisonRequest((), 0.05, is_forced=False)


@pytest.fixture
def near(baseline: Path) -> Path:
    return store(result(steady(10.8, 0.5), run_id="near"), 4)


def offered(*runs: tuple[Path, str], **asked: bool) -> PairsSuggestion | None:
    entries = tuple(ComparisonEntry(path, side) for path, side in runs)  # type: ignore[arg-type]
    return compute_outcome(ComparisonRequest(entries, 0.05, is_forced=asked.get("is_forced", False))).suggestion


def write_profile(run: Path, text: str) -> None:
    (run / SPEC).write_text(text)
    sealed_again(run)


def usual(**values: str) -> str:
    return PROFILE.format(**({"url": "http://127.0.0.1:1", "rate": "10/s", "duration": "1s", "extra": ""} | values))


def test_what_is_open_is_offered_by_the_profiles_that_the_runs_kept(baseline: Path, near: Path) -> None:
    for run in (baseline, near):
        write_profile(run, usual())
    offer = offered((baseline, "baseline"), (near, "candidate"))
    assert offer is not None
    assert (offer.baseline, offer.candidate, offer.problem) == (baseline / SPEC, near / SPEC, None)
    assert offer.name == "pairs of test"
    assert offer.pair_count == 6
    assert offer.pair_duration_s > 2 * result().clock.duration_s


def test_nothing_is_offered_where_nothing_is_open(baseline: Path, slower: Path) -> None:
    assert offered((baseline, "baseline"), (slower, "candidate")) is None


def test_a_run_without_a_profile_says_so_and_leaves_a_line_to_fill_in(baseline: Path, near: Path) -> None:
    write_profile(baseline, usual())
    (near / SPEC).unlink()
    sealed_again(near)
    offer = offered((baseline, "baseline"), (near, "candidate"))
    assert offer is not None
    assert offer.problem is not None
    assert "2 quickstart comes from another tool and has no profile" in offer.problem
    line = build_measure_command(ASKED, offer, 6, 20)
    assert line == f"sizewise compare {baseline}/spec.yaml CANDIDATE.yaml --measure --pairs 6 --max-duration 20m"


@pytest.mark.parametrize(
    ("profile", "reported"),
    [
        (usual().replace("  url:", "  headers: {X-Key: <redacted>}\n  url:"), "without its secret"),
        (usual().replace("workload: {", "workload: {dataset: gone.jsonl, "), "gone.jsonl"),
        ("sizewise: 1\nname: [", "spec.yaml"),
    ],
)
def test_a_profile_that_cannot_be_measured_here_says_why(
    baseline: Path, near: Path, profile: str, reported: str
) -> None:
    write_profile(near, usual())
    write_profile(baseline, profile)
    offer = offered((baseline, "baseline"), (near, "candidate"))
    assert offer is not None
    assert offer.problem is not None
    assert offer.problem.startswith("The profile of 1 quickstart cannot be measured here: ")
    assert reported in offer.problem


def test_there_is_time_for_as_many_again_and_never_less_than_the_command_takes() -> None:
    assert compute_time_limit_min(OFFER, 1) == 20
    assert compute_time_limit_min(OFFER, 10) == 24
    assert compute_time_limit_min(replace(OFFER, pair_duration_s=1e6), 50) == 24 * 60


def test_what_it_costs_is_reported() -> None:
    assert duration_text(OFFER, 7, 20).startswith(
        "The pairs take about 7 min, or about 14 min if a change is suspected"
    )
    assert "The time limit is 20 min." in duration_text(OFFER, 7, 20)
    assert duration_text(replace(OFFER, pair_duration_s=5.0), 7, 20).startswith(
        "The pairs take about 35 s, or about 70 s "
    )


def test_what_is_started_is_what_the_line_says(home: Path) -> None:
    asked = ComparisonRequest((), 0.1, is_forced=True)
    launch = build_launch(asked, OFFER, 5, 30, NOON)
    assert launch.kind == "pairs"
    assert launch.directory.parent == home / "comparisons"
    assert launch.directory.name.startswith("20261127-120000-pairs-of-scoring-")
    assert ["sizewise", *launch.arguments] == shlex.split(build_measure_command(asked, OFFER, 5, 30))
    given = parse([*launch.arguments, "--record", str(launch.directory)])
    assert [given[name] for name in ("pairs", "max_duration_s", "tolerance", "force")] == [5, 1800.0, 0.1, True]
