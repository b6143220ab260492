from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QAbstractItemModelTester
from PySide6.QtWidgets import QMenu
from pytestqt.qtbot import QtBot

from app.gui.library.run_listing import COLUMNS, HEADERS, ListedRuns, build_listing, build_mask
from app.gui.library.runs_model import RunsModel, RunsTable
from app.gui.theme import ThemeController
from app.reporting.run_rows import Listing, RunRow


def listed(count: int) -> ListedRuns:
    rows = tuple(
        RunRow(f"run-{place}", f"/runs/run-{place}", name=f"name {place % 3}", verdict="VALID", size_bytes=place)
        for place in range(count)
    )
    return build_listing(Listing(rows))


@pytest.fixture
def model(look: ThemeController) -> RunsModel:
    return RunsModel(look)


def test_it_is_a_model_by_qts_own_rules(model: RunsModel) -> None:
    tester = QAbstractItemModelTester(model, QAbstractItemModelTester.FailureReportingMode.Fatal)
    model.set_listed_runs(listed(20))
    model.sort(0, Qt.SortOrder.DescendingOrder)
    model.set_filter(build_mask(listed(20), "run-1", None, None))
    model.setData(model.index(0, 0), Qt.CheckState.Checked, Qt.ItemDataRole.CheckStateRole)
    model.set_listed_runs(listed(5))
    tester.deleteLater()


def test_ticks_stay_with_their_runs_whatever_is_sorted_and_go_when_the_run_goes(model: RunsModel) -> None:
    model.set_listed_runs(listed(20))
    model.setData(model.index(7, 0), Qt.CheckState.Checked, Qt.ItemDataRole.CheckStateRole)
    model.sort(COLUMNS.index("size"), Qt.SortOrder.DescendingOrder)
    checked = [
        row for row in range(20) if model.index(row, 0).data(Qt.ItemDataRole.CheckStateRole) == Qt.CheckState.Checked
    ]
    assert [model.row(row).run_id for row in checked] == ["run-7"]
    model.set_listed_runs(listed(5))
    assert model.checked_directories == []


def test_rows_are_dragged_out_as_folders_and_only_copied(model: RunsModel) -> None:
    model.set_listed_runs(listed(3))
    data = model.mimeData([model.index(1, 0), model.index(1, 1), model.index(2, 0)])
    assert [Path(url.toLocalFile()).name for url in data.urls()] == ["run-1", "run-2"]
    assert model.supportedDragActions() == Qt.DropAction.CopyAction


def test_only_the_first_column_is_ticked(model: RunsModel) -> None:
    model.set_listed_runs(listed(2))
    assert not model.setData(model.index(0, 1), Qt.CheckState.Checked, Qt.ItemDataRole.CheckStateRole)
    assert not model.index(0, 1).flags() & Qt.ItemFlag.ItemIsUserCheckable
    assert model.index(0, 1).data(Qt.ItemDataRole.CheckStateRole) is None


def test_a_name_of_another_hand_is_one_bounded_line(model: RunsModel) -> None:
    row = RunRow("run", "/runs/run", name="two\nlines\x1b[31m" + "x" * 10_000, protocol="http", url="http://a\tb")
    model.set_listed_runs(build_listing(Listing((row,))))
    name, target = (str(model.index(0, column).data()) for column in (0, 2))
    assert name.startswith("two lines [31mxx")
    assert len(name) == 200
    assert target == "http://a b"


def test_latencies_have_a_unit_and_those_of_an_invalid_run_are_struck_through(model: RunsModel) -> None:
    rows = (RunRow("a", "/a", latency_p95_ms=41.26, ttft_p95_ms=None), RunRow("b", "/b", verdict="INVALID"))
    model.set_listed_runs(build_listing(Listing(rows)))
    latency, ttft = COLUMNS.index("latency_p95"), COLUMNS.index("ttft_p95")
    assert [model.index(0, column).data() for column in (latency, ttft)] == ["41.3\u202fms", ""]
    assert model.index(0, latency).data(Qt.ItemDataRole.FontRole) is None
    assert model.index(1, latency).data(Qt.ItemDataRole.FontRole).strikeOut()


def test_the_columns_that_a_user_has_chosen_are_shown_again(
    model: RunsModel, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    model.set_listed_runs(listed(2))

    def lay_out() -> tuple[RunsTable, dict[str, bool]]:
        table = RunsTable(model)
        qtbot.addWidget(table)
        table.lay_out()
        return table, {name: not table.isColumnHidden(column) for column, name in enumerate(COLUMNS)}

    table, shown = lay_out()
    assert [name for name, is_shown in shown.items() if not is_shown] == ["duration"]
    menu = QMenu(table)
    table.fill_column_menu(menu)
    actions = {action.text(): action for action in menu.actions()}
    assert list(actions) == [HEADERS[name] for name in COLUMNS if name != "name"]
    actions["Duration"].trigger()
    actions["Target"].trigger()
    _, shown_again = lay_out()
    assert shown_again == shown | {"duration": True, "target": False}
