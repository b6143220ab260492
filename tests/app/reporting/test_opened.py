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
from tests.fakes.stored_runs import DAY, SEARCHED, rewrite_journal, stored_run, truncate_run


@pytest.fixture(scope="module")
def stages_run(tmp_path_factory: pytest.TempPathFactory) -> OpenedRun:
    return load_run(stored_run(tmp_path_factory.mktemp("runs") / "stages"))


@pytest.fixture(scope="module")
def search_run(tmp_path_factory: pytest.TempPathFactory) -> OpenedRun:
    return load_run(stored_run(tmp_path_factory.mktemp("runs") / "searched", SEARCHED))


@pytest.fixture(scope="module")
def streamed_run(tmp_path_factory: pytest.TempPathFactory) -> OpenedRun:
    clock = FakeClock()
    load = ScriptedLoad(clock, service_s=0.004, tokens=8)
    return load_run(stored_run(tmp_path_factory.mktemp("runs") / "streams", load=load, clock=clock))


@pytest.fixture(scope="module")
def day_run(tmp_path_factory: pytest.TempPathFactory) -> OpenedRun:
    return load_run(stored_run(tmp_path_factory.mktemp("runs") / "day", DAY))


@pytest.mark.parametrize("name", ["stages_run", "search_run", "streamed_run", "day_run"])
def test_reevaluation_without_changes_equals_the_stored_result(name: str, request: pytest.FixtureRequest) -> None:
    run: OpenedRun = request.getfixturevalue(name)
    reevaluated = run.reevaluate()
    for stage, stored in zip(reevaluated.stages, run.result.stages, strict=True):
        assert stage == stored, stage.name
    assert reevaluated == run.result
    assert run.reevaluate([objective.text for objective in run.data.slo]) == run.result


def test_tiles_and_objectives_of_many_stages_cover_the_whole_run(day_run: OpenedRun) -> None:
    report = day_run.report()
    requests = sum(stage.completed for stage in day_run.result.stages if not stage.is_pooled)
    tiles = [tile for tile in report.tiles if tile.label != "Max rate (lower bound)"]
    assert [tile.label for tile in tiles] == ["p95 latency", "p99 latency", "Error rate"]
    assert [(tile.note, tile.quantity.n) for tile in tiles] == [("in 24 stages", requests)] * 3
    assert [(row.stage, row.outcome) for row in report.objectives] == [
        ("24 stages", "PASS"),
        ("24 stages", "INCONCLUSIVE"),
    ]
    assert {spectrum.n for spectrum in report.spectra} == {requests}
    without_slo = day_run.report(day_run.reevaluate([]))
    assert without_slo.verdict.headline.endswith("in 24 stages")
    assert without_slo.tiles[0].note == "in 24 stages"


@pytest.mark.parametrize("name", ["stages_run", "search_run", "streamed_run"])
@pytest.mark.parametrize("slo", ["latency_ms.p95 < 7", "service_ms.p50 < 4.001", "error_rate < 2%"])
def test_reevaluated_stage_equals_the_summary_of_its_rows(name: str, slo: str, request: pytest.FixtureRequest) -> None:
    run: OpenedRun = request.getfixturevalue(name)
    objectives = (parse_objective(slo),)
    evaluated = [stage for stage in run.reevaluate([slo]).stages if not stage.is_pooled]
    for rows, data_of_stage, stage in zip(run.data.rows, run.data.stage_data, evaluated, strict=True):
        summary = summarize_rows(rows, run.data.telemetry, data_of_stage, objectives)
        assert stage == msgspec.structs.replace(summary, in_headline=stage.in_headline), data_of_stage.name


def test_reevaluation_with_another_slo_has_its_own_max_rate_and_note(search_run: OpenedRun) -> None:
    original, strict = search_run.result.max_rate, search_run.reevaluate(["latency_ms.p95 < 8"])
    assert original is not None
    assert original.per_s.value is not None
    assert strict.max_rate is not None
    assert strict.max_rate.per_s.value is not None
    assert strict.max_rate.per_s.value < original.per_s.value
    assert strict.max_rate.slo == ("latency_ms.p95 < 8", "error_rate <= 1%")
    assert strict.reevaluation is not None
    report = search_run.report(strict)
    assert report.notes[0] == "The run was re-evaluated with SLO p95 latency < 8 ms."
    assert report.verdict.sentence.startswith(
        "The run was re-evaluated with SLO p95 latency < 8 ms. This is not the run's own verdict. Max rate "
    )
    assert report.tiles[0].quantity.value == strict.max_rate.per_s.value
    assert all(tile.note is None or f"{strict.max_rate.per_s.value:.4g}" in tile.note for tile in report.tiles[1:])
    assert msgspec.json.decode(report.result_json, type=Result) == strict


def test_reevaluation_fails_with_10_or_has_a_lower_bound(stages_run: OpenedRun) -> None:
    failed = stages_run.reevaluate(["latency_ms.p50 < 0.5"])
    assert (failed.exit.code, {stage.meets_slo for stage in failed.stages}) == (10, {False})
    lax = stages_run.reevaluate(["latency_ms.p95 < 5000"])
    assert lax.exit.code == 0
    assert lax.max_rate is not None
    assert (lax.max_rate.per_s.value, lax.max_rate.is_lower_bound) == (230.0, True)


def test_time_range_omits_stages_outside_and_clips_stages(stages_run: OpenedRun) -> None:
    start_ns = stages_run.result.clock.monotonic_start_ns
    low, middle, _ = stages_run.result.stages
    middle_s = (middle.window.start_ns - start_ns) / 1e9
    part = stages_run.reevaluate(None, (0.0, middle_s + 5.0))
    assert [stage.name for stage in part.stages] == ["low", "middle"]
    assert part.stages[0] == low
    cut = part.stages[1]
    assert (cut.window.start_ns, cut.window.end_ns) == (middle.window.start_ns, start_ns + round((middle_s + 5) * 1e9))
    assert 500 < cut.completed < 700 < middle.completed
    report = stages_run.report(part)
    assert report.load is not None
    assert report.load.at_s[-1] < middle_s + 6
    assert "The run was re-evaluated with time range 0–" in render_text(report)


def test_time_range_counts_from_the_start_of_the_load(stages_run: OpenedRun) -> None:
    """Preflight and calibration took 40 s before the load."""
    clock = stages_run.result.clock
    earlier = msgspec.structs.replace(clock, monotonic_start_ns=clock.monotonic_start_ns - 40_000_000_000)
    result = msgspec.structs.replace(stages_run.result, clock=earlier)
    late = replace(stages_run, data=replace(stages_run.data, result=result))
    part = late.reevaluate(None, (0.0, 10.0))
    assert [stage.name for stage in part.stages] == ["low"]
    assert part.stages[0].window.start_ns == result.stages[0].window.start_ns
    report = late.report(part)
    assert report.stages[0].start_s == 0
    assert report.load is not None
    assert 0 <= report.load.at_s[0] < report.load.at_s[-1] <= 11


@pytest.mark.parametrize(
    ("window_s", "message"),
    [((5.0, 5.0), "is empty"), ((9.0, 2.0), "is empty"), ((9_000.0, 9_100.0), "no request was scheduled")],
)
def test_empty_time_range_is_rejected(stages_run: OpenedRun, window_s: tuple[float, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        stages_run.reevaluate(None, window_s)


def test_time_range_with_few_samples_withholds_percentiles(stages_run: OpenedRun) -> None:
    start_s = (stages_run.result.stages[0].window.start_ns - stages_run.result.clock.monotonic_start_ns) / 1e9
    part = stages_run.reevaluate(None, (start_s, start_s + 1.0))
    assert part.stages[0].metrics["latency_ms"]["p95"].value is None
    assert part.slo[0].outcome == "INCONCLUSIVE"


def test_interrupted_run_is_recovered_with_its_finished_stages(tmp_path: Path) -> None:
    stored = stored_run(tmp_path / "run")
    stages_run = stored.complete_result.stages
    killed = truncate_run(stored, 2)
    with pytest.raises(UsageError, match=r"was interrupted and has no result\.json") as error:
        load_run(killed)
    assert f"2 finished stages, warm-ups included, and the rows of {killed.requests().num_rows:,} " in str(error.value)
    run = load_run(killed, recover=True)
    assert run.result.stages == stages_run[:2]
    assert run.recovery is not None
    unused_rows = run.recovery.unused_rows
    assert unused_rows == run.table.num_rows - sum(rows.scheduled_ns.size for rows in run.data.rows) > 1_000
    report = run.report()
    assert f"2 of 3 stages finished; {unused_rows:,} of" in report.notes[0]
    assert (report.verdict.outcome, report.verdict.exit_code) == ("INCONCLUSIVE", 143)
    assert report.verdict.sentence.startswith("Stopped early: partial results")
    assert run.reevaluate(["latency_ms.p95 < 5"]).reevaluation is not None


def test_finished_run_without_its_result_file_is_recovered_from_rows(tmp_path: Path) -> None:
    stored = stored_run(tmp_path / "run")
    stages_run = stored.complete_result.stages
    (stored.directory / RESULT).unlink()
    rewrite_journal(stored.directory)
    with pytest.raises(UsageError, match=r"has measured rows, but no result\.json") as error:
        load_run(stored)
    assert "--recover" in str(error.value.hint)
    recovered = load_run(stored, recover=True)
    assert recovered.result.stages == stages_run
    assert recovered.recovery is not None
    assert recovered.recovery.has_lost_result
    assert build_row(stored).state == "result lost"


def test_interrupted_variant_is_recovered_with_its_finished_scenarios(tmp_path: Path) -> None:
    run = golden_run("local", tmp_path)
    lines = (run / EVENTS).read_bytes().splitlines(keepends=True)
    ended = next(index for index, line in enumerate(lines) if b'"calls_finished"' in line)
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


def test_recovery_without_a_finished_stage_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="before its first stage finished"):
        load_run(truncate_run(stored_run(tmp_path / "run"), 0), recover=True)
