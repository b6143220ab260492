from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from app.analysis.objectives import parse_objective
from app.analysis.stages import summarize_rows
from app.errors import UsageError
from app.records.result import Result
from app.reporting.opened import OpenedRun, load_run
from app.reporting.run_rows import build_row
from app.storage.checksums import CHECKSUMS
from app.storage.run_directory import EVENTS, RESULT, StoredRun
from reports.text import render_text
from tests.fakes.clock import FakeClock
from tests.fakes.golden_runs import golden_run
from tests.fakes.load import ScriptedLoad
from tests.fakes.stored_runs import DAY, SEARCHED, cut_short, journaled_again, stored_run


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> OpenedRun:
    return load_run(stored_run(tmp_path_factory.mktemp("runs") / "stages"))


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> OpenedRun:
    return load_run(stored_run(tmp_path_factory.mktemp("runs") / "searched", SEARCHED))


@pytest.fixture(scope="module")
def streamed(tmp_path_factory: pytest.TempPathFactory) -> OpenedRun:
    clock = FakeClock()
    load = ScriptedLoad(clock, service_s=0.004, tokens=8)
    return load_run(stored_run(tmp_path_factory.mktemp("runs") / "streams", load=load, clock=clock))


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> OpenedRun:
    return load_run(stored_run(tmp_path_factory.mktemp("runs") / "day", DAY))


@pytest.mark.parametrize("name", ["stages", "searched", "streamed", "day"])
def test_asked_for_nothing_else_it_is_the_stored_result_to_the_last_digit(
    name: str, request: pytest.FixtureRequest
) -> None:
    run: OpenedRun = request.getfixturevalue(name)
    again = run.reevaluate()
    for one, own in zip(again.stages, run.result.stages, strict=True):
        assert one == own, one.name
    assert again == run.result
    assert run.reevaluate([one.text for one in run.data.slo]) == run.result


def test_the_numbers_of_many_stages_are_those_of_the_whole_run(day: OpenedRun) -> None:
    report = day.report()
    requests = sum(stage.completed for stage in day.result.stages if not stage.is_pooled)
    tiles = [tile for tile in report.tiles if tile.label != "Max rate (lower bound)"]
    assert [tile.label for tile in tiles] == ["p95 latency", "p99 latency", "Error rate"]
    assert [(tile.note, tile.quantity.n) for tile in tiles] == [("in 24 stages", requests)] * 3
    assert [(row.stage, row.outcome) for row in report.objectives] == [
        ("24 stages", "PASS"),
        ("24 stages", "INCONCLUSIVE"),
    ]
    assert {spectrum.n for spectrum in report.spectra} == {requests}
    without_slo = day.report(day.reevaluate([]))
    assert without_slo.verdict.headline.endswith("in 24 stages")
    assert without_slo.tiles[0].note == "in 24 stages"


@pytest.mark.parametrize("name", ["stages", "searched", "streamed"])
@pytest.mark.parametrize("slo", ["latency_ms.p95 < 7", "service_ms.p50 < 4.001", "error_rate < 2%"])
def test_a_stage_evaluated_again_is_what_its_rows_say_by_that_slo(
    name: str, slo: str, request: pytest.FixtureRequest
) -> None:
    run: OpenedRun = request.getfixturevalue(name)
    objectives = (parse_objective(slo),)
    evaluated = [stage for stage in run.reevaluate([slo]).stages if not stage.is_pooled]
    for rows, facts, stage in zip(run.data.rows, run.data.stage_data, evaluated, strict=True):
        made = summarize_rows(rows, run.data.telemetry, facts, objectives)
        assert stage == msgspec.structs.replace(made, in_headline=stage.in_headline), facts.name


def test_another_slo_finds_another_rate_and_says_that_it_is_not_the_runs_own(searched: OpenedRun) -> None:
    own, strict = searched.result.max_rate, searched.reevaluate(["latency_ms.p95 < 8"])
    assert own is not None
    assert own.per_s.value is not None
    assert strict.max_rate is not None
    assert strict.max_rate.per_s.value is not None
    assert strict.max_rate.per_s.value < own.per_s.value
    assert strict.max_rate.slo == ("latency_ms.p95 < 8", "error_rate <= 1%")
    assert strict.reevaluation is not None
    report = searched.report(strict)
    assert report.notes[0] == "The run was re-evaluated with SLO p95 latency < 8 ms."
    assert report.verdict.sentence.startswith(
        "The run was re-evaluated with SLO p95 latency < 8 ms. This is not the run's own verdict. Max rate "
    )
    assert report.tiles[0].quantity.value == strict.max_rate.per_s.value
    assert all(tile.note is None or f"{strict.max_rate.per_s.value:.4g}" in tile.note for tile in report.tiles[1:])
    assert msgspec.json.decode(report.result_json, type=Result) == strict


def test_an_slo_that_nothing_holds_fails_with_10_and_one_that_all_hold_is_at_least(stages: OpenedRun) -> None:
    failed = stages.reevaluate(["latency_ms.p50 < 0.5"])
    assert (failed.exit.code, {one.meets_slo for one in failed.stages}) == (10, {False})
    lax = stages.reevaluate(["latency_ms.p95 < 5000"])
    assert lax.exit.code == 0
    assert lax.max_rate is not None
    assert (lax.max_rate.per_s.value, lax.max_rate.is_lower_bound) == (230.0, True)


def test_a_window_leaves_out_what_lies_outside_and_clips_what_it_cuts(stages: OpenedRun) -> None:
    start_ns = stages.result.clock.monotonic_start_ns
    low, middle, _ = stages.result.stages
    middle_s = (middle.window.start_ns - start_ns) / 1e9
    part = stages.reevaluate(None, (0.0, middle_s + 5.0))
    assert [stage.name for stage in part.stages] == ["low", "middle"]
    assert part.stages[0] == low
    cut = part.stages[1]
    assert (cut.window.start_ns, cut.window.end_ns) == (middle.window.start_ns, start_ns + round((middle_s + 5) * 1e9))
    assert 500 < cut.completed < 700 < middle.completed
    report = stages.report(part)
    assert report.load is not None
    assert report.load.at_s[-1] < middle_s + 6
    assert "The run was re-evaluated with time range 0–" in render_text(report)


def test_a_window_counts_from_the_start_of_the_load(stages: OpenedRun) -> None:
    """Preflight and calibration took 40 s before it."""
    clock = stages.result.clock
    earlier = msgspec.structs.replace(clock, monotonic_start_ns=clock.monotonic_start_ns - 40_000_000_000)
    result = msgspec.structs.replace(stages.result, clock=earlier)
    late = replace(stages, data=replace(stages.data, result=result))
    part = late.reevaluate(None, (0.0, 10.0))
    assert [stage.name for stage in part.stages] == ["low"]
    assert part.stages[0].window.start_ns == result.stages[0].window.start_ns
    report = late.report(part)
    assert report.stages[0].start_s == 0
    assert report.load is not None
    assert 0 <= report.load.at_s[0] < report.load.at_s[-1] <= 11


@pytest.mark.parametrize(
    ("window_s", "what"),
    [((5.0, 5.0), "is empty"), ((9.0, 2.0), "is empty"), ((9_000.0, 9_100.0), "no request was scheduled")],
)
def test_a_window_of_nothing_is_refused(stages: OpenedRun, window_s: tuple[float, float], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        stages.reevaluate(None, window_s)


def test_few_samples_withhold_percentiles(stages: OpenedRun) -> None:
    start_s = (stages.result.stages[0].window.start_ns - stages.result.clock.monotonic_start_ns) / 1e9
    part = stages.reevaluate(None, (start_s, start_s + 1.0))
    assert part.stages[0].metrics["latency_ms"]["p95"].value is None
    assert part.slo[0].outcome == "INCONCLUSIVE"


def test_a_run_cut_short_is_reported_from_its_facts_and_what_is_missing_too(tmp_path: Path) -> None:
    whole = stored_run(tmp_path / "run")
    stages = whole.complete_result.stages
    killed = cut_short(whole, 2)
    with pytest.raises(UsageError, match=r"was interrupted and has no result\.json") as raised:
        load_run(killed)
    assert f"2 finished stages, warm-ups included, and the rows of {killed.requests().num_rows:,} " in str(raised.value)
    run = load_run(killed, recover=True)
    assert run.result.stages == stages[:2]
    assert run.recovery is not None
    left_out = run.recovery.unused_rows
    assert left_out == run.table.num_rows - sum(one.scheduled_ns.size for one in run.data.rows) > 1_000
    report = run.report()
    assert f"2 of 3 stages finished; {left_out:,} of" in report.notes[0]
    assert (report.verdict.outcome, report.verdict.exit_code) == ("INCONCLUSIVE", 143)
    assert report.verdict.sentence.startswith("Stopped early: partial results")
    assert run.reevaluate(["latency_ms.p95 < 5"]).reevaluation is not None


def test_a_run_that_ended_and_has_rows_but_no_result_says_so_and_is_reported(tmp_path: Path) -> None:
    whole = stored_run(tmp_path / "run")
    stages = whole.complete_result.stages
    (whole.directory / RESULT).unlink()
    journaled_again(whole.directory)
    with pytest.raises(UsageError, match=r"has measured rows, but no result\.json") as raised:
        load_run(whole)
    assert "--recover" in str(raised.value.hint)
    recovered = load_run(whole, recover=True)
    assert recovered.result.stages == stages
    assert recovered.recovery is not None
    assert recovered.recovery.has_lost_result
    assert build_row(whole).state == "result lost"


def test_a_variant_that_was_being_measured_is_reported_with_what_had_ended(tmp_path: Path) -> None:
    run = golden_run("local", tmp_path)
    lines = (run / EVENTS).read_bytes().splitlines(keepends=True)
    ended = next(place for place, line in enumerate(lines) if b'"calls_finished"' in line)
    (run / EVENTS).write_bytes(b"".join(lines[: ended + 1]))
    for name in (RESULT, CHECKSUMS):
        (run / name).unlink()
    report = load_run(StoredRun(run), recover=True).report()
    assert report.local is not None
    (row,) = report.local.variants
    assert report.local.headline_variant == row.name
    assert row.scenarios
    assert row.reason == "the run was interrupted before the variant was measured to its end."
    assert report.header.target.startswith("digits")


def test_nothing_is_recovered_where_no_stage_had_ended(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="before its first stage finished"):
        load_run(cut_short(stored_run(tmp_path / "run"), 0), recover=True)
