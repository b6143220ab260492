from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from app.gui.crash_log import LOG, CrashLog, PreviousSession, build_crash_notice

CRASH = """
import sys
from pathlib import Path
from app.gui.crash_log import CrashLog
CrashLog(Path(sys.argv[1])).begin()
import ctypes
ctypes.string_at(0)
"""
KILLED = CRASH.replace("import ctypes\nctypes.string_at(0)", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")


def run(script: str, folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, timeout=60, check=False)
    assert done.returncode < 0


def test_a_window_that_ended_well_leaves_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        log = CrashLog(tmp_path / "home")
        assert log.begin() == PreviousSession(None, None)
        log.end()
    assert not (tmp_path / "home" / LOG).exists()
    assert build_crash_notice(PreviousSession(None, None)) is None


@pytest.mark.skipif(sys.platform == "win32", reason="a null pointer is read")
def test_a_crash_is_reported_with_where_it_was(tmp_path: Path) -> None:
    run(CRASH, tmp_path)
    log = CrashLog(tmp_path)
    found = log.begin()
    log.end()
    notice = build_crash_notice(found)
    assert notice is not None
    assert notice.severity == "warning"
    assert notice.details is not None
    assert "Segmentation fault" in notice.details
    assert "string_at" in notice.details


@pytest.mark.skipif(sys.platform == "win32", reason="it is killed by a signal")
def test_a_window_that_was_killed_is_reported_without_alarm(tmp_path: Path) -> None:
    run(KILLED, tmp_path)
    log = CrashLog(tmp_path)
    notice = build_crash_notice(log.begin())
    log.end()
    assert notice is not None
    assert (notice.severity, notice.details) == ("news", None)


def test_two_windows_know_of_each_other(tmp_path: Path) -> None:
    first, second = CrashLog(tmp_path), CrashLog(tmp_path)
    assert first.begin() == PreviousSession(None, None)
    found = second.begin()
    assert found.other_pid is not None
    second.end()
    assert (tmp_path / LOG).exists(), "the log is the first window's"
    first.end()
    notice = build_crash_notice(found)
    assert notice is not None
    assert str(found.other_pid) in notice.summary


def test_where_nothing_can_be_written_there_is_no_log(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    log = CrashLog(tmp_path / "file" / "home")
    assert log.begin() == PreviousSession(None, None)
    log.end()
