from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QComboBox
from pytestqt.modeltest import ModelTester
from pytestqt.qtbot import QtBot

from app.gui.run.stage_model import ARRIVALS, CLIENTS, DURATION, LOAD, NAME, REPEATS
from app.gui.run.stages_editor import StagesEditor
from app.gui.theme import ThemeController
from tests.fakes.edited_document import EditedDocument


class EditedStages:
    """A stages editor whose edits are applied to a document."""

    def __init__(self, qtbot: QtBot, look: ThemeController, *stages: dict[str, Any], path: Path | None = None) -> None:
        self.document = EditedDocument({"load": {"stages": list(stages)}} if stages else {}, path)
        self.editor = StagesEditor(look)
        qtbot.addWidget(self.editor)
        self.editor.edited.connect(self._take)
        self.editor.show_document(self.document)
        self.editor.resize(900, 600)
        with qtbot.waitExposed(self.editor):
            self.editor.show()

    def _take(self, path: str, value: object) -> None:
        self.document.set_value(path, value)
        self.editor.show_document(self.document)

    @property
    def stages(self) -> list[dict[str, Any]]:
        return self.document.value("load.stages") or []  # type: ignore[return-value]


@pytest.fixture
def two_stages(qtbot: QtBot, theme: ThemeController) -> EditedStages:
    ramp = {"name": "up", "ramp": {"from": "10/s", "to": "50/s"}, "duration": "20s"}
    return EditedStages(qtbot, theme, {"rate": "10/s", "duration": "30s"}, ramp)


def test_stage_table_passes_the_model_tester(two_stages: EditedStages, qtmodeltester: ModelTester) -> None:
    qtmodeltester.check(two_stages.editor.model, force_py=True)


def test_cells_of_the_stage_table_are_edited(two_stages: EditedStages) -> None:
    model = two_stages.editor.model
    assert model.setData(model.index(0, NAME), "steady")
    assert model.setData(model.index(0, LOAD), "20/s → 40/s")
    assert model.setData(model.index(0, DURATION), "1m")
    assert model.setData(model.index(0, REPEATS), "3")
    assert model.setData(model.index(1, CLIENTS), "8")
    assert two_stages.stages == [
        {"name": "steady", "ramp": {"from": "20/s", "to": "40/s"}, "duration": "1m", "repeats": 3},
        {"name": "up", "concurrency": 8, "duration": "20s"},
    ]
    assert not model.setData(model.index(0, NAME), "steady")
    assert not model.flags(model.index(1, ARRIVALS)) & Qt.ItemFlag.ItemIsEditable


def test_arrivals_are_selected_from_a_list(qtbot: QtBot, two_stages: EditedStages) -> None:
    table = two_stages.editor.table
    table.setCurrentIndex(two_stages.editor.model.index(0, ARRIVALS))
    table.edit(two_stages.editor.model.index(0, ARRIVALS))
    box = table.findChild(QComboBox)
    assert box is not None
    qtbot.keyClick(box, Qt.Key.Key_Down)
    assert two_stages.stages[0]["arrivals"] == "constant"


def test_stages_are_added_duplicated_moved_removed_and_converted(two_stages: EditedStages) -> None:
    editor = two_stages.editor
    assert editor.selected_row == 0
    editor.add()
    assert (len(two_stages.stages), editor.selected_row) == (3, 1)
    editor.duplicate()
    editor.move_selected(1)
    assert [stage.get("name", "steady") for stage in two_stages.stages] == ["steady", "stage-2", "up", "stage-3"]
    assert editor.selected_row == 3
    editor.remove()
    editor.remove()
    assert (len(two_stages.stages), editor.selected_row) == (2, 1)
    editor.remove()
    editor.remove()
    assert two_stages.document.value("load.stages") is None
    assert not editor._buttons["remove"].isEnabled()
    editor.convert("closed")
    assert two_stages.stages == [{"name": "steady", "duration": "30s", "concurrency": 8}]


def test_stage_line_is_dragged_by_mouse_and_keys(qtbot: QtBot, two_stages: EditedStages) -> None:
    chart = two_stages.editor.chart
    qtbot.waitUntil(lambda: chart.handle_pixel(0).x() > 100)
    start, to = chart.handle_pixel(0).toPoint(), chart.data_to_pixel(20.0, 30.0).toPoint()
    view = chart.plot.viewport()
    qtbot.mousePress(view, Qt.MouseButton.LeftButton, pos=start)
    qtbot.mouseMove(view, to)
    assert two_stages.stages[0]["duration"] == "30s"  # until the button is released
    assert two_stages.editor.model.stages[0]["duration"] != "30s"
    qtbot.mouseRelease(view, Qt.MouseButton.LeftButton, pos=to)
    assert float(two_stages.stages[0]["rate"].removesuffix("/s")) == pytest.approx(30, abs=1)
    assert two_stages.stages[0]["duration"] == "20s"
    before = two_stages.stages[0]["rate"]
    qtbot.keyClick(chart, Qt.Key.Key_Up, Qt.KeyboardModifier.ShiftModifier)
    assert two_stages.stages[0]["rate"] != before


def test_invalid_stage_is_reported_in_the_strip_and_its_row(two_stages: EditedStages) -> None:
    model = two_stages.editor.model
    model.setData(model.index(0, LOAD), "fast")
    assert "'fast' is not a rate" in two_stages.editor.strip.text()
    assert str(model.index(0, NAME).data()).startswith("⚠")
    model.setData(model.index(0, LOAD), "5/s")
    assert two_stages.editor.strip.text() == ""


def test_trace_is_read_in_the_background_and_a_missing_trace_reported(
    qtbot: QtBot, theme: ThemeController, tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_text("timestamp\n" + "".join(f"{at / 10}\n" for at in range(101)))
    edited = EditedStages(qtbot, theme, {"trace": "t.csv"}, path=tmp_path / "p.yaml")
    qtbot.waitUntil(lambda: edited.editor._stage_line.total_duration_s == pytest.approx(10))
    missing = EditedStages(qtbot, theme, {"trace": "none.csv"}, path=tmp_path / "p.yaml")
    qtbot.waitUntil(lambda: missing.editor.strip.text().startswith("The trace cannot be read"))
