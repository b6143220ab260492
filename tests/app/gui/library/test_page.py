from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace
from PySide6.QtCore import QMimeData, QPoint, Qt, QUrl
from PySide6.QtGui import QDropEvent
from PySide6.QtWidgets import QPushButton
from pytestqt.qtbot import QtBot

from app.cli.main import main
from app.gui.library.page import LibraryPage
from app.gui.navigation import Navigation
from app.records.events import RunStarted
from app.storage.bundle import export_run
from app.storage.labels import read_labels
from app.storage.run_directory import RunWriter, StoredRun, runs_home
from app.storage.trash import list_deleted_runs
from tests.app.gui.library.conftest import FULL_RESULT, list_run_names, select_run, store_run, wait_until_idle
from tests.fakes.widget_walk import clipped_texts, unnamed_widgets, unreachable_widgets

OpenPage = Callable[[], LibraryPage]


def test_runs_are_listed_newest_first_with_a_damaged_run_as_unreadable(
    library_runs: list[Path], open_page: OpenPage
) -> None:
    page = open_page()
    assert list_run_names(page)[:3] == ["run-c", "run-b", "run-a"]
    model = page.runs_tab.model
    texts = [[str(model.index(row, column).data()) for column in range(model.columnCount())] for row in range(4)]
    assert texts[3][0] == "run-d"
    assert texts[3][4] == "unreadable"
    assert texts[0][3:6] == ["INVALID", "INVALID", "218 req/s"]
    assert texts[1][0] == "scoring"
    assert texts[1][-1] == "l4, nightly"
    assert model.index(0, 5).data(Qt.ItemDataRole.FontRole).strikeOut()
    assert model.index(1, 5).data(Qt.ItemDataRole.FontRole) is None


@pytest.mark.parametrize(
    ("words", "validity", "tag", "matching_runs"),
    [
        ("", None, None, ["run-c", "run-b", "run-a", "run-d"]),
        ("SCOR night", None, None, ["run-b"]),
        ("", "INVALID", None, ["run-c"]),
        ("", None, "l4", ["run-b"]),
        ("none such", None, None, []),
    ],
)
def test_library_filters_find_the_runs_that_runs_list_finds(
    words: str,
    validity: str | None,
    tag: str | None,
    matching_runs: list[str],
    library_runs: list[Path],
    open_page: OpenPage,
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = open_page()
    filters = page.runs_tab.filters
    filters.search_field.setText(words)
    filters.validity_box.setCurrentIndex(filters.validity_box.findData(validity))
    filters.tag_box.setCurrentIndex(filters.tag_box.findData(tag))
    assert list_run_names(page) == matching_runs
    line = page.command_line()
    assert line is not None
    assert main(shlex.split(line)[1:]) == 0
    out = capsys.readouterr().out
    assert [name for name in ("run-a", "run-b", "run-c", "run-d") if name in out] == sorted(matching_runs)


def test_checked_runs_are_compared_in_the_order_of_checking(
    library_runs: list[Path], open_page: OpenPage, navigation: Navigation, qtbot: QtBot
) -> None:
    page = open_page()
    table, model = page.runs_tab.table, page.runs_tab.model
    for name in ("run-b", "run-a"):
        select_run(page, name)
        qtbot.keyClick(table, Qt.Key.Key_Space)
    assert page.run_directories() == (library_runs[1], library_runs[0])
    assert page.command_line() == f"sizewise compare {library_runs[1]} {library_runs[0]}"
    with qtbot.waitSignal(navigation.comparison_requested) as comparison_request:
        page.runs_tab.compare()
    assert comparison_request.args == [(library_runs[1], library_runs[0])]
    select_run(page, "run-b")
    qtbot.keyClick(table, Qt.Key.Key_Space)
    assert model.checked_directories == [str(library_runs[0])]


def test_grouped_profiles_fold_without_changing_the_selected_run(
    library_runs: list[Path], open_page: OpenPage, qtbot: QtBot
) -> None:
    page = open_page()
    tab = page.runs_tab
    select_run(page, "run-b")
    wait_until_idle(qtbot, page)
    card = tab.card
    assert card.sentence_label.text().startswith("Max rate 218")
    tab.filters.group_box.click()
    selected = tab.selected_run()
    assert selected is not None
    assert selected.run_id == "run-b"
    assert tab.filters.status_text(tab._listed_runs, tab.model.matching_count).startswith("4 runs")  # type: ignore[arg-type]
    row = tab.model.find_group_row("quickstart")
    assert row is not None
    tab.table.setCurrentIndex(tab.model.index(row, 0))
    assert tab.selected_run() is None
    assert not card.isVisible()
    for key, count in ((Qt.Key.Key_Space, 5), (Qt.Key.Key_Right, 7), (Qt.Key.Key_Left, 5)):
        qtbot.keyClick(tab.table, key)
        assert tab.model.rowCount() == count
    tab.filters.group_box.click()
    assert tab.model.rowCount() == 4


def test_at_most_eight_runs_can_be_checked(no_leftovers: None, open_page: OpenPage) -> None:
    for number in range(9):
        store_run(f"run-{number}", FULL_RESULT, number + 1)
    page = open_page()
    model = page.runs_tab.model
    are_checked = [
        model.setData(model.index(row, 0), Qt.CheckState.Checked, Qt.ItemDataRole.CheckStateRole) for row in range(9)
    ]
    assert are_checked == [True] * 8 + [False]


def test_enter_opens_the_selected_run_and_plan_requests_a_plan_from_the_run(
    library_runs: list[Path], open_page: OpenPage, navigation: Navigation, qtbot: QtBot
) -> None:
    page = open_page()
    select_run(page, "run-a")
    with qtbot.waitSignal(navigation.open_run_requested) as opened:
        qtbot.keyClick(page.runs_tab.table, Qt.Key.Key_Return)
    assert opened.args == [library_runs[0]]
    with qtbot.waitSignal(navigation.plan_requested) as planned:
        page.runs_tab.plan()
    assert planned.args == [(library_runs[0],)]


def test_deleted_run_is_moved_to_the_trash_and_restored_by_undo(
    library_runs: list[Path], open_page: OpenPage, qtbot: QtBot
) -> None:
    page = open_page()
    select_run(page, "run-b")
    labels = read_labels(library_runs[1])
    qtbot.keyClick(page.runs_tab.table, Qt.Key.Key_Delete)
    wait_until_idle(qtbot, page)
    assert list_run_names(page) == ["run-c", "run-a", "run-d"]
    assert [entry.run.directory.name for entry in list_deleted_runs()] == ["run-b"]
    assert "run-b was deleted." in page.strip.text()
    undo = next(button for button in page.strip.findChildren(QPushButton) if button.text() == "&Undo")
    qtbot.mouseClick(undo, Qt.MouseButton.LeftButton)
    wait_until_idle(qtbot, page)
    assert list_run_names(page) == ["run-c", "run-b", "run-a", "run-d"]
    assert read_labels(library_runs[1]) == labels
    stack = page.undo_stack()
    assert stack is not None
    stack.redo()
    wait_until_idle(qtbot, page)
    assert "run-b" not in list_run_names(page)


def test_trash_tab_lists_deleted_runs_and_restores_them(
    library_runs: list[Path], open_page: OpenPage, qtbot: QtBot
) -> None:
    page = open_page()
    select_run(page, "run-a")
    page.runs_tab.delete()
    wait_until_idle(qtbot, page)
    page.show_trash()
    wait_until_idle(qtbot, page)
    assert page.command_line() == "sizewise runs list --deleted"
    trash = page.trash_tab
    assert trash.table.frame_model.frame["run_id"].tolist() == ["run-a"]
    trash.restore()
    wait_until_idle(qtbot, page)
    assert trash.table.frame_model.rowCount() == 0
    assert (runs_home() / "run-a").is_dir()
    assert "run-a" in list_run_names(page)


def test_tags_and_notes_of_a_run_are_stored_and_invalid_tags_reported(
    library_runs: list[Path], open_page: OpenPage, qtbot: QtBot
) -> None:
    page = open_page()
    select_run(page, "run-b")
    card = page.runs_tab.card
    assert card.tags_field.text() == "l4 nightly"
    card.tags_field.setText("nightly, driver=580")
    qtbot.keyClick(card.tags_field, Qt.Key.Key_Return)
    wait_until_idle(qtbot, page)
    assert read_labels(library_runs[1]).tags == ("driver=580", "nightly")
    card.note_field.setText("after the new driver")
    qtbot.keyClick(card.note_field, Qt.Key.Key_Return)
    wait_until_idle(qtbot, page)
    assert [note.text for note in read_labels(library_runs[1]).notes] == ["after the new driver"]
    card.tags_field.setText("-wrong")
    qtbot.keyClick(card.tags_field, Qt.Key.Key_Return)
    wait_until_idle(qtbot, page)
    assert "is not a valid tag" in page.strip.text()


def test_run_title_is_stored_and_undone(library_runs: list[Path], open_page: OpenPage, qtbot: QtBot) -> None:
    page = open_page()
    select_run(page, "run-b")
    card = page.runs_tab.card
    card.title_field.setText("before the new driver")
    qtbot.keyClick(card.title_field, Qt.Key.Key_Return)
    wait_until_idle(qtbot, page)
    assert read_labels(library_runs[1]).title == "before the new driver"
    assert "before the new driver" in page.runs_tab.model.frame["name"].tolist()
    page.presenter.undo_stack.undo()
    wait_until_idle(qtbot, page)
    assert read_labels(library_runs[1]).title == ""


def test_run_is_exported_as_a_bundle_and_imported_by_drop(
    library_runs: list[Path], open_page: OpenPage, qtbot: QtBot, tmp_path: Path
) -> None:
    page = open_page()
    page.presenter.export(library_runs[1], tmp_path / "out.zip")
    wait_until_idle(qtbot, page)
    assert "run-b was exported to" in page.strip.text()
    result_text = StoredRun(library_runs[1]).result_text
    page.presenter.delete([library_runs[1]])
    wait_until_idle(qtbot, page)
    drop(page, tmp_path / "out.zip")
    wait_until_idle(qtbot, page)
    assert StoredRun(library_runs[1]).result_text == result_text
    row = page.runs_tab.selected_run()
    assert row is not None
    assert row.run_id == "run-b"


def test_run_folder_is_imported_and_damaged_bundle_is_reported(
    library_runs: list[Path], open_page: OpenPage, qtbot: QtBot, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    library_runs[0].rename(elsewhere)
    page = open_page()
    assert "run-a" not in list_run_names(page)
    assert page.import_path(elsewhere)
    wait_until_idle(qtbot, page)
    assert "run-a" in list_run_names(page)
    (tmp_path / "bad.zip").write_bytes(b"no zip")
    assert page.import_path(tmp_path / "bad.zip")
    wait_until_idle(qtbot, page)
    assert "complete zip file" in page.strip.text()
    assert not page.import_path(tmp_path / "none.onnx")


def test_valid_run_is_promoted_to_baseline_and_invalid_run_is_rejected(
    library_runs: list[Path], open_page: OpenPage, qtbot: QtBot
) -> None:
    page = open_page()
    page.presenter.promote(library_runs[1])
    wait_until_idle(qtbot, page)
    assert page.strip.text() == "run-b is now the baseline of scoring."
    page.presenter.promote(library_runs[2])
    wait_until_idle(qtbot, page)
    assert "cannot be a baseline" in page.strip.text()


def test_run_added_by_another_process_is_listed_after_library_changed(
    library_runs: list[Path], open_page: OpenPage, navigation: Navigation, qtbot: QtBot
) -> None:
    page = open_page()
    store_run("run-e", FULL_RESULT, 9)
    navigation.library_changed.emit()
    qtbot.waitUntil(lambda: "run-e" in list_run_names(page))


def test_bundle_of_a_run_in_the_library_is_not_imported_again(
    library_runs: list[Path], open_page: OpenPage, qtbot: QtBot, tmp_path: Path
) -> None:
    export_run(StoredRun(library_runs[0]), tmp_path / "a.zip")
    page = open_page()
    assert page.import_path(tmp_path / "a.zip")
    wait_until_idle(qtbot, page)
    assert "is already in the Library" in page.strip.text()


def test_empty_library_links_to_the_home_page(
    no_leftovers: None, open_page: OpenPage, navigation: Navigation, qtbot: QtBot
) -> None:
    page = open_page()
    assert page.runs_tab.empty_state.isVisible()
    assert page.run_directories() == ()
    first_run_button = next(
        button for button in page.runs_tab.empty_state.findChildren(QPushButton) if "first run" in button.text()
    )
    with qtbot.waitSignal(navigation.page_requested) as page_request:
        qtbot.mouseClick(first_run_button, Qt.MouseButton.LeftButton)
    assert page_request.args == ["home"]


def test_library_tabs_are_named_reachable_and_not_clipped_at_twice_the_text_size(
    library_runs: list[Path], open_page: OpenPage, qtbot: QtBot, navigation: Navigation
) -> None:
    page = open_page()
    page.resize(1500, 900)
    page.theme_controller.scale_text(2)
    try:
        for index in range(page.tabs.count()):
            page.tabs.setCurrentIndex(index)
            if index == 0:
                select_run(page, "run-b")
            else:
                wait_for_rows(qtbot, page)
            assert unnamed_widgets(page) == []
            assert unreachable_widgets(page) == []
            assert clipped_texts(page) == []
    finally:
        page.theme_controller.scale_text(1)


def wait_for_rows(qtbot: QtBot, page: LibraryPage) -> None:
    pane = page.current_tab().pane  # type: ignore[attr-defined]
    qtbot.waitUntil(lambda: pane.table.frame_model.rowCount() > 0)


def drop(page: LibraryPage, path: Path) -> None:
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path))])
    event = QDropEvent(
        QPoint(5, 5), Qt.DropAction.CopyAction, data, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    )
    page.dropEvent(event)
    assert event.isAccepted()


def test_running_run_is_watched_from_the_library_and_listed_as_done_after_its_end(
    no_leftovers: None, open_page: OpenPage, navigation: Navigation, qtbot: QtBot
) -> None:
    directory = runs_home() / "20261127-120000-goes-on-0001"
    with RunWriter(directory) as writer:
        writer.append_event(RunStarted(1, directory.name, "goes-on", str(directory), os.getpid()))
        page = open_page()
        select_run(page, directory.name)
        row = page.runs_tab.selected_run()
        assert row is not None
        assert (row.name, row.state) == ("goes-on", "running")
        with qtbot.waitSignal(navigation.watch_run_requested) as watched:
            page.runs_tab.open()
        assert watched.args == [directory]
        writer.write_result(replace(FULL_RESULT, run_id=directory.name))
    qtbot.waitUntil(lambda: page.runs_tab.model.row(0).state == "done")
