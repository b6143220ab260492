"""Preview of a run: the requests to send, the duration and the cost."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from PySide6.QtCore import QEvent, Qt
from PySide6.QtWidgets import QGridLayout, QWidget

from app.gui.background import LatestRunner
from app.gui.formatting import shorten
from app.gui.message_strip import MessageStrip
from app.gui.navigation import Notice
from app.gui.run.editor_interface import EditedProfile, SpecialEditor, copy_tree, display_path
from app.gui.run.rows import Rows
from app.gui.run.work_view import (
    Tile,
    WorkView,
    build_tiles,
    build_work_view,
    format_start_summary,
    group_unrunnable_variants,
)
from app.gui.theme import GAP_GROUP, GAP_LINE
from app.gui.widgets import clear, label, vbox

_NO_ALIGNMENT = Qt.AlignmentFlag(0)


class Preview(SpecialEditor):
    """Preview of the run, updated with every change of the profile. The preview shows why a valid
    profile cannot run, and never changes the profile."""

    def __init__(self) -> None:
        super().__init__()
        self._displayed_inputs: tuple[dict[str, Any], str] | None = None
        self._machine: Any = None
        self._latest_view = LatestRunner(self, self._show, self._show_error)
        self.view = WorkView()
        self.strip = MessageStrip()
        self.start_summary = label("", wrap=True)
        self.start_summary.setAccessibleName("Run summary")
        self._tiles = QWidget()
        self._tiles_layout = QGridLayout(self._tiles)
        self._tiles_layout.setContentsMargins(0, 0, 0, 0)
        self._tiles_layout.setHorizontalSpacing(GAP_GROUP)
        self._tiles_layout.setVerticalSpacing(GAP_LINE)
        self._tiles_layout.setColumnStretch(2, 1)
        self.unrunnable_heading = label("Variants that cannot run on this machine", "heading")
        self.unrunnable_rows = Rows("Variants that cannot run on this machine")
        self._heading = label("Planned run", "heading")
        self._is_compact = False
        vbox(
            self._heading,
            self.strip,
            self._tiles,
            self.start_summary,
            self.unrunnable_heading,
            self.unrunnable_rows,
            0,
            within=self,
        )
        self.unrunnable_heading.hide()

    def event(self, event: QEvent) -> bool:
        if event.type() in (QEvent.Type.LayoutRequest, QEvent.Type.Resize):
            self._fit_height()
        return super().event(event)

    def _fit_height(self) -> None:
        """Require the height of the wrapped texts, which the minimum height of a layout leaves out."""
        layout = self.layout()
        if layout is not None:
            self.setMinimumHeight(max(0, layout.totalHeightForWidth(self.width())))

    def show_contents(self, document: EditedProfile) -> None:
        if document.error is not None:  # the page states the error, and the last valid profile is not the text
            self._latest_view.cancel()
            self._displayed_inputs = None
            self._show(WorkView())
            return
        inputs = copy_tree(document), display_path(document)
        if inputs == self._displayed_inputs:
            return
        self._displayed_inputs = inputs
        tree, path, machine = *inputs, self._machine
        if not self.view.work:
            self.start_summary.setText("Estimating…")
        self._latest_view.request(lambda: build_work_view(tree, path, machine))

    def set_compact(self, is_compact: bool) -> None:
        """Show only the sentence about the run, without the tiles, where there is little space."""
        self._is_compact = is_compact
        self._heading.setHidden(is_compact)
        self._tiles.setHidden(is_compact or not self.view.work)

    def tiles(self) -> tuple[Tile, ...]:
        """Return the displayed tiles."""
        return () if self.view.work is None else build_tiles(self.view.work, datetime.now(UTC).astimezone())

    def _show(self, view: WorkView) -> None:
        self.view = view
        self._machine = view.machine or self._machine
        if view.reason is not None:
            self.strip.show_notice(Notice("warning", f"The run is not ready to start: {view.reason}"))
        else:
            self.strip.hide()
        self._fill_tiles(self.tiles())
        self.start_summary.setText(format_start_summary(view))
        self.start_summary.setVisible(bool(self.start_summary.text()))
        unrunnable_variants = view.unrunnable_variants or ()
        self.unrunnable_heading.setVisible(bool(unrunnable_variants))
        self.unrunnable_rows.show_rows(group_unrunnable_variants(unrunnable_variants))

    def _fill_tiles(self, tiles: tuple[Tile, ...]) -> None:
        clear(self._tiles_layout)
        for row, tile in enumerate(tiles):
            cells = (label(tile.name, "muted"), label(tile.value, "strong"), label(tile.detail, "muted", wrap=True))
            for column, cell in enumerate(cells):
                self._tiles_layout.addWidget(
                    cell, row, column, Qt.AlignmentFlag.AlignTop if column < 2 else _NO_ALIGNMENT
                )
        self._tiles.setHidden(self._is_compact or not tiles)
        self._tiles.updateGeometry()

    def _show_error(self, error: Exception) -> None:
        self.strip.show_notice(Notice("error", f"Estimating the run failed: {shorten(str(error), 300)}"))
        self.start_summary.hide()
