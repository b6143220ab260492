from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from app.errors import UsageError
from app.records.comparison import Comparison, MetricChange
from app.records.estimate import Estimate
from app.records.result import Cause, Exit, Verdict
from app.storage.baselines import MissingBaselineError, promote_run, read_baseline, read_baselines
from app.storage.run_directory import RunWriter, StoredRun
from tests.fakes.results import full_run, run_exit

FULL = full_run().result


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


def store_run(directory: Path, **changes: object) -> StoredRun:
    with RunWriter(directory) as writer:
        writer.write_result(msgspec.structs.replace(FULL, run_id=directory.name, **changes))
    return StoredRun(directory)


def test_most_recently_promoted_run_of_a_name_is_its_baseline(home: Path, tmp_path: Path) -> None:
    promote_run(store_run(home / "1-first"))
    assert read_baseline("promoted", FULL.name).run_id == "1-first"
    promote_run(store_run(tmp_path / "elsewhere"))
    promote_run(store_run(home / "2-other", name="other"))
    assert read_baseline("promoted", FULL.name).run_id == "elsewhere"
    assert read_baseline("promoted", "other").run_id == "2-other"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"exit": run_exit(10, "latency_ms.p95 < 5 failed")}, "its exit code is 10"),
        ({"exit": Exit(0, (Cause("objective_failed", 10, "shown only"),))}, "an objective failed"),
        ({"verdict": Verdict("INVALID", ("too busy",)), "exit": run_exit(4, "INVALID: too busy")}, "INVALID"),
    ],
)
def test_run_that_did_not_pass_is_not_promoted(home: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        promote_run(store_run(home / "1-failed", **changes))
    with pytest.raises(UsageError, match="no run of 'quickstart' was promoted"):
        read_baseline("promoted", FULL.name)


def test_deleted_promoted_run_is_reported(home: Path) -> None:
    run = store_run(home / "1-first")
    promote_run(run)
    run.directory.rename(home / "moved")
    with pytest.raises(UsageError, match="no longer exists: 1-first"):
        read_baseline("promoted", FULL.name)


@pytest.mark.parametrize("kind", ["id", "last", "directory", "file"])
def test_baseline_is_selected_by_id_directory_or_result_file(home: Path, kind: str) -> None:
    run = store_run(home / "1-first")
    directory = run.directory
    names = {"id": "1-fi", "last": "last", "directory": str(directory), "file": str(directory / "result.json")}
    assert read_baseline(names[kind], "").run_id == "1-first"


def test_comma_separated_baselines_are_repeats(home: Path, tmp_path: Path) -> None:
    for name in ("1-a", "2-b"):
        store_run(home / name)
    store_run(tmp_path / "with, comma")
    assert [run.run_id for run in read_baselines("1-a,2-b", "")] == ["1-a", "2-b"]
    assert [run.run_id for run in read_baselines(str(tmp_path / "with, comma"), "")] == ["with, comma"]
    with pytest.raises(UsageError, match="no run was specified"):
        read_baselines(",", "")


def test_invalid_result_is_rejected_as_a_baseline(home: Path, tmp_path: Path) -> None:
    (tmp_path / "odd.json").write_text("{}")
    with pytest.raises(UsageError, match="cannot be read as a result"):
        read_baseline("odd.json", "")
    store_run(home / "1-bad", verdict=Verdict("INVALID", ("too busy",)))
    with pytest.raises(UsageError, match="numbers are not reliable"):
        read_baseline("1-bad", "")


def test_last_baseline_is_the_latest_passed_run_of_the_profile(home: Path) -> None:
    with pytest.raises(MissingBaselineError):
        read_baseline("last", FULL.name)
    store_run(home / "1-first")
    store_run(home / "2-second")
    store_run(home / "3-other", name="other")
    store_run(home / "4-empty", stages=())
    store_run(home / "5-damaged").directory.joinpath("result.json").write_text("{}")
    assert read_baseline("last", FULL.name).run_id == "2-second"
    assert read_baseline("last", "other").run_id == "3-other"


@pytest.mark.parametrize(
    ("verdict", "exit_state"),
    [
        (Verdict("INVALID", ("too busy",)), Exit(4, (Cause("invalid", 4, "too busy"),))),
        (Verdict("INVALID", ("too busy",)), Exit(0, (Cause("invalid", 4, "a demonstration"),))),
        (FULL.verdict, Exit(5, (Cause("cut_short", 5, "abort_when"),))),
        (FULL.verdict, Exit(10, (Cause("objective_failed", 10, "p95"),))),
        (FULL.verdict, Exit(0, (Cause("objective_failed", 10, "a demonstration"),))),
        (FULL.verdict, Exit(11, (Cause("change_failed", 11, "a gate on a change"),))),
        (FULL.verdict, Exit(11, (Cause("baseline_regressed", 11, "p95"),))),
        (FULL.verdict, Exit(12, (Cause("objective_inconclusive", 12, "p95"),))),
        (FULL.verdict, Exit(130, (Cause("interrupted", 130, "Ctrl-C"),))),
    ],
    ids=lambda value: f"{value.code}-{value.causes[0].id}" if isinstance(value, Exit) else value.status,
)
def test_run_that_did_not_pass_is_not_the_last_baseline(home: Path, verdict: Verdict, exit_state: Exit) -> None:
    store_run(home / "1-passed")
    store_run(home / "2-not-passed", verdict=verdict, exit=exit_state)
    assert read_baseline("last", FULL.name).run_id == "1-passed"


def test_regressed_run_with_exit_code_0_is_not_the_last_baseline(home: Path) -> None:
    store_run(home / "1-passed")
    change = MetricChange(
        "latency_ms", "p95", "ms", "lower", "steady", Estimate(5.0), Estimate(10.0), Estimate(2.0), None, "worse"
    )
    store_run(home / "2-regressed", comparison=Comparison(("1-passed",), ("2-regressed",), 0.05, (change,)))
    assert read_baseline("last", FULL.name).run_id == "1-passed"
