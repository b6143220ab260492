"""Editor of the load stages: a chart of the planned rates with draggable handles, and an editable
table."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PySide6.QtCore import QItemSelection
from PySide6.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QHeaderView,
    QMenu,
    QPushButton,
    QTableView,
    QWidget,
)

from app.gui.background import LatestRunner
from app.gui.charts.axes import Axis
from app.gui.charts.draggable import DraggableChart, Handle
from app.gui.flow import set_flow_layout
from app.gui.formatting import State, format_duration, shorten
from app.gui.message_strip import MessageStrip
from app.gui.navigation import Notice
from app.gui.run import stage_edits
from app.gui.run.editor_interface import EditedProfile, SpecialEditor, base_directory, set_min_lines
from app.gui.run.stage_edits import Preset
from app.gui.run.stage_line import Points, StageLine, TraceKey, build_stage_line, move_handle, read_trace_rates
from app.gui.run.stage_model import ARRIVALS, LOAD, ArrivalsDelegate, StageModel
from app.gui.theme import ThemeController
from app.gui.widgets import button, label, vbox

_CHART_LINES = 18
_MIN_VISIBLE_ROWS, _MAX_VISIBLE_ROWS = 2, 8


class StagesEditor(SpecialEditor):
    def __init__(self, theme_controller: ThemeController) -> None:
        super().__init__()
        self._document: EditedProfile | None = None
        self._stage_line = StageLine((), ())
        self._traces: dict[TraceKey, Points] = {}
        self._latest_traces = LatestRunner(self, self._on_traces, self._on_trace_error)
        self._pending_row = 0
        self._displayed_inputs: tuple[list[dict[str, Any]], Path] | None = None
        self.strip = MessageStrip()
        self.chart = DraggableChart("Planned rate", Axis("Time", "s"), Axis("Rate", "req/s"), theme_controller)
        self.chart.handle_moved.connect(self._drag)
        self.model = StageModel()
        self.model.setParent(self)
        self.model.changed.connect(self._emit_stages)
        self.table = self._create_table()
        self._buttons = self._create_buttons()
        self.summary_label = label("", "muted", wrap=True)
        self._button_row = self._create_button_row()
        vbox(self.strip, (self.chart, 1), self.summary_label, self.table, self._button_row, within=self)
        self.update_heights()
        self._update_buttons()

    def update_heights(self) -> None:
        set_min_lines(self.chart, _CHART_LINES)
        row_count = min(max(self.model.rowCount(), _MIN_VISIBLE_ROWS), _MAX_VISIBLE_ROWS)
        row_height = self.table.fontMetrics().height() + 12
        self.table.verticalHeader().setDefaultSectionSize(row_height)
        self.table.setFixedHeight(row_height * row_count + self.table.horizontalHeader().sizeHint().height() + 4)

    def supports_protocol(self, protocol: str | None) -> bool:
        return protocol != "local"

    def show_contents(self, document: EditedProfile) -> None:
        self._document = document
        stages, directory = read_stages(document), base_directory(document)
        if (stages, directory) != self._displayed_inputs:
            self._displayed_inputs = copy.deepcopy(stages), directory
            self._show(stages)
        stage_count = len(stages)
        if stage_count and not self.table.selectionModel().hasSelection():
            self.table.selectRow(min(self._pending_row, stage_count - 1))
        self._update_buttons()
        has_other_load = document.value("load.sweep") is not None or document.value("load.search") is not None
        for widget in (self.summary_label, self._button_row):
            widget.setVisible(bool(stages) or not has_other_load)

    @property
    def selected_row(self) -> int:
        """Index of the selected stage, or -1 if none is selected."""
        rows = self.table.selectionModel().selectedRows()
        return rows[0].row() if rows else -1

    def convert(self, preset: Preset) -> None:
        """Convert the selected stage to another load shape. If there are no stages, a first stage
        of this shape is added."""
        trace = self._choose_trace() if preset == "trace" else ""
        if preset == "trace" and not trace:
            return
        stages = self.model.stages or [{"name": "steady"}]
        selected_index = max(self.selected_row, 0)
        converted_stage = stage_edits.convert_stage(preset, stages[selected_index], trace)
        self._emit_stages(
            [converted_stage if index == selected_index else dict(stage) for index, stage in enumerate(stages)]
        )

    def add(self) -> None:
        index = self.selected_row if self.selected_row >= 0 else len(self.model.stages) - 1
        self._go_to(index + 1, stage_edits.insert_stage(self.model.stages, index))

    def duplicate(self) -> None:
        if self.selected_row >= 0:
            self._go_to(self.selected_row + 1, stage_edits.duplicate_stage(self.model.stages, self.selected_row))

    def remove(self) -> None:
        if self.selected_row >= 0:
            self._go_to(max(0, self.selected_row - 1), stage_edits.remove_stage(self.model.stages, self.selected_row))

    def move_selected(self, offset: int) -> None:
        if self.selected_row >= 0 and 0 <= self.selected_row + offset < len(self.model.stages):
            self._go_to(
                self.selected_row + offset,
                stage_edits.swap_stages(self.model.stages, self.selected_row, self.selected_row + offset),
            )

    # Display

    def _show(self, stages: list[dict[str, Any]]) -> None:
        """Show the stages of the document, or the stages that the current drag would produce."""
        assert self._document is not None
        self._stage_line = build_stage_line(stages, base_directory(self._document), self._traces)
        self.model.set_stages(stages, [stage.problem for stage in self._stage_line.stages])
        self._show_problem()
        self.update_heights()
        self._draw()
        unread_traces = self._stage_line.unread_traces
        if unread_traces:
            self._latest_traces.request(lambda: {key: read_trace_rates(key) for key in unread_traces})

    def _on_traces(self, traces: dict[TraceKey, Points]) -> None:
        self._traces.update(traces)
        if self._document is not None:
            self._show(read_stages(self._document))

    def _on_trace_error(self, error: Exception) -> None:
        self.strip.show_notice(Notice("error", f"The trace cannot be read: {shorten(str(error), 300)}"))

    def _show_problem(self) -> None:
        invalid_stage = next((stage for stage in self._stage_line.stages if stage.problem is not None), None)
        if invalid_stage is None:
            self.strip.hide()
            return
        message = f"Stage {invalid_stage.name} has errors: {shorten(str(invalid_stage.problem), 300)}"
        self.strip.show_notice(Notice("error", message))

    def _draw(self) -> None:
        stage_line, xs, ys = self._stage_line, [0.0], [0.0 if not self._has_rates else np.nan]
        for drawn_stage in stage_line.stages:
            xs += [time_s for time_s, _ in drawn_stage.points] or [drawn_stage.start_s, drawn_stage.end_s]
            ys += [rate for _, rate in drawn_stage.points] or [np.nan, np.nan]
        self.chart.set_line("planned", "planned rate", np.array(xs), np.array(ys))
        states_by_problem: dict[bool, State] = {True: "bad", False: "plain"}
        self.chart.set_bands(
            [
                (
                    drawn_stage.start_s,
                    drawn_stage.end_s,
                    drawn_stage.label,
                    states_by_problem[drawn_stage.problem is not None],
                )
                for drawn_stage in stage_line.stages
            ]
        )
        self.chart.set_handles(
            [Handle(handle.x, handle.y, handle.name, handle.drag_axis) for handle in stage_line.handles]
        )
        has_repeats = any(stage.get("repeats") not in (None, 1) for stage in self.model.stages)
        duration_text = "The duration without repeats is {time}." if has_repeats else "The total duration is {time}."
        hint = "Drag a point, or select it with Page Down and move it with the arrow keys."
        placeholder = "There are no stages yet. Add a stage, or use a search to find the max rate."
        summary = duration_text.format(time=format_duration(stage_line.total_duration_s)) + (
            f" {hint}" if stage_line.handles else ""
        )
        self.summary_label.setText(summary if stage_line.stages else placeholder)
        for widget in (self.chart, self.table):
            widget.setVisible(bool(stage_line.stages))

    @property
    def _has_rates(self) -> bool:
        return any(stage.points for stage in self._stage_line.stages)

    def _drag(self, index: int, x: float, y: float, is_drag_finished: bool) -> None:
        if index >= len(self._stage_line.handles):
            return
        stages = move_handle(self.model.stages, self._stage_line.handles[index], x, y)
        self._show(stages)
        if is_drag_finished:
            self._emit_stages(stages)

    # Edits

    def _emit_stages(self, stages: list[dict[str, Any]]) -> None:
        self.edited.emit("load.stages", stages or None)

    def _go_to(self, row: int, stages: list[dict[str, Any]]) -> None:
        self._pending_row = row
        self._emit_stages(stages)
        if self.model.rowCount():
            self.table.selectRow(min(row, self.model.rowCount() - 1))

    def _choose_trace(self) -> str:
        directory = str(base_directory(self._document)) if self._document is not None else ""
        file_types = "Traces (*.csv *.jsonl *.json *.parquet *.gz);;All files (*)"
        return QFileDialog.getOpenFileName(self, "Choose trace", directory, file_types)[0]

    def _create_table(self) -> QTableView:
        table = QTableView()
        table.setModel(self.model)
        table.setAccessibleName("Stages")
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        table.setEditTriggers(
            QAbstractItemView.EditTrigger.DoubleClicked
            | QAbstractItemView.EditTrigger.EditKeyPressed
            | QAbstractItemView.EditTrigger.AnyKeyPressed
            | QAbstractItemView.EditTrigger.SelectedClicked
        )
        table.setTabKeyNavigation(False)
        table.setShowGrid(False)
        table.setAlternatingRowColors(True)
        table.verticalHeader().setVisible(False)
        table.setItemDelegateForColumn(ARRIVALS, ArrivalsDelegate(table))
        header = table.horizontalHeader()
        header.setHighlightSections(False)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(LOAD, QHeaderView.ResizeMode.Stretch)
        table.selectionModel().selectionChanged.connect(self._on_selection_changed)
        return table

    def _on_selection_changed(self, _now: QItemSelection, _before: QItemSelection) -> None:
        self._update_buttons()

    def _create_buttons(self) -> dict[str, QPushButton]:
        shape_button = QPushButton("Shape")
        shape_button.setAccessibleName("Shape of the selected stage")
        menu = QMenu(shape_button)
        presets: tuple[tuple[Preset, str], ...] = (
            ("constant", "&Constant arrivals"), ("poisson", "&Poisson arrivals"),
            ("closed", "C&losed loop (fixed concurrency)"),
            ("ramp", "&Ramp"), ("spike", "&Spike"),
            ("trace", "Replay a &trace…"),
        )  # fmt: skip
        for preset, text in presets:
            menu.addAction(text).triggered.connect(partial(self._convert_selected, preset))
        shape_button.setMenu(menu)
        return {
            "add": button("Add sta&ge", self.add),
            "duplicate": button("Du&plicate", self.duplicate),
            "remove": button("Re&move", self.remove),
            "up": button("Move &up", partial(self.move_selected, -1)),
            "down": button("Move do&wn", partial(self.move_selected, 1)),
            "shape": shape_button,
        }

    def _convert_selected(self, preset: Preset, _checked: bool = False) -> None:
        self.convert(preset)

    def _create_button_row(self) -> QWidget:
        container = QWidget()
        flow_layout = set_flow_layout(container, 6)
        flow_layout.setContentsMargins(0, 0, 0, 0)
        for widget in self._buttons.values():
            flow_layout.addWidget(widget)
        return container

    def _update_buttons(self) -> None:
        stage_count, selected_row = self.model.rowCount(), self.selected_row
        for name in ("duplicate", "remove"):
            self._buttons[name].setEnabled(selected_row >= 0)
        self._buttons["up"].setEnabled(selected_row > 0)
        self._buttons["down"].setEnabled(0 <= selected_row < stage_count - 1)
        self._buttons["shape"].setEnabled(selected_row >= 0 or not stage_count)


def read_stages(document: EditedProfile) -> list[dict[str, Any]]:
    """Return the stages that are mappings. The form reports all other entries as errors."""
    values = document.value("load.stages")
    return [dict(stage) for stage in values if isinstance(stage, dict)] if isinstance(values, list | tuple) else []
