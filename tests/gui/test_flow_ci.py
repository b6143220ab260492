"""Flow (h): a CI job is exported from the Run page; a bundle of a CI run is dropped on the window."""

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
from tests.fakes.window_actions import assert_verdict_is_shown, drop_files, is_page_shown, press, press_key

OpenWindow = Callable[[], Window]


def test_exported_ci_job_runs_the_edited_profile(open_window: OpenWindow, tmp_path: Path, qtbot: QtBot) -> None:
    window = open_window()
    window.show_page("run")
    run_page = window.pages.run
    press(qtbot, window.pages.run, "Create scripted server profile")
    qtbot.waitUntil(run_page.header.start_button.isEnabled)
    qtbot.waitUntil(lambda: QApplication.focusWidget() is not None)
    menu = run_page.header.ci_button.menu()
    menu_texts: list[str] = []

    def read_and_close() -> None:
        menu_texts.extend(action.text().replace("&", "") for action in menu.actions())
        menu.close()

    menu.aboutToShow.connect(lambda: QTimer.singleShot(0, read_and_close))
    press_key(window, Qt.Key.Key_E, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(lambda: bool(menu_texts))
    assert menu_texts == ["GitHub Actions…", "GitLab…"]
    repository = tmp_path / "repository"
    repository.mkdir()
    run_page.export_ci_job("github", repository)  # the folder comes from a system dialog
    workflow = read_document((repository / ".github/workflows/benchmark.yml").read_bytes(), "the workflow").value
    assert isinstance(workflow, dict)
    commands = [step["run"] for step in workflow["jobs"]["sizewise"]["steps"] if "run" in step]
    command = shlex.split(next(text for text in commands if text.startswith("sizewise run ")))
    profile = repository / command[2]
    assert profile.read_text() == run_page.presenter.document.text
    assert load_profile(profile).name == "scripted"
    assert "Commit both files." in window.strip.text()


def test_bundle_dropped_on_an_empty_window_is_imported_and_shown(
    open_window: OpenWindow,
    library_runs: tuple[Path, ...],
    tmp_path: Path,
    qtbot: QtBot,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exporting_window = open_window()
    exporting_window.show_page("library")
    library = exporting_window.pages.library.runs_tab
    qtbot.waitUntil(lambda: library.model.rowCount() == 2)
    bundle = tmp_path / "run.zip"
    library.presenter.export(library_runs[0], bundle)  # the path comes from a system dialog
    qtbot.waitUntil(bundle.exists)
    exporting_window.close()
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path / "elsewhere"))
    importing_window = open_window()
    assert list_stored_runs() == []
    assert drop_files(importing_window, bundle) == "Import this run"
    qtbot.waitUntil(is_page_shown(importing_window, "results"))
    (run,) = list_stored_runs()
    assert run.complete_result == StoredRun(library_runs[0]).complete_result
    assert_verdict_is_shown(qtbot, importing_window, run)
