from __future__ import annotations

from pathlib import Path

import pytest

from app.storage.run_directory import StoredRun
from app.storage.run_index import INDEX, compute_stamp, load_rows, update_rows


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs"


def test_rows_of_the_run_index_are_replaced_and_removed(home: Path) -> None:
    update_rows({"a": ("1", b"old"), "b": ("1", b"other")}, set())
    update_rows({"a": ("2", b"new")}, {"b"})
    assert load_rows() == {"a": ("2", b"new")}


def test_run_index_is_not_created_without_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path / "none"))
    update_rows({"a": ("1", b"row")}, set())
    assert load_rows() == {}
    assert not (tmp_path / "none").exists()


def test_folder_instead_of_the_run_index_is_not_changed(home: Path) -> None:
    (home / INDEX).mkdir()
    update_rows({"a": ("1", b"row")}, set())
    assert load_rows() == {}


def test_stamp_of_an_indexed_run_changes_with_its_files_and_the_version(home: Path) -> None:
    directory = home / "run"
    directory.mkdir()
    (directory / "events.jsonl").write_text("")
    run, stamps = StoredRun(directory), []
    stamps.append(compute_stamp(run, "1"))
    (directory / "events.jsonl").write_text("{}\n")
    stamps.append(compute_stamp(run, "1"))
    (directory / "labels.json").write_text("{}")
    stamps.append(compute_stamp(run, "1"))
    (directory / "result.json").write_text("{}")
    stamps.append(compute_stamp(run, "1"))
    stamps.append(compute_stamp(run, "2"))
    assert len(set(stamps)) == 5
