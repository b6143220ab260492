from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.records.events import PhaseChanged, RunFinished, RunStarted
from app.storage.run_directory import EVENTS, RunWriter
from app.storage.run_states import find_last_duration_s, find_run_state, find_unfinished_runs
from tests.fakes.stored_runs import cut_short, going_on, stored_run

NOW = datetime.now(UTC)
GONE = 2**22 + 1
"""Above the highest id of a process on Linux."""


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs"


def begun(directory: Path, pid: int, name: str = "begun") -> RunWriter:
    writer = RunWriter(directory)
    writer.append_event(RunStarted(1_000_000_000, directory.name, name, str(directory), pid))
    return writer


def test_a_whole_run_has_ended_and_one_cut_is_offered(runs: Path) -> None:
    stored_run(runs / "whole")
    cut_short(stored_run(runs / "cut"), 1)
    assert find_run_state(runs / "whole") == "ended"
    (found,) = find_unfinished_runs(NOW)
    assert (found.directory.name, found.state, found.name) == ("cut", "interrupted", "three stages")
    assert found.size_bytes > 10_000


def test_one_whose_engine_is_there_is_running_until_it_is_killed(runs: Path) -> None:
    going_on(runs / "here", os.getpid())
    going_on(runs / "killed", GONE)
    assert {one.directory.name: one.state for one in find_unfinished_runs(NOW)} == {
        "here": "running",
        "killed": "interrupted",
    }


def test_a_run_that_could_not_be_measured_has_ended_too(runs: Path) -> None:
    with begun(runs / "refused", GONE) as writer:
        writer.append_event(RunFinished(2, "UNAVAILABLE", 3, ("no such host",)))
    assert find_run_state(runs / "refused") == "ended"


def test_a_last_line_cut_in_the_middle_is_no_end(runs: Path) -> None:
    with begun(runs / "half", GONE) as writer:
        writer.append_event(RunFinished(2, "VALID", 0))
    whole = (runs / "half" / EVENTS).read_bytes()
    (runs / "half" / EVENTS).write_bytes(whole[:-4])
    assert find_run_state(runs / "half") == "interrupted"


def test_only_those_of_the_last_two_weeks_are_found(runs: Path) -> None:
    with begun(runs / "old", GONE):
        pass
    assert not find_unfinished_runs(NOW + timedelta(days=15))
    assert len(find_unfinished_runs(NOW + timedelta(days=13))) == 1


def test_what_is_no_run_or_damaged_hides_no_other(runs: Path) -> None:
    (runs / "notes").mkdir()
    (runs / "damaged").mkdir()
    (runs / "damaged" / EVENTS).write_bytes(b"\xff not an event\n" * 10)
    with begun(runs / "fine", GONE):
        pass
    assert [(one.directory.name, one.name) for one in find_unfinished_runs(NOW)] == [
        ("fine", "begun"),
        ("damaged", None),
    ]


def test_how_long_the_last_whole_run_of_a_name_took(runs: Path) -> None:
    for directory, ended_ns, code in (("1", 5_000_000_000, 0), ("2", 9_000_000_000, 10), ("3", 2_000_000_000, 130)):
        with begun(runs / directory, GONE, "mine") as writer:
            writer.append_event(PhaseChanged(1_500_000_000, "doctor", ""))
            writer.append_event(RunFinished(ended_ns, "VALID", code))
    with begun(runs / "4", GONE, "mine") as writer:
        writer.append_event(RunFinished(2_000_000_000, "INVALID", 0))
    assert find_last_duration_s("mine") == 8.0
    assert find_last_duration_s("another") is None
