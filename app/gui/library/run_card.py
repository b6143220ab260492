"""Card of the selected run: validity badge, preview of the result, and editable title, tags and
notes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QFrame, QGridLayout, QLineEdit, QSizePolicy

from app.gui.formatting import NOT_AVAILABLE, format_clock_time, format_duration, format_size, shorten
from app.gui.library.runs_presenter import RunPreview
from app.gui.theme import CARD_MARGINS, GAP_GROUP, GAP_TIGHT, ThemeController
from app.gui.widgets import Badge, button, hbox, label, stacked_widget, vbox
from app.records.bundle import MAX_TITLE_LENGTH
from app.records.control import MAX_NOTE_LENGTH
from app.reporting.run_rows import RunRow
from reports.formatting import format_count_noun
from reports.sections.figure import LineFigure

if TYPE_CHECKING:
    from app.gui.charts.figures import LineCharts

_MAX_NOTES = 2
_MAX_CHARACTERS = 160
_MAX_SENTENCE_CHARACTERS = 300
_MAX_OBJECTIVES = 2
_SENTENCE_LINES = 2
"""Minimum number of lines of the sentence, so that the card keeps its height from run to run."""
_MIN_CHART_CHARACTERS = 130
"""Width of the card, in characters, below which it has no chart."""


class RunCard(QFrame):
    title_edited = Signal(str)
    """Signal that is emitted with the new title. An empty string removes the title."""
    tags_edited = Signal(object)
    """Signal that is emitted with the complete new set of tags, as a tuple of strings."""
    note_entered = Signal(str)

    def __init__(self, theme_controller: ThemeController) -> None:
        super().__init__()
        self._theme_controller = theme_controller
        self._directory: str | None = None
        self.setProperty("role", "card")
        self.setAccessibleName("Selected run")
        self.sentence_label, self.objectives_label = label("", wrap=True), label("", "muted", wrap=True)
        self.chart_box = stacked_widget()
        self._charts: LineCharts | None = None
        self._name = label("", "heading", wrap=True)
        self._badge = Badge()
        self._properties = label("", "muted", wrap=True)
        self._notes = label("", "muted", wrap=True)
        self.title_field, self.tags_field, self.note_field = QLineEdit(), QLineEdit(), QLineEdit()
        self._build()
        self.title_field.returnPressed.connect(self._emit_title)
        self.tags_field.returnPressed.connect(self._emit_tags)
        self.note_field.returnPressed.connect(self._emit_note)

    def show_run(self, row: RunRow | None) -> None:
        self.setVisible(row is not None)
        self._directory = None if row is None else row.directory
        if row is None:
            return
        self._fit_chart()
        self._name.setText(shorten(row.label, _MAX_CHARACTERS))
        self._badge.show_verdict(row.verdict or row.state, _describe_verdict(row))
        self._properties.setText(properties_text(row))
        self.title_field.setPlaceholderText(shorten(row.name or row.run_id, _MAX_CHARACTERS))
        if not self.title_field.hasFocus():
            self.title_field.setText(row.title or "")
        if not self.tags_field.hasFocus():
            self.tags_field.setText(" ".join(row.tags))
        lines = [
            f"{format_clock_time(note.at)}  {shorten(note.text, _MAX_CHARACTERS)}" for note in row.notes[-_MAX_NOTES:]
        ]
        earlier_count = len(row.notes) - len(lines)
        if earlier_count > 0:
            lines.insert(0, format_count_noun(earlier_count, "earlier note"))
        self._notes.setText("\n".join(lines))
        self._notes.setVisible(bool(lines))

    def show_preview(self, preview: RunPreview | None) -> None:
        """Show the preview of the current run. The preview of another run, which the user has left in
        the meantime, is ignored; until the next preview, the last one stays."""
        if preview is not None and preview.directory != self._directory:
            return
        objectives = () if preview is None else preview.objectives
        lines = [shorten(text, _MAX_CHARACTERS) for text in objectives[:_MAX_OBJECTIVES]]
        if len(objectives) > _MAX_OBJECTIVES:
            lines[-1] += f" · {len(objectives) - _MAX_OBJECTIVES} more"
        self.sentence_label.setText("" if preview is None else shorten(preview.sentence, _MAX_SENTENCE_CHARACTERS))
        self.objectives_label.setText("\n".join(lines))
        self._show_figure(None if preview is None else preview.figure)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit_chart()

    def _fit_chart(self) -> None:
        """Hide the chart and the objectives if the tab, which is as wide as the card, is narrow or has
        large text: the list above needs the space."""
        container, metrics = self.parentWidget() or self, self.fontMetrics()
        is_wide = container.width() > _MIN_CHART_CHARACTERS * metrics.averageCharWidth()
        self.chart_box.setVisible(is_wide)
        self.objectives_label.setVisible(is_wide)
        self.sentence_label.setMinimumHeight(_SENTENCE_LINES * metrics.lineSpacing() if is_wide else 0)
        self.objectives_label.setMinimumHeight(_MAX_OBJECTIVES * metrics.lineSpacing())

    def _show_figure(self, figure: LineFigure | None) -> None:
        """Draw the figure, if any."""
        if figure is None:
            self.chart_box.setCurrentIndex(0)
            return
        if self._charts is None:
            from app.gui.charts.figures import LineCharts

            self._charts = LineCharts(self._theme_controller, self.chart_box.addWidget)
        self.chart_box.setCurrentWidget(self._charts.draw(figure))

    def _build(self) -> None:
        header = hbox((self._name, 1), (self._badge, 0, Qt.AlignmentFlag.AlignTop))
        grid = QGridLayout()
        hbox((grid, 3), (self.chart_box, 2), within=self, margins=CARD_MARGINS, spacing=GAP_GROUP)
        self.chart_box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Ignored)
        self.chart_box.addWidget(
            label("No chart: this run has a single load and no comparable run.", "muted", wrap=True)
        )
        previews = vbox(header, self.sentence_label, self.objectives_label, self._properties, spacing=GAP_TIGHT)
        grid.addLayout(previews, 0, 0, 1, 3)
        rows = (
            (self.title_field, "T&itle", "", button("&Rename", self._emit_title)),
            (self.tags_field, "Ta&gs", "Tags, separated by spaces", button("Set &tags", self._emit_tags)),
            (self.note_field, "N&ote", "Add a note…", button("&Add", self._emit_note)),
        )
        for row, (field, caption, placeholder, action_button) in enumerate(rows, 1):
            grid.addWidget(label(caption, buddy=field), row, 0)
            field.setPlaceholderText(placeholder)
            field.setAccessibleName(caption.replace("&", ""))
            grid.addWidget(field, row, 1)
            grid.addWidget(action_button, row, 2)
        self.title_field.setMaxLength(MAX_TITLE_LENGTH)
        self.note_field.setMaxLength(MAX_NOTE_LENGTH)
        grid.addWidget(self._notes, len(rows) + 1, 0, 1, 3)
        grid.setColumnStretch(1, 1)
        self.chart_box.hide()
        for text_label in (self.sentence_label, self.objectives_label):
            text_label.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        self.hide()

    def _emit_title(self) -> None:
        self.title_edited.emit(self.title_field.text().strip())

    def _emit_tags(self) -> None:
        self.tags_edited.emit(tuple(dict.fromkeys(self.tags_field.text().replace(",", " ").split())))

    def _emit_note(self) -> None:
        text = self.note_field.text().strip()
        if text:
            self.note_field.clear()
            self.note_entered.emit(text)


def properties_text(row: RunRow) -> str:
    """Format the properties of a run, such as outcome, max rate and duration, as one line."""
    parts = (
        row.outcome,
        None if row.max_rate_text is None else f"max rate {row.max_rate_text}",
        None if row.duration_s is None else f"duration {format_duration(row.duration_s)}",
        row.url,
        row.model,
        format_size(row.size_bytes),
        None if row.title is None else row.name,
        row.run_id,
    )
    return " · ".join(shorten(part, _MAX_CHARACTERS) for part in parts if part) or NOT_AVAILABLE


def _describe_verdict(row: RunRow) -> str:
    return {
        "VALID": "All checks passed.",
        "WARN": "At least one check has a warning. Open the run for details.",
        "INVALID": "The measurement is invalid. Do not use these results. Open the run for details.",
        "unreadable": "The files are damaged or come from a newer version of Sizewise.",
        "result lost": "The run ended, but its result.json is missing. Open it to see the data measured.",
        "interrupted": "The run ended before it wrote a result. Open it to see the data measured so far.",
    }.get(row.verdict or row.state, "")
