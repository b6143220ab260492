from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import QPersistentModelIndex, Qt
from PySide6.QtTest import QAbstractItemModelTester
from PySide6.QtWidgets import QMenu
from pytestqt.qtbot import QtBot

from app.gui.library.run_listing import COLUMNS, HEADERS, ListedRuns, build_listing, build_mask
from app.gui.library.runs_model import RunsModel, RunsTable
from app.gui.sparkline import SPARKLINE_ROLE
from app.gui.theme import ThemeController
from app.records.estimate import Estimate
from app.reporting.run_rows import HeadlineNumber, Listing, RunRow


def make_listing(count: int) -> ListedRuns:
    rows = tuple(
        RunRow(f"run-{index}", f"/runs/run-{index}", name=f"name {index % 3}", verdict="VALID", size_bytes=index)
        for index in range(count)
    )
    return build_listing(Listing(rows))


@pytest.fixture
def model(theme: ThemeController) -> RunsModel:
    return RunsModel(theme)


def test_runs_model_passes_the_item_model_tester(model: RunsModel) -> None:
    tester = QAbstractItemModelTester(model, QAbstractItemModelTester.FailureReportingMode.Fatal)
    model.set_listed_runs(make_listing(20))
    model.sort(0, Qt.SortOrder.DescendingOrder)
    model.set_filter(build_mask(make_listing(20), "run-1", None, None))
    model.setData(model.index(0, 0), Qt.CheckState.Checked, Qt.ItemDataRole.CheckStateRole)
    model.set_grouped(True)
    model.sort(COLUMNS.index("size"), Qt.SortOrder.AscendingOrder)
    model.set_folded("name 1", True)
    model.set_listed_runs(make_listing(5))
    tester.deleteLater()


def test_grouped_runs_are_sorted_below_their_folded_or_open_profile_row(model: RunsModel) -> None:
    model.set_listed_runs(make_listing(5))
    model.sort(COLUMNS.index("size"), Qt.SortOrder.DescendingOrder)
    selected = QPersistentModelIndex(model.index(1, 0))
    model.set_grouped(True)

    def list_names() -> list[str]:
        return [str(model.index(row, 0).data()) for row in range(model.rowCount())]

    assert list_names() == [
        "▾ name 1 (2)",
        "name 1",
        "name 1",
        "▾ name 0 (2)",
        "name 0",
        "name 0",
        "▾ name 2 (1)",
        "name 2",
    ]
    assert [model.row(row).run_id for row in (1, 2)] == ["run-4", "run-1"]
    assert not selected.isValid(), "a reset model has new indices"
    run_index = QPersistentModelIndex(model.index(2, 0))
    model.sort(COLUMNS.index("size"), Qt.SortOrder.AscendingOrder)
    assert (run_index.row(), list_names()[0]) == (4, "▾ name 0 (2)")
    model.set_folded("name 0", True)
    assert list_names()[:2] == ["▸ name 0 (2)", "▾ name 1 (2)"]
    assert model.find_visible_row("/runs/run-3") is None
    assert (model.rowCount(), model.matching_count) == (6, 5)
    assert [model.find_group_row("name 1"), model.find_visible_rows({"/runs/run-3", "/runs/run-4"})] == [1, [3]]
    assert model.visible_frame()["size"].tolist() == [1, 4, 2]
    assert model.index(0, 0).data(Qt.ItemDataRole.AccessibleTextRole) == "Profile name 0, 2 runs, folded"
    assert not model.index(0, 0).flags() & Qt.ItemFlag.ItemIsSelectable
    assert not model.setData(model.index(0, 0), Qt.CheckState.Checked, Qt.ItemDataRole.CheckStateRole)


def test_run_row_has_the_trend_of_earlier_runs_and_the_cost_of_its_plan(model: RunsModel) -> None:
    rows = tuple(
        RunRow(
            f"run-{day}",
            f"/runs/run-{day}",
            verdict="VALID",
            started_at=f"2026-08-0{day}T12:00:00+00:00",
            headline=f"p95 latency {value:.0f} ms",
            number=HeadlineNumber(
                "latency_ms", "p95", "ms", "lower", "steady", Estimate(value, (value - 0.1, value + 0.1))
            ),
            comparability_key="one",
            usd_per_month=1234.0 if day == 2 else None,
        )
        for day, value in ((1, 10.0), (2, 12.0))
        for estimate in (Estimate(value, (value - 0.1, value + 0.1)),)
    )
    model.set_listed_runs(build_listing(Listing(rows)))
    trend, cost = COLUMNS.index("trend"), COLUMNS.index("cost")
    assert model.index(1, trend).data(SPARKLINE_ROLE) == (10.0, 12.0)
    assert [model.index(row, trend).data() for row in (0, 1)] == ["", "+20.0 % since the previous run"]
    assert [model.index(row, cost).data() for row in (0, 1)] == ["", "$1,234"]
    tooltip = model.index(1, trend).data(Qt.ItemDataRole.ToolTipRole)
    assert tooltip == "p95 latency 12 ms, +20.0 % (+18.4 % to +21.6 %) vs. previous run: worse"
    assert "no comparable run before it" in model.index(0, trend).data(Qt.ItemDataRole.ToolTipRole)


def test_max_rates_sort_numerically_and_the_tooltip_shows_the_full_text(model: RunsModel) -> None:
    texts = {29.9: "29.9 req/s", 100.0: "100 req/s", 9.5: "9.50 inferences/s, int8-dynamic, batch 1"}
    rows = tuple(
        RunRow(
            f"run-{value}",
            f"/runs/run-{value}",
            max_rate_text=text,
            number=HeadlineNumber("max_rate_within_slo", None, "1/s", "higher", "search", Estimate(value)),
        )
        for value, text in texts.items()
    )
    model.set_listed_runs(build_listing(Listing((RunRow("none", "/runs/none"), *rows))))
    column = COLUMNS.index("max_rate")
    model.sort(column, Qt.SortOrder.DescendingOrder)
    cells = [model.index(row, column) for row in range(4)]
    assert [cell.data() for cell in cells] == ["100 req/s", "29.9 req/s", texts[9.5], "n/a"]
    assert cells[2].data(Qt.ItemDataRole.ToolTipRole) == texts[9.5]


def test_check_marks_stay_with_their_runs_when_sorted_and_are_removed_with_them(model: RunsModel) -> None:
    model.set_listed_runs(make_listing(20))
    model.setData(model.index(7, 0), Qt.CheckState.Checked, Qt.ItemDataRole.CheckStateRole)
    model.sort(COLUMNS.index("size"), Qt.SortOrder.DescendingOrder)
    checked = [
        row for row in range(20) if model.index(row, 0).data(Qt.ItemDataRole.CheckStateRole) == Qt.CheckState.Checked
    ]
    assert [model.row(row).run_id for row in checked] == ["run-7"]
    model.set_listed_runs(make_listing(5))
    assert model.checked_directories == []


def test_dragged_rows_copy_run_folders(model: RunsModel) -> None:
    model.set_listed_runs(make_listing(3))
    data = model.mimeData([model.index(1, 0), model.index(1, 1), model.index(2, 0)])
    assert [Path(url.toLocalFile()).name for url in data.urls()] == ["run-1", "run-2"]
    assert model.supportedDragActions() == Qt.DropAction.CopyAction


def test_only_the_first_column_is_checkable(model: RunsModel) -> None:
    model.set_listed_runs(make_listing(2))
    assert not model.setData(model.index(0, 1), Qt.CheckState.Checked, Qt.ItemDataRole.CheckStateRole)
    assert not model.index(0, 1).flags() & Qt.ItemFlag.ItemIsUserCheckable
    assert model.index(0, 1).data(Qt.ItemDataRole.CheckStateRole) is None


def test_imported_run_name_is_shown_as_one_line_of_at_most_200_characters(model: RunsModel) -> None:
    row = RunRow("run", "/runs/run", name="two\nlines\x1b[31m" + "x" * 10_000, protocol="http", url="http://a\tb")
    model.set_listed_runs(build_listing(Listing((row,))))
    name, target = (str(model.index(0, column).data()) for column in (0, 2))
    assert name.startswith("two lines [31mxx")
    assert len(name) == 200
    assert target == "http://a b"


def test_latencies_have_a_unit_and_are_struck_through_for_invalid_runs(model: RunsModel) -> None:
    rows = (RunRow("a", "/a", latency_p95_ms=41.26, ttft_p95_ms=None), RunRow("b", "/b", verdict="INVALID"))
    model.set_listed_runs(build_listing(Listing(rows)))
    latency, ttft = COLUMNS.index("latency_p95"), COLUMNS.index("ttft_p95")
    assert [model.index(0, column).data() for column in (latency, ttft)] == ["41.3\u202fms", ""]
    assert model.index(0, latency).data(Qt.ItemDataRole.FontRole) is None
    assert model.index(1, latency).data(Qt.ItemDataRole.FontRole).strikeOut()


def test_selected_columns_are_restored(
    model: RunsModel, theme: ThemeController, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    model.set_listed_runs(make_listing(2))

    def lay_out() -> tuple[RunsTable, dict[str, bool]]:
        table = RunsTable(model, theme)
        qtbot.addWidget(table)
        table.lay_out()
        return table, {name: not table.isColumnHidden(column) for column, name in enumerate(COLUMNS)}

    table, shown = lay_out()
    assert [name for name, is_shown in shown.items() if not is_shown] == ["duration", "size"]
    menu = QMenu(table)
    table.fill_column_menu(menu)
    actions = {action.text(): action for action in menu.actions()}
    assert list(actions) == [HEADERS[name] for name in COLUMNS if name != "name"]
    actions["Duration"].trigger()
    actions["Target"].trigger()
    _, shown_again = lay_out()
    assert shown_again == shown | {"duration": True, "target": False}
