"""(h) A job for a pipeline written from the Run page; what a pipeline brings back, dropped on the window."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from app.gui.window import Window
from app.profiles.document import read_document
from app.profiles.loading import load_profile
from app.storage.run_directory import StoredRun, list_stored_runs
from tests.fakes.driving import drop, press, press_key, shows, shows_the_verdict_of

OpenWindow = Callable[[], Window]


def test_a_pipelines_job_runs_the_profile_that_is_edited(open_window: OpenWindow, tmp_path: Path, qtbot: QtBot) -> None:
    window = open_window()
    window.show_page("run")
    bench = window.pages.run
    press(qtbot, window.pages.run, "Create scripted server profile")
    qtbot.waitUntil(bench.header.start_button.isEnabled)
    qtbot.waitUntil(lambda: QApplication.focusWidget() is not None)
    menu = bench.header.ci_button.menu()
    offered: list[str] = []

    def read_and_leave() -> None:
        offered.extend(action.text().replace("&", "") for action in menu.actions())
        menu.close()

    menu.aboutToShow.connect(lambda: QTimer.singleShot(0, read_and_leave))
    press_key(window, Qt.Key.Key_E, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(lambda: bool(offered))
    assert offered == ["GitHub Actions…", "GitLab…"]
    repository = tmp_path / "repository"
    repository.mkdir()
    bench.export_ci_job("github", repository)  # the folder comes from the system's own dialog
    workflow = read_document((repository / ".github/workflows/benchmark.yml").read_bytes(), "the workflow").value
    assert isinstance(workflow, dict)
    commands = [step["run"] for step in workflow["jobs"]["sizewise"]["steps"] if "run" in step]
    command = shlex.split(next(one for one in commands if one.startswith("sizewise run ")))
    profile = repository / command[2]
    assert profile.read_text() == bench.presenter.document.text
    assert load_profile(profile).name == "scripted"
    assert "Commit both files." in window.strip.text()


def test_a_bundle_from_elsewhere_is_dropped_on_an_empty_window(
    open_window: OpenWindow,
    kept_runs: tuple[Path, ...],
    tmp_path: Path,
    qtbot: QtBot,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = open_window()
    there.show_page("library")
    library = there.pages.library.runs_tab
    qtbot.waitUntil(lambda: library.model.rowCount() == 2)
    bundle = tmp_path / "run.zip"
    library.presenter.export(kept_runs[0], bundle)  # the place comes from the system's own dialog
    qtbot.waitUntil(bundle.exists)
    there.close()
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path / "elsewhere"))
    here = open_window()
    assert list_stored_runs() == []
    assert drop(here, bundle) == "Import this run"
    qtbot.waitUntil(shows(here, "results"))
    (run,) = list_stored_runs()
    assert run.complete_result == StoredRun(kept_runs[0]).complete_result
    shows_the_verdict_of(qtbot, here, run)
