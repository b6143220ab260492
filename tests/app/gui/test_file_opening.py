from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from app.gui.docks.job_queue import JobQueue
from app.gui.docks.machine_watch import MachineWatch
from app.gui.file_opening import FileOpener
from app.gui.launching import RunLauncher
from app.gui.navigation import Launch, Navigation
from app.gui.recovery import Recovery
from app.gui.settings import open_settings
from app.gui.theme import ThemeController
from app.gui.window import Window
from tests.fakes.stored_runs import stored_run, truncate_run, unfinished_run


@pytest.fixture
def window(qtbot: QtBot, navigation: Navigation, theme: ThemeController) -> Iterator[Window]:
    window = Window(navigation, theme, open_settings())
    qtbot.addWidget(window)
    yield window
    window.close()


def test_opened_running_run_is_watched_and_other_runs_are_shown(window: Window, tmp_path: Path) -> None:
    running = unfinished_run(tmp_path / "running", os.getpid())
    ended = stored_run(tmp_path / "ended").directory
    interrupted = truncate_run(stored_run(tmp_path / "cut"), 1).directory
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "events.jsonl").write_text("{\n")
    watched: list[Path] = []
    shown: list[Path] = []
    window.navigation.watch_run_requested.connect(watched.append)
    window.navigation.open_run_requested.connect(shown.append)
    FileOpener(window).open_paths((running, ended, interrupted / "events.jsonl", damaged))
    assert watched == [running]
    assert shown == [ended, interrupted, damaged]


def test_last_run_is_repeated_in_a_new_directory(window: Window, tmp_path: Path) -> None:
    queue, machine = JobQueue(window.settings, window), MachineWatch(window)
    launching = RunLauncher(window, queue, machine, Recovery(window.navigation, window.settings, window))
    queue.set_paused(True)
    window.navigation.launch_requested.emit(Launch(("run", "mine.yaml"), tmp_path / "first", "mine"))
    launching.repeat()
    first, second = (job.launch for job in queue.waiting_jobs)
    assert (second.arguments, second.name) == (first.arguments, first.name)
    assert second.directory != first.directory
    machine.close()
