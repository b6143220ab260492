from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from PySide6.QtGui import QGuiApplication
from pytestqt.qtbot import QtBot

from app.cli.main import main
from app.gui.results.export_drawer import ExportDrawer
from app.gui.results.page import ResultsPage
from app.storage.run_directory import SPEC
from tests.app.gui.results.conftest import OpenRun
from tests.fakes.stored_runs import reseal_run

HOST = "bench"


@pytest.fixture
def run_with_prompts(stages: Path) -> Path:
    text = (stages / SPEC).read_text()
    (stages / SPEC).write_text(f"{text}workload:\n  body: why do axolotls smile\n")
    reseal_run(stages)
    return stages


def _open_drawer(page: ResultsPage, opened: OpenRun, run: Path, qtbot: QtBot, format_id: str = "json") -> ExportDrawer:
    opened(run)
    drawer = page.content().drawer
    drawer.format_box.setCurrentIndex(drawer.format_box.findData(format_id))
    assert page.export()
    qtbot.waitUntil(lambda: drawer.save_button.isEnabled() and drawer.contents.names_table.isVisible())
    return drawer


def _rows(drawer: ExportDrawer) -> list[tuple[str, str]]:
    frame = drawer.contents.names_table.frame_model.frame
    return list(zip(frame["written"], frame["shown"], strict=True))


def _save(drawer: ExportDrawer, qtbot: QtBot) -> Path:
    qtbot.waitUntil(drawer.save_button.isEnabled)
    with qtbot.waitSignal(drawer.saved) as saved_signal:
        drawer.save_button.click()
    path: Path = saved_signal.args[0].path
    return path


def test_prompts_are_redacted_until_their_box_is_checked(
    page: ResultsPage, open_run: OpenRun, run_with_prompts: Path, qtbot: QtBot
) -> None:
    drawer = _open_drawer(page, open_run, run_with_prompts, qtbot)
    assert not drawer.contents.prompts.isChecked()
    assert _rows(drawer) == [(HOST, "unchanged"), ("workload.body", "(redacted)")]
    assert drawer.path_field.text() == str(run_with_prompts / "report-redacted.json")
    assert page.command_line() == "sizewise report stages --format json --redact prompts"
    assert "axolotl" not in _save(drawer, qtbot).read_text()
    drawer.contents.prompts.click()
    assert page.command_line() == "sizewise report stages --format json"
    assert "axolotl" in _save(drawer, qtbot).read_text()


def test_report_without_prompts_shows_a_label_instead_of_the_box(
    page: ResultsPage, open_run: OpenRun, stages: Path, qtbot: QtBot
) -> None:
    drawer = _open_drawer(page, open_run, stages, qtbot)
    assert (drawer.contents.prompts.isVisible(), drawer.contents.no_prompts_label.isVisible()) == (False, True)
    assert drawer.contents.redacted_kinds() == ()


def test_format_without_the_profile_has_no_prompts_option(
    page: ResultsPage, open_run: OpenRun, run_with_prompts: Path, qtbot: QtBot
) -> None:
    drawer = _open_drawer(page, open_run, run_with_prompts, qtbot, "markdown")
    assert drawer.contents.no_prompts_label.text() == "This format does not include prompts."
    assert drawer.path_field.text() == str(run_with_prompts / "summary.md")
    assert _rows(drawer) == [(HOST, "unchanged")]
    drawer.format_box.setCurrentIndex(drawer.format_box.findData("json"))
    assert (drawer.contents.prompts.isVisible(), drawer.contents.redacted_kinds()) == (True, ("prompts",))
    qtbot.waitUntil(drawer.save_button.isEnabled)


def test_exported_file_equals_that_of_the_command_and_the_run_is_unchanged(
    page: ResultsPage, open_run: OpenRun, run_with_prompts: Path, qtbot: QtBot, tmp_path: Path
) -> None:
    digests = {
        path: hashlib.sha256(path.read_bytes()).digest() for path in run_with_prompts.iterdir() if path.is_file()
    }
    drawer = _open_drawer(page, open_run, run_with_prompts, qtbot)
    drawer.contents.hosts.click()
    assert _rows(drawer)[0] == (HOST, "host-1")
    drawer.contents.sidecars.click()
    qtbot.waitUntil(drawer.save_button.isEnabled)
    assert drawer.status.text().endswith("kB")
    drawer.path_field.setText(str(tmp_path / "out" / "report.json"))
    command = page.command_line()
    assert command == (
        "sizewise report stages --format json --redact hosts,prompts --report-only"
        f" --out {tmp_path / 'out' / 'report.json'}"
    )
    written = _save(drawer, qtbot)
    assert [path.name for path in written.parent.iterdir()] == ["report.json"]
    content = written.read_bytes()
    assert main(command.split()[1:]) == 0
    assert written.read_bytes() == content
    assert json.loads(content)["redacted"] == ["hosts", "prompts"]
    assert {path: hashlib.sha256(path.read_bytes()).digest() for path in digests} == digests


def test_copied_summary_has_the_same_redactions(
    page: ResultsPage, open_run: OpenRun, run_with_prompts: Path, qtbot: QtBot
) -> None:
    drawer = _open_drawer(page, open_run, run_with_prompts, qtbot)
    drawer.contents.hosts.click()
    drawer.copy_button.click()
    qtbot.waitUntil(lambda: "host names and addresses" in QGuiApplication.clipboard().text())


def test_custom_export_path_is_unchanged_except_for_the_suffix_of_the_format(
    page: ResultsPage, open_run: OpenRun, stages: Path, qtbot: QtBot, tmp_path: Path
) -> None:
    drawer = _open_drawer(page, open_run, stages, qtbot)
    drawer.path_field.setText(str(tmp_path / "mine.json"))
    drawer.contents.hosts.click()
    assert drawer.path_field.text() == str(tmp_path / "mine.json")
    drawer.format_box.setCurrentIndex(drawer.format_box.findData("markdown"))
    assert drawer.path_field.text() == str(tmp_path / "mine.md")
    assert not drawer.contents.sidecars.isVisible()
    qtbot.waitUntil(drawer.save_button.isEnabled)
