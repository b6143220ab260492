from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.records.events import PhaseChanged, RunFinished, RunStarted
from app.storage.run_directory import EVENTS, RunWriter
from app.storage.run_states import find_last_duration_s, find_run_state, find_unfinished_runs
from tests.fakes.stored_runs import stored_run, truncate_run, unfinished_run

NOW = datetime.now(UTC)
UNUSED_PID = 2**22 + 1
"""A process ID above the maximum of Linux."""


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs"


def start_run(directory: Path, pid: int, name: str = "begun") -> RunWriter:
    writer = RunWriter(directory)
    writer.append_event(RunStarted(1_000_000_000, directory.name, name, str(directory), pid))
    return writer


def test_complete_run_has_ended_and_a_truncated_run_is_interrupted(runs: Path) -> None:
    stored_run(runs / "whole")
    truncate_run(stored_run(runs / "cut"), 1)
    assert find_run_state(runs / "whole") == "ended"
    (unfinished,) = find_unfinished_runs(NOW)
    assert (unfinished.directory.name, unfinished.state, unfinished.name) == ("cut", "interrupted", "three stages")
    assert unfinished.size_bytes > 10_000


def test_run_is_running_while_its_engine_exists_and_interrupted_afterwards(runs: Path) -> None:
    unfinished_run(runs / "here", os.getpid())
    unfinished_run(runs / "killed", UNUSED_PID)
    assert {run.directory.name: run.state for run in find_unfinished_runs(NOW)} == {
        "here": "running",
        "killed": "interrupted",
    }


def test_run_that_could_not_be_measured_has_ended(runs: Path) -> None:
    with start_run(runs / "refused", UNUSED_PID) as writer:
        writer.append_event(RunFinished(2, "UNAVAILABLE", 3, ("no such host",)))
    assert find_run_state(runs / "refused") == "ended"


def test_truncated_last_event_does_not_end_a_run(runs: Path) -> None:
    with start_run(runs / "half", UNUSED_PID) as writer:
        writer.append_event(RunFinished(2, "VALID", 0))
    content = (runs / "half" / EVENTS).read_bytes()
    (runs / "half" / EVENTS).write_bytes(content[:-4])
    assert find_run_state(runs / "half") == "interrupted"


def test_unfinished_runs_older_than_two_weeks_are_not_listed(runs: Path) -> None:
    with start_run(runs / "old", UNUSED_PID):
        pass
    assert not find_unfinished_runs(NOW + timedelta(days=15))
    assert len(find_unfinished_runs(NOW + timedelta(days=13))) == 1


def test_damaged_run_does_not_hide_other_unfinished_runs(runs: Path) -> None:
    (runs / "notes").mkdir()
    (runs / "damaged").mkdir()
    (runs / "damaged" / EVENTS).write_bytes(b"\xff not an event\n" * 10)
    with start_run(runs / "fine", UNUSED_PID):
        pass
    assert [(run.directory.name, run.name) for run in find_unfinished_runs(NOW)] == [
        ("fine", "begun"),
        ("damaged", None),
    ]


def test_last_duration_is_that_of_the_latest_complete_run_of_a_name(runs: Path) -> None:
    for directory, ended_ns, code in (("1", 5_000_000_000, 0), ("2", 9_000_000_000, 10), ("3", 2_000_000_000, 130)):
        with start_run(runs / directory, UNUSED_PID, "mine") as writer:
            writer.append_event(PhaseChanged(1_500_000_000, "doctor", ""))
            writer.append_event(RunFinished(ended_ns, "VALID", code))
    with start_run(runs / "4", UNUSED_PID, "mine") as writer:
        writer.append_event(RunFinished(2_000_000_000, "INVALID", 0))
    assert find_last_duration_s("mine") == 8.0
    assert find_last_duration_s("another") is None
