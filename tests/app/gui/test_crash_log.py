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


def run_until_killed(script: str, folder: Path) -> None:
    process = subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, timeout=60, check=False)
    assert process.returncode < 0


def test_crash_log_of_a_clean_exit_is_removed(tmp_path: Path) -> None:
    for _ in range(2):
        log = CrashLog(tmp_path / "home")
        assert log.begin() == PreviousSession(None, None)
        log.end()
    assert not (tmp_path / "home" / LOG).exists()
    assert build_crash_notice(PreviousSession(None, None)) is None


@pytest.mark.skipif(sys.platform == "win32", reason="a null pointer is read")
def test_crash_is_reported_with_its_traceback(tmp_path: Path) -> None:
    run_until_killed(CRASH, tmp_path)
    log = CrashLog(tmp_path)
    previous_session = log.begin()
    log.end()
    notice = build_crash_notice(previous_session)
    assert notice is not None
    assert notice.severity == "warning"
    assert notice.details is not None
    assert "Segmentation fault" in notice.details
    assert "string_at" in notice.details


@pytest.mark.skipif(sys.platform == "win32", reason="the window is killed by a signal")
def test_killed_window_is_reported_without_a_warning(tmp_path: Path) -> None:
    run_until_killed(KILLED, tmp_path)
    log = CrashLog(tmp_path)
    notice = build_crash_notice(log.begin())
    log.end()
    assert notice is not None
    assert (notice.severity, notice.details) == ("news", None)


def test_second_window_detects_the_first_and_its_log_is_not_removed(tmp_path: Path) -> None:
    first, second = CrashLog(tmp_path), CrashLog(tmp_path)
    assert first.begin() == PreviousSession(None, None)
    previous_session = second.begin()
    assert previous_session.other_pid is not None
    second.end()
    assert (tmp_path / LOG).exists(), "the log belongs to the first window"
    first.end()
    notice = build_crash_notice(previous_session)
    assert notice is not None
    assert str(previous_session.other_pid) in notice.summary


def test_unwritable_crash_log_folder_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    log = CrashLog(tmp_path / "file" / "home")
    assert log.begin() == PreviousSession(None, None)
    log.end()
