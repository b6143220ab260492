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
from tests.app.gui.compare.conftest import store_run
from tests.fakes.command_line import parse
from tests.fakes.program import PROFILE
from tests.fakes.repeated import result, steady
from tests.fakes.stored_runs import reseal_run

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
SUGGESTION = PairsSuggestion(7, 60.0, Path("a/spec.yaml"), Path("b/spec.yaml"), "pairs of scoring")
REQUEST = ComparisonRequest((), 0.05, is_forced=False)


@pytest.fixture
def near(baseline: Path) -> Path:
    return store_run(result(steady(10.8, 0.5), run_id="near"), 4)


def suggest_pairs(*runs: tuple[Path, str], **options: bool) -> PairsSuggestion | None:
    entries = tuple(ComparisonEntry(path, side) for path, side in runs)  # type: ignore[arg-type]
    return compute_outcome(ComparisonRequest(entries, 0.05, is_forced=options.get("is_forced", False))).suggestion


def write_profile(run: Path, text: str) -> None:
    (run / SPEC).write_text(text)
    reseal_run(run)


def make_profile(**values: str) -> str:
    return PROFILE.format(**({"url": "http://127.0.0.1:1", "rate": "10/s", "duration": "1s", "extra": ""} | values))


def test_ab_pairs_for_an_inconclusive_comparison_use_the_profiles_of_the_runs(baseline: Path, near: Path) -> None:
    for run in (baseline, near):
        write_profile(run, make_profile())
    suggestion = suggest_pairs((baseline, "baseline"), (near, "candidate"))
    assert suggestion is not None
    assert (suggestion.baseline, suggestion.candidate, suggestion.problem) == (baseline / SPEC, near / SPEC, None)
    assert suggestion.name == "pairs of test"
    assert suggestion.pair_count == 6
    assert suggestion.pair_duration_s > 2 * result().clock.duration_s


def test_no_ab_pairs_are_suggested_for_a_conclusive_comparison(baseline: Path, slower_run: Path) -> None:
    assert suggest_pairs((baseline, "baseline"), (slower_run, "candidate")) is None


def test_run_without_profile_has_a_placeholder_in_the_ab_command_and_a_problem(baseline: Path, near: Path) -> None:
    write_profile(baseline, make_profile())
    (near / SPEC).unlink()
    reseal_run(near)
    suggestion = suggest_pairs((baseline, "baseline"), (near, "candidate"))
    assert suggestion is not None
    assert suggestion.problem is not None
    assert "2 quickstart comes from another tool and has no profile" in suggestion.problem
    line = build_measure_command(REQUEST, suggestion, 6, 20)
    assert line == f"sizewise compare {baseline}/spec.yaml CANDIDATE.yaml --measure --pairs 6 --max-duration 20m"


@pytest.mark.parametrize(
    ("profile", "reason_part"),
    [
        (make_profile().replace("  url:", "  headers: {X-Key: <redacted>}\n  url:"), "without its secret"),
        (make_profile().replace("workload: {", "workload: {dataset: gone.jsonl, "), "gone.jsonl"),
        ("sizewise: 1\nname: [", "spec.yaml"),
    ],
)
def test_unmeasurable_profile_is_a_problem_of_suggested_ab_pairs(
    baseline: Path, near: Path, profile: str, reason_part: str
) -> None:
    write_profile(near, make_profile())
    write_profile(baseline, profile)
    suggestion = suggest_pairs((baseline, "baseline"), (near, "candidate"))
    assert suggestion is not None
    assert suggestion.problem is not None
    assert suggestion.problem.startswith("The profile of 1 quickstart cannot be measured here: ")
    assert reason_part in suggestion.problem


def test_ab_time_limit_covers_twice_the_pairs_from_20_min_to_24_h() -> None:
    assert compute_time_limit_min(SUGGESTION, 1) == 20
    assert compute_time_limit_min(SUGGESTION, 10) == 24
    assert compute_time_limit_min(replace(SUGGESTION, pair_duration_s=1e6), 50) == 24 * 60


def test_ab_duration_text_has_expected_and_doubled_duration_and_the_time_limit() -> None:
    assert duration_text(SUGGESTION, 7, 20).startswith(
        "The pairs take about 7 min, or about 14 min if a change is suspected"
    )
    assert "The time limit is 20 min." in duration_text(SUGGESTION, 7, 20)
    assert duration_text(replace(SUGGESTION, pair_duration_s=5.0), 7, 20).startswith(
        "The pairs take about 35 s, or about 70 s "
    )


def test_launch_of_ab_pairs_equals_the_measure_command(home: Path) -> None:
    request = ComparisonRequest((), 0.1, is_forced=True)
    launch = build_launch(request, SUGGESTION, 5, 30, NOON)
    assert launch.kind == "pairs"
    assert launch.directory.parent == home / "comparisons"
    assert launch.directory.name.startswith("20261127-120000-pairs-of-scoring-")
    assert ["sizewise", *launch.arguments] == shlex.split(build_measure_command(request, SUGGESTION, 5, 30))
    parsed = parse([*launch.arguments, "--record", str(launch.directory)])
    assert [parsed[name] for name in ("pairs", "max_duration_s", "tolerance", "force")] == [5, 1800.0, 0.1, True]
