from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.errors import UsageError
from app.records.events import RunStarted
from app.storage.run_directory import RunWriter, StoredRun, find_run, list_stored_runs
from app.storage.trash import delete_runs, list_deleted_runs, purge_trash, restore_run

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    for name in ("1-a", "1-b", "2-c"):
        RunWriter(tmp_path / "runs" / name).close()
    return tmp_path / "runs"


def names() -> list[str]:
    return [run.directory.name for run in list_stored_runs()]


def trash() -> list[tuple[str, datetime]]:
    return [(deleted.run.directory.name, deleted.deleted_at) for deleted in list_deleted_runs()]


def test_deleted_run_can_be_restored(home: Path) -> None:
    before = (home / "1-b" / "events.jsonl").stat().st_ino
    delete_runs([find_run("1-b"), find_run("2-c")], NOON)
    assert names() == ["1-a"]
    assert trash() == [("1-b", NOON), ("2-c", NOON)]
    assert restore_run("1") == home / "1-b"
    restore_run("2-c")
    assert names() == ["1-a", "1-b", "2-c"]
    assert (home / "1-b" / "events.jsonl").stat().st_ino == before
    assert not list((home / ".trash").iterdir())


def test_running_run_prevents_the_deletion_of_all_selected_runs(home: Path) -> None:
    with RunWriter(home / "3-on") as writer:
        writer.append_event(RunStarted(1, "3-on", "test", str(home), os.getpid()))
        with pytest.raises(UsageError, match="is still running"):
            delete_runs([find_run("1-a"), find_run("3-on")], NOON)
    assert names() == ["1-a", "1-b", "2-c", "3-on"]


def test_run_outside_the_runs_directory_is_not_deleted(tmp_path: Path) -> None:
    RunWriter(tmp_path / "out").close()
    with pytest.raises(UsageError, match="not in the runs directory"):
        delete_runs([StoredRun(tmp_path / "out")], NOON)
    assert (tmp_path / "out").exists()


def test_deleted_run_is_selected_by_an_unambiguous_id_prefix() -> None:
    delete_runs([find_run("1-a"), find_run("1-b")], NOON)
    with pytest.raises(UsageError, match="'1' is ambiguous: it matches 2 deleted runs"):
        restore_run("1")
    with pytest.raises(UsageError, match="no deleted run matches '2'"):
        restore_run("2")


def test_restored_run_does_not_overwrite_an_existing_run(home: Path) -> None:
    delete_runs([find_run("1-a")], NOON)
    RunWriter(home / "1-a").close()
    with pytest.raises(UsageError, match="already exists"):
        restore_run("1-a")
    delete_runs([find_run("1-a")], NOON + timedelta(seconds=1))
    (home / ".trash" / "20260102T120001Z" / "1-a" / "spec.yaml").write_text("the later one")
    assert (restore_run("1-a") / "spec.yaml").read_text() == "the later one"
    assert trash() == [("1-a", NOON)]


def test_only_runs_deleted_more_than_30_days_ago_are_purged(home: Path, tmp_path: Path) -> None:
    delete_runs([find_run("1-a")], NOON)
    delete_runs([find_run("1-b")], NOON + timedelta(days=1))
    (home / ".trash" / "not-oursZ").mkdir()
    (tmp_path / "kept").mkdir()
    (home / ".trash" / "20200102T120000Z").symlink_to(tmp_path / "kept")
    assert purge_trash(NOON + timedelta(days=30)) == []
    assert purge_trash(NOON + timedelta(days=30, seconds=1)) == ["1-a"]
    assert [name for name, _ in trash()] == ["1-b"]
    assert (home / ".trash" / "not-oursZ").exists()
    assert (tmp_path / "kept").exists()
