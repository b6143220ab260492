from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.cli.main import main
from app.errors import ExitCode
from app.records.events import PhaseChanged, RunFinished, RunStarted
from app.storage.run_directory import RunWriter

GONE = 2**22 + 1
"""No process of any Linux has this number, nor of a Mac."""


def write(directory: Path, *, pid: int, end: RunFinished | None) -> RunWriter:
    writer = RunWriter(directory)
    writer.append_event(RunStarted(1, "r", "test", str(directory), pid))
    writer.append_event(PhaseChanged(2, "doctor", "looking at this machine"))
    if end is not None:
        writer.append_event(end)
    return writer


def test_a_run_that_has_ended_is_shown_whole_and_ends_with_its_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(
        tmp_path / "r", pid=os.getpid(), end=RunFinished(3, "VALID", 10, ("FAIL: p95; no baseline", "FAIL: p99"))
    ).close()
    assert main(["runs", "attach", str(tmp_path / "r")]) == 10
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == [
        "doctor: looking at this machine",
        "r: VALID",
        "exit 10: FAIL: p95; no baseline",
        "exit 10: FAIL: p99",
    ]


def test_an_engine_that_is_gone_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with write(tmp_path / "r", pid=GONE, end=None):
        assert main(["runs", "attach", str(tmp_path / "r")]) == ExitCode.LIMIT
    assert "doctor: looking at this machine\nerror: the engine of" in capsys.readouterr().err
